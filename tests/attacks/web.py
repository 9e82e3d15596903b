"""Serves a page and files over HTTP, in one thread: web.py PORT FOLDER. All limits are our own.

/heap is answered with the bytes of heap in use, /stats with the server's counters; POST with the
length of its body, PUT with that of one that is not kept.
"""

import gc
import sys

from socketse import Multiplexer
from socketse.http import HTTPServer, SimpleHTTPRequestHandler


class Handler(SimpleHTTPRequestHandler):
    """Answers what its server is asked."""

    protocol_version = "HTTP/1.1"
    directory = sys.argv[2]

    def do_GET(self):
        """Send the page, the figures or a file."""
        if self.path == "/":
            self.tell("an honest page")
        elif self.path == "/heap":
            gc.collect()
            self.tell(gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0)
        elif self.path == "/stats":
            self.tell(" ".join(["%s %d" % item for item in self.server.stats.items()]))
        else:
            SimpleHTTPRequestHandler.do_GET(self)

    def do_POST(self):
        """Tell how long the body is."""
        self.tell(len(self.rfile.read()))

    async def do_PUT(self):
        """The same, with constant memory."""
        n = 0
        while True:
            data = await self.rfile.read(256)
            if not data:
                break
            n += len(data)
        self.tell(n)

    def tell(self, text):
        """Send a line of text."""
        line = b"%s\n" % str(text).encode()
        self.send_response(200)
        self.send_header("Content-Length", len(line))
        self.end_headers()
        self.wfile.write(line)

    def log_message(self, format, *args):
        """Log nothing."""


class Server(HTTPServer):
    """Lets many come at once."""

    request_queue_size = 128  # Linux lets those who find no room in it wait for a second


hub = Multiplexer()
server = hub.add(Server(("127.0.0.1", int(sys.argv[1])), Handler))
# Linux would keep 3 MB for a client that does not read: boards have some kB. 1, 7: SO_SNDBUF.
server.socket.setsockopt(1, 7, 32768)
print("ready")
hub.serve_forever()
