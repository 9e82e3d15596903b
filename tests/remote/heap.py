"""A server that tells how much of its heap is in use: heap.py PORT."""

import gc
import sys

from socketse import RemoteServer


class Node:
    """One of many objects."""

    def __init__(self, value):
        self.value = value

    def get(self):
        """Return the value."""
        return self.value


class Thing:
    """What each client gets."""

    def node(self, i):
        """Return a new object."""
        return Node(i)

    def heap(self):
        """Return how many bytes are in use."""
        gc.collect()
        return gc.mem_alloc()


gc.collect()
with RemoteServer(("127.0.0.1", int(sys.argv[1])), Thing) as server:
    print("serving")
    server.serve_forever()
