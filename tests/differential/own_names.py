"""Attributes that users give to their servers and handlers, named as they please."""

from helper import Client, Thread, address, raised, say, ss

to = address()


class Upper(ss.StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())


def serve(cls, handler, title):
    """Let a server answer a client."""
    server = cls(to, handler)
    thread = Thread(server.serve_forever, 0.01)
    client = Client(to, b"one\n")
    client.socket.settimeout(1)
    say(title, raised(client.rest))
    client.close()
    raised(server.shutdown)
    thread.join()
    raised(server.server_close)


for base in (ss.TCPServer, ss.ThreadingTCPServer):
    for name in (
        "stats clients running "
        "_clients _count _join _lock _ready _report _running _start _stop _wait _waiting"
    ).split():

        class Own(base):
            base = base
            name = name

            def __init__(self, *args):
                self.base.__init__(self, *args)
                setattr(self, self.name, "a user's")

        serve(Own, Upper, "%s.%s" % (base.__name__, name))

for name in "stats count _buffer _count _inline _name _timeout".split():

    class OwnHandler(Upper):
        name = name

        def handle(self):
            setattr(self, self.name, "a user's")
            Upper.handle(self)

    serve(ss.TCPServer, OwnHandler, "Handler." + name)


class Lock:
    """A lock that complains where another would wait for ever."""

    held = False

    def __enter__(self):
        if self.held:
            raise RuntimeError("deadlock")
        self.held = True

    def __exit__(self, *args):
        self.held = False


class Locking(ss.ThreadingMixIn, ss.TCPServer):
    """A server with a lock of its own, held while it starts a thread."""

    def __init__(self, *args):
        ss.TCPServer.__init__(self, *args)
        self._lock = Lock()

    def process_request(self, request, client_address):
        with self._lock:
            ss.ThreadingMixIn.process_request(self, request, client_address)


serve(Locking, Upper, "a lock")
