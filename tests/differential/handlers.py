"""What may stand for a RequestHandlerClass, and what its instances may do."""

from helper import Client, Datagrams, ErrorsSaid, Serving, address, say, ss

to = address()


class Server(ErrorsSaid, ss.TCPServer):
    pass


def one(title, handler, data=b"hello\n"):
    say("#", title)
    server.RequestHandlerClass = handler
    client = Client(to, data)
    server.handle_request()
    say("client got", client.rest())


def function(request, client_address, server):
    request.sendall(request.recv(100).upper())
    say(client_address[0], type(server).__name__)


class Callable:
    def __call__(self, request, client_address, server):
        function(request, client_address, server)

    def method(self, *args):
        say(len(args))
        function(*args)


class Stranger:
    """A handler that derives from nothing of ours."""

    def __init__(self, request, client_address, server):
        self.request = request
        self.answer()

    def answer(self):
        self.request.send(b"from a stranger")


class Initialised(ss.StreamRequestHandler):
    """With an __init__ of its own, as people write it to pass arguments."""

    def __init__(self, greeting, *args, **kwargs):
        self.greeting = greeting
        super().__init__(*args, **kwargs)

    def handle(self):
        self.wfile.write(self.greeting + self.rfile.readline())


class Late(ss.BaseRequestHandler):
    def __init__(self, request, client_address, server):
        ss.BaseRequestHandler.__init__(self, request, client_address, server)
        say("after the request")
        self.request.sendall(b"late")

    def handle(self):
        say("handle")


class Empty(ss.StreamRequestHandler):
    pass


class Base(ss.BaseRequestHandler):
    pass


class Plain(ss.BaseRequestHandler):
    def handle(self):
        self.data = self.request.recv(1024).strip()
        say(self.data)
        self.request.sendall(self.data.upper())


class Sized(ss.BaseRequestHandler):
    def handle(self):
        say(self.request.recv(2), self.request.recv(2))
        say(self.request.send(b"sent"), self.request.sendall(b" all"), self.request.sendall(b""))


class Slow(ss.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(0.05)
        self.request.recv(100)
        self.request.recv(100)


class Closing(ss.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())
        self.request.close()


class ClosingFiles(ss.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())
        self.rfile.close()
        self.wfile.close()
        say("files", self.rfile.closed, self.wfile.closed)
        self.connection.sendall(b"still open")


class Connection(ss.StreamRequestHandler):
    def handle(self):
        say(self.connection is self.request, self.server is server)
        self.connection.sendall(b"by the connection, ")
        self.wfile.write(b"by the file")


class Commands(ss.StreamRequestHandler):
    """A small protocol: one method for each command."""

    def handle(self):
        while True:
            line = self.rfile.readline()
            if not line:
                return
            words = line.decode().split()
            method = getattr(self, "do_" + words[0], None)
            if not method:
                self.wfile.write(b"ERR\n")
            elif method(*words[1:]):
                return

    def do_add(self, *numbers):
        self.wfile.write(b"%d\n" % sum([int(n) for n in numbers]))

    def do_quit(self):
        self.wfile.write(b"bye\n")
        return True


with Server(to, function) as server:
    one("a function", function)
    one("a lambda", lambda request, client_address, server: request.sendall(b"by a lambda"))
    one("a callable object", Callable())
    one("a bound method", Callable().method)
    one("a class of its own", Stranger)
    one("an __init__ with more", lambda *args: Initialised(b"dear ", *args))
    one("something after the request", Late)
    one("a StreamRequestHandler without handle", Empty, b"")
    one("a BaseRequestHandler without handle", Base, b"")
    one("a handler with recv and sendall", Plain)
    one("recv with sizes", Sized, b"four")
    one("a timeout of its own", Slow)
    one("closes its request", Closing)
    one("closes its files", ClosingFiles)
    one("connection and request", Connection, b"")
    one("commands", Commands, b"add 1 2 3\nwhat\nadd\nadd 40 2\nquit\n")
    one("arguments that do not fit", lambda: None)

say("# state of the server, seen by all its handlers")


class Counting(ss.StreamRequestHandler):
    names = []

    def handle(self):
        self.server.count += 1
        self.names.append(self.rfile.readline())
        self.wfile.write(b"%d" % self.server.count)


server = Server(to, Counting)
server.count = 0
with Serving(server):
    for name in (b"ann\n", b"bob\n", b"cy\n"):
        say(Client(to, name).rest())
say(server.count, Counting.names)

say("# a function for datagrams")


def datagram(request, client_address, server):
    request[1].sendto(request[0] + b"?", client_address)


with ss.UDPServer(to, datagram) as server:
    client = Datagrams(to)
    client.send(b"what")
    server.handle_request()
    say(client.recv())
    client.close()
