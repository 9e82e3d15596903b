"""Every call into socket, select, _thread, time and ssl fails once, in each way that ports know.

For n = 1, 2, 3, ... the n-th call of a scenario fails, until it passes without having reached the
n-th. After each: honest clients are served, the counters add up, and no descriptor, table entry,
thread or piece of heap is left behind. See faulty.py for what fails how.
"""

import errno
import gc
import os
import platform
import sys
import time

import faulty
import support
from faulty import plan
from support import MICROPYTHON, SCALE, free

faulty.install()

import socketse  # noqa: E402
from socketse import (  # noqa: E402
    AsyncStreamRequestHandler,
    BaseRequestHandler,
    DatagramRequestHandler,
    Multiplexer,
    MultiplexingTCPServer,
    RemoteServer,
    StreamRequestHandler,
    TCPServer,
    ThreadingRemoteServer,
    ThreadingTCPServer,
    ThreadingUDPServer,
    UDPServer,
    Users,
    auth,
    client_context,
    connect,
    guard,
    message,
    page,
    passwords,
    server_context,
)
from socketse.http import (  # noqa: E402
    BaseHTTPRequestHandler,
    HTTPServer,
    MultiplexingHTTPServer,
    ThreadingHTTPServer,
)
from socketse.xmlrpc import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer  # noqa: E402

SECONDS = 10  # in which a scenario is over
HEAP = 64  # bytes that may come and go
EMULATED = MICROPYTHON and "-arm-" in platform.platform()  # slow: mostly under qemu
WIDTHS = (1, 3) if SCALE > 1 and not EMULATED else (1,)  # how many calls fail in a row
CLIENTS = 2 if support.BOARD else 3  # at once; rp2 has five connections, of which some have ended
REPLY = b"a reply\n"


def quiet(server):
    """Return the server, which prints no tracebacks, and counts its handlers."""
    finish_request = server.finish_request

    def count(*args):
        with faulty.lock:
            plan.handlers += 1
        finish_request(*args)

    server.finish_request = count
    server.handle_error = nothing
    return server


def nothing(*args):
    """Do nothing."""


# Handlers.


class Echo(StreamRequestHandler):
    """Two lines, with files."""

    def handle(self):
        for _ in range(2):
            self.wfile.write(self.rfile.readline())


class Spoken(Echo):
    """The same, begun when the client has spoken."""

    client_speaks_first = True


class Raw(BaseRequestHandler):
    """Two lines, with the socket itself."""

    def handle(self):
        data = b""
        while data.count(b"\n") < 2:
            more = self.request.recv(64)
            if not more:
                return
            data += more
        self.request.sendall(data)


class AsyncEcho(AsyncStreamRequestHandler):
    """Lines, until the client closes."""

    async def handle(self):
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            self.wfile.write(line)
            await self.wfile.drain()
            if line == b"bye\n":
                return


SECRET = auth.Secret("a secret")


class Known(auth.AuthMixIn, AsyncEcho):
    """Lines of who knows the secret."""

    auth = SECRET


class KnownPlain(auth.AuthMixIn, Echo):
    """The same, with files."""

    auth = SECRET


class Status(page.PageHandler):
    """The status page."""


class Changes(passwords.PasswordHandler):
    """Changes of passwords."""


class Datagram(DatagramRequestHandler):
    """A datagram."""

    def handle(self):
        self.wfile.write(self.rfile.read())


