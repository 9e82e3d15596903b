"""Slow and hostile HTTP clients: while they stay, honest ones are served, and nothing is lost."""

import contextlib
import itertools
import os
import resource
import select
import socket
import threading
import time

import mpy
import pytest
from conftest import ROOT, find_target, free_port

PROGRAM = ROOT / "tests" / "attacks" / "web.py"
PLACES = ["64k-i386", "cpython"]
SLOW = 1  # seconds in which everybody is to be answered: those who wait longer are counted
LIMIT = 5  # the same for a busy machine: the test fails
ASKED = 10  # honest requests in each round
TOLERANCE = 64  # bytes of heap
ROUNDS = 6  # at most: what is lost is lost in each, but tables and rooms are there once
FILE = bytes(range(256)) * 800  # 200 kB
HEAD = b"%s %s HTTP/1.1\r\nHost: x\r\n"

addresses = (
    "127.%d.%d.%d" % (a, b, c)
    for a in itertools.count(101)
    for b in range(1, 255)
    for c in range(1, 255)
)


class Siege:
    """A server under attack."""

    def __init__(self, port):
        self.port = port
        self.worst = 0.0
        self.slow = 0
        self.again = 0
        self._attackers = []
        self._threads = []
        self._over = threading.Event()

    def connect(self, tiny=False):
        """Return a connection from an address of its own; tiny: with little buffers."""
        client = socket.socket()
        client.settimeout(LIMIT)
        client.bind((next(addresses), 0))
        if tiny:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
        client.connect(("127.0.0.1", self.port))
        return client

    def client(self, data, tiny=False):
        """Let one more attacker begin, with some bytes."""
        client = self.connect(tiny)
        self._attackers.append(client)
        with contextlib.suppress(OSError):  # thrown out
            client.sendall(data)
        return client

    def at_work(self, function, *args):
        """Call function(*args) again and again in a thread until the end of the attack."""

        def work():
            with contextlib.suppress(OSError):  # the server may have thrown it out
                while not self._over.is_set():
                    function(*args)

        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def ask(self, path=b"/"):
        """Return the body that an honest client gets."""
        with self.connect() as client:
            client.sendall(HEAD % (b"GET", path) + b"Connection: close\r\n\r\n")
            data = b""
            while True:
                more = client.recv(65536)
                if not more:
                    break
                data += more
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n"), data[:100]
        return body

    def served(self):
        """Ask again and again; each time the answer must come in time."""
        for i in range(ASKED):
            path, page = ((b"/", b"an honest page\n"), (b"/page.txt", b"a file\n"))[i % 5 == 4]
            begin = time.monotonic()
            try:
                body = self.ask(path)
            except (OSError, AssertionError):
                # When the heap is full at the wrong moment a newcomer is turned away.
                self.again += 1
                body = self.ask(path)
            took = time.monotonic() - begin
            self.worst = max(self.worst, took)
            self.slow += took > SLOW
            assert body == page
            assert took < LIMIT
            time.sleep(0.02)

    def end(self):
        """Let the attackers go, and wait until the server has seen it."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for client in self._attackers:
            client.close()
        self._threads, self._attackers = [], []
        self._over.clear()
        end = time.monotonic() + LIMIT
        while self.stats()["active"] > 1:
            assert time.monotonic() < end, self.stats()
            time.sleep(0.01)

    def stats(self):
        """Return the server's counters."""
        words = self.ask(b"/stats").split()
        return {words[i].decode(): int(words[i + 1]) for i in range(0, len(words), 2)}


# The attacks.


def endless_header(siege):
    """Two clients send a head without end: one line, and many."""
    for start, piece in ((b"X: ", b"x" * 500), (b"", b"X: y\r\n" * 100)):
        client = siege.client(HEAD % (b"GET", b"/") + start)
        client.settimeout(0.2)
        siege.at_work(client.sendall, piece)
    siege.served()


