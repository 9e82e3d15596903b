"""The plain handler of plain.py and threads.py, and what they do with it."""

from common import ADDRESS, BACKLOG, heap, ready
from socketse import StreamRequestHandler


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


def serve(kind):
    """Serve with a server of that class, with room for those who wait."""
    kind.request_queue_size = BACKLOG
    with kind(ADDRESS, Echo) as server:
        ready()
        server.serve_forever()
