"""The classes of threads.py and multiplex.py that are made or loaded only when asked for."""

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


def find(name, mixin, room):
    """Return the class of that name, mixed with mixin, for the module called room.

    Raises AttributeError if there is none.
    """
    kind = mixin.__name__[:-5]  # Threading, Multiplexing
    base: Any
    if name == "ThreadingUDPServer" and name.startswith(kind):
        from .udp import UDPServer as base
    elif name == "ThreadingUnixDatagramServer" and name.startswith(kind):
        from .unix import UnixDatagramServer as base
    elif name == kind + "UnixStreamServer":
        from .unix import UnixStreamServer as base
    elif name == "Multiplexer" and kind == "Multiplexing":
        from .multiplexer import Multiplexer

        return Multiplexer
    else:
        raise AttributeError("module '%s' has no attribute '%s'" % (room, name))
    return type(name, (mixin, base), {"__module__": room})
