"""The order of all hooks of a TCPServer."""

import errno

from helper import Client, Serving, TracedHandler, address, kind, raised, say, ss, traced

Server = traced(ss.TCPServer)
to = address()

say("# constructor")
server = Server(to, TracedHandler)


def one(title, **failing):
    say("#", title)
    server.failing = failing
    client = Client(to)
    say("handle_request:", raised(server.handle_request))
    say("client got", client.rest())


one("a request")
one("setup fails", setup=ValueError)
one("handle fails", handle=KeyError)
one("finish fails", finish=ZeroDivisionError)
one("handle and finish fail", handle=ValueError, finish=KeyError)
one("an OSError", handle=OSError)

say("# verify_request says no")
inherited = Server.verify_request
Server.verify_request = lambda self, request, client_address: False
one("no")
Server.verify_request = lambda self, request, client_address: 0
one("0 is no")
Server.verify_request = lambda self, request, client_address: None
one("None is no")
Server.verify_request = lambda self, request, client_address: "yes"
one("anything else is yes")
Server.verify_request = inherited


def broken(self, *args):
    say("broken", len(args))
    raise ValueError("broken")


for name in ("process_request", "finish_request", "shutdown_request", "close_request"):
    inherited = getattr(Server, name)
    if name in ("process_request", "finish_request"):
        setattr(Server, name, broken)
        one(name + " fails")
    else:
        # Called once more after handle_error, where nobody catches it.
        setattr(Server, name, broken)
        client = Client(to)
        say("#", name, "fails")
        say("handle_request:", raised(server.handle_request))
        client.close()
    setattr(Server, name, inherited)


def no_request(self):
    say("no request")
    self.socket.accept()[0].close()
    raise OSError(errno.ECONNABORTED)


inherited = Server.get_request
Server.get_request = no_request
one("get_request fails")
Server.get_request = inherited


class Helpless(ss.TCPServer):
    """Untraced: whether the request is closed then is nobody's promise."""

    def handle_error(self, request, client_address):
        say("handle_error raises")
        raise RuntimeError("no way out")


say("# handle_error fails")
other = address()
helpless = Helpless(other, TracedHandler)
helpless.failing = {"handle": ValueError}
client = Client(other)
say("handle_request:", raised(helpless.handle_request))
client.close()
client = Client(other)
say("serve_forever:", raised(helpless.serve_forever))
client.close()
helpless.server_close()

say("# handle_request without a request")
server.timeout = 0
server.handle_request()
server.timeout = 0.05
server.handle_request()
one("and with one")
server.timeout = None

say("# close")
server.server_close()
server.server_close()

say("# serve_forever")
server = Server(to, TracedHandler)
server.failing = {"handle": ValueError}
with Serving(server):
    for _ in range(3):
        Client(to).rest()

say("# in steps")
server = Server(to, TracedHandler, False)
server.server_bind()
server.server_activate()
server.server_close()
server = Server(to, TracedHandler, bind_and_activate=False)
server.server_close()

say("# with")
with Server(to, TracedHandler) as server:
    say("inside", type(server) is Server)
try:
    with Server(to, TracedHandler) as server:
        raise ValueError
except ValueError as e:
    say("outside", kind(e))

say("# two on one port")
with Server(to, TracedHandler) as server:
    try:
        Server(to, TracedHandler)
    except OSError as e:
        say("in use", e.errno == errno.EADDRINUSE)
    one("the first still serves")
