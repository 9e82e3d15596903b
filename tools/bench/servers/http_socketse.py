"""socketse's HTTP server: one small page, and connections that stay."""

from common import ADDRESS, BACKLOG, CONNECTIONS, heap, ready
from socketse import MultiplexingTCPServer
from socketse.http import BaseHTTPRequestHandler


class Handler(BaseHTTPRequestHandler):
    """Answer with as much as the other servers do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Send the page."""
        page = heap() if self.path == "/heap" else b"a line of thirty-one characters\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", len(page))
        self.end_headers()
        self.wfile.write(page)


class Server(MultiplexingTCPServer):
    """With room for those who wait."""

    request_queue_size = BACKLOG
    max_connections = CONNECTIONS


with Server(ADDRESS, Handler) as server:
    ready()
    server.serve_forever()
