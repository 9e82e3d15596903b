"""The attributes of servers and handlers, and how the classes hang together."""

from helper import HOST, Client, Datagrams, ErrorsSaid, address, raised, say, socket, ss

SERVERS = (
    "BaseServer TCPServer UDPServer UnixStreamServer UnixDatagramServer ThreadingTCPServer "
    "ThreadingUDPServer ThreadingUnixStreamServer ThreadingUnixDatagramServer ThreadingMixIn"
).split()
HANDLERS = "BaseRequestHandler StreamRequestHandler DatagramRequestHandler".split()
HOOKS = (
    "serve_forever shutdown handle_request fileno server_bind server_activate server_close "
    "get_request verify_request process_request finish_request shutdown_request close_request "
    "service_actions handle_timeout handle_error __enter__ __exit__ process_request_thread"
).split()
ATTRIBUTES = (
    "timeout address_family socket_type request_queue_size allow_reuse_port daemon_threads "
    "block_on_close rbufsize wbufsize disable_nagle_algorithm"
).split()

# A mix-in's server_close would need super(), which MicroPython's mix-ins have not.
OWN = {"ThreadingMixIn": [hook for hook in HOOKS if hook != "server_close"]}

for name in SERVERS + HANDLERS:
    cls = getattr(ss, name)
    say("##", name, cls.__name__)
    for other in SERVERS + HANDLERS:
        if issubclass(cls, getattr(ss, other)):
            say("is a", other)
    for hook in OWN.get(name, HOOKS) + ["setup", "handle", "finish"]:
        if hasattr(cls, hook):
            say("can", hook)
    for attribute in ATTRIBUTES:
        if hasattr(cls, attribute):
            value = getattr(cls, attribute)
            for known in ("AF_INET", "AF_UNIX", "SOCK_STREAM", "SOCK_DGRAM"):
                if "_" in attribute and value == getattr(socket, known):
                    if known[:2] == {"address_family": "AF", "socket_type": "SO"}.get(attribute):
                        value = known
            say(attribute, value)
say("UDP takes no port that is in use:", ss.UDPServer.allow_reuse_address)
say("forks", raised(lambda: ss.NoSuchName))


class Handler(ss.BaseRequestHandler):
    def handle(self):
        handlers.append(self)
        say("address", self.client_address[0], type(self.client_address) is tuple)
        say("port", type(self.client_address[1]) is int, len(self.client_address))
        say("the server", self.server is server)
        say("the request is open", self.request.fileno() >= 0)


handlers = []
to = address()
say("## TCPServer")
with ss.TCPServer(to, Handler) as server:
    say(server.server_address == to, type(server.server_address) is tuple)
    say(server.RequestHandlerClass is Handler, server.timeout)
    say(server.fileno() == server.socket.fileno(), server.fileno() >= 0)
    client = Client(to)
    server.handle_request()
    say(client.rest())
    say("the request is closed", raised(lambda: handlers[0].request.recv(1)))
    server.timeout = 3
    say(server.timeout, ss.TCPServer.timeout)
say("the socket is closed", raised(lambda: server.socket.accept()))

say("## UDPServer")
Handler.handle = lambda self: handlers.append(self)
with ss.UDPServer(to, Handler) as server:
    say(server.server_address == to, server.RequestHandlerClass is Handler)
    client = Datagrams(to)
    client.send(b"data")
    server.handle_request()
    client.close()
    data, sock = handlers[1].request
    say(data, sock is server.socket, type(handlers[1].request), handlers[1].client_address[0])
    say("still open", server.fileno() == sock.fileno(), sock.fileno() >= 0)
say("the socket is closed", raised(lambda: server.socket.recvfrom(1)))

say("## BaseServer alone")


class Mailbox(ErrorsSaid, ss.BaseServer):
    """A server of something that is no connection: it only borrows the socket's readiness."""

    def __init__(self, to):
        ss.BaseServer.__init__(self, to, ss.BaseRequestHandler)
        self.udp = ss.UDPServer(to, ss.BaseRequestHandler)
        self.socket = self.udp.socket

    def fileno(self):
        return self.socket.fileno()

    def get_request(self):
        return self.socket.recvfrom(100)[0], "sender"

    def finish_request(self, request, client_address):
        say("finish_request", request, client_address)
        if request == b"error":
            raise ValueError(request)

    def close_request(self, request):
        say("close_request", request)


server = Mailbox(to)
say(server.server_address == to, server.timeout)
client = Datagrams(to)
for data in (b"one", b"error", b"two"):
    client.send(data)
    server.handle_request()
client.close()
server.server_close()
server.udp.server_close()

say("## addresses that cannot be")
for wrong in (None, 5, "text", (), (HOST,), (HOST, "port"), (HOST, 65536), (HOST, -1), (5, 5)):
    say(wrong, raised(ss.TCPServer, wrong, Handler))
    say(wrong, raised(ss.UDPServer, wrong, Handler))
say("a name that does not resolve", raised(ss.TCPServer, ("no.such.host.invalid", 5000), Handler))
say("not one of ours", raised(ss.TCPServer, ("192.0.2.1", to[1]), Handler))

say("## every address of this machine")
with ss.TCPServer(("", to[1]), Handler) as server:
    say(server.server_address[0], server.server_address[1] == to[1])
    client = Client(to)
    server.handle_request()
    say(client.rest(), handlers[-1].client_address[0])
with ss.TCPServer(("localhost", to[1]), Handler) as server:
    say(server.server_address[0], server.server_address[1] == to[1])