class Page(BaseHTTPRequestHandler):
    """A page."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(REPLY)

    def log_message(self, *args):
        """Log nothing."""


class Call(SimpleXMLRPCRequestHandler):
    """A call."""

    def log_message(self, *args):
        """Log nothing."""


class Thing:
    """What sessions are about."""

    def double(self, x):
        return 2 * x


# Clients, who never wait: the server's own thread drives them between its rounds.


class Talk:
    """A client of a stream: sends each of pieces when what it sent before has come back."""

    def __init__(self, address, pieces, answer=None, asks=""):
        self.pieces = list(pieces)
        self.answer = b"".join(pieces) if answer is None else answer
        self.came = b""
        self.wanted = 0
        self.state = "waits"
        self.socket = self.connect(address)
        self.socket.setblocking(False)
        self.send()

    def connect(self, address):
        s = support.socket.socket()
        if MICROPYTHON:
            address = support.socket.getaddrinfo(address[0], address[1])[0][-1]
        s.connect(address)
        return s

    def send(self):
        if self.pieces:
            piece = self.pieces.pop(0)
            self.wanted += len(piece)
            try:
                self.socket.send(piece)
            except OSError as e:
                if e.errno == 11:
                    raise
                self.over("closed")

    def over(self, state):
        self.state = state
        self.socket.close()

    def step(self):
        """Do what can be done now."""
        if self.state != "waits":
            return
        try:
            data = self.socket.recv(4096)
        except OSError as e:
            if e.errno != 11:
                self.over("closed")
            return
        self.take(data)

    def take(self, data):
        """Look at what has come."""
        if not data:
            self.over("closed")
            return
        self.came += data
        if not self.answer.startswith(self.came):
            raise AssertionError("%r came for %r" % (self.came, self.answer))
        if self.came == self.answer:
            self.over("served")
        elif len(self.came) >= self.wanted:
            self.send()


class UnixTalk(Talk):
    """The same over a Unix socket."""

    def connect(self, address):
        s = support.socket.socket(support.socket.AF_UNIX, support.socket.SOCK_STREAM)
        if MICROPYTHON:
            address = b"\1\0" + address.encode() + b"\0"
        s.connect(address)
        return s


class TLSTalk(Talk):
    """The same over TLS."""

    def send(self):
        if not self.wanted:
            raw = self.raw = self.socket
            raw.setblocking(False)
            if MICROPYTHON:
                from socketse.tlssocket import Wire

                # Whose end we are to close: the port would do so once, or twice.
                raw = Wire(raw, True)
            self.socket = TRUST[0].wrap_socket(
                raw, server_hostname="localhost", do_handshake_on_connect=False
            )
        self.left = self.pieces.pop(0)
        self.wanted += len(self.left)

    def over(self, state):
        Talk.over(self, state)
        if MICROPYTHON:
            self.raw.close()

    def step(self):
        """Do what can be done now."""
        if self.state != "waits":
            return
        try:
            if not MICROPYTHON:
                self.socket.do_handshake()
            if self.left:
                done = self.socket.write(self.left) or 0
                self.left = self.left[done:]
            data = self.socket.recv(4096)
        except (OSError, ValueError) as e:
            if isinstance(e, ValueError) or e.errno not in (2, 3, 11):  # 2, 3: OpenSSL's waits
                self.over("closed")
            return
        if data is not None:
            self.take(data)


class LoginTalk(Talk):
    """The same, by one who proves first that it knows the secret."""

    secret = "a secret"
    refused = "closed"  # its state then

    def __init__(self, address, pieces, answer):
        login = auth.Login(self.secret)
        self.takes = [login.second, login.last]  # of the server's lines
        self.line = b""
        Talk.__init__(self, address, [login.first()] + pieces, b"".join(pieces))

    def step(self):
        """Do what can be done now."""
        plan.spared = faulty.get_ident()  # to compute the proof is to look at the clock
        Talk.step(self)
        plan.spared = None

    def take(self, data):
        """Look at what has come."""
        if not data:
            self.over("closed")
        while data and self.takes:
            self.line += data[:1]
            data = data[1:]
            if self.line[-1:] == b"\n":
                try:
                    proof = self.takes.pop(0)(self.line)
                except OSError:
                    self.over(self.refused)
                    return
                self.line = b""
                if proof:
                    self.pieces.insert(0, proof)
                self.wanted = 0
                self.send()
        if data:
            Talk.take(self, data)


class Refused(LoginTalk):
    """One who does not know the secret: to be told so is to be served."""

    secret = "another one"
    refused = "served"


class Whole(Talk):
    """A client that sends all at once and reads until the end: it begins and ends with answer."""

    def take(self, data):
        """Look at what has come."""
        self.came += data
        if not data:
            begin, end = self.answer
            right = self.came.startswith(begin) and self.came.endswith(end)
            self.over("served" if right else "closed")


class TLSWhole(TLSTalk):
    """The same over TLS."""

    take = Whole.take


class Ask:
    """A client of datagrams: asks again if nothing comes."""

    def __init__(self, address, data):
        self.data = data
        self.state = "waits"
        self.rounds = 0
        s = self.socket = support.socket.socket(support.socket.AF_INET, support.socket.SOCK_DGRAM)
        if MICROPYTHON:
            address = support.socket.getaddrinfo(address[0], address[1])[0][-1]
        s.connect(address)
        s.setblocking(False)

    def step(self):
        """Do what can be done now."""
        if self.state != "waits":
            return
        try:
            if self.rounds % 20 == 0:
                self.socket.send(self.data)
            self.rounds += 1
            data = self.socket.recv(4096)
        except OSError:
            return
        if data != self.data:
            raise AssertionError("%r came for %r" % (data, self.data))
        self.state = "served"
        self.socket.close()


# How a program lets a server serve until step(), between rounds, says that it is over.


def forever(server, step):
    """serve_forever()"""

    def actions():
        if step():
            server.shutdown()

    server.service_actions = actions
    server.serve_forever(0.001)


def requests(server, step):
    """handle_request(), again and again: it says so if it cannot wait."""
    server.timeout = 0.001
    while not step():
        try:
            server.handle_request()
        except (OSError, MemoryError):
            if plan.error is None:
                raise


def rounds(hub, step):
    """Multiplexer.poll(), again and again."""
    hub.service_actions = nothing
    while not step():
        hub.poll(0.001)


def beside_tasks(hub, step):
    """Multiplexer.serve(), in asyncio."""

    def actions():
        if step():
            hub.shutdown()

    asyncio = faulty.with_real_modules("asyncio")
    if MICROPYTHON:
        asyncio.new_event_loop()  # Ctrl-C leaves its queue as it was
    hub.service_actions = actions
    asyncio.run(hub.serve())


def apart(server, step):
    """serve_forever(), with clients in a thread: it may wait for them in the middle of a round."""
    record = {"stop": False, "done": False, "error": None}

    def work():
        begun = False
        try:
            while not record["stop"]:
                begun = begun or server._se_poller
                if begun and step():
                    break
                time.sleep(0.001)
        except BaseException as e:
            record["error"] = e
        record["done"] = True

    def actions():
        if record["done"]:
            server.shutdown()

    server.service_actions = actions
    faulty.start_client(work)
    try:
        server.serve_forever(0.001)
    finally:
        record["stop"] = True
        support.wait_until(lambda: record["done"], what="the clients to stop")
    if record["error"]:
        raise record["error"]


# Scenarios.


class One:
    """A server with three clients of its own kind."""

    def __init__(
        self,
        kind,
        handler,
        pieces,
        client=Talk,
        answer=None,
        counts=True,
        drive=forever,
        many=CLIENTS,
    ):
        self.kind, self.handler = kind, handler
        self.pieces, self.client, self.answer = pieces, client, answer
        self.drive, self.many = drive, many
        # The server's files count their bytes: CPython's do not.
        self.counts = counts and (MICROPYTHON or not issubclass(handler, Echo))
        self.address = free()

    def make(self):
        return quiet(self.kind(self.address, self.handler))

    def close(self, server):
        server.server_close()

    def clients(self):
        if self.client is Ask:
            return [Ask(self.address, piece) for piece in self.pieces]
        return [self.client(self.address, self.pieces, self.answer) for _ in range(self.many)]


class Many:
    """A multiplexer with a server of each kind, for whom one client or two come."""

    counts = MICROPYTHON

    def __init__(self, *services, drive=forever):
        self.services = services
        self.drive = drive
        self.addresses = [free() for _ in services]

    def make(self):
        hub = Multiplexer(8 if TRUST else None)  # with TLS, see secure()
        opened = []
        try:
            for (kind, handler, _, _), address in zip(self.services, self.addresses):
                opened.append(kind(address, handler))
                hub.add(quiet(opened[-1]))
        except BaseException:
            hub.close()
            for server in opened:
                server.server_close()
            raise
        return hub

    def close(self, server):
        server.close()

    def clients(self):
        clients = []
        for (_, _, client, pieces), address in zip(self.services, self.addresses):
            clients.append(client(address, pieces))
        if CLIENTS > 2:
            clients.append(self.services[0][2](self.addresses[0], [b"three\n", b"four\n"]))
        return clients


class Session(One):
    """A RemoteServer, and sessions as bytes: a client of the library's would wait."""

    def __init__(self, kind=RemoteServer, client=Whole, **options):
        frames = [message.dumps(["NEW"], 256), message.dumps(["RUN", 0, "double", [21]], 256)]
        frames.append(message.dumps(["BYE"], 256))
        frames[0] = b"00000001V1" + frames[0]
        begin = b"00000001V1"
        end = message.dumps(42, 256) + message.dumps(None, 256)
        One.__init__(self, kind, Thing, [b"".join(frames)], client, (begin, end), **options)


