"""All that TLS can carry, in one loop: site.py CERTIFICATE PORT ... of echo, HTTPS, objects,
XML-RPC, passwords' kind of greeting, and echo without TLS; the last one is not asked for TLS.
"""

import sys

from socketse import (
    AsyncStreamRequestHandler,
    Multiplexer,
    RemoteServer,
    TCPServer,
    server_context,
)
from socketse.http import BaseHTTPRequestHandler, HTTPServer
from socketse.xmlrpc import SimpleXMLRPCServer

BIG = bytes(range(256)) * 200


class Echo(AsyncStreamRequestHandler):
    """Echoes lines, and says how the stream has ended."""

    async def handle(self):
        while True:
            line = await self.rfile.readline()
            if not line:
                break
            self.wfile.write(line)
            await self.wfile.drain()
        if self.server.ssl_context:
            print("truncated" if self.request.truncated else "complete")


class Site(BaseHTTPRequestHandler):
    """Two pages, and bodies back."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        """Send a page."""
        self.tell(b"hello\n" if self.path == "/hello" else BIG)

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


hub = Multiplexer()
context = server_context(sys.argv[1])
echo, https, objects, calls, plain = [("127.0.0.1", int(port)) for port in sys.argv[2:]]
for server in (
    TCPServer(echo, Echo),
    HTTPServer(https, Site),
    RemoteServer(objects, dict),
    SimpleXMLRPCServer(calls, logRequests=False),
):
    server.ssl_context = context
    hub.add(server)
server.register_function(pow)
hub.add(TCPServer(plain, Echo))
print("ready")
hub.serve_forever()
