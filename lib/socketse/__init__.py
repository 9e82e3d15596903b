"""socketserver for microcontrollers: the same names, small and hard to kill.

``import socketse`` loads this file alone; a name loads the room it lives in
on first use, so a plain ``TCPServer`` never pays for threads or datagrams.
``from socketse import *`` gives everything on CPython and nothing on
MicroPython, which does not ask ``__getattr__`` for it.
"""

__version__ = "0.1.0"

# Rooms and their public names in one string: a dict costs a board 1.3 kB more.
_ROOMS = """port: host: workers: limits: options: allow: services:
handler:BaseRequestHandler,StreamRequestHandler
server:BaseServer,TCPServer
udp:DatagramRequestHandler,UDPServer
unix:UnixStreamServer,UnixDatagramServer
threads:ThreadingMixIn,ThreadingTCPServer,ThreadingUDPServer,\
ThreadingUnixStreamServer,ThreadingUnixDatagramServer"""


def __getattr__(name):
    for entry in _ROOMS.split():
        room, names = entry.split(":")
        if name == room or name in names.split(","):
            if names and room != "server":
                # The largest room first: compiled into a heap that others have parted, it
                # would need 10 kB more.
                __getattr__("server")
            # Five arguments: with a fromlist MicroPython too returns the room itself.
            found = __import__(__name__ + "." + room, None, None, (name,))
            if name != room:
                found = getattr(found, name)
            globals()[name] = found
            return found
    from .trouble import missing

    return missing(name, _ROOMS)