TRUST = []  # what TLSTalk takes certificates by, and the server's context


def secure(kind):
    """Return a class of servers like kind, with TLS."""
    if not TRUST:
        TRUST.append(client_context(support.certificate("cert.pem")))
        TRUST.append(faulty.tls(server_context(support.certificate("server.pem"))))

    class TLSServer(kind):
        ssl_context = TRUST[1]
        max_connections = 8  # unix: as many places are made in its poller's table

    return TLSServer


def tls(kind, handler, drive=forever):
    """Return a server with TLS and two clients: a handshake takes long."""
    return One(secure(kind), handler, LINES, TLSTalk, **over_tls(drive))


def over_tls(drive):
    """Return the options of a scenario over TLS."""
    return {"counts": False, "drive": drive, "many": 2}


def until_done(clients, begun):
    """Return what is to be called between a server's rounds: True when the clients are done."""
    end = time.time() + SECONDS

    def step():
        begun[0] = True
        waiting = False
        for client in clients:
            client.step()
            waiting = waiting or client.state == "waits"
        if time.time() > end:
            raise AssertionError("no end: %s" % [client.state for client in clients])
        return not waiting

    return step


def serve(case, server, clients):
    """Serve clients; return the server, which is another one after some Ctrl-Cs."""
    while True:
        begun = [False]
        try:
            case.drive(server, until_done(clients, begun))
            return server
        except (OSError, MemoryError):
            if begun[0] or plan.error is None:
                raise
            # It could not begin, and said so.
        except KeyboardInterrupt:
            if isinstance(plan.error, faulty.Interrupt):
                server = case.make()


