"""Servers at every heap size from the smallest that begins on: they serve, or say why not.

In steps of 64 bytes, with --all of 16. Of servers that need more or came later: in steps of 256
bytes, HTTP, XML-RPC, remote objects and AuthMixIn of 512, all these with --all of 64; TLS, whose
sessions take many kB, of 8 kB, with --all of 1 kB.

At each size clients leave at each stage of their protocol, and others want more memory than there
is. When they are gone, others are served, the counters add up, and one more round leaves no
descriptor, entry in the table of connections, thread or byte of heap (64 may come and go) behind.
Where there is no room to serve anybody, all the rest holds.
"""

import concurrent.futures
import contextlib
import os
import re
import socket
import ssl
import tempfile
import time

import mpy
import pytest
from conftest import ROOT, Program, certificates, free_port, scale
from siege import ROUNDS, Marks, Protocol, Wrong
from test_siege import HTTP, XMLRPC, Auth, Remote

PROGRAMS = ROOT / "tests" / "attacks"
COARSE = 512  # bytes
ABOVE = 6144  # bytes above the smallest: there all has room
SECONDS = 20
TRIES = 10  # who is turned away when the heap is full at the wrong moment tries again
HOGS = 4
ANSWER_SECONDS = 0.1  # after which one asks for figures again
END = "that is all\n"  # of the figures
NAMES = {"heap", "entries", "accepted", "active", "refused", "evicted", "timed_out", "errors"}
NAMES.add("out_of_memory")


class Datagrams(Protocol):
    """Lines as datagrams."""

    endless = b"x" * 1472


class Page(HTTP):
    """A small page: no error is taken for it."""

    answer = b"an honest page\n"


class Call(XMLRPC):
    """A call: no fault is taken for it."""

    answer = b">512</int></value></param></params></methodResponse>\n"


# What tests/attacks/kinds.py serves, and how to speak to it.
PROTOCOLS = {
    "TCPServer": Protocol,
    "UDPServer": Datagrams,
    "ThreadingTCPServer": Protocol,
    "ThreadingUDPServer": Datagrams,
    "MultiplexingTCPServer": Protocol,
    "MultiplexingUnixStreamServer": Protocol,
    "tcp": Protocol,
    "tcp+udp": Protocol,
    "http": Page,
    "xmlrpc": Call,
    "remote": Remote,
    "auth": Auth,
    "tls": Protocol,
}
# Bytes between two sizes, and with --all; and from the smallest that has room up.
SIZES = dict.fromkeys(PROTOCOLS, (256, 64, ABOVE))
SIZES.update(dict.fromkeys(("TCPServer", "UDPServer", "ThreadingTCPServer"), (64, 16, ABOVE)))
SIZES["MultiplexingTCPServer"] = SIZES["TCPServer"]
SIZES.update(dict.fromkeys(("http", "xmlrpc", "remote", "auth"), (512, 64, ABOVE)))
SIZES["tls"] = 8192, 1024, 5 * ABOVE
# So little is needed for a client that it finds that beside the others.
BESIDE = ("MultiplexingTCPServer", "MultiplexingUnixStreamServer", "tcp", "tcp+udp")


@pytest.fixture(scope="module")
def compiled():
    into = ROOT / "build" / "kinds"
    mpy.compile_lib(into)
    for name in ("kinds", "richer"):
        mpy.compile_file(PROGRAMS / (name + ".py"), into / (name + ".mpy"), name)
    return os.path.relpath(into)  # it ends up on the heap


