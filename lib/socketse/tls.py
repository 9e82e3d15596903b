"""TLS for servers with an ssl_context: when the handshake takes place, and for how long."""

from .server import BaseServer  # first: the largest compiles best

# isort: split
from . import port
from .port import const

if port.platform:
    from .tlssocket import HANDSHAKE_SECONDS, accept, setup
else:
    from .hosttls import HANDSHAKE_SECONDS, accept, setup

from .plain import Knock

_AGAIN_MS = const(100)  # after which one looks again whether there is room

__all__ = ("accept", "setup", "finish", "Handshake")


def finish(server, request, client_address, process=None):
    """Return True if the handshake of request is over.

    In a multiplexer it may go on in the background: process is called then, None:
    BaseServer.finish_request. Elsewhere it is waited for. If it fails, that is counted.
    """
    if not hasattr(request, "do_handshake"):
        raise TypeError("ssl_context is for TCP servers, with a get_request that calls theirs")
    if request.ready:
        return True
    hub = getattr(server, "_se_hub", None)
    if hub and server._se_inline is not request:
        if port.platform in ("linux", "darwin"):
            from .trouble import grow

            grow(hub)
        # Not server.finish_request: a subclass's is called once for a connection.
        later = process or (lambda *args: BaseServer.finish_request(server, *args))
        Handshake(request, client_address, server, later)
        return False
    try:
        request.do_handshake()
        return True
    except OSError as e:
        server._se_count("timed_out" if port.timeout(e) else "errors")
        return False


class Handshake(Knock):
    """A connection in the table of a multiplexer while its handshake lasts."""

    timeout: "float" = HANDSHAKE_SECONDS  # from the beginning of the connection

    def _se_knock(self, socket):
        request = self.request
        hub = self.server._se_hub
        if socket is None and self.timeout < Handshake.timeout:
            hub.select.modify(request, request.want)  # if there is room now it goes on
            self.timeout = Handshake.timeout
            return
        if socket is not None:
            try:
                if not request.handshake():
                    hub.select.modify(request, request.want)
                    return
            except MemoryError:
                # Another one that holds what TLS needs has to go.
                held = []
                for h in hub.map.values():
                    if h._se_since is not None and getattr(h.request, "open", False):
                        held.append(h)
                if not held or not hub.evict(False, held):
                    self._wait()
                return
            except Exception as e:
                if isinstance(e, OSError):
                    self._se_count("errors")
                else:
                    self.server._se_report(request, self.client_address, e)
                hub.close(self)
                return
            except BaseException:
                hub.close(self)  # Ctrl-C: Mbed TLS cannot go on where it was
                raise
        Knock._se_knock(self, socket)
        h = hub.map.get(request)
        if h is not None:
            h._se_since |= 1  # odd: something has come, the handshake

    def _wait(self):
        # Until the others, who are at work, leave some room; if there are none, not at all.
        hub = self.server._se_hub
        end = port.ticks_diff(hub.time, self._se_since) + _AGAIN_MS
        if end >= Handshake.timeout * 1000 or hub.count < 2:
            self._se_count("out_of_memory")
            hub.close(self)
            return
        self.timeout = end / 1000
        hub.select.modify(self.request, 0)
        hub.schedule(_AGAIN_MS)