def make(case):
    """Return a server. One whose construction fails says so, and the next one is made."""
    before = faulty.fds()
    try:
        return case.make()
    except (Exception, KeyboardInterrupt) as e:
        plan.on = False
        if plan.error is None or not isinstance(e, (OSError, MemoryError, KeyboardInterrupt)):
            raise
    assert faulty.fds() == before, "a server that could not be made leaves descriptors"
    return case.make()


def run(case):
    """Let clients be served while a call fails, then others, and look at what is left."""
    plan.on = True
    first = server = make(case)
    clients = case.clients()
    server = serve(case, server, clients)
    plan.on = False
    wait_for_threads()  # one may be in the middle of the call that fails
    error = plan.error
    interrupted = isinstance(error, KeyboardInterrupt)
    lost = len([client for client in clients if client.state != "served"])
    # Who is in the middle of it may be lost; for memory, another one too, and for one who cannot
    # be accepted one whose handshake goes on: it has said nothing yet.
    failed = case.width - plan.left
    tls = getattr(getattr(server, "servers", [server])[0], "ssl_context", None)
    another = tls and plan.name in ("accept", "setblocking", "settimeout")
    allowed = 2 * failed if another or isinstance(error, MemoryError) else failed
    assert interrupted or lost <= allowed, "%d clients are not served" % lost
    if interrupted:
        server = serve(case, server, [])  # a thread's Ctrl-C may not have been noticed yet
    honest = case.clients()
    server = serve(case, server, honest)
    states = [client.state for client in honest]
    assert states.count("served") == len(states), "%s: %s" % (plan, states)
    wait_for_threads()
    if server is first:
        look(case, server)
    plan.on = plan.error is None
    try:
        case.close(server)
    except (Exception, KeyboardInterrupt):
        if not plan.on or plan.error is None:
            raise
        plan.on = False
        case.close(server)
    plan.on = False
    assert not plan.poisoned, "a poller whose register failed is used: %s" % plan.poisoned
    wait_for_threads()
    hub = getattr(server, "_se_hub", None)
    assert not hub or not hub.map and not hub.count, hub.map


def wait_for_threads():
    """Wait for all that were started to end."""
    support.wait_until(lambda: faulty.threads[0] == 0, what="the threads to end")


