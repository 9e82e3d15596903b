"""socketserver for microcontrollers: the same names, small and hard to kill.

``import socketse`` loads this file alone; a name loads the room it lives in
on first use, so a plain ``TCPServer`` never pays for threads or datagrams.
``from socketse import *`` gives everything on CPython and nothing on
MicroPython, which does not ask ``__getattr__`` for it.
"""

from sys import modules

__version__ = "0.1.0"


def find(name):
    """Return the rooms to load for a name, as rooms.find does."""
    from .rooms import find

    # The list is for finding names: it is not to be in the way of what is loaded then. Nor may
    # anything that points to it stay behind on the stack, hence a function.
    modules.pop("socketse.rooms", None)
    globals().pop("rooms", None)
    return find(name)


def __getattr__(name):
    from gc import collect

    found = find(name)
    if found[0] is None:
        return found[1]  # __all__
    for room in found:
        collect()  # or what is garbage now would be in the way later, in many pieces
        # Five arguments: with a fromlist MicroPython too returns the room itself.
        found = __import__(__name__ + "." + room, None, None, (name,))
    if name != room:
        found = getattr(found, name)
    globals()[name] = found
    return found
