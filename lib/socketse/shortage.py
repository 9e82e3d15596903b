"""What a handler does when the heap has no room for what it needs."""

from .port import const

_SMALLEST = const(64)  # bytes of a piece that is not halved any more


def make_room(h):
    """Let somebody else than the handler h go. Raises MemoryError if nobody else is there."""
    hub = getattr(h.server, "_se_hub", None)
    if hub is None or hub.count < 2 or not hub.collect():
        raise MemoryError


def read_piece(h, f, size):
    """Return the next bytes of the file f, at most size, b"" at its end.

    They are fewer if the heap has room for so many nowhere, and nobody can go instead.
    """
    while True:
        try:
            return f.read(size)
        except MemoryError:
            try:
                make_room(h)
            except MemoryError:
                if size < _SMALLEST:
                    raise
                size >>= 1