def look(case, server):
    """Look at the counters and tables of a server that has served its clients."""
    servers = getattr(server, "servers", [server])
    total = {"out_of_memory": 0}
    for stats in [one.stats for one in servers] + ([] if server in servers else [server.stats]):
        if stats is server.stats and server not in servers:
            total["out_of_memory"] = stats["out_of_memory"]  # the sum, and the multiplexer's own
            continue
        for name in stats:
            total[name] = total.get(name, 0) + stats[name]
    # The last one may have gone a moment ago.
    for _ in range(1000):
        if not sum(one.stats["active"] for one in servers):
            break
        server.service_actions = server.shutdown
        server.serve_forever(0.001)
    assert not sum(one.stats["active"] for one in servers), [one.stats for one in servers]
    hub = getattr(server, "_se_hub", None)
    if hub:
        known = [one.socket for one in servers]
        assert len(hub.map) == len(known) and all(one in hub.map for one in known), hub.map
        assert not (hub.count or hub.start or hub.open or hub.next)
    assert not getattr(server, "_se_waiting", ()), server._se_waiting
    error = plan.error
    if isinstance(error, KeyboardInterrupt):
        return
    told = total["errors"] + total["out_of_memory"] + total["timed_out"] + total["evicted"]
    every = sum(one.stats["accepted"] for one in servers)
    most = every
    if servers[0].ssl_context is not None:
        most *= 2  # finish_request is called again after the handshake
    assert every - told <= plan.handlers <= most, (plan.handlers, total)
    taken = sum(one.stats["accepted"] for one in servers if not isinstance(one, UDPServer))
    assert 0 <= plan.accepted - taken <= told, (plan.accepted, total)
    if error is None or plan.name == "start_new_thread" or isinstance(error, faulty.Meanwhile):
        assert told == 0, total  # without a thread the serving one does it
    if case.counts and not isinstance(error, MemoryError):
        sent = sum(one.stats["bytes_out"] for one in servers)
        came = sum(one.stats["bytes_in"] for one in servers)
        assert sent == plan.sent and came <= plan.received, (plan.sent, plan.received, total)


def heap():
    """Return the bytes in use; CPython does not tell."""
    if support.BOARD:
        faulty.forget()
    gc.collect()
    return gc.mem_alloc() if MICROPYTHON else 0


def sweep(case, run=run, names=None, quick=False, thin=0):
    """Let each call fail in turn, in each way, until there is no such call.

    thin  but for make test-all only the first of so many calls, of later ones fewer, and those in
          one way each: for a scenario most of whose calls fail in another one too
    """
    if EMULATED and SCALE == 1 and not quick:
        raise support.Skip("time, under emulation: make test-all takes it")
    case.width = 0
    for name in plan.seen:
        plan.seen[name] = False
    plan.begin("", 0, None, 0)
    run(case)  # what is loaded when it is needed is there now
    case.fds = faulty.fds()
    case.heap = heap()
    calls = 0
    names = [name for name in names or sorted(faulty.KINDS) if SCALE > 1 or plan.seen[name]]
    case.thin = thin if SCALE == 1 else 0
    case.turn = 0
    for name in names:
        at = 1
        while fail(case, run, name, at):
            at += case.thin + at // 4 if case.thin else 1
            calls += 1
    print("\n%d calls" % calls)
    assert calls, "none was made to fail"


def fail(case, run, name, at):
    """Let one call fail in each way. Return False if there is no such call."""
    kinds = list(faulty.KINDS[name]) if run is not stopped else [HERE, ELSEWHERE]
    if EMULATED and at > 4:
        return False
    if at > 1 and (SCALE == 1 or EMULATED):
        kinds = kinds[at % 3 :: 3] or kinds[:1]
    if case.thin:
        case.turn += 1
        kinds = [kinds[case.turn % len(kinds)]]
    for kind in kinds:
        for case.width in (1, 3) if name == "close" else WIDTHS:
            if case.width > 1 and (
                getattr(kind, "error", kind) in faulty.CTRL_C or run is stopped
            ):
                continue
            for tries in range(5):
                plan.begin(name, at, kind, case.width)
                print("%s %d %r" % (name, at, kind), end=", ")  # should it hang
                run(case)
                left = faulty.fds() - case.fds
                assert not left, "%s: descriptors %s are left" % (plan, left)
                # Tables grow once: what is lost is lost each time.
                now = heap()
                if now <= case.heap + (HEAP if tries else 0):
                    break
                grown = now - case.heap
                case.heap = now
            else:
                raise AssertionError("%s: %d bytes of heap are lost" % (plan, grown))
            if plan.error is None:
                return False
    return True


# shutdown() at every moment: in the thread that makes the call, and in another one.
HERE = faulty.Meanwhile("shutdown() here")
ELSEWHERE = faulty.Meanwhile("shutdown() elsewhere")


def stopped(case):
    """Let shutdown() be called during a call. Who is there is served when it serves again."""
    server = make(case)
    others = []

    def elsewhere():
        others.append(support.thread(server.shutdown))
        support.wait_until(lambda: server._se_stop or others[0]["done"], what="shutdown to begin")

    HERE.do, ELSEWHERE.do = server.shutdown, elsewhere
    clients = case.clients()
    plan.on = True
    while any(client.state == "waits" for client in clients):
        serve(case, server, clients)
    plan.on = False
    assert all(client.state == "served" for client in clients), [c.state for c in clients]
    support.wait_until(lambda: not others or others[0]["done"], what="shutdown to end")
    wait_for_threads()
    server._se_stop = False  # it came after the last round
    look(case, server)
    case.close(server)
    wait_for_threads()


