"""MultiplexingMixIn and its servers: many connections in the thread that serves."""

from .server import TCPServer, _mark_left, ssl  # first: the largest compiles best

# isort: split
from . import port
from .hub import Hub
from .table import is_async

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


class MultiplexingMixIn:
    """Gives a server a multiplexer of its own: many connections in the thread that serves.

    The handler is an AsyncStreamRequestHandler; handlers of other kinds run one
    after the other, for at most 10 s each.
    """

    max_connections = None  # at once; None: as many as this port and its heap have room for
    when_full = "evict"  # or "wait", see Multiplexer
    _se_co = _se_since = None  # as an entry in the table: no connection
    _se_limited = True  # who comes in gets a place in the table
    _se_hub: "Any" = None
    _se_inline: "Any" = None
    _se_plain = False  # True: the handler is no coroutine
    # From the server that it is mixed into.
    timeout: "Any"
    socket: "Any"
    ssl_context: "Any"
    RequestHandlerClass: "Any"
    finish_request: "Any"
    get_request: "Any"
    handle_timeout: "Any"
    service_actions: "Any"
    _se_stats: "Any"
    _se_serving: "Any"
    _handle_request_noblock: "Any"

    def _se_prepare(self):
        # What changes when it begins to serve: another thread may look into it by then.
        self._se_hub = None
        self._se_plain = False
        self.get_request = self.get_request

    def process_request(self, request, client_address):
        """Begin to handle one request; the multiplexer goes on with it."""
        if not self._se_plain:
            self.finish_request(request, client_address)
        else:
            from .plain import process_request

            process_request(self, request, client_address, TCPServer.process_request)

    def _se_handle_one(self, timeout):
        return self._se_new_poller().wait(timeout)

    def _se_new_poller(self):
        _mark_left(self, False)
        if self._se_hub is None:
            hub = Hub(self._se_stats, self.max_connections, self.when_full)
            hub.register(self.socket, self)
            self._se_hub = hub  # not before that has worked: it would be deaf
            self._se_plain = not is_async(self)
            if not self._se_plain and type(self).get_request is TCPServer.get_request:
                self.get_request = self._se_accept
        return self._se_hub

    def _se_accept(self):
        if self.ssl_context is not None:
            return ssl().accept(self.socket, self.ssl_context)
        return port.accept_native(self.socket)

    def _se_ready(self, timeout):
        self._se_hub.poll(timeout)
        return False  # nothing is left to be done

    def _se_knock(self, socket):
        # Take a new connection.
        hub = self._se_hub
        if hub.count < hub.max_connections or hub.acquire():
            hub.accept(self)

    def _se_evict(self, n):
        # Descriptors have run out.
        self._se_hub.evict(False)

    def _se_join(self):
        loop = self._se_serving
        while loop and loop[0] != port.get_ident() and self._se_serving is loop:
            port.sleep_ms(5)  # the loop is about to end
        if self._se_hub is not None:
            self._se_hub.unregister(self.socket)
            self._se_hub.discard(self)


class MultiplexingTCPServer(MultiplexingMixIn, TCPServer):
    """TCPServer with a multiplexer of its own."""


def __getattr__(name):
    # Made on first use: few programs need them, and boards have no Unix sockets.
    from .mixed import find

    globals()[name] = found = find(name, MultiplexingMixIn, __name__)
    return found
