"""Slow and hostile HTTP clients: while they stay, honest ones are served, and nothing is lost."""

import contextlib
import itertools
import os
import resource
import select
import time

import mpy
import pytest
from conftest import ROOT, find_target, free_port
from siege import ROUNDS, SLOW, Marks, Protocol, Siege, Wrong

PROGRAM = ROOT / "tests" / "attacks" / "web.py"
PLACES = ["64k-i386", "cpython"]
FILE = bytes(range(256)) * 800  # 200 kB
HEAD = b"%s %s HTTP/1.1\r\nHost: x\r\n"


class Pages(Protocol):
    """A page, and now and then a file; each in a connection of its own."""

    stays = False
    turns = itertools.count()

    def ask(self, connection):
        path, page = ((b"/", b"an honest page\n"), (b"/page.txt", b"a file\n"))[
            next(self.turns) % 5 == 4
        ]
        if fetch(connection, path) != page:
            raise Wrong(path)


def fetch(connection, path):
    """Return the body that an honest client gets."""
    connection.sendall(HEAD % (b"GET", path) + b"Connection: close\r\n\r\n")
    data = b""
    while True:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 OK\r\n"):
        raise Wrong(data[:100])
    return body


class Web(Siege):
    """The server of tests/attacks/web.py under attack."""

    def __init__(self, port):
        Siege.__init__(self, Pages(), port)
        self.idle = 1  # who asks

    def fetch(self, path):
        """Return the body that a new client gets."""
        with self.connect() as client:
            return fetch(client, path)

    def stats(self):
        words = self.fetch(b"/stats").decode().split()
        return dict(zip(words[::2], map(int, words[1::2])))


# The attacks.


def endless_header(siege):
    """Two clients send a head without end: one line, and many."""
    for start, piece in ((b"X: ", b"x" * 500), (b"", b"X: y\r\n" * 100)):
        client = siege.client(HEAD % (b"GET", b"/") + start)
        client.settimeout(0.2)
        siege.at_work(client.sendall, piece)
    siege.served(5)


def half_requests(siege):
    """200 clients send half a request."""
    for i in range(200):
        siege.client((HEAD % (b"GET", b"/"))[: 5 + i % 25])
        if i % 50 == 49:
            siege.served(5)


def huge_length(siege):
    """Clients announce 1 GB; some of them send it, for as long as they are let."""
    length = b"Content-Length: 1000000000\r\n\r\n"
    for method in (b"POST", b"PUT"):
        for _ in range(5):
            siege.client(HEAD % (method, b"/") + length)
        client = siege.client(HEAD % (method, b"/") + length)
        client.settimeout(0.2)
        siege.at_work(client.sendall, bytes(5000))
    siege.served(5)


def slow_readers(siege):
    """50 clients ask for a file of 200 kB, and half of them read it byte by byte."""
    clients = [siege.client(HEAD % (b"GET", b"/big.bin") + b"\r\n", True) for _ in range(50)]

    def read():
        for client in clients[::2]:
            with contextlib.suppress(OSError):  # evicted
                if select.select([client], [], [], 0)[0]:
                    client.recv(1)
        time.sleep(0.1)

    siege.at_work(read)
    siege.served(5)


def half_bodies(siege):
    """100 clients send half of a body, in length or in chunks."""
    for i in range(100):
        kind = (b"Content-Length: 4000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfff\r\n")[
            i % 2
        ]
        siege.client(HEAD % ((b"POST", b"PUT")[i % 4 > 1], b"/") + kind + bytes(1500))
    siege.served(5)


def dripping(siege):
    """50 clients send a byte of a head, and of a body of each kind, every 100 ms."""
    begins = [HEAD % (b"GET", b"/") + b"X: "]
    for method in (b"POST", b"PUT"):
        for kind in (
            b"Content-Length: 4000\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\nfff\r\n",
        ):
            begins.append(HEAD % (method, b"/") + kind)
    clients = [siege.client(begins[i % 5]) for i in range(50)]

    def drip():
        for client in clients:
            with contextlib.suppress(OSError):  # evicted
                client.send(b"x")
        time.sleep(0.1)

    siege.at_work(drip)
    siege.served(5)