class Place:
    """A server of one kind with a heap of so many bytes."""

    def __init__(self, target, lib, kind, heap):
        self.kind = kind
        self.protocol = PROTOCOLS[kind]()
        self.datagrams = isinstance(self.protocol, Datagrams)
        self.at_once = kind not in ("TCPServer", "UDPServer")  # they are served beside each other
        self.folder = tempfile.TemporaryDirectory()
        self.address = ("127.0.0.1", free_port())
        argument = self.address[1]
        if "Unix" in kind:
            argument = self.address = self.folder.name + "/s"
        self.context = None
        arguments = ["-m", "kinds", kind, argument]
        if kind == "tls":
            arguments.append(certificates() / "server.pem")
            self.context = ssl.create_default_context(cafile=str(certificates() / "cert.pem"))
        command = target.command(arguments, str(heap))
        self.program = Program(command, target.environment(lib))
        self.made = 0  # connections, or datagrams sent
        self.turned_away = 0

    def close(self):
        self.program.kill()
        self.folder.cleanup()

    def begins(self):
        """Return whether it begins to serve. If not, it must have said that memory is short."""
        program = self.program
        with program._changed:
            done = program._changed.wait_for(
                lambda: "ready\n" in program.output or program._ended, SECONDS
            )
        assert done, "neither served nor ended"
        if "ready\n" in program.output:
            self.marks = Marks(program.process.pid)
            self.first = self.figures()
            self.descriptors = self.count("fd")
            return True
        status = program.wait(SECONDS)
        last = program.output.rstrip().rsplit("\n", 1)[-1]
        assert status == 1 and last.startswith("MemoryError"), (status, last)
        return False

    def count(self, what):
        """Return how many descriptors (fd) or threads (task) it has."""
        return len(os.listdir("/proc/%d/%s" % (self.program.process.pid, what)))

    def figures(self):
        """Ask for its figures and return them, with the sums of counters that are there twice."""
        end = time.monotonic() + SECONDS
        found = {}
        # While threads fill the heap there may be no answer, or other words in the middle of it.
        while not found.keys() >= NAMES:
            assert time.monotonic() < end and not self.program._ended, "no figures"
            found = {}
            for name, number in re.findall(r"^(\w+) (-?\d+)$", self._ask(), re.M):
                found[name] = found.get(name, 0) + int(number)
        return found

    def _ask(self):
        program = self.program
        begin = len(program.output)
        program.process.stdin.write("?")
        program.process.stdin.flush()
        with program._changed:
            program._changed.wait_for(
                lambda: END in program.output[begin:] or program._ended, ANSWER_SECONDS
            )
        return program.output[begin:].partition(END)[0]

    def connect(self):
        """Return a new connection."""
        client = socket.socket(
            socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET,
            socket.SOCK_DGRAM if self.datagrams else socket.SOCK_STREAM,
        )
        try:
            client.settimeout(0.05 if self.datagrams else SECONDS)
            client.connect(self.address)
            self.made += not self.datagrams
            if self.context:
                client = self.context.wrap_socket(client, server_hostname="localhost")
        except BaseException:
            client.close()
            raise
        return client

    def serves(self):
        """Return whether an honest client is served. If not, memory was too short for each."""
        before = self.figures()["out_of_memory"]
        for _ in range(TRIES):
            try:
                with self.connect() as client:
                    self.protocol.open(client)
                    self.ask(client)
                    return True
            except (OSError, Wrong) as e:
                assert not isinstance(e, Wrong) or str(e).startswith("closed after"), e
                silent = isinstance(e, TimeoutError) and not self.datagrams
                assert not silent, "neither served nor closed"
            self.turned_away += 1
            assert self.program.process.poll() is None, "it has ended"
            time.sleep(0.02)
        found = self.figures()
        assert found["out_of_memory"] >= before + TRIES, "it serves nobody: %s" % found
        return False

    def ask(self, client):
        """Ask for an answer and look at it. Raises Wrong, or OSError."""
        if not self.datagrams:
            self.protocol.ask(client)
            return
        self.made += 1
        client.sendall(self.protocol.request)
        with contextlib.suppress(TimeoutError):
            self.protocol.look(self.protocol.read(client))
            return
        # Two rounds later it has been taken, and the answer is there when its thread has gone.
        self.figures()
        self.figures()
        end = time.monotonic() + SECONDS
        while self.count("task") > 1:
            assert time.monotonic() < end, "a thread stays"
            time.sleep(0.001)
        self.protocol.look(self.protocol.read(client))

    def hogs(self, room):
        """Let clients come to each stage, send what takes the memory that is left, and go.

        Return room, or False: there was none for an honest client meanwhile.
        """
        protocol = self.protocol
        clients = []
        try:
            for stage in [] if self.datagrams else protocol.stages():
                with contextlib.suppress(OSError, Wrong):  # turned away
                    clients.append(self.connect())
                    protocol.reach(clients[-1], stage)
                if clients and not self.at_once:
                    clients.pop().close()
            for _ in range(HOGS):
                with contextlib.suppress(OSError):
                    clients.append(self.connect())
                    self.made += self.datagrams
                    clients[-1].sendall(protocol.start + protocol.endless)
                    if not self.datagrams:
                        clients[-1].sendall(protocol.endless)
            if room and self.kind in BESIDE:
                return self.serves()  # they stay meanwhile
            return room
        finally:
            for client in clients:
                client.close()

    def rest(self):
        """Wait until all clients are forgotten, and see to it that the counters add up."""
        end = time.monotonic() + SECONDS
        while True:
            found = self.figures()
            left = {
                "active": found["active"],
                "entries": found["entries"] - self.first["entries"],
                "threads": self.count("task") - 1,
                "descriptors": self.count("fd") - self.descriptors,
                "not accepted": self.made - found["accepted"] - found["out_of_memory"],
            }
            left["not accepted"] -= found["errors"]
            if all(number <= 0 for number in left.values()):
                break
            assert time.monotonic() < end, "left: %s, of %d; %s" % (left, self.made, found)
        assert found["active"] == 0 and found["accepted"] <= self.made, found
        # Who was not served stands in one of them.
        why = NAMES - {"heap", "entries", "accepted", "active"}
        assert self.turned_away <= sum(found[name] for name in why), (self.turned_away, found)
        self.marks.add(found["heap"])


