"""What handle_error prints if nobody overrides it. The lines of the traceback itself differ."""

from helper import Client, Datagrams, Serving, address, say, ss, until

to = address()


class Fails(ss.StreamRequestHandler):
    def handle(self):
        raise ValueError(self.rfile.readline().decode().strip())


class FailsInSetup(ss.BaseRequestHandler):
    def setup(self):
        raise TypeError("in setup")


class FailsDeeper(ss.BaseRequestHandler):
    def handle(self):
        self.deeper(3)

    def deeper(self, n):
        if not n:
            raise RuntimeError("deep down")
        self.deeper(n - 1)


class Ended(ss.ThreadingTCPServer):
    """Counts the requests that are over."""

    ended = 0

    def close_request(self, request):
        ss.ThreadingTCPServer.close_request(self, request)
        self.ended += 1


with ss.TCPServer(to, Fails) as server:
    for text in (b"the first\n", b"the second\n"):
        client = Client(to, text)
        server.handle_request()
        say("client got", client.rest())
    for handler in (FailsInSetup, FailsDeeper):
        server.RequestHandlerClass = handler
        client = Client(to)
        server.handle_request()
        say("client got", client.rest())

say("# in a thread")
server = Ended(to, Fails)
with Serving(server):
    say("client got", Client(to, b"in a thread\n").rest())
    until(lambda: server.ended)

say("# for a datagram")
with ss.UDPServer(to, FailsDeeper) as server:
    client = Datagrams(to)
    client.send(b"data")
    server.handle_request()
    client.close()
