"""socketse: a plain handler on a ThreadingTCPServer."""

from common import ADDRESS, BACKLOG, heap, ready
from socketse import StreamRequestHandler, ThreadingTCPServer


class Echo(StreamRequestHandler):
    """Send each line back."""

    def handle(self):
        """Serve one client."""
        while True:
            line = self.rfile.readline()
            if not line:
                return
            if line == b"heap\n":
                line = heap()
            self.wfile.write(line)


class Server(ThreadingTCPServer):
    """With room for those who wait."""

    request_queue_size = BACKLOG


with Server(ADDRESS, Echo) as server:
    ready()
    server.serve_forever()
