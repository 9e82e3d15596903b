"""The rooms, their public names, and which rooms to load before, the largest first.

Compiled into a heap that others have parted, a large one would need 10 kB more. In one string: a
dict costs a board 1.3 kB more.
"""


def find(name):
    """Return the room of a name, and the rooms to load before.

    For "__all__" that is None, and all names. Raises AttributeError for a name that is not there.
    """
    rooms = """port:: host:: trouble:: workers:: limits:: options::
allow:: alone:: table:: hub:: services::
server:BaseServer,TCPServer,BaseRequestHandler:
handler:StreamRequestHandler:server
udp:DatagramRequestHandler,UDPServer:server
unix:UnixStreamServer,UnixDatagramServer:server
threads:ThreadingMixIn,ThreadingTCPServer,ThreadingUDPServer,\
ThreadingUnixStreamServer,ThreadingUnixDatagramServer:server
stream:AsyncStreamRequestHandler:server
multiplex:MultiplexingMixIn,MultiplexingTCPServer,MultiplexingUnixStreamServer:table,hub,server,stream
multiplexer:Multiplexer:table,hub,server,stream"""
    for entry in rooms.split():
        room, names, needed = entry.split(":")
        if name == room or name in names.split(","):
            return room, needed.split(",") if needed else ()
    from .trouble import missing

    return None, missing(name, rooms)
