"""socketse: the smallest MultiplexingTCPServer; all limits are the library's own."""

import gc
import sys

from socketse import AsyncStreamRequestHandler, MultiplexingTCPServer


class Echo(AsyncStreamRequestHandler):
    """Send each line back."""

    async def handle(self):
        """Serve one client."""
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            if line == b"heap\n":
                gc.collect()
                line = b"%d\n" % gc.mem_alloc()
            self.wfile.write(line)
            await self.wfile.drain()


# All 300 silent clients may come at once; Linux lets those who find no room wait for a second.
MultiplexingTCPServer.request_queue_size = 128
server = MultiplexingTCPServer(("127.0.0.1", int(sys.argv[1])), Echo)
print("ready")
server.serve_forever()