LINES = [b"one\n", b"two\n"]
MIXED = (
    (TCPServer, AsyncEcho, Talk, LINES),
    (TCPServer, Echo, Talk, [b"one\ntwo\n"]),
    (UDPServer, Datagram, Ask, b"datagram"),
)
THREADS = (
    (TCPServer, AsyncEcho, Talk, LINES),
    (ThreadingTCPServer, Echo, Talk, [b"one\ntwo\n"]),
    (ThreadingUDPServer, Datagram, Ask, b"datagram"),
)


def test_tcp():
    sweep(One(TCPServer, Echo, [b"one\ntwo\n"]))


def test_tcp_without_files():
    sweep(One(TCPServer, Raw, [b"one\ntwo\n"], counts=False))


def test_tcp_with_async_handler():
    sweep(One(TCPServer, AsyncEcho, [b"one\ntwo\nbye\n"]))


def test_udp():
    sweep(One(UDPServer, Datagram, LINES, Ask), quick=True)


def test_multiplexing():
    sweep(One(MultiplexingTCPServer, AsyncEcho, LINES))


def test_multiplexer():
    sweep(Many(*MIXED))


def test_threads():
    sweep(One(ThreadingTCPServer, Echo, [b"one\ntwo\n"]))


def test_threads_with_async_handler():
    sweep(One(ThreadingTCPServer, AsyncEcho, [b"one\ntwo\nbye\n"]))


def test_udp_threads():
    sweep(One(ThreadingUDPServer, Datagram, LINES, Ask))


def test_session():
    """A session with a remote object."""
    sweep(Session())


def call(case):
    """Use a remote object while a call of the client's fails, then again."""
    plan.ident = case.ident
    plan.on = True
    try:
        case.use()
    except (OSError, MemoryError, KeyboardInterrupt):
        if plan.error is None:
            raise
    finally:
        plan.on = False
    case.use()
    support.wait_until(lambda: not case.server.stats["active"], what="the sessions to end")
    support.wait_until(lambda: len(faulty.fds()) <= len(case.fds), what="the descriptors")


class Use:
    """A client of a RemoteServer, the library's own."""

    def __init__(self, server):
        self.server = server
        self.ident = faulty.get_ident()
        self.fds = range(1000)

    def use(self):
        with connect(*self.server.server_address) as thing:
            assert thing.double(21) == 42


def test_remote_client():
    with support.serving(RemoteServer(free(), Thing)) as server:
        sweep(Use(server), call)


def test_tls():
    sweep(tls(MultiplexingTCPServer, AsyncEcho), thin=2)


def test_tls_one_by_one():
    sweep(tls(TCPServer, Echo, apart), thin=9)


def test_tls_threads():
    sweep(tls(ThreadingTCPServer, Echo, apart), thin=9)


def test_tls_multiplexer():
    secured = secure(TCPServer)
    services = (secured, AsyncEcho, TLSTalk, LINES), (secured, Spoken, TLSTalk, [b"one\ntwo\n"])
    case = Many(*(services + MIXED[:1]))
    case.counts = False
    sweep(case, thin=6)


def make_contexts(case):
    """Make contexts while a call fails, then again: each time either one comes or an exception."""
    plan.on = True
    try:
        case.use()
    except (OSError, ValueError, MemoryError, KeyboardInterrupt):
        if plan.error is None:
            raise
    finally:
        plan.on = False
    case.use()
    if not MICROPYTHON:
        assert not os.listdir(case.folder), "the key is left in a file"


class Contexts:
    """A server's SSLContext, and a client's."""

    def __init__(self):
        if not MICROPYTHON:
            import tempfile

            self.folder = tempfile.tempdir = tempfile.mkdtemp()

    def use(self):
        server_context(support.certificate("server.pem"), None, support.certificate("clients.pem"))
        client_context(support.certificate("cert.pem"), support.certificate("client.pem"))

    def close(self):
        if not MICROPYTHON:
            os.rmdir(self.folder)


def test_tls_contexts():
    case = Contexts()
    try:
        sweep(case, make_contexts)
    finally:
        case.close()


def http(kind, client=Whole, **options):
    request = b"GET / HTTP/1.0\r\n\r\n"
    answer = b"HTTP/1.0 200 ", b"\r\n\r\n" + REPLY
    return One(kind, Page, [request], client, answer, **options)


def test_http():
    """Requests over HTTP."""
    sweep(http(HTTPServer))


