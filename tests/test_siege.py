"""Every protocol under every attack; tests/attacks/README.md is the table.

One server, of tests/attacks/besieged.py, takes one attack after the other, while clients that send
a byte now and then, and clients that read nothing, stay all the while. Its ticks wrap around 1.5 s
after its start.
"""

import concurrent.futures
import contextlib
import os
import pathlib
import random
import resource
import select
import signal
import socket
import struct
import tempfile
import threading
import time

import mpy
import pytest
from conftest import ROOT, Program, certificates, connect, find_target, free_port, scale
from siege import LIMIT, RESET, ROUNDS, Marks, Protocol, Siege, Wrong
from test_fuzz import library

PROGRAM = ROOT / "tests" / "attacks" / "besieged.py"
PLACES = ["i386", "cpython"]
# Heaps in kB: what leaves some 30 to the clients. The test's own half takes 15. HTTP evicts for
# want of one long piece, and then even those who have just been served.
HEAP = 64
HEAPS = dict.fromkeys(("xmlrpc", "remote", "auth", "passwords"), 96)
HEAPS.update(http=128, page=96, Chargen=96, echo_threading=96, auth_threading=112)
HEAPS.update(remote_threading=128, http_plain=128, http_threading=160, xmlrpc_plain=96)
HEAPS.update(unix_Threading=96, xmlrpc_threading=128)
TLS = 48  # more
DESCRIPTORS = 100  # of a server at most
SERIES = 20  # requests at once
SLOW_MS = 1000  # between two bytes of some clients


class Plain(Protocol):
    """Lines to a server that handles one client after the other, for as long as it speaks."""

    stays = background = False
    crowd = 1


class Threading(Protocol):
    """Lines to a server with a thread for each."""

    crowd = 3


class PlainHTTP(Plain):
    """A file from a server that handles one client after the other."""

    request = b"GET /page.html HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = b"</html>\n"
    files = True


class Auth(Protocol):
    """Lines of who knows the secret."""

    starts = (b"AUTH 1 01", b"AUTH 1 0123456789abcdef0123456789abcdef -\n")
    start = starts[1]

    def open(self, connection):
        with connection.makefile("rwb") as file:
            library("auth").login(file, file, "secret", purpose=b"siege")


class AuthThreading(Auth):
    """The same with a thread for each."""

    crowd = 3


class HTTP(Protocol):
    """A file over HTTP/1.1."""

    request = b"GET /page.html HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = b"</html>\n"
    files = True
    start = b"GET / HTTP/1.1\r\n"
    endless = b"X: y\r\n" * 100


class Page(HTTP):
    """The board's page."""

    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


CALL = (
    b"<?xml version='1.0'?><methodCall><methodName>pow</methodName><params>"
    b"<param><value><int>2</int></value></param><param><value><int>9</int></value></param>"
    b"</params></methodCall>"
)


class XMLRPC(HTTP):
    """A call of a function: one in each connection, as with CPython's."""

    stays = files = False
    series = 1
    request = (
        b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s"
    )
    request %= (len(CALL), CALL)
    starts = (request[: -len(CALL)], request[:-20])
    start = b"POST /RPC2 HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"
    endless = b"<" * 500
    answer = b"</methodResponse>\n"


class ThreadingHTTP(HTTP):
    """A file, with a thread for each."""

    crowd = 3


class PlainXMLRPC(XMLRPC):
    """A call, one client after the other."""

    background = False
    crowd = 1


class ThreadingXMLRPC(XMLRPC):
    """A call, with a thread for each."""

    crowd = 3


def frame(kind, body):
    return b"%08d%s%s" % (len(body), kind, body)


class Remote(Protocol):
    """A call of an object's method."""

    request = frame(b"P", b'["RUN",0,"double",[21]]')
    answer = frame(b"P", b"42")
    hello = frame(b"V", b"1") + frame(b"P", b'["NEW"]')
    starts = (hello[:4], hello[:12], hello)
    start = hello + b"00002000S"
    crowd = 10

    def open(self, connection):
        connection.sendall(self.hello)
        came = b""
        while b'"Thing","' not in came:
            data = connection.recv(4096)
            if not data:
                raise Wrong("closed after %r" % came)
            came += data
        while not came.endswith(b"]"):
            came += connection.recv(4096)


