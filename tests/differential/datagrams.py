"""UDPServer and DatagramRequestHandler."""

from helper import HOST, Datagrams, ErrorsSaid, Serving, address, raised, say, ss

to = address()
own = address()


class Server(ErrorsSaid, ss.UDPServer):
    max_packet_size = 10


class Told(ss.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        say(data, type(data) is bytes, type(self.request) is tuple, len(self.request))
        say(self.client_address == own, sock is self.server.socket)


def one(title, data=b"data", answers=1):
    say("#", title)
    client.send(data)
    server.handle_request()
    for _ in range(answers):
        say("client got", client.recv())


client = Datagrams(to, own)
server = Server(to, Told)
one("request and address", answers=0)
say(type(server.server_address) is tuple, server.server_address == to)

for size in (0, 1, 9, 10, 11, 12, 20, 1000):
    one("a datagram of %d bytes" % size, bytes([97 + i % 26 for i in range(size)]), 0)
server.max_packet_size = 3
one("max_packet_size of an instance", answers=0)
server.max_packet_size = 1000
one("and back", b"\x00\xff" * 100, answers=0)


class Files(ss.DatagramRequestHandler):
    def setup(self):
        ss.DatagramRequestHandler.setup(self)
        say("setup", self.packet, self.socket is self.server.socket)

    def handle(self):
        say(self.rfile.readline(), self.rfile.read(3), self.rfile.read(), self.rfile.read())
        say(self.wfile.write(b"one "), self.wfile.write(b""), self.wfile.write(bytearray(b"two")))

    def finish(self):
        say("finish", self.wfile.getvalue())
        super().finish()


server.RequestHandlerClass = Files
one("files", b"line\nrest of it")
one("files, empty", b"")


class Lines(ss.DatagramRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.strip() + b";")


server.RequestHandlerClass = Lines
one("lines", b"one\ntwo\nthree")


class Fails(ss.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(b"what was written before the error")
        raise ValueError("failed")


server.RequestHandlerClass = Fails
one("what a failing handler has written is sent")


class Several(ss.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        for i in range(3):
            say(sock.sendto(data + b"%d" % i, self.client_address))


server.RequestHandlerClass = Several
one("several answers", answers=3)


class Upper(ss.BaseRequestHandler):
    def handle(self):
        data = self.request[0].strip()
        socket = self.request[1]
        say(self.client_address[0] == HOST)
        socket.sendto(data.upper(), self.client_address)


server.RequestHandlerClass = Upper
one("the example of CPython's documentation", b"hello\n")

say("# several clients at once")
clients = [Datagrams(to) for _ in range(3)]
for i in range(3):
    clients[i].send(b"client %d" % i)
for _ in range(3):
    server.handle_request()
say([c.recv() for c in clients])
for c in clients:
    c.close()
server.server_close()
say(raised(lambda: server.socket.sendto(b"closed", own)))


class Threading(ss.ThreadingMixIn, Server):
    max_packet_size = 100


say("# in threads")
server = Threading(to, Lines)
got = []
with Serving(server):
    for i in range(5):
        client.send(b"number %d" % i)
        got.append(client.recv())
say(got)

say("# a large one, and what is bound can be bound again")
server = Server(to, Several)
server.max_packet_size = 1400
client.send(b"x" * 1400)
server.handle_request()
say([len(client.recv()) for _ in range(3)])
server.server_close()
client.close()
