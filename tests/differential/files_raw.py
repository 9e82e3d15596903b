"""rfile without a buffer: it takes from the connection what it needs, and no more."""

from helper import SECONDS, Client, ErrorsSaid, address, say, ss

to = address()


class Server(ErrorsSaid, ss.TCPServer):
    pass


class Raw(ss.StreamRequestHandler):
    rbufsize = 0
    timeout = SECONDS / 10


class Lines(Raw):
    def handle(self):
        say(self.rfile.readline(), self.rfile.readline(3), self.rfile.readline())
        # The rest is still in the socket.
        say(self.connection.recv(2), self.rfile.readline(), self.rfile.read(2))
        say(self.connection.recv(100))


class All(Raw):
    def handle(self):
        say(self.rfile.readline(), self.rfile.read(), self.rfile.read(), self.rfile.read(1))


class Pieces(Raw):
    def handle(self):
        # One recv each: what is there, not what was asked for.
        say("read", self.rfile.read(100))
        client.send(b"four")
        buffer = bytearray(10)
        say("readinto", self.rfile.readinto(buffer), buffer)


with Server(to, Lines) as server:
    client = Client(to, b"one\ntwo three\n!?four\nfive six")
    server.handle_request()
    say(client.rest())

    server.RequestHandlerClass = All
    Client(to, b"one\ntwo\nthree").close()
    server.handle_request()

    server.RequestHandlerClass = Pieces
    client = Client(to, b"one\ntwo")
    server.handle_request()
    say(client.rest())
