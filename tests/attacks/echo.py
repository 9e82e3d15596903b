"""Echoes lines, in one thread: echo.py PORT. All limits are the library's own.

b"heap\\n" is answered with the bytes of heap in use, b"stats\\n" with the server's counters,
b"write\\n" with lines that never end, b"bye\\n" with the end of the connection.
"""

import gc
import sys

from socketse import AsyncStreamRequestHandler, MultiplexingTCPServer

_LINE = b"a line of forty bytes, again and again.\n"


class Echo(AsyncStreamRequestHandler):
    """Sends each line back."""

    async def handle(self):
        """Serve one client."""
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            if line == b"heap\n":
                line = b"%d\n" % self.server.heap()
            elif line == b"stats\n":
                self.server.tell(self.wfile)
                line = b"\n"
            elif line == b"bye\n":
                return
            elif line == b"write\n":
                while True:
                    self.wfile.write(_LINE)
                    await self.wfile.drain()
            self.wfile.write(line)
            await self.wfile.drain()


class Server(MultiplexingTCPServer):
    """Counts what it closes too."""

    request_queue_size = 128  # Linux lets those who find no room in it wait for a second

    def close_request(self, request):
        """Close one connection and count it."""
        self.closed[0] += 1
        MultiplexingTCPServer.close_request(self, request)

    def heap(self):
        """Return the bytes of heap in use; CPython does not tell."""
        gc.collect()
        return gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0

    def tell(self, wfile):
        """Write all counters, in pieces: a full heap has no room for a long line."""
        for name in self.stats:
            wfile.write(b"%s %d " % (name.encode(), self.stats[name]))
        wfile.write(b"closed %d limit %d" % (self.closed[0], self._se_hub.max_connections))


server = Server(("127.0.0.1", int(sys.argv[1])), Echo)
server.closed = [0]  # counting is not to need memory
# Linux would keep 3 MB for a client that does not read: boards have some kB. 1, 7: SO_SNDBUF.
server.socket.setsockopt(1, 7, 32768)
print("ready")
server.serve_forever()
