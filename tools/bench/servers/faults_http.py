"""socketse: a small page over HTTP; all limits are the library's own."""

from common import ADDRESS, BACKLOG, again, heap, ready
from socketse import MultiplexingTCPServer
from socketse.http import BaseHTTPRequestHandler


class Handler(BaseHTTPRequestHandler):
    """Answer with as much as the other servers do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Send the page."""
        page = b"a line of thirty-one characters\n"
        if self.path == "/heap":
            page = heap()
        elif self.path == "/stop":
            self.server.shutdown()
        self.send_response(200)
        self.send_header("Content-Length", len(page))
        self.end_headers()
        self.wfile.write(page)


class Server(MultiplexingTCPServer):
    """With room for those who wait."""

    request_queue_size = BACKLOG


def serve():
    """Serve until somebody says stop."""
    server = Server(ADDRESS, Handler)
    ready()
    server.serve_forever()


again(serve)
