"""What a flashed board does not serve, in one loop: -m site HOST CERTIFICATE USERS PORT ...

The ports are those of SERVICES, in their order. All limits are the library's own.
"""

import gc
import sys

from socketse import (
    Multiplexer,
    PageHandler,
    PasswordHandler,
    RemoteServer,
    TCPServer,
    UDPServer,
    Users,
    guard,
    server_context,
    services,
)
from socketse.http import BaseHTTPRequestHandler, HTTPServer
from socketse.xmlrpc import SimpleXMLRPCServer

SERVICES = (
    "page",
    "http",
    "xmlrpc",
    "remote",
    "passwords",
    "tls",
    "chargen/tcp",
    "daytime/tcp",
    "discard/tcp",
    "echo/udp",
    "time/udp",
    "daytime/udp",
)


class Page(BaseHTTPRequestHandler):
    """A page, and bodies back."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Send a page of 3 kB."""
        self.tell(b"an honest page\n" * 200)

    def do_POST(self):
        """Send the body back."""
        self.tell(self.rfile.read())

    def tell(self, body):
        """Send a body."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Log nothing."""


class Counter:
    """What each client of the remote objects gets."""

    def __init__(self):
        self.n = 0

    def add(self, n):
        """Add a number, and return the sum."""
        self.n += n
        return self.n


class Passwords(PasswordHandler):
    """Passwords of one file."""

    users = Users(sys.argv[3], 200)


guard.MAX_ADDRESSES = 16  # as on boards
# More than boards have by default, and so few that the heap has room for what each may keep.
hub = Multiplexer(max_connections=16)
for place, name in enumerate(SERVICES):
    address = (sys.argv[1], int(sys.argv[4 + place]))
    if name == "page":
        server = TCPServer(address, PageHandler)
    elif name == "http":
        server = HTTPServer(address, Page)
    elif name == "xmlrpc":
        server = SimpleXMLRPCServer(address, logRequests=False)
        server.register_function(pow)
    elif name == "remote":
        server = RemoteServer(address, Counter)
    elif name == "passwords":
        server = TCPServer(address, Passwords)
    elif name == "tls":
        server = TCPServer(address, services.EchoHandler)
        server.ssl_context = server_context(sys.argv[2])
    else:
        word, kind = name.split("/")
        handler = getattr(services, word[0].upper() + word[1:] + "Handler")
        server = (TCPServer if kind == "tcp" else UDPServer)(address, handler)
    server.name = name
    if not isinstance(server, UDPServer):
        # Linux would keep 3 MB for a client that does not read: boards have some kB.
        # 1, 7: SO_SNDBUF.
        server.socket.setsockopt(1, 7, 32768)
    hub.add(server)
gc.collect()
print("ready")
hub.serve_forever()
