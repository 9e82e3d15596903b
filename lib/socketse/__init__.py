"""socketserver for microcontrollers: the same names, small and hard to kill.

``import socketse`` loads this file alone; a name loads the room it lives in
on first use, so a plain ``TCPServer`` never pays for threads or datagrams.
``from socketse import *`` gives everything on CPython and nothing on
MicroPython, which does not ask ``__getattr__`` for it.
"""

from sys import modules

__version__ = "0.1.0"


def __getattr__(name):
    from .rooms import rooms

    # It is for finding names, and when they have been found nobody needs it.
    modules.pop("socketse.rooms", None)
    globals().pop("rooms", None)
    for entry in rooms.split():
        room, names = entry.split(":")
        if name == room or name in names.split(","):
            if names and room != "server":
                # The largest rooms first: compiled into a heap that others have parted, they
                # would need 10 kB more.
                if room[:5] == "multi":
                    __getattr__("hub")
                __getattr__("server")
            # Five arguments: with a fromlist MicroPython too returns the room itself.
            found = __import__(__name__ + "." + room, None, None, (name,))
            if name != room:
                found = getattr(found, name)
            globals()[name] = found
            return found
    from .trouble import missing

    return missing(name, rooms)
