"""The order of all hooks of a UDPServer."""

import errno

from helper import Datagrams, Serving, TracedHandler, address, raised, say, ss, traced

Server = traced(ss.UDPServer)
to = address()
client = Datagrams(to)


class Handler(TracedHandler):
    def handle(self):
        data, sock = self.request
        say("- received", data, sock is self.server.socket)
        TracedHandler.handle(self)
        sock.sendto(data.upper(), self.client_address)


say("# constructor")
server = Server(to, Handler)


def one(title, answered=True, **failing):
    say("#", title)
    server.failing = failing
    client.send(title.encode())
    say("handle_request:", raised(server.handle_request))
    if answered:
        say("client got", client.recv())


one("a request")
one("setup fails", False, setup=ValueError)
one("handle fails", False, handle=KeyError)
one("finish fails", finish=ZeroDivisionError)

inherited = Server.verify_request
Server.verify_request = lambda self, request, client_address: False
one("verify_request says no", False)
Server.verify_request = inherited


def broken(self, *args):
    say("broken", len(args))
    raise ValueError("broken")


for name in ("process_request", "finish_request"):
    inherited = getattr(Server, name)
    setattr(Server, name, broken)
    one(name + " fails", False)
    setattr(Server, name, inherited)


def no_request(self):
    say("no request from", len(self.socket.recvfrom(100)[0]))
    raise OSError(errno.ECONNABORTED)


inherited = Server.get_request
Server.get_request = no_request
one("get_request fails", False)
Server.get_request = inherited

say("# handle_request without a request")
server.timeout = 0
server.handle_request()
server.timeout = 0.05
server.handle_request()
one("and with one")
server.timeout = None

say("# an exit")
server.failing = {"handle": SystemExit}
client.send(b"exit")
say("handle_request:", raised(server.handle_request))
client.send(b"exit")
say("serve_forever:", raised(server.serve_forever))
one("after it")

say("# close")
server.server_close()
server.server_close()

say("# serve_forever")
server = Server(to, Handler)
got = []
with Serving(server):
    for _ in range(3):
        client.send(b"again")
        got.append(client.recv())
say("client got", got)

say("# in steps")
server = Server(to, Handler, False)
server.server_bind()
server.server_activate()
one("bound by hand")
server.server_close()

say("# two on one port")
with Server(to, Handler):
    say(raised(Server, to, Handler))
client.close()
