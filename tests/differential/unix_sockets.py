"""Servers on Unix-domain sockets."""

import os

from helper import (
    Client,
    Datagrams,
    ErrorsSaid,
    Serving,
    Thread,
    TracedHandler,
    path,
    raised,
    say,
    ss,
    traced,
)


class Upper(ss.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


class Told(Upper):
    def handle(self):
        say("address", self.client_address == "", self.server.server_address == to)
        Upper.handle(self)


class Stream(ErrorsSaid, ss.UnixStreamServer):
    pass


class Datagram(ErrorsSaid, ss.UnixDatagramServer):
    pass


def exists(name):
    return name in os.listdir(path("").rstrip("/"))


say("# a stream")
to = path("stream")
server = Stream(to, Told)
say(server.server_address == to, exists("stream"))
with Serving(server):
    for _ in range(2):
        client = Client(to, b"one\n")
        say(client.line())
        client.send(b"two\n")
        say(client.line())
        client.close()
say("the file stays", exists("stream"))
say("and its path is in use", raised(Stream, to, Upper))
os.remove(to)
with Stream(to, Upper) as server:
    say("until it is removed", exists("stream"))

say("# hooks")
to = path("hooks")
with traced(ss.UnixStreamServer)(to, TracedHandler) as server:
    for failing in ({}, {"handle": ValueError}, {"setup": KeyError}):
        server.failing = failing
        client = Client(to)
        server.handle_request()
        say("client got", client.rest())
    server.failing = {"handle": SystemExit}
    client = Client(to)
    say(raised(server.handle_request))
    say("client got", client.rest())
    server.timeout = 0.02
    server.handle_request()

say("# threads")
to = path("threads")
server = ss.ThreadingUnixStreamServer(to, Upper)
with Serving(server):
    clients = [Client(to, b"number %d\n" % i) for i in range(3)]
    for client in reversed(clients):
        say(client.line())
        client.close()

say("# datagrams")
to = path("datagrams")
own = path("client")


class ToldDatagram(ss.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        say(data, self.client_address == own, sock is self.server.socket)
        sock.sendto(data.upper(), self.client_address)


class Files(ss.DatagramRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"<" + line.strip() + b">")


class Anonymous(ss.BaseRequestHandler):
    def handle(self):
        say(self.request[0], self.client_address)


with Datagram(to, ToldDatagram) as server:
    say(server.server_address == to, exists("datagrams"))
    client = Datagrams(to, own)
    for data in (b"one", b"", b"three"):
        client.send(data)
        server.handle_request()
        say(client.recv())
    server.RequestHandlerClass = Files
    client.send(b"one\ntwo\n")
    server.handle_request()
    say(client.recv())
    server.max_packet_size = 4
    server.RequestHandlerClass = ToldDatagram
    client.send(b"longer than four")
    server.handle_request()
    say(client.recv())
    nameless = Datagrams(to)
    server.RequestHandlerClass = Anonymous
    nameless.send(b"who")
    server.handle_request()
    say("no answer is possible")
    server.RequestHandlerClass = ToldDatagram
    nameless.send(b"you")
    server.verify_request = lambda request, client_address: bool(client_address)
    server.handle_request()
    nameless.close()

say("# datagrams in threads")
to = path("in threads")
server = ss.ThreadingUnixDatagramServer(to, Files)
client.close()
client = Datagrams(to, path("other client"))
with Serving(server):
    for i in range(3):
        client.send(b"number %d" % i)
        say(client.recv())
client.close()

say("# paths that cannot be")
say(raised(Stream, path("no/such/folder"), Upper))
say(raised(Stream, path("x" * 200), Upper))
say(raised(Stream, 5, Upper), raised(Stream, ("127.0.0.1", 5000), Upper))
say("# shutdown before the thread runs")
server = Stream(path("last"), Upper)
thread = Thread(server.serve_forever, 0.02)
server.shutdown()
thread.join()
server.server_close()
