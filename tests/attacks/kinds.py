"""Serves on a server of some kind: kinds.py KIND ADDRESS [CERTIFICATE].

KIND     a class of socketse, which echoes lines or datagrams, or what richer.py makes
ADDRESS  a port, or the path of a Unix socket
A byte on stdin is answered with figures: bytes of heap in use, entries in the table of
connections, and the counters of all that counts.
"""

import gc
import select
import sys

import socketse

kind = sys.argv[1]
address = ("127.0.0.1", int(sys.argv[2])) if sys.argv[2].isdigit() else sys.argv[2]
socketse.TCPServer.request_queue_size = 128  # Linux loses some of those who find no room in it


def ready():
    """Say that the server serves."""
    print("ready")
    loop.service_actions = answer


def answer():
    """Answer a question on stdin, in pieces: a full heap has no room for a long line."""
    for _ in questions.ipoll(0):
        sys.stdin.read(1)
        gc.collect()
        print("heap", gc.mem_alloc())
        hub = getattr(loop, "_se_hub", None)
        print("entries", len(hub.map if hub else getattr(loop, "_se_waiting", ())))
        tell(loop._se_stats)
        for door in getattr(loop, "_se_doors", ()):
            tell(door.server.stats)
        print("that is all")


def tell(stats):
    """Print counters."""
    for name in stats:
        print(name, stats[name])


if kind[-9:] == "UDPServer":

    class Echo(socketse.DatagramRequestHandler):
        """Sends a datagram back."""

        def handle(self):
            """Serve one client."""
            self.wfile.write(self.rfile.read())

elif kind[:5] == "Multi":

    class Echo(socketse.AsyncStreamRequestHandler):
        """Sends each line back."""

        async def handle(self):
            """Serve one client."""
            while True:
                line = await self.rfile.readline()
                if not line:
                    return
                self.wfile.write(line)
                await self.wfile.drain()

elif kind[-9:] == "TCPServer":

    class Echo(socketse.StreamRequestHandler):
        """Sends each line back."""

        timeout = 5

        def handle(self):
            """Serve one client."""
            for line in self.rfile:
                self.wfile.write(line)


if kind[-6:] == "Server":
    loop = getattr(socketse, kind)(address, Echo)
else:
    import richer

    loop = richer.make(kind, address)
loop.service_actions = ready
questions = select.poll()
questions.register(sys.stdin, select.POLLIN)
loop.serve_forever(0.01)
