"""Servers at every heap size from the smallest that has room on: they serve, or say why not.

In steps of 64 bytes, with --all of 16. At each size clients want more memory than there is;
when they are gone, others are served, and all descriptors are back.
"""

import concurrent.futures
import contextlib
import os
import socket
import time

import mpy
import pytest
from conftest import ROOT, Program, free_port, scale

PROGRAM = ROOT / "tests" / "attacks" / "kinds.py"
STEP = 64  # bytes
COARSE = 8 * STEP
ABOVE = 6144  # bytes above the smallest: there all has room
SECONDS = 20
TRIES = 10  # who is turned away when the heap is full at the wrong moment tries again
HOGS = 4
LINE = b"an honest line\n"


@pytest.fixture(scope="module")
def compiled():
    into = ROOT / "build" / "kinds"
    mpy.compile_lib(into)
    mpy.compile_file(PROGRAM, into / "kinds.mpy", "kinds")
    return os.path.relpath(into)  # it ends up on the heap


class Place:
    """A server of one kind with a heap of so many bytes."""

    def __init__(self, target, lib, kind, heap):
        self.kind, self.port = kind, free_port()
        command = target.command(["-m", "kinds", kind, self.port], str(heap))
        self.program = Program(command, target.environment(lib))

    def begins(self):
        """Return whether it begins to serve. If not, it must have said that memory is short."""
        program = self.program
        with program._changed:
            done = program._changed.wait_for(
                lambda: "ready\n" in program.output or program._ended, SECONDS
            )
        assert done, "neither served nor ended"
        if "ready\n" in program.output:
            return True
        status = program.wait(SECONDS)
        last = program.output.rstrip().rsplit("\n", 1)[-1]
        assert status == 1 and last.startswith("MemoryError"), (status, last)
        return False

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.program.process.pid))

    def client(self):
        udp = self.kind == "UDPServer"
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        client.settimeout(1 if udp else SECONDS)
        try:
            client.connect(("127.0.0.1", self.port))
        except BaseException:
            client.close()
            raise
        return client

    def has_room(self):
        """Return whether it can serve at all: if not, each client is told so by a close."""
        try:
            self.serves()
            return True
        except AssertionError:
            if self.program.process.poll() is None and "MemoryError" in self.program.output:
                return False
            raise

    def serves(self):
        """See to it that an honest client is served."""
        for _ in range(TRIES):
            with contextlib.suppress(OSError), self.client() as client:
                client.sendall(LINE)
                came = b""
                while not came.endswith(b"\n"):
                    data = client.recv(100)
                    if not data:
                        break
                    came += data
                if came == LINE:
                    return
                assert LINE.startswith(came), came
            assert self.program.process.poll() is None, "it has ended"
            time.sleep(0.05)
        raise AssertionError("it serves nobody")

    def hogs(self):
        """Let clients send what takes the memory that is left, and go."""
        clients = []
        try:
            for _ in range(HOGS):
                with contextlib.suppress(OSError):  # turned away
                    clients.append(self.client())
                    clients[-1].sendall(b"x" * (1000 if self.kind != "UDPServer" else 1472))
            if self.kind == "MultiplexingTCPServer":
                self.serves()  # they stay meanwhile
        finally:
            for client in clients:
                client.close()


def attempt(target, lib, kind, heap):
    """Return whether a server of this kind has room in such a heap; if so, all is tried."""
    place = Place(target, lib, kind, heap)
    try:
        if not place.begins() or not place.has_room():
            return False
        before = place.descriptors()
        place.hogs()
        place.serves()
        place.serves()
        end = time.monotonic() + SECONDS
        while place.descriptors() > before and time.monotonic() < end:
            time.sleep(0.01)
        assert place.descriptors() <= before, "descriptors are left"
        assert place.program.process.poll() is None, "it has ended"
        return True
    except AssertionError as e:
        raise AssertionError(
            "%s, heap %d: %s, status %s\n%s"
            % (kind, heap, e, place.program.process.poll(), place.program.output[-2000:])
        ) from None
    finally:
        place.program.kill()


def attempts_of(target, lib, kind, heap):
    """Return what attempt() does; with threads it is the last of three that must not fail.

    The port collects garbage while other threads run, and may free what one of them has just
    taken from another object. In a full heap it collects all the time: one in some hundred fails.
    """
    for _ in range(2 if kind == "ThreadingTCPServer" else 0):
        try:
            return attempt(target, lib, kind, heap)
        except AssertionError as e:
            print("AGAIN", e)
    return attempt(target, lib, kind, heap)


@pytest.mark.parametrize(
    "kind", ["TCPServer", "UDPServer", "ThreadingTCPServer", "MultiplexingTCPServer"]
)
def test_heap_sizes(compiled, small, kind):
    with concurrent.futures.ThreadPoolExecutor(2) as pool:

        def attempts(sizes):
            found = pool.map(lambda heap: attempts_of(small, compiled, kind, heap), sizes)
            return dict(zip(sizes, found))

        begins = {}
        first = 8192
        while not any(begins.values()):
            assert first < 40960, "none is enough"
            begins = attempts([first, first + COARSE])
            first += 2 * COARSE
        first = min(heap for heap in begins if begins[heap])
        step = STEP // 4 if scale() > 1 else STEP
        begins = attempts(range(first - COARSE, first + ABOVE, step))
    smallest = min(heap for heap in begins if begins[heap])
    never = [heap for heap in begins if heap > smallest + 1024 and not begins[heap]]
    print("FIGURES %s: serves from a heap of %d bytes on" % (kind, smallest))
    assert not never, "more heap, and no server: %s" % never
