"""socketse: an async handler on a MultiplexingTCPServer."""

from common import ADDRESS, BACKLOG, CONNECTIONS, heap, ready
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
                line = heap()
            self.wfile.write(line)
            await self.wfile.drain()


class Server(MultiplexingTCPServer):
    """With room for those who wait."""

    request_queue_size = BACKLOG
    max_connections = CONNECTIONS  # the default depends on the heap


with Server(ADDRESS, Echo) as server:
    ready()
    server.serve_forever()
