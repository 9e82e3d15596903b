"""socketse: remote objects, each client's a small one."""

from common import ADDRESS, BACKLOG, CONNECTIONS, ready
from socketse import RemoteServer


class Thing:
    """What each client gets."""

    def double(self, x):
        """Return x twice over."""
        return x + x


class Server(RemoteServer):
    """With room for those who wait, and no limit for those who call often."""

    request_queue_size = BACKLOG
    max_connections = CONNECTIONS
    max_calls = 1 << 28


with Server(ADDRESS, Thing) as server:
    ready()
    server.serve_forever()
