"""Serves one protocol: besieged.py PROTOCOL PORT CONTROL FOLDER [CERTIFICATE].

PROTOCOL  see make(); with a certificate over TLS
CONTROL   a port for the test alone, served between the rounds: b"figures\\n" is answered with the
          bytes of heap in use, entries in the table and counters; b"clock 60\\n" sets the clock a
          minute forward; b"hold\\n" takes all descriptors but two until b"free\\n"
FOLDER    for files
Ctrl-C ends a server, and the next one begins in the same interpreter.

Time is a stand-in, see stand_in.py. SIGUSR1 has a handler.
"""

import gc
import sys
from os import getenv

if sys.argv[1] != "asyncio_serve":  # MicroPython's asyncio counts ticks in C, too
    import stand_in  # first: it is what all others take for time

import socketse
from socketse import AsyncStreamRequestHandler, Multiplexer, TCPServer

MICROPYTHON = sys.implementation.name == "micropython"
if MICROPYTHON:
    import ffi
    import micropython

    micropython.kbd_intr(3)  # with -m Ctrl-C would kill it
    # A handler in C, which does nothing: what the system does is interrupted all the same.
    libc = ffi.open(None)
    libc.func("p", "signal", "ip")(10, libc.addr("getpid"))
else:
    import signal

    signal.signal(signal.SIGUSR1, lambda *args: None)

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


def unix():
    return socketse.UnixStreamServer(folder + "/socket", plain(20))


def unix_plain():
    return socketse.UnixStreamServer(folder + "/socket", plain(0.2))


def unix_Threading():
    return socketse.ThreadingUnixStreamServer(folder + "/socket", plain(2))


def unix_Multiplexing():
    return socketse.MultiplexingUnixStreamServer(folder + "/socket", Echo)


class Datagram(socketse.DatagramRequestHandler):
    """Sends a datagram back."""

    def handle(self):
        """Serve one client."""
        self.wfile.write(self.packet)


def unixdatagram():
    return socketse.UnixDatagramServer(folder + "/socket", Datagram)


def unixdatagram_Threading():
    return socketse.ThreadingUnixDatagramServer(folder + "/socket", Datagram)


def udp_in_a_multiplexer():
    return several(socketse.UDPServer(address, socketse.services.EchoHandler))


def several(*servers):
    """Return a multiplexer of servers, which is closed as one."""
    hub = Multiplexer()
    for server in servers:
        hub.add(server)
    return hub


def several_servers():
    return several(
        TCPServer(address, Echo),
        socketse.UDPServer(address, socketse.services.EchoHandler),
        socketse.UnixStreamServer(folder + "/socket", plain(20)),
    )


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

    if kind == "http_threading":

        class HTTPServer(socketse.ThreadingMixIn, HTTPServer):
            """A thread for each."""

        Handler.timeout = 2
    elif kind == "http_plain":
        Handler.timeout = Handler.request_timeout = 0.2  # one after the other
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


def xmlrpc_plain():
    server = xmlrpc()
    server.RequestHandlerClass = patient(server.RequestHandlerClass, 0.2)  # one after the other
    return server


def xmlrpc_threading():
    from socketse.xmlrpc import SimpleXMLRPCServer

    class Server(socketse.ThreadingMixIn, SimpleXMLRPCServer):
        """A thread for each."""

    server = Server(address, logRequests=False)
    server.register_function(pow)
    server.RequestHandlerClass = patient(server.RequestHandlerClass, 2)
    return server


def patient(kind, seconds):
    """Return a handler that waits so long for its client."""

    class Handler(kind):
        """The same with a timeout."""

        timeout = request_timeout = seconds

    return Handler


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
    "handle_request": echo_patient,
    "unix": unix,
    "unix_plain": unix_plain,
    "unix_Threading": unix_Threading,
    "unix_Multiplexing": unix_Multiplexing,
    "unixdatagram": unixdatagram,
    "unixdatagram_Threading": unixdatagram_Threading,
    "udp_in_a_multiplexer": udp_in_a_multiplexer,
    "several_servers": several_servers,
    "asyncio_serve": echo_in_a_multiplexer,
    "poll_loop": echo_in_a_multiplexer,
    "http_plain": http,
    "http_threading": http,
    "xmlrpc_plain": xmlrpc_plain,
    "xmlrpc_threading": xmlrpc_threading,
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


held = [None] * 100  # made now: later the heap is full of attackers


def hold(all_of_them):
    """Take all descriptors but two, or give them back."""
    import socket

    taken = len(held) - held.count(None)
    left = 0
    try:
        while all_of_them:
            held[taken] = socket.socket()
            taken += 1
    except OSError:
        left = taken - 2
    while taken > left:
        taken -= 1
        held[taken].close()
        held[taken] = None


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
                stand_in.shift[0] = int(words[1])
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
    elif kind in ("udp_", "udp_Threading"):
        server = getattr(socketse, kind[4:] + "UDPServer")(address, socketse.services.EchoHandler)
    elif kind[:4] == "udp_":
        handler = getattr(socketse.services, kind[4:] + "Handler")
        server = several(socketse.UDPServer(address, handler))
    else:
        server = service(kind)
    if sys.argv[5:]:
        server.ssl_context = socketse.server_context(sys.argv[5])
    for one in getattr(server, "servers", (server,)):
        if one.socket_type == 1:
            # Linux would keep 3 MB for a client that does not read: boards have some kB.
            one.socket.setsockopt(1, 7, 32768)  # SO_SNDBUF
    return server


def serve(server):
    """Serve, in a multiplexer if there is none for a handler that is a coroutine."""
    loop = server
    if kind[-6:] != "_plain" and not hasattr(server, "process_request_thread"):
        if not hasattr(server, "when_full") and hasattr(server.RequestHandlerClass, "_se_blame"):
            loop = several(server)
    loop.service_actions = lambda: control.poll(0)
    gc.collect()
    print("ready %d" % runs)
    if kind == "asyncio_serve":
        import asyncio

        asyncio.new_event_loop()  # MicroPython keeps the tasks of the last run
        asyncio.run(loop.serve())
    while kind == "poll_loop":
        loop.poll(0.02)
    server.timeout = 0.02
    server.handle_timeout = lambda: control.poll(0)
    while kind == "handle_request":
        server.handle_request()
    loop.serve_forever(float(getenv("ROUND") or 0.02))


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
