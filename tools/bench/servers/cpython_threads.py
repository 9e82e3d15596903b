"""CPython's own socketserver.ThreadingTCPServer."""

from socketserver import StreamRequestHandler, ThreadingTCPServer

from common import ADDRESS, BACKLOG, ready


class Echo(StreamRequestHandler):
    """Send each line back."""

    def handle(self):
        """Serve one client."""
        for line in self.rfile:
            self.wfile.write(line)


class Server(ThreadingTCPServer):
    """With room for those who wait."""

    request_queue_size = BACKLOG
    allow_reuse_address = True
    daemon_threads = True


with Server(ADDRESS, Echo) as server:
    ready()
    server.serve_forever()