def attempt(target, lib, kind, heap):
    """Return whether a server of this kind has room in such a heap; all else has to hold.

    None: it does not even begin.
    """
    place = Place(target, lib, kind, heap)
    try:
        if not place.begins():
            return None
        room = place.serves()
        for _ in range(ROUNDS):
            room = place.hogs(room) and place.serves() and place.serves()
            place.rest()
            if place.marks.steady(1):
                break
        place.marks.check()
        assert place.program.process.poll() is None, "it has ended"
        return room
    except AssertionError as e:
        raise AssertionError(
            "%s, heap %d: %s, status %s\n%s"
            % (kind, heap, e, place.program.process.poll(), place.program.output[-2000:])
        ) from None
    finally:
        place.close()


def attempts_of(target, lib, kind, heap):
    """Return what attempt() does; with threads it is the last of three that must not fail.

    The port collects garbage while other threads run, and may free what one of them has just
    taken from another object. In a full heap it collects all the time: one in some hundred fails.
    """
    for _ in range(2 if kind[:9] == "Threading" else 0):
        try:
            return attempt(target, lib, kind, heap)
        except AssertionError as e:
            print("AGAIN", e)
    return attempt(target, lib, kind, heap)


@pytest.mark.parametrize("kind", PROTOCOLS)
def test_heap_sizes(compiled, small, kind):
    step, fine, above = SIZES[kind]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:

        def attempts(sizes):
            found = pool.map(lambda heap: attempts_of(small, compiled, kind, heap), sizes)
            return dict(zip(sizes, found))

        found = {}
        size = 8192
        while not any(found.values()):
            assert size < 131072, "none is enough"
            found.update(attempts([size, size + COARSE]))
            size += 2 * COARSE
        first = min(heap for heap in found if found[heap] is not None)
        room = min(heap for heap in found if found[heap])
        found = attempts(range(first - COARSE, room + above, fine if scale() > 1 else step))
    first = min(heap for heap in found if found[heap] is not None)
    room = min(heap for heap in found if found[heap])
    never = [heap for heap in found if heap > room + 1024 and not found[heap]]
    print("FIGURES %s: begins with a heap of %d bytes, serves from %d on" % (kind, first, room))
    assert not never, "more heap, and no server: %s" % never