class RemoteThreading(Remote):
    """The same with a thread for each."""

    crowd = 3


class Passwords(Protocol):
    """A change of a password that is refused: of two changes at once one would be."""

    request = b"USER anna\r\nPASS the password\r\nNEWPASS short\r\n"
    answer = b"500 a new password needs 8 bytes\r\n"
    starts = (b"USER anna\r\nPASS",)

    def open(self, connection):
        while not connection.recv(1) == b"\n":
            continue


class Discard(Protocol):
    """What is sent is gone."""

    stays = False
    series = 1

    def stages(self):
        return Protocol.stages(self)[:-1]

    def read(self, connection):
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(1)


class Told(Protocol):
    """What is sent without a request."""

    request = b""
    stays = False
    series = 1
    answer = 74

    def ask(self, connection):
        self.look(self.read(connection))


class Chargen(Told):
    """Lines without end: who takes them is at work, and keeps its place for a second."""

    crowd = 10


class Daytime(Told):
    """The time as text."""

    answer = 26

    def mask(self, data):
        return len(data)


class Time(Daytime):
    """The time as a number."""

    answer = 4


# Of each what tests/attacks/besieged.py serves; tls: over TLS.
PROTOCOLS = {
    "echo_plain": Plain,
    "echo_threading": Threading,
    "echo_multiplexing": Protocol,
    "unix_plain": Plain,
    "unix_Threading": Threading,
    "unix_Multiplexing": Protocol,
    "auth": Auth,
    "auth_threading": AuthThreading,
    "http": HTTP,
    "http_plain": PlainHTTP,
    "http_threading": ThreadingHTTP,
    "page": Page,
    "xmlrpc": XMLRPC,
    "xmlrpc_plain": PlainXMLRPC,
    "xmlrpc_threading": ThreadingXMLRPC,
    "remote": Remote,
    "remote_threading": RemoteThreading,
    "passwords": Passwords,
    "Echo": Protocol,
    "Discard": Discard,
    "Chargen": Chargen,
    "Daytime": Daytime,
    "Time": Time,
}
OVER_TLS = ["echo_in_a_multiplexer", "echo_threading", "http", "xmlrpc", "remote", "auth"]
OVER_TLS += ["passwords", "page"]


