"""Servers with ThreadingMixIn: many connections at once, and who waits for whom at the end."""

import _thread

from helper import Client, Datagrams, ErrorsSaid, Serving, Thread, address, say, ss, until

to = address()
lock = _thread.allocate_lock()
N = 5


class Upper(ss.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


class Server(ErrorsSaid, ss.ThreadingMixIn, ss.TCPServer):
    pass


def talk(server):
    """Talk to several handlers in turns: none of them may keep another waiting."""
    with Serving(server):
        clients = [Client(to) for _ in range(N)]
        for n in range(3):
            for i in range(N):
                clients[i].send(b"client %d, line %d\n" % (i, n))
            for i in reversed(range(N)):
                say(i, clients[i].line())
        clients[2].close()
        clients[0].send(b"still there\n")
        say(clients[0].line())
        for client in clients:
            client.close()


say("# connections at once")
talk(Server(to, Upper))
say("# the same with the server made for it")
talk(ss.ThreadingTCPServer(to, Upper))
say("# and with daemons")
server = ss.ThreadingTCPServer(to, Upper)
server.daemon_threads = True
talk(server)


class Waiting(ss.StreamRequestHandler):
    """Says that it is at work, and works until its client sends a line."""

    def handle(self):
        self.wfile.write(b"at work\n")
        self.rfile.readline()
        say("handler done")
        ended.append(1)


def close_under(title, waits, **attributes):
    """Close a server while a handler is at work."""
    say("#", title)
    for name in ("daemon_threads", "block_on_close"):
        setattr(Server, name, attributes.get(name, getattr(ss.ThreadingMixIn, name)))
    ended.clear()
    server = Server(to, Waiting)
    clients = [Client(to), Client(to)]
    for client in clients:
        server.handle_request()
        say(client.line())
    if waits:
        releasing = Thread(release, clients)
        closing.append(1)
        server.server_close()
        say("closed")
        releasing.join()
    else:
        server.server_close()
        say("closed")
        closing.append(1)
        release(clients)
    until(lambda: len(ended) == 2, "the handlers")
    closing.clear()
    for client in clients:
        say("client got", client.rest())


def release(clients):
    """Let the handlers end, one after the other, as soon as the server is being closed."""
    until(lambda: closing)
    for n, client in enumerate(clients):
        client.send(b"go\n")
        until(lambda n=n: len(ended) > n, "a handler")


ended = []
closing = []
close_under("server_close waits for the handlers", True)
close_under("unless block_on_close is False", False, block_on_close=False)
close_under("or they are daemons", False, daemon_threads=True)
close_under("or both", False, daemon_threads=True, block_on_close=False)
Server.daemon_threads = False
Server.block_on_close = True

say("# server_close with nobody there, twice")
server = Server(to, Waiting)
server.server_close()
server.server_close()

say("# shutdown does not wait for handlers")
server = Server(to, Waiting)
ended.clear()
thread = Thread(server.serve_forever, 0.02)
client = Client(to)
say(client.line())
server.shutdown()
thread.join()
say("shut down")
client.send(b"go\n")
until(lambda: ended)
say("client got", client.rest())
server.server_close()

say("# the threads are other threads, and not one")


class Ident(ss.BaseRequestHandler):
    def handle(self):
        with lock:  # without a GIL two threads at one list crash MicroPython
            idents.append(_thread.get_ident())
        self.request.sendall(b"here")
        self.request.recv(1)


idents = [_thread.get_ident()]
server = Server(to, Ident)
with Serving(server):
    clients = [Client(to) for _ in range(N)]
    for client in clients:
        say(client.recv(4))
    say(len(set(idents)), idents.count(idents[0]))
    for client in clients:
        client.close()

say("# errors in threads, and shared state under a lock")


class Adding(ss.StreamRequestHandler):
    def handle(self):
        n = int(self.rfile.readline())
        with lock:
            self.server.total += n
            self.wfile.write(b"%d\n" % self.server.total)


server = Server(to, Adding)
server.total = 0
got = []
with Serving(server):
    for i in range(20):
        got.append(Client(to, b"%d\n" % i).rest())
    got.append(Client(to, b"1\n").rest())
say(got)

say("# many at once")
server = Server(to, Adding)
server.total = 0


def ask():
    for _ in range(5):
        Client(to, b"1\n").rest()


with Serving(server):
    threads = [Thread(ask) for _ in range(4)]
    for thread in threads:
        thread.join()
say(server.total)


class Wait(ss.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        if data == b"wait":
            until(lambda: free)
        sock.sendto(data, self.client_address)


say("# datagrams")
free = []
server = ss.ThreadingUDPServer(to, Wait)
got = []
with Serving(server):
    first = Datagrams(to)
    second = Datagrams(to)
    first.send(b"wait")
    for i in range(3):
        second.send(b"no wait %d" % i)
        got.append(second.recv())
    free.append(1)
    got.append(first.recv())
    first.close()
    second.close()
say(got)
