"""A site with all that http.py can: site.py PORT PORT_WITH_PASSWORD FOLDER."""

import gc
import sys

from socketse import Multiplexer
from socketse.http import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler


class Site(SimpleHTTPRequestHandler):
    """Files, and pages of all kinds."""

    protocol_version = "HTTP/1.1"
    directory = sys.argv[3]

    def do_GET(self):
        """Send a page or a file."""
        if self.path == "/hello":
            self.tell(b"hello\n")
        elif self.path == "/stream":
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            for i in range(1000):
                self.wfile.write(b"%d\n" % i)
        elif self.path == "/fail":
            raise ValueError("it fails")
        elif self.path == "/heap":
            gc.collect()
            self.tell(b"%d" % (gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0))
        elif self.path[:7] == "/header":
            self.tell(repr(self.headers.get(self.path[8:])).encode())
        else:
            SimpleHTTPRequestHandler.do_GET(self)

    def do_POST(self):
        """Send the body back."""
        self.tell(self.rfile.read(), 201)

    async def do_PUT(self):
        """Tell the length of the body, and the sum of its bytes, a line for each 100 kB."""
        self.send_response(200)
        self.end_headers()
        n = total = line = 0
        while True:
            data = await self.rfile.read(512)
            if not data:
                break
            n += len(data)
            total += sum(data)
            if n // 100000 > line:
                line = n // 100000
                self.wfile.write(b"so far %d\n" % line)
                await self.wfile.drain()
        self.wfile.write(b"%d %d\n" % (n, total))

    def tell(self, body, code=200):
        """Send a body."""
        self.send_response(code)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Log nothing."""


class Secret(BaseHTTPRequestHandler):
    """A page with a password."""

    def check_password(self, user, password):
        """Return True for the one who may come in."""
        return user == "me" and password == "s3cret:"

    def do_GET(self):
        """Send the page."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"the secret\n")


hub = Multiplexer()
hub.add(HTTPServer(("127.0.0.1", int(sys.argv[1])), Site))
hub.add(HTTPServer(("127.0.0.1", int(sys.argv[2])), Secret))
print("ready")
hub.serve_forever()