class Besieged(Siege):
    """A server of tests/attacks/besieged.py, with a connection beside its protocol."""

    def __init__(self, protocol, program, port, control, tls):
        self.program = program
        self.seen = None  # the last figures
        self.random = random.Random(4711)
        self._control = connect(control)
        self._control_lock = threading.Lock()
        if tls:
            protocol.crowd = min(protocol.crowd, 3)  # handshakes take long
        Siege.__init__(self, protocol, port, tls)
        self.tls = tls
        self.threads = "Threading" in type(protocol).__name__

    def close(self):
        Siege.close(self)
        self._control.close()

    def tell(self, line):
        """Send a line to the server's control and return the answer."""
        with self._control_lock:
            self._control.sendall(line)
            answer = b""
            while not answer.endswith(b"\n"):
                data = self._control.recv(4096)
                assert data, "the control connection is closed"
                answer += data
            return answer

    def stats(self):
        words = self.tell(b"figures\n").decode().split()
        self.seen = dict(zip(words[::2], map(int, words[1::2])))
        return self.seen

    def crowd(self, attack):
        """Let attack(a client) be done by a crowd at each stage, and see who is served."""
        for stage in self.stages():
            for _ in range(max(1, self.protocol.crowd // 5)):
                with contextlib.suppress(OSError):  # evicted or thrown out
                    attack(self.entered(stage))
            if not self.protocol.background:  # they would wait for each of them
                self.served()
                self.release()
        self.served()

    def settled(self, stats):
        """Return True if the counters add up."""
        lost = self.made - stats["accepted"]
        # CPython refuses to make a TLS connection of one that was reset.
        most = self.made if self.tls else stats["out_of_memory"] + stats["errors"]
        threads = len(os.listdir("/proc/%d/task" % self.program.process.pid))
        return 0 <= lost <= most and stats["entries"] <= self.idle and threads <= 1 + self.idle


# The attacks.


def vanish(siege):
    """Clients go at each stage."""
    siege.crowd(lambda client: client.close())


def resets(siege):
    """Clients reset the connection at each stage."""

    def attack(client):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        client.close()

    siege.crowd(attack)


def half_close(siege):
    """Clients say at each stage that they send no more, and stay."""
    siege.crowd(lambda client: socket.socket.shutdown(client, socket.SHUT_WR))


def silent(siege):
    """Clients say no more at each stage, and stay."""
    siege.crowd(lambda client: None)


def endless(siege):
    """A client begins and comes to no end: it is thrown out, or may go on as the last."""
    if not siege.protocol.background and not siege.program.heap:
        return  # CPython's files have no longest line: as long as it sends, it is the only one
    client = siege.entered("secured" if siege.tls else "connected")
    with contextlib.suppress(OSError):
        client.sendall(siege.protocol.start)
    client.settimeout(0.2)
    siege.at_work(client.sendall, siege.protocol.endless)
    siege.served(2)


def noise(siege):
    """Clients send random bytes, from the first on, and at each stage."""

    def attack(client):
        n = siege.random.randrange(1, 2000)
        data = siege.random.getrandbits(8 * n).to_bytes(n, "little")
        socket.socket.send(client, data)  # over TLS: no records

    siege.crowd(attack)
    if siege.tls:
        siege.crowd(lambda client: client.send(os.urandom(500)))


def pipelined(siege):
    """Honest clients send many requests at once, others theirs byte by byte."""
    protocol = siege.protocol
    request = protocol.request or b"who needs no request"
    for pieces in (
        (request * SERIES,),
        [request[i : i + 1] for i in range(len(request))],
    ):
        for _ in range(2):  # when the heap is full a newcomer may have to come again
            with contextlib.suppress(OSError, Wrong):
                send_in_pieces(siege, pieces)
                break
        else:
            send_in_pieces(siege, pieces)
    siege.served()


def send_in_pieces(siege, pieces):
    """Be a client that sends its requests so, and gets its answers."""
    protocol = siege.protocol
    with siege.enter() as client:
        for piece in pieces:
            # It may have been answered and closed before all is sent.
            with contextlib.suppress(*[OSError] * (protocol.series == 1)):
                client.sendall(piece)
        for _ in range(protocol.series if len(pieces) == 1 else 1):
            came = b""
            size = protocol.length
            while len(came) < size:
                data = client.recv(size - len(came))
                if not data:
                    raise Wrong("closed after %r" % came)
                came += data
            protocol.look(came)


def clock(siege):
    """Somebody sets the clock, forward and back."""
    for shift in (86400, -86400, 10**9, -(10**8), 0):
        siege.tell(b"clock %d\n" % shift)
        siege.served()


def descriptors(siege):
    """All descriptors are in use, by clients and by others."""
    if siege.protocol.files or siege.threads and siege.program.heap:
        # Files need descriptors, too. unix: each collection lets a thread's wait begin anew.
        return
    siege.tell(b"hold\n")
    try:
        for _ in range(siege.protocol.crowd):
            siege.client()
        siege.served()
    finally:
        siege.tell(b"free\n")
    siege.served()


def signals(siege):
    """Signals that have a handler come all the time."""

    def send():
        siege.program.process.send_signal(signal.SIGUSR1)
        siege._over.wait(0.002)

    siege.at_work(send)
    siege.served(3)


ATTACKS = [vanish, resets, half_close, silent, endless, noise, pipelined, clock, descriptors]
ATTACKS.append(signals)


def surround(siege):
    """Let clients stay that send a byte every 100 ms or 1 s, and one that reads nothing."""
    protocol = siege.protocol
    slow = []
    for stage in ("secured" if siege.tls else "connected", siege.stages()[-1]):
        for _ in range(max(1, protocol.crowd // 10)):
            slow.append((siege.entered(stage), iter((protocol.request or b"x") * 1000)))

    def drip(some, seconds):
        for client, data in some:
            with contextlib.suppress(OSError):  # evicted
                client.send(bytes([next(data)]))
        siege._over.wait(seconds)

    deaf = siege.entered(siege.stages()[-1], tiny=True)

    def send():
        if select.select([], [deaf], [], 0.1)[1]:
            deaf.send((protocol.request or b"x") * 10)

    deaf.settimeout(0.2)
    siege.at_work(drip, slow[::2], 0.1)
    siege.at_work(drip, slow[1::2], SLOW_MS / 1000)
    siege.at_work(send)


@pytest.fixture(scope="module")
def compiled():
    # The program too, as small heaps want it. A relative path: it ends up on the heap.
    certificates()  # once, and not in several threads
    into = ROOT / "build" / "besieged"
    mpy.compile_lib(into)
    mpy.compile_file(PROGRAM, into / "besieged.mpy", "besieged")
    mpy.compile_file(PROGRAM.parent / "stand_in.py", into / "stand_in.mpy", "stand_in")
    return os.path.relpath(into)


CASES = [(name, False) for name in PROTOCOLS] + [(name, True) for name in OVER_TLS]
LONG = ("Echo", "Discard", "Daytime", "Time")  # on CPython with --all: they differ little there
CASES = [
    (case, place)
    for case in CASES
    for place in PLACES
    if place != "cpython" or scale() > 1 or case[0] not in LONG
]


def begin(lib, name, tls, place, folder):
    """Return (the program, its port, its control's)."""
    port, control = free_port(), free_port()
    args = [name, port, control, folder] + [certificates() / "server.pem"] * tls
    with lock:
        target = find_target(place)
    if place == "cpython":
        program = Program(target.command([PROGRAM, *args]), target.environment())
    else:
        heap = HEAPS.get(name, HEAP) + TLS * tls
        heap = "%dk" % (heap * 2 if place == "unix64" else heap)  # words of 8 bytes
        command = target.command(["-m", "besieged", *args], heap)
        program = Program(command, target.environment(lib))
    program.heap = place != "cpython"
    return program, port, control


def besiege(lib, case, place):
    """Let a server be attacked, round by round, until nothing grows."""
    name, tls = case
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "page.html").write_text("<html>%s</html>\n" % ("text " * 100))
        program, port, control = begin(lib, name, tls, place, folder)
        stack.callback(program.kill)
        program.wait_for("ready")
        pid = program.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, limits[1]))
        attack = siege = None
        try:
            protocol = PROTOCOLS[name.replace("echo_in_a_multiplexer", "echo_multiplexing")]()
            where = str(folder / "socket") if name[:5] == "unix_" else port
            siege = Besieged(protocol, program, where, control, tls)
            stack.callback(siege.close)
            marks = Marks(pid)
            for _ in range(ROUNDS):
                siege.begin()
                for attack in ATTACKS:
                    if protocol.background and not siege._working:
                        surround(siege)
                    attack(siege)
                    if not protocol.background:
                        siege.release()
                siege.end()
                assert not siege.failures, siege.failures
                stats = siege.calm(siege.settled)
                marks.add(stats["heap"])
                if marks.steady(scale()):
                    break
            marks.check()
            assert program.process.poll() is None
        except BaseException as e:
            with contextlib.suppress(AssertionError, OSError):
                if siege:
                    siege.stats()
            raise AssertionError(
                "%s: %r, status %s, turned away %s of %s, %s\n%s"
                % (
                    attack and attack.__name__,
                    e,
                    program.process.poll(),
                    siege and siege.turned_away,
                    siege and siege.made,
                    siege and siege.seen,
                    program.output[-3000:],
                )
            ) from e
    return (
        "worst new %.3f staying %.3f, slow %d of %d; made %d, turned away %d, %s, (heap, fds) %s"
        % (
            siege.worst["new"],
            siege.worst["staying"],
            siege.slow,
            siege.answers,
            siege.made,
            siege.turned_away,
            ", ".join("%s %d" % item for item in stats.items() if item[1]),
            marks.marks,
        )
    )


class Flooded:
    """A server of datagrams, and attackers that send thousands in a second."""

    def __init__(self, program, port, control, right):
        self.program, self.port, self.right = program, port, right
        self.over = threading.Event()
        self.control = control
        self.worst = 0.0

    def client(self):
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.connect(("127.0.0.1", self.port))
        client.settimeout(0.2)
        return client

    def flood(self, seed):
        rnd = random.Random(seed)
        with self.client() as client:
            while not self.over.wait(0.005):  # or nothing honest gets into the system's queue
                for _ in range(20):
                    with contextlib.suppress(OSError):
                        client.send(bytes(rnd.choice((0, 1, 100, 1472, 1473, 9000))))

    def served(self):
        """See to it that an honest client, which asks again, is answered."""
        began = time.monotonic()
        with self.client() as client:
            while True:
                client.send(QUESTION)
                with contextlib.suppress(OSError):
                    answer = client.recv(100)
                    assert self.right(answer), answer
                    break
                assert time.monotonic() - began < LIMIT, "no answer"
        self.worst = max(self.worst, time.monotonic() - began)

    def figures(self):
        """Return the figures once all that came is done."""
        end = time.monotonic() + LIMIT
        while True:
            self.control.sendall(b"figures\n")
            answer = b""
            while not answer.endswith(b"\n"):
                answer += self.control.recv(4096)
            words = answer.decode().split()
            stats = dict(zip(words[::2], map(int, words[1::2])))
            if not stats["active"]:
                return stats
            assert time.monotonic() < end, stats


def is_now(data):
    return abs(struct.unpack(">I", data[:4])[0] - 2208988800 - time.time()) < 60


QUESTION = b"\x23" + bytes(39) + b"my stamp"  # as an SNTP client asks; the others take anything
DATAGRAMS = {
    "udp_": lambda data: data == QUESTION,
    "udp_Threading": lambda data: data == QUESTION,
    "udp_in_a_multiplexer": lambda data: data == QUESTION,
    "udp_Daytime": lambda data: len(data) == 26,
    "udp_Time": is_now,
    "udp_SNTP": lambda data: data[24:32] == QUESTION[40:] and is_now(data[40:]),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", DATAGRAMS)
def test_flood_of_datagrams(compiled, tmp_path, name, place):
    program, port, control = begin(compiled, name, False, place, tmp_path)
    try:
        program.wait_for("ready")
        with connect(control) as connection:
            server = Flooded(program, port, connection, DATAGRAMS[name])
            marks = Marks(program.process.pid)
            for _ in range(ROUNDS):
                server.over.clear()
                threads = [threading.Thread(target=server.flood, args=(n,)) for n in range(2)]
                for thread in threads:
                    thread.start()
                try:
                    for _ in range(40 * scale()):
                        server.served()
                        server.over.wait(0.01)
                finally:
                    server.over.set()
                    for thread in threads:
                        thread.join()
                server.served()
                stats = server.figures()
                marks.add(stats["heap"])
                if marks.steady(1):
                    break
            print("FIGURES", name, place, server.worst, stats, marks.marks)
            assert stats["truncated"] and stats["accepted"] > 10 * scale()
            marks.check()
    except BaseException:
        print(program.output[-3000:])
        raise
    finally:
        program.kill()


WIDTH = 4  # sieges at once: they mostly wait
lock = threading.Lock()
pool = concurrent.futures.ThreadPoolExecutor(WIDTH)
begun = {}


@pytest.mark.parametrize(
    "case, place", CASES, ids=["%s%s-%s" % (c[0], "_tls" * c[1], p) for c, p in CASES]
)
def test_siege(request, compiled, case, place):
    items = [
        item for item in request.session.items if getattr(item, "originalname", "") == "test_siege"
    ]
    at = items.index(request.node)
    for item in items[at : at + WIDTH]:
        key = item.callspec.params["case"], item.callspec.params["place"]
        if key not in begun:
            begun[key] = pool.submit(besiege, compiled, *key)
    print("FIGURES", request.node.name, begun[case, place].result())
