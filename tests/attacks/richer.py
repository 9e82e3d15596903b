"""Makes servers for kinds.py in a Multiplexer: echoes, and what else is of the library."""

import sys

import socketse
from socketse import AsyncStreamRequestHandler, Multiplexer, TCPServer


class Echo(AsyncStreamRequestHandler):
    """Sends each line back."""

    async def handle(self):
        """Serve one client."""
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            self.wfile.write(line)
            await self.wfile.drain()


def tcp(address):
    """Lines."""
    return TCPServer(address, Echo)


def tls(address):
    """Lines over TLS."""

    class Server(TCPServer):
        ssl_context = socketse.server_context(sys.argv[3])

    return Server(address, Echo)


def auth(address):
    """Lines of who knows the secret."""

    class Handler(socketse.AuthMixIn, Echo):
        auth = socketse.Secret("secret")
        purpose = b"siege"

    return TCPServer(address, Handler)


def http(address):
    """A small page."""
    from socketse.http import BaseHTTPRequestHandler, HTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            """Send the page."""
            self.send_response(200)
            self.send_header("Content-Length", 15)
            self.end_headers()
            self.wfile.write(b"an honest page\n")

    return HTTPServer(address, Handler)


def xmlrpc(address):
    """Calls of a function."""
    from socketse.xmlrpc import SimpleXMLRPCServer

    server = SimpleXMLRPCServer(address, logRequests=False)
    server.register_function(pow)
    return server


class Thing:
    """What a client of remote objects gets."""

    def double(self, x):
        """Return twice x."""
        return 2 * x


def remote(address):
    """Remote objects: sessions of framed messages."""
    return socketse.RemoteServer(address, Thing)


def udp(address):
    """Datagrams that are sent back."""

    class Datagram(socketse.DatagramRequestHandler):
        def handle(self):
            """Serve one client."""
            self.wfile.write(self.packet)

    return socketse.UDPServer(address, Datagram)


def make(kind, address):
    """Return a multiplexer with what the functions make that kind names, "tcp+udp" with two."""
    loop = Multiplexer()
    for name in kind.split("+"):
        loop.add(globals()[name](address))
    return loop
