"""A server that was left by an exception, and its program's next run in the same interpreter."""

import os

from helper import Client, TracedHandler, address, path, raised, say, ss


def leave(server, to):
    """Let the exit of a handler end serve_forever, and forget the server."""
    server.failing = {"handle": SystemExit}
    client = Client(to)
    say("serve_forever:", raised(server.serve_forever))
    say("client got", client.rest())


def serve(cls, to):
    with cls(to, TracedHandler) as server:
        client = Client(to)
        server.handle_request()
        say("client got", client.rest())


say("# a Unix socket whose file is removed before a new one is made, as it is usual")
to = path("socket")
for _ in range(3):
    leave(ss.UnixStreamServer(to, TracedHandler), to)
    os.remove(to)
serve(ss.UnixStreamServer, to)
os.remove(to)

say("# and one that was closed as well")
for _ in range(2):
    server = ss.UnixStreamServer(to, TracedHandler)
    leave(server, to)
    server.server_close()
    os.remove(to)

say("# another one on another path and on another port")
left = ss.UnixStreamServer(to, TracedHandler)
leave(left, to)
serve(ss.UnixStreamServer, path("other"))
serve(ss.TCPServer, address())
say("the first one can still be used")
left.failing = {}
client = Client(to)
left.handle_request()
say("client got", client.rest())
left.server_close()
say("its file stays", "socket" in os.listdir(path("").rstrip("/")))

say("# two ports")
one, two = address(), address()
left = ss.TCPServer(one, TracedHandler)
leave(left, one)
serve(ss.TCPServer, two)
serve(ss.TCPServer, two)
left.failing = {}
client = Client(one)
left.handle_request()
say("client got", client.rest())
left.server_close()
serve(ss.TCPServer, one)
