"""Serves one protocol: besieged.py PROTOCOL PORT CONTROL FOLDER [CERTIFICATE].

PROTOCOL  see make(); with a certificate over TLS
CONTROL   a port for the test alone, served between the rounds: b"figures\\n" is answered with the
          bytes of heap in use, entries in the table and counters; b"clock 60\\n" sets the clock a
          minute forward; b"hold\\n" takes all descriptors but two until b"free\\n"
FOLDER    for files
Ctrl-C ends a server, and the next one begins in the same interpreter.

Time is a stand-in: ticks have a period of 2**30 ms, as on boards, and begin 1.5 s before its end.
"""

import gc
import sys
import time

MICROPYTHON = sys.implementation.name == "micropython"
PERIOD = 1 << 30
real_time = time.time
shift = [0]  # seconds that the clock is ahead


def shifted():
    return real_time() + shift[0]


if MICROPYTHON:
    import micropython

    micropython.kbd_intr(3)  # with -m Ctrl-C would kill it
    real_ticks = time.ticks_ms
    first = real_ticks()

    def ticks_ms():
        return (real_ticks() - first - 1500) & (PERIOD - 1)

    def ticks_add(a, b):
        return (a + b) & (PERIOD - 1)

    def ticks_diff(a, b):
        return ((a - b + (PERIOD >> 1)) & (PERIOD - 1)) - (PERIOD >> 1)

    class Module:
        """Time as all modules see it from now on."""

    stand_in = Module()
    for name in dir(time):
        if name[0] != "_":
            setattr(stand_in, name, getattr(time, name))
    stand_in.ticks_ms, stand_in.ticks_add, stand_in.ticks_diff = ticks_ms, ticks_add, ticks_diff
    stand_in.time = shifted
    sys.modules["time"] = stand_in
else:
    from socketse import host  # not port: that takes what is there

    first = int(time.monotonic() * 1000)
    host.ticks_ms = lambda: (int(time.monotonic() * 1000) - first - 1500) & (PERIOD - 1)
    host.ticks_add = lambda a, b: (a + b) & (PERIOD - 1)
    host.ticks_diff = lambda a, b: ((a - b + (PERIOD >> 1)) & (PERIOD - 1)) - (PERIOD >> 1)
    time.time = shifted

import socketse  # noqa: E402
from socketse import AsyncStreamRequestHandler, Multiplexer, TCPServer  # noqa: E402

kind, number, control_number, folder = sys.argv[1:5]
address = ("127.0.0.1", int(number))


class Echo(AsyncStreamRequestHandler):
    """Sends each line back."""

    async def handle(self):
        """Serve one client."""
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            self.wfile.write(line)
            await self.wfile.drain()


def plain(timeout):
    class Plain(socketse.StreamRequestHandler):
        """Sends each line back."""

        def handle(self):
            """Serve one client."""
            for line in self.rfile:
                self.wfile.write(line)

    Plain.timeout = timeout
    return Plain


def echo_plain():
    return TCPServer(address, plain(0.2))  # one after the other


def echo_patient():
    return TCPServer(address, plain(20))  # for clients that a busy machine lets wait


def echo_threading():
    return socketse.ThreadingTCPServer(address, plain(2))


def echo_in_a_multiplexer():
    return TCPServer(address, Echo)


def echo_multiplexing():
    return socketse.MultiplexingTCPServer(address, Echo)


def auth():
    class Handler(socketse.AuthMixIn, Echo):
        """Sends back the lines of who knows the secret."""

        auth = socketse.Secret("secret")
        purpose = b"siege"

    return TCPServer(address, Handler)


def auth_threading():
    class Handler(socketse.AuthMixIn, plain(2)):
        """The same in threads."""

        auth = socketse.Secret("secret")
        purpose = b"siege"

    return socketse.ThreadingTCPServer(address, Handler)


def http():
    from socketse.http import HTTPServer, SimpleHTTPRequestHandler

    class Handler(SimpleHTTPRequestHandler):
        """Sends files."""

        protocol_version = "HTTP/1.1"
        directory = folder

        def log_message(self, format, *args):
            """Log nothing."""

    return HTTPServer(address, Handler)


def page():
    class Handler(socketse.PageHandler):
        """Sends the page."""

        page = folder + "/page.html"

    return TCPServer(address, Handler)