def test_http_multiplexing():
    sweep(http(MultiplexingHTTPServer))


def test_http_threads():
    sweep(http(ThreadingHTTPServer))


def test_http_over_tls():
    sweep(http(secure(HTTPServer), TLSWhole, **over_tls(apart)), thin=9)
    sweep(http(secure(MultiplexingHTTPServer), TLSWhole, **over_tls(forever)), thin=9)


def test_session_over_tls():
    sweep(Session(secure(RemoteServer), TLSWhole, **over_tls(forever)), thin=9)


class Calls(One):
    """A SimpleXMLRPCServer."""

    def __init__(self):
        body = b"<methodCall><methodName>double</methodName><params><param><value><int>21</int>"
        body += b"</value></param></params></methodCall>"
        head = b"POST /RPC2 HTTP/1.0\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n"
        answer = b"HTTP/1.0 200 ", b"<int>42</int></value></param></params></methodResponse>\n"
        One.__init__(self, SimpleXMLRPCServer, Call, [head % len(body) + body], Whole, answer)

    def make(self):
        server = One.make(self)
        server.register_function(Thing().double, "double")
        return server


def test_xmlrpc():
    sweep(Calls())


class Path(One):
    """A server of a Unix socket with three clients."""

    def __init__(self, name, handler, pieces):
        if support.BOARD:
            raise support.Skip("Unix-domain sockets")
        One.__init__(self, getattr(socketse, name), handler, pieces, UnixTalk)
        self.address = "/tmp/socketse-faults-%d" % self.address[1]

    def make(self):
        try:
            return One.make(self)
        except BaseException:
            self.remove()  # as programs do: neither CPython nor we know whose file it is
            raise

    def close(self, server):
        One.close(self, server)
        self.remove()

    def remove(self):
        try:
            os.unlink(self.address)
        except OSError as e:
            if e.errno != errno.ENOENT:
                raise


def test_unix():
    sweep(Path("UnixStreamServer", Echo, [b"one\ntwo\n"]))


def test_unix_threads():
    sweep(Path("ThreadingUnixStreamServer", Echo, [b"one\ntwo\n"]))


def test_unix_multiplexing():
    sweep(Path("MultiplexingUnixStreamServer", AsyncEcho, LINES))


def test_handle_request():
    for case in (
        One(TCPServer, Echo, [b"one\ntwo\n"], drive=requests),
        One(UDPServer, Datagram, LINES, Ask, drive=requests),
        One(MultiplexingTCPServer, AsyncEcho, LINES, drive=requests),
    ):
        sweep(case, thin=2)


def test_handle_request_with_threads():
    sweep(One(ThreadingTCPServer, Echo, [b"one\ntwo\n"], drive=requests), thin=2)


def test_polled_multiplexer():
    sweep(Many(*MIXED, drive=rounds), thin=2)


def test_multiplexer_beside_tasks():
    sweep(Many(*MIXED, drive=beside_tasks), thin=2)


def test_threads_in_a_multiplexer():
    sweep(Many(*THREADS), thin=2)


def test_select_instead_of_poll():
    if MICROPYTHON:
        raise support.Skip("select.select instead of select.poll")
    faulty.without_poll()
    names = ["select", "register", "modify", "unregister"]
    sweep(Many(*MIXED), names=names)
    sweep(One(ThreadingTCPServer, Echo, [b"one\ntwo\n"]), names=names)


def status_page():
    request = b"HEAD /stats.json HTTP/1.1\r\nHost: x\r\n\r\nGET /stats.json HTTP/1.0\r\n\r\n"
    return One(MultiplexingTCPServer, Status, [request], Whole, (b"HTTP/1.1 200 ", b"}]}"))


def test_status_page():
    sweep(status_page(), thin=2)


def assert_nobody_tries():
    busy = [entry for entry in guard.table.values() if entry[2] is not None]
    assert not busy, "a try that does not end: %s" % guard.table


class Passwords(One):
    """A server that changes passwords, with one client: its address has one try at a time."""

    def __init__(self):
        lines = b"USER ann\r\nPASS password\r\nNEWPASS password\r\nQUIT\r\n"
        answer = b"200 hello", b"200 changed\r\n200 bye\r\n"
        One.__init__(self, MultiplexingTCPServer, Changes, [lines], Whole, answer, many=1)
        self.path = "/tmp/socketse-faults-%d" % self.address[1]
        Changes.users = Users(self.path, 1)
        Changes.users.set("ann", "password")

    def close(self, server):
        One.close(self, server)
        assert_nobody_tries()
        assert Changes.users.names() == ["ann"]
        assert Changes.users.check_now("ann", "password")
        support.raises(OSError, os.stat, self.path + ".new")


