"""The order of all hooks of a server with ThreadingMixIn."""

import _thread

from helper import Client, Datagrams, TracedHandler, address, count, say, ss, traced, until


class Threading(ss.ThreadingMixIn, ss.TCPServer):
    pass


Server = traced(Threading)
to = address()
main = _thread.get_ident()


class Handler(TracedHandler):
    def handle(self):
        say("- in a thread", _thread.get_ident() != main)
        TracedHandler.handle(self)


def ended():
    return count("close_request 1 [True]")


def one(title, **failing):
    say("#", title)
    server.failing = failing
    before = ended()
    client = Client(to)
    server.handle_request()
    until(lambda: ended() > before, "close_request")
    say("client got", client.rest())


say("# constructor")
server = Server(to, Handler)
one("a request")
one("setup fails", setup=ValueError)
one("handle fails", handle=KeyError)
one("finish fails", finish=ZeroDivisionError)
one("an exit", handle=SystemExit)
one("an exit in setup", setup=SystemExit)
one("an exit in finish", finish=SystemExit)
one("after the exits")

inherited = Server.verify_request
Server.verify_request = lambda self, request, client_address: False
one("verify_request says no")
Server.verify_request = inherited


def broken(self, *args):
    say("broken", len(args))
    raise ValueError("broken")


for name in ("process_request", "finish_request"):
    inherited = getattr(Server, name)
    setattr(Server, name, broken)
    one(name + " fails")
    setattr(Server, name, inherited)

say("# handle_request without a request")
server.timeout = 0.05
server.handle_request()
server.timeout = None
say("# close")
server.server_close()
server.server_close()

for base in (ss.ThreadingTCPServer, ss.ThreadingUDPServer):
    Server = traced(base)
    say("#", Server.__name__)
    with Server(to, Handler) as server:
        before = ended()
        if base is ss.ThreadingTCPServer:
            client = Client(to)
        else:
            client = Datagrams(to)
            client.send(b"a request")
        server.handle_request()
        until(lambda before=before: ended() > before, "close_request")
        client.close()
