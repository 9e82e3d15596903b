"""Echoes lines, in one thread: echo.py PORT. All limits are the library's own.

b"heap\\n" is answered with the bytes of heap in use, b"stats\\n" with the server's counters,
b"write\\n" with lines that never end, b"bye\\n" with the end of the connection.
"""

import gc
import sys

from socketse import AsyncStreamRequestHandler, MultiplexingTCPServer


class Echo(AsyncStreamRequestHandler):
    """Sends each line back."""

    async def handle(self):
        """Serve one client."""
        while True:
            line = await self.rfile.readline()
            if not line or line == b"bye\n":
                return
            if line == b"heap\n":
                gc.collect()  # CPython does not tell how much it uses
                line = b"%d\n" % (gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0)
            elif line == b"stats\n":
                # In pieces: a full heap has no room for a long line.
                for name in self.server.stats:
                    self.wfile.write(b"%s %d " % (name.encode(), self.server.stats[name]))
                line = b"\n"
            while True:
                self.wfile.write(line)
                await self.wfile.drain()
                if line != b"write\n":
                    break


# Linux lets those who find no room in it wait for a second.
MultiplexingTCPServer.request_queue_size = 128
server = MultiplexingTCPServer(("127.0.0.1", int(sys.argv[-1])), Echo)
# Linux would keep 3 MB for a client that does not read: boards have some kB. 1, 7: SO_SNDBUF.
server.socket.setsockopt(1, 7, 32768)
print("ready")
server.serve_forever()
