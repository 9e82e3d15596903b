"""The rooms, their public names, and which rooms to load before, the largest first.

Compiled into a heap that others have parted, a large one would need 10 kB more. In strings: a dict
costs a board 1.3 kB more. In several: this is loaded again for each name, into what is left.
"""


def find(name):
    """Return the rooms to load for a name; the last has it. For "__all__" return None, all names.

    Raises AttributeError for a name that is not there.
    """
    rooms = (
        "server:BaseServer/TCPServer/BaseRequestHandler:",
        "handler:StreamRequestHandler:server",
        "udp:DatagramRequestHandler/UDPServer:server",
        "unix:UnixStreamServer/UnixDatagramServer:server",
        "threads:ThreadingMixIn/ThreadingTCPServer/ThreadingUDPServer:server",
        "threads:ThreadingUnixStreamServer/ThreadingUnixDatagramServer:server",
        "stream:AsyncStreamRequestHandler:server",
        "multiplex:MultiplexingMixIn/MultiplexingTCPServer:hub/server/stream",
        "multiplex:MultiplexingUnixStreamServer:hub/server/stream",
        "multiplexer:Multiplexer:hub/server/stream",
        "port:: host:: trouble:: workers:: limits:: options:: allow:: alone:: table:: hub::",
        "tls::plain tlssocket:: certificates:server_context/client_context:",
        "names:: revive:: mixed:: plain:: tell:: services::stream classics::services",
        "operate:: entry:: looks:: operators:: bounds:: weight:: session::stream",
        "faults:RemoteError:message",
        "message:MessageError/SocketClosed: proxy:Client/ConnectionLost/connect:message",
        "remote:RemoteServer/ThreadingRemoteServer:hub/server/stream/message/session",
        "scram:: guard:: users:Users: auth:AuthMixIn/Secret: login:AuthError:",
        "passwords:PasswordHandler:stream page:PageHandler:stream/services",
        "http::server/stream httpfiles::server/stream/http xmlrpc::server/stream/http",
        "httpauth:: httpbody:: httpdate:: httperror:: httplist:: httpsend:: timepage::",
        "xmlsystem:: xmlvalues:: shortage::",
    )
    for some in rooms:
        for entry in some.split():
            room, names, needed = entry.split(":")
            if name == room or name in names.split("/"):
                return [one for one in needed.split("/") if one] + [room]
    from .trouble import find

    return None, find(name, rooms)
