"""What ends a server, and what does not: SystemExit and KeyboardInterrupt in every place."""

from helper import (
    Client,
    ErrorsSaid,
    Serving,
    Thread,
    TracedHandler,
    address,
    kind,
    raised,
    say,
    ss,
    until,
)

to = address()


class Server(ErrorsSaid, ss.TCPServer):
    def shutdown_request(self, request):
        say("shutdown_request")
        ss.TCPServer.shutdown_request(self, request)


server = Server(to, TracedHandler)
for error in (SystemExit, KeyboardInterrupt, GeneratorExit, ValueError):
    for place in ("setup", "handle", "finish"):
        for serve in (server.handle_request, server.serve_forever):
            if error is ValueError and serve == server.serve_forever:
                continue
            say("#", error.__name__, "in", place)
            server.failing = {place: error}
            client = Client(to)
            try:
                serve()
                say("returned")
            except BaseException as e:
                say("raised", kind(e), e.args)
            say("client got", client.rest())

say("# in process_request")


def leave(self, request, client_address):
    say("leave")
    raise SystemExit(3)


Server.process_request = leave
client = Client(to)
say(raised(server.handle_request))
say("client got", client.rest())
Server.process_request = ss.TCPServer.process_request

say("# in service_actions")
Server.service_actions = lambda self: leave(self, None, None)
say(raised(server.serve_forever, 0.01))
Server.service_actions = ss.TCPServer.service_actions

say("# it serves as if nothing had been")
server.failing = {}
with Serving(server):
    for _ in range(3):
        say("client got", Client(to).rest())

say("# an exit in the thread of serve_forever")
server = Server(to, TracedHandler)
server.failing = {"handle": SystemExit}
thread = Thread(server.serve_forever)
client = Client(to)
thread.join()
say("client got", client.rest())
say("# shutdown finds it ended")
server.shutdown()
say("# it can be closed, and another one takes its place")
server.server_close()
with Server(to, TracedHandler) as server:
    client = Client(to)
    server.handle_request()
    say("client got", client.rest())

say("# errors in handlers' threads end nothing")


class Threading(ss.ThreadingMixIn, Server):
    pass


server = Threading(to, TracedHandler)
ended = []
Threading.close_request = lambda self, request: (
    ss.TCPServer.close_request(self, request),
    ended.append(1),
)
with Serving(server):
    for failing in ({"handle": SystemExit}, {"setup": SystemExit}, {"finish": ValueError}, {}):
        server.failing = failing
        done = len(ended)
        say("client got", Client(to).rest())
        until(lambda done=done: len(ended) > done)
