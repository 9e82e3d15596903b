"""TLS servers of all kinds in one loop, and what they hold: phases.py CERTIFICATE CLIENTS PORT ...

Ports of: async handlers, plain ones, threads, async handlers for clients with certificates, and,
without TLS, of who tells numbers: descriptors, TLS connections, connections, accepted ones.
"""

import gc
import os
import sys

from socketse import (
    AsyncStreamRequestHandler,
    Multiplexer,
    StreamRequestHandler,
    TCPServer,
    ThreadingTCPServer,
    server_context,
    tls,
)

try:
    from socketse.tlssocket import TLSSocket
except ImportError:  # CPython has no io.IOBase to make one of
    TLSSocket = None

tls.Handshake.timeout = float(sys.argv[1])


class Echo(AsyncStreamRequestHandler):
    """Echoes lines, and says good-bye."""

    async def handle(self):
        print("begun")
        while True:
            line = await self.rfile.readline()
            if not line:
                break
            self.wfile.write(line)
            await self.wfile.drain()
        self.wfile.write(b"bye")


class PlainEcho(StreamRequestHandler):
    """The same, at once, and reads once more at the end."""

    timeout = 20

    def handle(self):
        while True:
            line = self.rfile.readline()
            if not line:
                break
            self.wfile.write(line)
        self.rfile.read()
        self.wfile.write(b"bye")


class Numbers(AsyncStreamRequestHandler):
    """Tells what there is."""

    async def handle(self):
        gc.collect()
        tls = TLSSocket.count if TLSSocket and sys.implementation.name != "cpython" else 0
        stats = hub.stats
        numbers = len(os.listdir("/proc/self/fd")), tls, stats["active"], stats["accepted"]
        self.wfile.write(b"%d %d %d %d\n" % numbers)


context = server_context(sys.argv[2])
certified = server_context(sys.argv[2], cafile=sys.argv[3])
ports = [("127.0.0.1", int(port)) for port in sys.argv[4:]]
hub = Multiplexer()
for kind, handler, security in (
    (TCPServer, Echo, context),
    (TCPServer, PlainEcho, context),
    (ThreadingTCPServer, PlainEcho, context),
    (TCPServer, Echo, certified),
    (TCPServer, Numbers, None),
):
    server = kind(ports.pop(0), handler)
    server.ssl_context = security
    server.handle_error = lambda *args: None
    hub.add(server)
print("ready")
hub.serve_forever()
