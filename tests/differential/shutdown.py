"""The life of a server: serve_forever, shutdown, server_close, and all that again."""

import time

from helper import Client, Datagrams, ErrorsSaid, Serving, Thread, address, raised, say, ss, until

to = address()


class Echo(ss.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline())


class Server(ErrorsSaid, ss.TCPServer):
    pass


def serves(server):
    client = Client(to, b"hello\n")
    return client.rest()


say("# shutdown from another thread, and serve_forever again")
server = Server(to, Echo)
for _ in range(3):
    thread = Thread(server.serve_forever, 0.02)
    say(serves(server))
    say(server.shutdown())
    thread.join()
say("what came meanwhile is served afterwards")
client = Client(to, b"meanwhile\n")
thread = Thread(server.serve_forever, 0.02)
say(client.rest())
server.shutdown()
server.server_close()
say("nobody is there", raised(Client, to))

say("# closed and made again on the same port")
for _ in range(5):
    server = Server(to, Echo)
    client = Client(to, b"again\n")
    server.handle_request()
    say(client.rest())
    server.server_close()

say("# shutdown and server_close right after the start")
for _ in range(20):
    server = Server(to, Echo)
    thread = Thread(server.serve_forever, 0.02)
    server.shutdown()
    server.server_close()
    thread.join()
say("done")

say("# as a context")
with Server(to, Echo) as server:
    thread = Thread(server.serve_forever, 0.02)
    say(serves(server))
    server.shutdown()
say("closed", raised(Client, to))
try:
    with Server(to, Echo) as server:
        raise ValueError("inside")
except ValueError as e:
    say(e.args, raised(Client, to))

say("# poll_interval")
for arguments in ((), (0.02,), (0,), (1,)):
    server = Server(to, Echo)
    thread = Thread(server.serve_forever, *arguments)
    say(serves(server), serves(server))
    start = time.time()
    server.shutdown()
    say("in time", time.time() - start < 5)
    thread.join()
    server.server_close()


class Acting(Server):
    """Counts the rounds of its loop, and does something in between."""

    rounds = 0

    def service_actions(self):
        self.rounds += 1


say("# service_actions")
server = Acting(to, Echo)
with Serving(server):
    until(lambda: server.rounds > 2)
    before = server.rounds
    say(serves(server))
    until(lambda: server.rounds > before)
say("it was called")


class Patient(Server):
    timeout = 0.05
    waits = 0

    def handle_timeout(self):
        self.waits += 1


say("# handle_request with a timeout")
with Patient(to, Echo) as server:
    start = time.time()
    say(server.handle_request(), server.waits)
    say("waited", 0.04 < time.time() - start < 5)
    client = Client(to, b"in time\n")
    say(server.handle_request(), server.waits)
    say(client.rest())
    while server.waits < 4:
        server.handle_request()
    say(server.waits)
    server.timeout = 0
    say(server.handle_request(), server.waits)
    server.timeout = None
    client = Client(to, b"for ever\n")
    say(server.handle_request(), server.waits)
    say(client.rest())

say("# a timeout does not end serve_forever")
with Serving(Patient(to, Echo)) as server:
    end = time.time() + 0.2
    until(lambda: time.time() > end)
    say(serves(server), server.waits)

say("# several servers at once, each in a thread")
others = [address() for _ in range(3)]
servers = [Server(other, Echo) for other in others]
threads = [Thread(server.serve_forever, 0.02) for server in servers]
for other in others:
    say(Client(other, b"to one of them\n").rest())
servers[1].shutdown()
threads[1].join()
servers[1].server_close()
say(raised(Client, others[1]))
say(Client(others[0], b"the first\n").rest(), Client(others[2], b"the last\n").rest())
for i in (0, 2):
    servers[i].shutdown()
    threads[i].join()
    servers[i].server_close()

say("# a server of datagrams on the same port as one of connections")


class Upper(ss.DatagramRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.read().upper())


with Serving(Server(to, Echo)) as server, Serving(ss.UDPServer(to, Upper)):
    client = Datagrams(to)
    client.send(b"datagram")
    say(client.recv(), serves(server))
    client.close()

say("# until a handler says so")


class Bye(ss.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        self.wfile.write(b"bye\n")
        self.server.going = line != b"quit\n"


with Server(to, Bye) as server:
    server.going = True
    clients = [Client(to, line) for line in (b"one\n", b"two\n", b"quit\n", b"never\n")]
    while server.going:
        server.handle_request()
    say([client.line() for client in clients[:3]])
    for client in clients:
        client.close()


class Stopping(ss.StreamRequestHandler):
    """Stops its server from a thread of its own, as CPython's servers need it."""

    def handle(self):
        Thread(self.server.shutdown)
        self.wfile.write(b"stopping\n")


say("# a handler that starts a thread for shutdown")
with Server(to, Stopping) as server:
    thread = Thread(server.serve_forever, 0.02)
    say(Client(to).rest())
    thread.join()
