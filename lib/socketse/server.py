"""BaseServer, TCPServer and BaseRequestHandler, after CPython's socketserver.

https://docs.python.org/3/library/socketserver.html is the reference for every
name that stands there too; what is added says so.
"""

import socket

from . import port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

# A socket that is closed with unread input is reset, and the client loses the reply. So what
# a client is still sending when its handler is done is read away, up to
_DRAIN_BYTES = const(65536)
_DRAIN_MS = const(1000)
# An accept that fails for want of descriptors leaves the listener ready: no busy loop.
_ACCEPT_PAUSE_MS = const(20)

# Servers that an exception threw out of their loop: a new one on their address closes them.
# A tuple, made anew for each change: threads may read it without a lock.
_left: tuple = ()


def ssl():
    """Return the room of servers with an ssl_context, loaded when the first one is there."""
    from . import tls

    return tls


def _mark_left(server, value):
    global _left
    others = list(_left)
    if server in others:
        others.remove(server)
    if value:
        others.append(server)
    _left = tuple(others[-4:])  # rp2: there are 8 listeners in all
    if len(others) > 4:
        port.collect()  # boards close what nobody cares for


class BaseServer:
    """The loop and the order of the hooks; TCPServer adds the socket.

    server_address       what bind is given; afterwards what it got
    RequestHandlerClass  called with (request, client_address, server) for each request
    Raises TypeError if RequestHandlerClass cannot be called.
    """

    timeout = None  # seconds that handle_request waits; None: for ever
    allow: "list | tuple | None" = None  # patterns, see allow.py, of who may connect; None: all
    ssl_context: "Any" = None  # a TCP server's, with its certificate; None: no TLS
    # ThreadingMixIn's: MicroPython has no cooperative super().
    _se_prepare = _se_evict = _se_join = _se_is_own_thread = None  # type: Any
    _se_inline: "Any" = None  # a request that the serving thread handles for a multiplexer
    socket: "Any"
    get_request: "Any"  # a subclass's: returns (request, client_address)

    def __init__(self, server_address, RequestHandlerClass):
        # None is for those who override finish_request.
        if RequestHandlerClass is not None and not callable(RequestHandlerClass):
            raise TypeError("RequestHandlerClass is not callable: %r" % (RequestHandlerClass,))
        if self.allow is not None:
            from .allow import match

            match("", self.allow)  # raises ValueError for a pattern that cannot be one
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass
        # All attributes and keys at once: without a GIL a thread must not look into an object
        # while another one makes it grow.
        self.last_error: Any = None  # the exception, while handle_error runs
        self._se_serving: Any = None  # [the thread in serve_forever]
        self._se_poller: Any = None  # while one waits in it
        self._se_drained: Any = None  # a request that has no reply that could be lost
        self._se_stop = False
        if self._se_prepare:
            self._se_prepare()
        # accepted       connections and datagrams taken
        # active         handlers at work now
        # refused        turned away by verify_request
        # evicted        closed to make room
        # timed_out      handlers ended by a timeout of their client
        # errors         failed accepts, and other exceptions of handlers
        # out_of_memory  MemoryErrors survived
        # truncated      datagrams longer than max_packet_size
        # bytes_in, bytes_out  through rfile and wfile where they are socketse's own
        self.stats = self._se_stats = {}
        for name in (
            "accepted active refused evicted timed_out errors out_of_memory "
            "truncated bytes_in bytes_out"
        ).split():
            self.stats[name] = 0

    def server_activate(self):
        """Called by the constructor; may be overridden."""

    def serve_forever(self, poll_interval=0.5):
        """Handle requests until shutdown() is called.

        poll_interval  seconds after which it looks for that at the latest
        Raises RuntimeError if it runs already.
        """
        if self._se_serving is not None:
            raise RuntimeError("serve_forever runs already")
        self._se_serving = [port.get_ident()]  # a list: no two loops have the same
        try:
            if not self._se_stop:
                self._se_poller = self._se_new_poller()
            while not self._se_stop:
                try:
                    try:
                        ready = self._se_ready(poll_interval)
                    except OSError:  # esp32: IDF's heap has nothing left for a select
                        self._se_count("errors")
                        port.sleep_ms(_ACCEPT_PAUSE_MS)
                        continue
                    if not self._se_stop:
                        if ready:
                            self._handle_request_noblock()
                        self.service_actions()
                except MemoryError:
                    self._se_count("out_of_memory")
                    port.collect()
        except BaseException:
            _mark_left(self, True)
            raise
        finally:
            self._se_poller = self._se_serving = None
            self._se_stop = False

    def shutdown(self):
        """Stop the serve_forever loop.

        Waits until it has stopped, but in the serving thread itself and in the
        threads of handlers it returns at once. Called before serve_forever, it
        makes that return at once.
        """
        loop = self._se_serving
        self._se_stop = True
        ident = port.get_ident()
        # Not before: a signal's handler may run where the serving thread holds a lock.
        if not loop or loop[0] == ident:
            return
        if self._se_is_own_thread and self._se_is_own_thread(ident):
            return
        while self._se_serving is loop:
            port.sleep_ms(5)

    def service_actions(self):
        """Called by serve_forever after each round; may be overridden."""

    def handle_request(self):
        """Handle one request, or call handle_timeout if none comes within self.timeout seconds."""
        try:
            timeout = self.timeout
            if not port.platform:
                timeout = port.wait(self)
            if not self._se_handle_one(timeout):
                self.handle_timeout()
        except BaseException:
            _mark_left(self, True)
            raise

    def _se_handle_one(self, timeout):
        # Return True if a request came within timeout seconds.
        self._se_poller = BaseServer._se_new_poller(self)
        try:
            ready = BaseServer._se_ready(self, timeout)
        finally:
            self._se_poller = None
        if ready:
            self._handle_request_noblock()
        return ready

    def _se_new_poller(self):
        _mark_left(self, False)
        poller = port.poll()
        # CPython's watches the server, by its fileno().
        poller.register(self.socket if port.platform else self, 1)
        return poller

    def _se_ready(self, timeout):
        # Wait at most timeout seconds, None: for ever, and return True if a request can be taken.
        return self._se_poller.poll(-1 if timeout is None else int(timeout * 1000))

    def _handle_request_noblock(self):
        try:
            request, client_address = self.get_request()
        except Exception as e:
            if not isinstance(e, OSError):
                self._se_report(None, None, e)
            elif port.timeout(e):
                return  # the client was gone before it was asked for
            else:
                self._se_count("errors")
                port.collect()  # esp32: accept does not, before it has no socket
                if self._se_evict:
                    self._se_evict(1)
            port.sleep_ms(_ACCEPT_PAUSE_MS)
            return
        try:
            self._se_count("accepted")
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)
            else:
                self._se_count("refused")
                self._se_drained = request
                self.shutdown_request(request)
        except Exception as e:
            try:
                self._se_report(request, client_address, e)
            finally:
                self.shutdown_request(request)
        except BaseException:
            self.shutdown_request(request)
            raise

    def handle_timeout(self):
        """Called when handle_request saw no request in time; may be overridden."""

    def verify_request(self, request, client_address):
        """Return True if the request is to be handled: if its address matches self.allow."""
        if self.allow is None:
            return True
        from .allow import match

        return match(client_address[0], self.allow)

    def process_request(self, request, client_address):
        """Call finish_request; ThreadingMixIn does so in a thread."""
        self._se_count("active")
        try:
            self.finish_request(request, client_address)
        finally:
            self._se_count("active", -1)
        self.shutdown_request(request)

    def server_close(self):
        """Close the server; again: nothing happens."""
        _mark_left(self, False)
        if self._se_serving is not None:
            self._se_stop = True  # the loop has nothing to wait for any more
        if self._se_join:
            self._se_join()

    def finish_request(self, request, client_address):
        """Handle one request by calling RequestHandlerClass; with TLS, after its handshake."""
        if self.ssl_context is not None:
            if not ssl().finish(self, request, client_address):
                return  # it goes on, or has failed
        self.RequestHandlerClass(request, client_address, self)

    def shutdown_request(self, request):
        """Called to end one request; closes it."""
        self.close_request(request)

    def close_request(self, request):
        """Called to close one request; may be overridden."""

    def handle_error(self, request, client_address):
        """Print the traceback of self.last_error and go on; may be overridden.

        Boards have no sys.exc_info(): self.last_error is the exception.
        """
        try:
            from .tell import handle_error

            handle_error(self.last_error, client_address)
        except OSError:
            return  # descriptors have run out, there is none to load it with; or nobody reads

    def _se_report(self, request, client_address, exc):
        if isinstance(exc, MemoryError):
            self._se_count("out_of_memory")
            port.collect()
        else:
            self._se_count("timed_out" if port.timeout(exc) else "errors")
        self.last_error = exc
        try:
            self.handle_error(request, client_address)
        except MemoryError:
            self._se_count("out_of_memory")  # too little to tell of the first one
        finally:
            self.last_error = None

    def _se_count(self, name, n=1):
        self._se_stats[name] += n

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.server_close()