def change_passwords(**options):
    case = Passwords()
    try:
        sweep(case, **options)
    finally:
        os.remove(case.path)


def test_passwords():
    change_passwords()


class Logins(One):
    """A server whose clients have to log in: an address has one try at a time."""

    def make(self):
        guard.table.clear()  # each failure makes the next try wait longer
        return One.make(self)

    def close(self, server):
        One.close(self, server)
        assert_nobody_tries()


def test_login():
    sweep(Logins(MultiplexingTCPServer, Known, LINES, LoginTalk), thin=3)


def test_login_in_threads():
    sweep(Logins(ThreadingTCPServer, KnownPlain, [b"one\ntwo\n"], LoginTalk, drive=apart), thin=3)


def test_refused_login():
    sweep(Logins(MultiplexingTCPServer, Known, LINES, Refused, many=1), thin=3)


def test_rooms_whose_locks_find_no_memory():
    """Such a room is not there, and is loaded when somebody asks for it again."""
    support.rooms_are_files()
    for name in ("socketse.workers", "socketse.threads", "socketse.guard", "socketse.users"):
        sys.modules.pop(name, None)
        plan.begin("allocate_lock", 1, MemoryError, 1)
        plan.on = True
        support.raises(MemoryError, __import__, name)
        plan.on = False
        assert plan.error is not None and name not in sys.modules
        __import__(name)
        assert name in sys.modules


def test_session_in_a_thread():
    sweep(Session(ThreadingRemoteServer))


def test_shutdown_of_tcp():
    sweep(One(TCPServer, Echo, [b"one\ntwo\n"]), stopped)
    sweep(One(TCPServer, AsyncEcho, [b"one\ntwo\nbye\n"]), stopped)


def test_shutdown_of_udp():
    sweep(One(UDPServer, Datagram, LINES, Ask), stopped)


def test_shutdown_of_multiplexing():
    sweep(One(MultiplexingTCPServer, AsyncEcho, LINES), stopped)


def test_shutdown_of_a_multiplexer():
    sweep(Many(*MIXED), stopped)


def test_shutdown_of_threads():
    sweep(One(ThreadingTCPServer, Echo, [b"one\ntwo\n"]), stopped)


def test_shutdown_of_handlers_in_threads():
    sweep(One(ThreadingTCPServer, AsyncEcho, [b"one\ntwo\nbye\n"]), stopped)
    sweep(One(ThreadingUDPServer, Datagram, LINES, Ask), stopped)


def test_shutdown_of_threads_in_a_multiplexer():
    sweep(Many(*THREADS), stopped)


def test_shutdown_of_sessions():
    sweep(Session(), stopped)
    sweep(Session(ThreadingRemoteServer), stopped)


def test_shutdown_of_tls():
    sweep(tls(MultiplexingTCPServer, AsyncEcho), stopped, thin=9)
    sweep(tls(ThreadingTCPServer, Echo, apart), stopped, thin=9)


def test_shutdown_of_http():
    for kind in (HTTPServer, MultiplexingHTTPServer, ThreadingHTTPServer):
        sweep(http(kind), stopped, thin=2)


def test_shutdown_of_the_status_page():
    sweep(status_page(), stopped, thin=2)


def test_shutdown_of_logins():
    sweep(Logins(MultiplexingTCPServer, Known, LINES, LoginTalk), stopped, thin=9)
    sweep(
        Logins(ThreadingTCPServer, KnownPlain, [b"one\ntwo\n"], LoginTalk, drive=apart),
        stopped,
        thin=9,
    )


def test_shutdown_of_passwords():
    change_passwords(run=stopped, thin=2)


def test_shutdown_beside_tasks():
    sweep(Many(*MIXED, drive=beside_tasks), stopped, thin=2)


def test_shutdown_of_a_polled_multiplexer():
    sweep(Many(*MIXED, drive=rounds), stopped, thin=2)


def test_shutdown_of_xmlrpc():
    sweep(Calls(), stopped, thin=2)


def test_shutdown_of_unix():
    sweep(Path("UnixStreamServer", Echo, [b"one\ntwo\n"]), stopped)
    sweep(Path("ThreadingUnixStreamServer", Echo, [b"one\ntwo\n"]), stopped)
    sweep(Path("MultiplexingUnixStreamServer", AsyncEcho, LINES), stopped)
