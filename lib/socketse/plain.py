"""Plain handlers in a multiplexer: one after the other, for at most 10 s each."""

from .server import BaseRequestHandler


def process_request(server, request, client_address, process):
    """Let a plain handler handle a request by process: now, or when the client has spoken."""
    if getattr(server.RequestHandlerClass, "client_speaks_first", False):
        _Knock(request, client_address, server, process)
    else:
        _run_plain(server, request, client_address, process)


def _run_plain(server, request, client_address, process):
    # Run a plain handler to its end, which comes within 10 s.
    from .workers import Bounded

    request = server._se_inline = Bounded(request)
    try:
        process(server, request, client_address)
    finally:
        server._se_inline = None


class _Knock(BaseRequestHandler):
    """A connection whose plain handler is called when the client has spoken."""

    _se_co = _se_wake = None
    _se_buffer = _se_out = b""
    _se_done = False
    _se_want = 1
    timeout = 60

    def __init__(self, request, client_address, server, process):
        self.request = request
        self.client_address = client_address
        self.server = server
        self.process = process
        hub = server._se_hub
        self._se_since = hub.time & ~1
        hub.register(request, self)
        hub.count += 1
        self._se_count("active")
        hub.schedule(1000)

    def _se_blame(self, exc):
        return False

    def _se_knock(self, socket):
        server = self.server
        server._se_hub.unregister(socket)
        try:
            _run_plain(server, socket, self.client_address, self.process)
        except Exception as e:
            server._se_report(socket, self.client_address, e)
            server.shutdown_request(socket)
        except BaseException:
            server.shutdown_request(socket)
            raise
