"""Plain handlers in a multiplexer: one after the other, for at most 10 s each."""

from .server import BaseRequestHandler, ssl


def process_request(server, request, client_address, process):
    """Let a plain handler handle a request by process: now, or when the client has spoken."""
    if server.ssl_context is not None and not ssl().finish(
        server,
        request,
        client_address,
        lambda *args: process_request(server, request, client_address, process),
    ):
        return  # it goes on, or has failed
    if getattr(server.RequestHandlerClass, "client_speaks_first", False):
        Knock(
            request,
            client_address,
            server,
            lambda *args: _run_plain(server, request, client_address, process),
        )
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


class Knock(BaseRequestHandler):
    """A connection in the table for which process(request, client_address) is called later.

    When the client has spoken; tls.py has another reason.
    """

    _se_co = _se_wake = None
    _se_buffer = _se_out = b""
    _se_done = False
    _se_want = 1
    timeout: "float" = 60

    def __init__(self, request, client_address, server, process):
        self.request = request
        self.client_address = client_address
        self.server = server
        self.process = process
        hub = server._se_hub
        self._se_since = hub.time & ~3
        hub.register(request, self)
        hub.count += 1
        self._se_count("active")
        hub.schedule(1000)

    def _se_blame(self, exc):
        return False

    def _se_knock(self, socket):
        # Something has come; None: nothing has, in time.
        server = self.server
        request = self.request
        if socket is None:
            server._se_count("timed_out")
            server._se_hub.close(self)
            return
        try:
            server._se_hub.unregister(request)
            self.process(request, self.client_address)
        except Exception as e:
            server._se_report(request, self.client_address, e)
            server.shutdown_request(request)
        except BaseException:
            # Ctrl-C may have hit it: of what TLS has read already nothing would tell.
            server._se_hub.unregister(request)
            server.shutdown_request(request)
            raise