def pipelined(siege):
    """Clients send request after request and read no answer."""
    for path in (b"/", b"/big.bin"):
        client = siege.client(HEAD % (b"GET", path) + b"\r\n", True)
        client.settimeout(0.2)
        siege.at_work(client.sendall, (HEAD % (b"GET", path) + b"\r\n") * 10)
    siege.served(5)


def nonsense(siege):
    """100 clients send what is no request."""
    for i in range(100):
        siege.client(bytes([(i * 7 + k * k) % 256 for k in range(400)]) + b"\r\n\r\n")
    siege.served(5)


ATTACKS = [
    endless_header,
    half_requests,
    huge_length,
    slow_readers,
    half_bodies,
    dripping,
    pipelined,
    nonsense,
]


@pytest.fixture(scope="module")
def compiled():
    # A relative path: it ends up on the heap.
    return os.path.relpath(mpy.compile_lib(ROOT / "build" / "mpy"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_http_attack(start, compiled, tmp_path, attack, place):
    (tmp_path / "big.bin").write_bytes(FILE)
    (tmp_path / "page.txt").write_bytes(b"a file\n")
    port = free_port()
    path = os.path.relpath(PROGRAM)
    if place == "cpython":
        program = start(find_target("cpython"), path, port, tmp_path)
    else:
        heap, name = place.split("-")
        program = start(find_target(name), path, port, tmp_path, heap=heap, lib=compiled)
    program.wait_for("ready")
    siege = Web(port)
    try:
        assert siege.fetch(b"/big.bin") == FILE
        marks = Marks(program.process.pid)
        for _ in range(ROUNDS):
            siege.begin()
            try:
                attack(siege)
            finally:
                siege.end()
            assert not siege.failures, siege.failures
            stats = siege.calm()
            marks.add(int(siege.fetch(b"/heap")))
            if marks.steady(1):
                break
        print(
            "FIGURES %-15s %-8s worst %.3f s, over %d s: %d, again %d; evicted %d, timed_out %d, "
            "out_of_memory %d, errors %d, (heap, fds) %s"
            % (
                attack.__name__,
                place,
                siege.worst["new"],
                SLOW,
                siege.slow,
                siege.turned_away,
                stats["evicted"],
                stats["timed_out"],
                stats["out_of_memory"],
                stats["errors"],
                marks.marks,
            )
        )
        assert siege.fetch(b"/big.bin") == FILE
        marks.check()
        assert program.process.poll() is None
    except BaseException:
        print(program.output[-3000:])
        raise


@pytest.mark.parametrize("place", PLACES)
def test_descriptors_run_out(start, compiled, tmp_path, place):
    port = free_port()
    name = place.split("-")[-1]
    lib = {} if name == "cpython" else {"heap": "64k", "lib": compiled}
    program = start(find_target(name), os.path.relpath(PROGRAM), port, tmp_path, **lib)
    program.wait_for("ready")
    siege = Web(port)
    assert siege.fetch(b"/") == b"an honest page\n"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (24, hard))
    try:
        for _ in range(40):
            siege.client(b"")
        for _ in range(10):  # an error, for whose page no file of the library can be opened
            with contextlib.suppress(OSError), siege.connect() as client:
                client.sendall(b"nonsense\r\n\r\n")
                client.recv(100)
        for _ in range(10):
            try:
                assert siege.fetch(b"/") == b"an honest page\n"
            except (OSError, Wrong):  # who finds no descriptor is turned away, once
                assert siege.fetch(b"/") == b"an honest page\n"
    finally:
        siege.end()
        print(program.output[-3000:])
    assert program.process.poll() is None