def half_requests(siege):
    """200 clients send half a request."""
    for i in range(200):
        siege.client((HEAD % (b"GET", b"/"))[: 5 + i % 25])
        if i % 50 == 49:
            siege.served()


def huge_length(siege):
    """Clients announce 1 GB; some of them send it, for as long as they are let."""
    length = b"Content-Length: 1000000000\r\n\r\n"
    for method in (b"POST", b"PUT"):
        for _ in range(5):
            siege.client(HEAD % (method, b"/") + length)
        client = siege.client(HEAD % (method, b"/") + length)
        client.settimeout(0.2)
        siege.at_work(client.sendall, bytes(5000))
    siege.served()


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
    siege.served()


def half_bodies(siege):
    """100 clients send half of a body, in length or in chunks."""
    for i in range(100):
        kind = (b"Content-Length: 4000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfff\r\n")[
            i % 2
        ]
        siege.client(HEAD % ((b"POST", b"PUT")[i % 4 > 1], b"/") + kind + bytes(1500))
    siege.served()


def dripping(siege):
    """50 clients send a byte of a head, and of a body, every 100 ms."""
    body = HEAD % (b"POST", b"/") + b"Content-Length: 4000\r\n\r\n"
    clients = [siege.client((HEAD % (b"GET", b"/") + b"X: ", body)[i % 2]) for i in range(50)]

    def drip():
        for client in clients:
            with contextlib.suppress(OSError):  # evicted
                client.send(b"x")
        time.sleep(0.1)

    siege.at_work(drip)
    siege.served()


def pipelined(siege):
    """Clients send request after request and read no answer."""
    for path in (b"/", b"/big.bin"):
        client = siege.client(HEAD % (b"GET", path) + b"\r\n", True)
        client.settimeout(0.2)
        siege.at_work(client.sendall, (HEAD % (b"GET", path) + b"\r\n") * 10)
    siege.served()


def nonsense(siege):
    """100 clients send what is no request."""
    for i in range(100):
        siege.client(bytes([(i * 7 + k * k) % 256 for k in range(400)]) + b"\r\n\r\n")
    siege.served()


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
    siege = Siege(port)
    try:
        assert siege.ask(b"/big.bin") == FILE
        marks = []
        for _ in range(ROUNDS):
            try:
                attack(siege)
            finally:
                siege.end()
            descriptors = len(os.listdir("/proc/%d/fd" % program.process.pid))
            marks.append((int(siege.ask(b"/heap")), descriptors))
            grown = [marks[-1][i] - max(mark[i] for mark in marks[:-1] or marks) for i in (0, 1)]
            if len(marks) > 1 and grown[0] <= TOLERANCE and grown[1] <= 0:
                break
        stats = siege.stats()
        print(
            "FIGURES %-15s %-8s worst %.3f s, over %d s: %d, again %d; evicted %d, timed_out %d, "
            "out_of_memory %d, errors %d, (heap, fds) %s"
            % (
                attack.__name__,
                place,
                siege.worst,
                SLOW,
                siege.slow,
                siege.again,
                stats["evicted"],
                stats["timed_out"],
                stats["out_of_memory"],
                stats["errors"],
                marks,
            )
        )
        assert siege.ask(b"/big.bin") == FILE
        assert grown[0] <= TOLERANCE and grown[1] <= 0, "(heap, descriptors): %s" % marks
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
    siege = Siege(port)
    assert siege.ask() == b"an honest page\n"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE, (24, hard))
    try:
        for _ in range(40):
            siege.client(b"")
        for _ in range(10):  # an error, for whose page no file of the library can be opened
            with contextlib.suppress(OSError), siege.connect() as client:
                client.sendall(b"nonsense\r\n\r\n")
                client.recv(100)
        for _ in range(ASKED):
            try:
                assert siege.ask() == b"an honest page\n"
            except (OSError, AssertionError):  # who finds no descriptor is turned away, once
                assert siege.ask() == b"an honest page\n"
    finally:
        siege.end()
        print(program.output[-3000:])
    assert program.process.poll() is None
