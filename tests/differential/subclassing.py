"""What users do with the classes: the patterns of their servers and handlers."""

import errno

from helper import (
    HOST,
    Client,
    Datagrams,
    Serving,
    address,
    count,
    error_of,
    kind,
    raised,
    say,
    socket,
    ss,
    until,
)

to = address()


class Echo(ss.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())


def one(server, data=b"hello\n"):
    client = Client(to, data)
    say("handle_request:", raised(server.handle_request))
    say("client got", client.rest())


say("# a constructor with more arguments")


class Named(ss.TCPServer):
    def __init__(self, name, *args, **kwargs):
        self.name = name
        super().__init__(*args, **kwargs)


class Greeting(ss.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.server.name + b" says " + self.rfile.readline())


for make in (
    lambda: Named(b"one", to, Greeting),
    lambda: Named(b"two", to, RequestHandlerClass=Greeting),
    lambda: Named(b"three", server_address=to, RequestHandlerClass=Greeting),
    lambda: Named(b"four", to, Greeting, True),
):
    with make() as server:
        one(server)

say("# the constructor in steps")


class Stepped(ss.TCPServer):
    def __init__(self, to, handler):
        ss.TCPServer.__init__(self, to, handler, bind_and_activate=False)
        self.timeout = 5
        self.request_queue_size = 1
        try:
            self.server_bind()
            self.server_activate()
        except OSError:
            self.server_close()
            raise


with Stepped(to, Echo) as server:
    one(server)
    say(raised(Stepped, to, Echo))

say("# server_bind, extended as http.server does")


class Http(ss.TCPServer):
    allow_reuse_address = 1

    def server_bind(self):
        ss.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name = host
        self.server_port = port


with Http(to, Echo) as server:
    say(server.server_name, server.server_port == to[1])
    one(server)

say("# server_bind, replaced")


class Binding(ss.TCPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)

    def server_activate(self):
        self.socket.listen(3)


with Binding(to, Echo) as server:
    say(server.server_address == to)
    one(server)

say("# a socket made elsewhere")


class Given(ss.TCPServer):
    def __init__(self, sock, handler):
        ss.BaseServer.__init__(self, to, handler)
        self.socket = sock


listening = ss.TCPServer(to, Echo)
with Given(listening.socket, Echo) as server:
    one(server)

say("# get_request, extended and replaced")


class Extending(ss.TCPServer):
    def get_request(self):
        request, client_address = ss.TCPServer.get_request(self)
        request.settimeout(5)
        self.seen = client_address
        return request, client_address


class Super(ss.TCPServer):
    def get_request(self):
        request, client_address = super().get_request()
        return request, client_address + ("more",)

    def finish_request(self, request, client_address):
        say(client_address[0], client_address[2])
        super().finish_request(request, client_address)


class Accepting(ss.TCPServer):
    def get_request(self):
        connection, client_address = self.socket.accept()
        return connection, ("somebody", client_address[1])

    def verify_request(self, request, client_address):
        say("verify", client_address[0])
        return client_address[0] == "somebody"


class Wrapped:
    """A request that is no socket, as a TLS layer would be."""

    def __init__(self, sock):
        self.sock = sock

    def __getattr__(self, name):
        if name not in quiet:
            say("asked for", name)
        return getattr(self.sock, name)

    def sendall(self, data):
        self.sock.sendall(data.upper())


quiet = ("recv", "settimeout", "shutdown", "close")


class Wrapping(ss.TCPServer):
    def get_request(self):
        request, client_address = ss.TCPServer.get_request(self)
        return Wrapped(request), client_address


class Plain(ss.BaseRequestHandler):
    def handle(self):
        self.request.sendall(self.request.recv(100))


for cls in (Extending, Super, Accepting):
    with cls(to, Echo) as server:
        one(server)
        if cls is Extending:
            say(server.seen[0])
with Wrapping(to, Plain) as server:
    one(server)

say("# get_request that raises an OSError, now and then")


class Refusing(ss.TCPServer):
    count = 0

    def get_request(self):
        self.count += 1
        request, client_address = ss.TCPServer.get_request(self)
        if self.count % 2:
            request.close()
            raise OSError(errno.ECONNABORTED)
        return request, client_address


server = Refusing(to, Echo)
with Serving(server):
    say([Client(to, b"").line() if i % 2 == 0 else Client(to, b"x\n").line() for i in range(4)])

say("# verify_request")


class Bouncer(ss.TCPServer):
    guests = 0

    def verify_request(self, request, client_address):
        self.guests += 1
        return self.guests <= 2 and client_address[0] == HOST


server = Bouncer(to, Echo)
with Serving(server):
    clients = [Client(to) for _ in range(4)]
    for client in clients[:2]:
        client.send(b"let me in\n")
    say([client.rest() for client in clients])

say("# process_request that puts requests into a queue")


class Queueing(ss.TCPServer):
    def process_request(self, request, client_address):
        queue.append((request, client_address))


queue = []
with Queueing(to, Echo) as server:
    clients = [Client(to, b"client %d\n" % i) for i in range(3)]
    for _ in clients:
        server.handle_request()
    say(len(queue))
    for request, client_address in queue:
        server.finish_request(request, client_address)
        server.shutdown_request(request)
    say([client.rest() for client in clients])

say("# finish_request with more arguments for the handler")


