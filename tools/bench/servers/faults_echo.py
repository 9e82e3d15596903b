"""socketse: lines are echoed by a MultiplexingTCPServer; all limits are the library's own."""

from common import ADDRESS, BACKLOG, again, heap, ready
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
            elif line == b"stop\n":
                self.server.shutdown()
            self.wfile.write(line)
            await self.wfile.drain()


class Server(MultiplexingTCPServer):
    """With room for those who wait."""

    request_queue_size = BACKLOG


def serve():
    """Serve until somebody says stop."""
    server = Server(ADDRESS, Echo)
    ready()
    server.serve_forever()


again(serve)