class TCPServer(BaseServer):
    """A server of TCP connections.

    server_address     (host, port); host "" is every address of this machine
    bind_and_activate  False: call server_bind() and server_activate() yourself
    Raises OSError if the address is in use or its host does not resolve; on
    MicroPython ValueError for port 0, because no port can tell what it got.
    """

    address_family: int = socket.AF_INET
    socket_type: int = socket.SOCK_STREAM
    request_queue_size = 5  # connections that wait to be accepted; rp2: at least 2
    allow_reuse_address = port.allow_reuse_address
    allow_reuse_port = False
    socket_options = ()  # (level, name, value), e.g. ("SOL_SOCKET", "SO_KEEPALIVE", 1)

    def __init__(self, server_address, RequestHandlerClass, bind_and_activate=True):
        BaseServer.__init__(self, server_address, RequestHandlerClass)
        self.socket = port.Socket(self.address_family, self.socket_type)
        if bind_and_activate:
            try:
                self.server_bind()
                self.server_activate()
            except BaseException as e:
                self.server_close()
                from .trouble import listen

                raise listen(e, self)

    def server_bind(self):
        """Set the socket's options and bind it.

        A server on this address that an exception threw out of its loop, as
        Ctrl-C does, is closed first.
        """
        if _left:
            from .trouble import server_close

            server_close(_left, self)
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.allow_reuse_port or self.socket_options:
            from .options import setsockopt

            if self.allow_reuse_port:
                setsockopt(self.socket, (("SOL_SOCKET", "SO_REUSEPORT", 1),), False)
            setsockopt(self.socket, self.socket_options)
        self.server_address = port.bind(
            self.socket, self.server_address, self.address_family, self.socket_type
        )

    def server_activate(self):
        """Start to listen."""
        if self.ssl_context is not None:
            ssl().setup(self.ssl_context)
        self.socket.listen(max(self.request_queue_size, 2))  # rp2: a queue of one loses it

    def server_close(self):
        """Close the server's socket; again: nothing happens."""
        self.socket.close()
        BaseServer.server_close(self)

    def fileno(self):
        """Return the socket's descriptor (not on rp2, whose sockets have none)."""
        sock: Any = self.socket
        return sock.fileno()

    def get_request(self):
        """Return (connection, client_address) of the next connection; may be overridden."""
        if self.ssl_context is not None:
            return ssl().accept(self.socket, self.ssl_context)
        return port.accept(self.socket)

    def shutdown_request(self, request):
        """End one connection so that the last reply reaches the client, and close it."""
        try:
            if request is not self._se_drained:
                self._se_drain(request)
        finally:  # Ctrl-C may hit it
            self.close_request(request)

    def _se_drain(self, request):
        # Read away what the client is still sending.
        try:
            if not port.platform:
                port.shutdown(request)
            request.settimeout(0)
            left = _DRAIN_BYTES
            deadline = port.ticks_add(port.ticks_ms(), _DRAIN_MS)
            while left > 0 and port.ticks_diff(deadline, port.ticks_ms()) > 0:
                got = len(request.recv(256))
                if got < 256 and left == _DRAIN_BYTES or not got:
                    break
                # It was in the middle of sending: the rest gets a little time.
                request.settimeout(0.1)  # esp32: the shortest that it knows
                left -= got
        except Exception:  # a tuple of three would need memory, which may be what is missing
            # Nothing there, a reset, or no socket: closing is all that is left.
            left = 0

    def close_request(self, request):
        """Close one connection."""
        try:
            request.close()
        except OSError:
            return  # esp32: no memory; what is collected is closed


class BaseRequestHandler:
    """One request: its whole life is __init__, which calls setup, handle and finish.

    request         the connection; for datagrams (data, socket)
    client_address  where it comes from
    server          the server
    finish() is called also if handle() raises, but not if setup() does.
    """

    # True: a server that has no thread for it calls the handler when the client has spoken.
    client_speaks_first = False

    def __init__(self, request, client_address, server):
        self.request = request
        self.client_address = client_address
        self.server = server
        self.setup()
        try:
            self.handle()
        finally:
            self.finish()

    def setup(self):
        """Called before handle(); may be overridden."""

    def handle(self):
        """Do the work of one request: to be overridden."""

    def finish(self):
        """Called after handle(); may be overridden."""

    def _se_count(self, name, n=1):
        count = getattr(self.server, "_se_count", None)  # the server may be a stranger
        if count:
            count(name, n)


port.collect()  # what it took to load this would be in the way of the rooms that come now