def xmlrpc():
    from socketse.xmlrpc import SimpleXMLRPCServer

    server = SimpleXMLRPCServer(address, logRequests=False)
    server.register_function(pow)
    return server


class Thing:
    """What a client of remote objects gets."""

    def double(self, x):
        """Return twice x."""
        return 2 * x


def remote():
    return socketse.RemoteServer(address, Thing)


def remote_threading():
    return socketse.ThreadingRemoteServer(address, Thing, session_timeout=2)


def passwords():
    class Handler(socketse.PasswordHandler):
        """Changes passwords."""

        users = socketse.Users(folder + "/users", 1)

    Handler.users.set("anna", "the password")
    return TCPServer(address, Handler)


def service(name):
    return TCPServer(address, getattr(socketse.services, name + "Handler"))


SERVERS = {
    "echo_plain": echo_plain,
    "echo_patient": echo_patient,
    "echo_threading": echo_threading,
    "echo_in_a_multiplexer": echo_in_a_multiplexer,
    "echo_multiplexing": echo_multiplexing,
    "auth": auth,
    "auth_threading": auth_threading,
    "http": http,
    "page": page,
    "xmlrpc": xmlrpc,
    "remote": remote,
    "remote_threading": remote_threading,
    "passwords": passwords,
}


held = []


def hold(all_of_them):
    """Take all descriptors but two, or give them back."""
    import socket

    try:
        while all_of_them:
            held.append(socket.socket())
    except OSError:
        for _ in range(2):
            held.pop().close()
    while held and not all_of_them:
        held.pop().close()


class Control(AsyncStreamRequestHandler):
    """For the test: a client of its own, in a multiplexer of its own."""

    timeout = None

    async def handle(self):
        """Answer lines."""
        while True:
            words = (await self.rfile.readline()).split()
            if not words:
                return
            if words[0] == b"clock":
                shift[0] = int(words[1])
                self.wfile.write(b"done\n")
                continue
            if words[0] in (b"hold", b"free"):
                hold(words[0] == b"hold")
                self.wfile.write(b"done\n")
                continue
            gc.collect()
            gc.collect()  # CPython's tells not how much it uses
            self.tell("heap", gc.mem_alloc() if hasattr(gc, "mem_alloc") else 0)
            hub = getattr(server, "_se_hub", None)
            self.tell("entries", len(hub.map) - 1 if hub else 0)
            self.tell("memory", hub.stats["out_of_memory"] if hub else 0)
            for name in server.stats:
                self.tell(name, server.stats[name])
            self.wfile.write(b"\n")

    def tell(self, name, n):
        # In pieces: a full heap has no room for a long line.
        self.wfile.write(b"%s %d " % (name.encode(), n))


def make():
    """Return the server."""
    if kind in SERVERS:
        server = SERVERS[kind]()
    elif kind[:4] in ("udp_", "unix"):
        name = kind[4:].replace("_", "")
        to, handler = address, Echo
        if kind[:4] == "udp_":
            name += "UDPServer"
            handler = socketse.services.EchoHandler
        else:
            name += "UnixStreamServer"
            to = folder + "/socket"
        server = getattr(socketse, name)(to, handler)
    else:
        server = service(kind)
    if sys.argv[5:]:
        server.ssl_context = socketse.server_context(sys.argv[5])
    if server.socket_type == 1:
        # Linux would keep 3 MB for a client that does not read: boards have some kB.
        server.socket.setsockopt(1, 7, 32768)  # SO_SNDBUF
    return server


def serve(server):
    """Serve, in a multiplexer if there is none for a handler that is a coroutine."""
    loop = server
    if hasattr(server.RequestHandlerClass, "_se_blame") and server.socket_type == 1:
        if not hasattr(server, "process_request_thread") and not hasattr(server, "when_full"):
            loop = Multiplexer()
            loop.add(server)
    loop.service_actions = lambda: control.poll(0)
    gc.collect()
    print("ready")
    loop.serve_forever(0.02)


if kind[:4] in ("auth", "pass"):
    socketse.guard.MAX_ADDRESSES = 4  # what it knows of attackers is no leak
TCPServer.request_queue_size = 128  # Linux lets those who find no room in it wait for a second
control = Multiplexer(2)
control.add(TCPServer(("127.0.0.1", int(control_number)), Control))
runs = 0
while True:
    try:
        server = make()
        serve(server)
    except KeyboardInterrupt:  # Ctrl-C, and the program is run again
        runs += 1
        print("interrupted", runs)
