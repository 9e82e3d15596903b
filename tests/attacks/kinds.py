"""Echoes lines or datagrams on a server of the class KIND: kinds.py KIND PORT."""

import sys

kind = sys.argv[1]
if kind == "UDPServer":
    from socketse import DatagramRequestHandler, UDPServer

    class Echo(DatagramRequestHandler):
        """Sends a datagram back."""

        def handle(self):
            """Serve one client."""
            self.wfile.write(self.rfile.read())

elif kind == "MultiplexingTCPServer":
    from socketse import AsyncStreamRequestHandler, MultiplexingTCPServer

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

else:
    import socketse
    from socketse import StreamRequestHandler

    class Echo(StreamRequestHandler):
        """Sends each line back."""

        timeout = 5

        def handle(self):
            """Serve one client."""
            for line in self.rfile:
                self.wfile.write(line)


def ready():
    """Say that the server serves."""
    print("ready")
    server.service_actions = nothing


def nothing():
    """Do nothing."""


address = "127.0.0.1", int(sys.argv[2])
if kind == "TCPServer" or kind == "ThreadingTCPServer":
    server = getattr(socketse, kind)(address, Echo)
elif kind == "UDPServer":
    server = UDPServer(address, Echo)
else:
    server = MultiplexingTCPServer(address, Echo)
server.service_actions = ready
server.serve_forever(0.01)