class Passing(ss.TCPServer):
    def finish_request(self, request, client_address):
        self.RequestHandlerClass(request, client_address, self, b"extra")


class Taking(ss.StreamRequestHandler):
    def __init__(self, request, client_address, server, extra):
        self.extra = extra
        super().__init__(request, client_address, server)

    def handle(self):
        self.wfile.write(self.extra)


with Passing(to, Taking) as server:
    one(server, b"")

say("# handle_error, replaced")


class Logging(ss.TCPServer):
    def handle_error(self, request, client_address):
        error = error_of(self)
        self.log.append((kind(error), error.args, client_address[0]))
        request.sendall(b"500")


class Failing(ss.BaseRequestHandler):
    def handle(self):
        raise ValueError("on purpose")


with Logging(to, Failing) as server:
    server.log = []
    one(server, b"")
    one(server, b"")
    say(server.log)

say("# shutdown_request and close_request, replaced: connections stay open")


class Keeping(ss.TCPServer):
    def shutdown_request(self, request):
        say("kept")


class Keeper(ss.BaseRequestHandler):
    def handle(self):
        self.server.kept.append(self.request)


with Keeping(to, Keeper) as server:
    server.kept = []
    clients = [Client(to) for _ in range(3)]
    for _ in clients:
        server.handle_request()
    for i, request in enumerate(server.kept):
        request.sendall(b"to client %d\n" % i)
    say([client.line() for client in clients])
    for request in server.kept:
        server.close_request(request)
    say([client.rest() for client in clients])

say("# a base handler for several protocols")


class Protocol(ss.StreamRequestHandler):
    def setup(self):
        super().setup()
        self.log = ["setup"]

    def handle(self):
        for line in self.rfile:
            if line == b"bye\n":
                break
            self.log.append(self.answer(line.strip()))

    def finish(self):
        self.log.append("finish")
        say(self.log)
        super().finish()


class Reverse(Protocol):
    def answer(self, line):
        self.wfile.write(bytes(reversed(line)) + b"\n")
        return len(line)


class Length(Protocol):
    def answer(self, line):
        self.wfile.write(b"%d\n" % len(line))
        return -len(line)


for cls in (Reverse, Length):
    with ss.TCPServer(to, cls) as server:
        one(server, b"abc\n\nxyz12\nbye\n")

say("# a mix-in of the user's")


class Polite:
    """Derives from nothing, and calls nobody: so it works everywhere."""

    greeting = b"good morning\n"

    def verify_request(self, request, client_address):
        request.sendall(self.greeting)
        return True


class PoliteServer(Polite, ss.TCPServer):
    pass


class PoliteThreadingServer(Polite, ss.ThreadingMixIn, ss.TCPServer):
    greeting = b"good evening\n"


class PoliteLater(ss.ThreadingMixIn, PoliteServer):
    daemon_threads = True


for cls in (PoliteServer, PoliteThreadingServer, PoliteLater):
    with Serving(cls(to, Echo)):
        say(cls.__name__, Client(to, b"hello\n").rest())

say("# ThreadingMixIn on servers that extend hooks")


class Counted(ss.ThreadingMixIn, Named):
    """One step deeper, with hooks on both sides of the mix-in."""

    def finish_request(self, request, client_address):
        self.finished.append(client_address[0])
        Named.finish_request(self, request, client_address)

    def process_request(self, request, client_address):
        self.processed.append(client_address[0])
        ss.ThreadingMixIn.process_request(self, request, client_address)


server = Counted(b"counted", to, Greeting)
server.finished = []
server.processed = []
with Serving(server):
    say([Client(to, b"hi\n").rest() for _ in range(3)])
say(server.finished, server.processed)


class Pooled(ss.ThreadingMixIn, ss.TCPServer):
    """process_request_thread, extended as people do who count their threads."""

    def process_request_thread(self, request, client_address):
        say("thread starts")
        ss.ThreadingMixIn.process_request_thread(self, request, client_address)
        say("thread ends")


with Pooled(to, Echo) as server:
    client = Client(to, b"hello\n")
    server.handle_request()
    until(lambda: count("thread ends"))
    say("client got", client.rest())

say("# class attributes of a server")


class Tuned(ss.ThreadingTCPServer):
    allow_reuse_address = True
    allow_reuse_port = False
    daemon_threads = True
    block_on_close = False
    request_queue_size = 20
    timeout = 5


with Tuned(to, Echo) as server:
    one(server)
    say(server.request_queue_size, server.daemon_threads, server.timeout)

say("# UDP, extended")


class Sizes(ss.UDPServer):
    max_packet_size = 5

    def get_request(self):
        (data, sock), client_address = super().get_request()
        return (data + b"!", sock), client_address

    def verify_request(self, request, client_address):
        return not request[0].startswith(b"no")


class Returning(ss.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(self.packet)


with Sizes(to, Returning) as server:
    client = Datagrams(to)
    for data in (b"yes", b"no", b"longer than that"):
        client.send(data)
        server.handle_request()
    say(client.recv(), client.recv())
    client.close()

say("# IPv6")


class Six(ss.TCPServer):
    address_family = socket.AF_INET6


try:
    with Six(("::1", to[1]), Echo) as server:
        say(server.server_address[0], server.server_address[1] == to[1])
except OSError:
    say("there is none on this machine")
