"""AsyncStreamRequestHandler: one class on every kind of server, and every way it can end."""

import _thread
import asyncio  # here: imported for the first time by a handler it would come too late
import struct
import sys
import time
from errno import ENOBUFS, ETIMEDOUT

from socketse import (
    AsyncStreamRequestHandler,
    Multiplexer,
    MultiplexingTCPServer,
    TCPServer,
    ThreadingTCPServer,
    port,
)
from support import BOARD, MICROPYTHON, Client, Skip, free, raises, socket, thread, wait_until

Event = asyncio.Event  # now: MicroPython imports it when it is named, not for two threads at once
SHARED = ("multiplexing", "multiplexer", "asyncio")  # many connections in one thread
KINDS = ("plain", "threading") + SHARED
CLASSES = {
    "threading": ThreadingTCPServer,
    "inline": ThreadingTCPServer,
    "multiplexing": MultiplexingTCPServer,
    "threads in a multiplexer": ThreadingTCPServer,
}


lock = _thread.allocate_lock()  # without a GIL two threads must not append to one list at once


class Handler(AsyncStreamRequestHandler):
    """What all handlers here are: a finish for each setup is part of every test."""

    def setup(self):
        super().setup()
        with lock:
            self.server.begun.append(1)

    def finish(self):
        with lock:
            self.server.finished.append(1)
        super().finish()


class Guest(Client):
    """A client for whose end idle() waits."""

    def __init__(self, server):
        server.guests += 1
        super().__init__(server.server_address)


class Slow(Guest):
    """A client with a small buffer for what it does not read yet."""

    def __init__(self, server):
        server.guests += 1
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUF", 8), 8192)
        address = server.server_address
        if MICROPYTHON:
            address = socket.getaddrinfo(address[0], address[1])[0][-1]
        self._socket.connect(address)
        self._socket.settimeout(20)
        self._buffer = b""


class Echo(Handler):
    async def handle(self):
        while True:
            line = await self.rfile.readline()
            if not line:
                break
            self.wfile.write(line)
            await self.wfile.drain()


def close(server, request):
    TCPServer.close_request(server, request)
    with lock:
        server.closed.append(1)


def tell(server, request, client_address):
    server.told.append(server.last_error)
    TCPServer.handle_error(server, request, client_address)  # pytest shows it if the test fails


def make(kind, handler, small=False, **attributes):
    """Return a server of that kind, not serving yet; server.loop is what will drive it.

    small  True: little fits into the connections' buffers
    """
    attributes["handle_error"] = tell
    attributes["close_request"] = close
    attributes["kind"] = kind
    for name in ("told", "left", "got", "begun", "finished", "closed", "members", "ticks"):
        attributes[name] = []
    if kind == "inline":
        attributes["max_threads"] = 0
    server = type("Server", (CLASSES.get(kind, TCPServer),), attributes)(free(), handler)
    if small:
        native = getattr(server.socket, "_native", server.socket)
        native.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_SNDBUF", 7), 8192)
    # All attributes before there are threads: without a GIL none may look while another adds one.
    server.guests = 0
    server.record = None
    server.loop = server
    if "multiplexer" in kind or kind == "asyncio":
        server.loop = Multiplexer()
        server.loop.add(server)
    return server


def serve(server):
    """Let the server serve in a thread; what leaves it is in server.left."""
    server.record = thread(_serve, server)


def _serve(server):
    try:
        if server.kind == "asyncio":
            asyncio.run(_serve_beside_another_task(server))
        else:
            server.loop.serve_forever(0.02)
    except BaseException as e:
        (getattr(sys, "print_exception", None) or port.print_exception)(e, sys.stdout)  # as above
        server.left.append(e)


async def _serve_beside_another_task(server):
    task = asyncio.create_task(_tick(server.ticks))
    try:
        await server.loop.serve()
    finally:
        task.cancel()


async def _tick(ticks):
    while True:
        ticks.append(1)
        await asyncio.sleep(0.01)


def idle(server):
    """Wait until all connections of Guests are closed."""
    wait_until(lambda: len(server.closed) >= server.guests, what="all handlers to end")
    assert server.stats["active"] == 0


def check_told(server, *kinds):
    """Fail unless handle_error was called for exceptions of these kinds, and for no others."""
    wait_until(lambda: len(server.told) >= len(kinds), what="handle_error to be called")
    idle(server)
    assert [type(e) for e in server.told] == list(kinds), server.told
    del server.told[:]


def check_left(server, kind):
    """Fail unless an exception of that kind has left serve_forever."""
    wait_until(lambda: server.record["done"], what="serve_forever to end")
    assert [type(e) for e in server.left] == [kind], server.left
    del server.left[:]


def every_server(handler, kinds=KINDS, small=False, **attributes):
    """Yield a server of each kind at work; afterwards it must still serve, then it is closed."""
    for kind in kinds:
        print("--", kind)  # pytest shows it if the test fails
        server = make(kind, handler, small, **attributes)
        serve(server)
        yield server
        still_serves(server)
        stop(server)


def still_serves(server):
    idle(server)
    check_told(server)
    ticks = len(server.ticks)
    server.RequestHandlerClass = Echo
    with Guest(server) as c:
        c.send(b"an honest client\n")
        assert c.line() == b"an honest client\n"
    idle(server)
    if server.kind == "asyncio":
        wait_until(lambda: len(server.ticks) > ticks + 1, what="another task to go on")


def stop(server):
    server.shutdown()
    wait_until(lambda: server.record["done"], what="serve_forever to end")
    server.server_close()
    assert not server.left, server.left
    assert len(server.begun) == len(server.finished), (server.begun, server.finished)
    if server.loop is not server:
        assert server.loop.servers == []


def reset(client):
    """Let the client vanish: its server sees a reset."""
    client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def half_close(client):
    """Let the server see the end of what the client sends; the client can still read."""
    if not MICROPYTHON:
        client._socket.shutdown(socket.SHUT_WR)
        return
    try:
        import ffi  # MicroPython's sockets have no shutdown
    except ImportError:
        raise Skip("clients that close one half of a connection")
    ffi.open(None).func("i", "shutdown", "ii")(client._socket.fileno(), 1)


def block(i, size=500):
    """Return bytes that tell their place in a stream."""
    return (b"%06d" % i) + b"." * (size - 7) + b"\n"


# More than the buffers of Slow's connections: they might still take the 4096 of MicroPython.
PLENTY = 40000


def check_blocks(client, n=None, size=500):
    """Read n blocks, None: to the end; fail if one is wrong. Return how many there were."""
    i = 0
    while n is None or i < n:
        line = client.line()
        if n is None and not line:
            break
        assert line == block(i, size), (i, line)
        i += 1
    return i


def fill(handler):
    """Write blocks until no more are taken; return how many were."""
    i = 0
    while True:
        try:
            handler.wfile.write(block(i))
        except OSError as e:
            if e.errno != ENOBUFS:
                raise
            return i
        i += 1


def service_actions(server):
    if server.faults:
        server.faults.pop()
        raise MemoryError


def test_a_hook_without_memory_ends_no_server():
    for server in every_server(Echo, service_actions=service_actions, faults=[]):
        server.faults += [1, 2, 3]
        wait_until(lambda server=server: not server.faults, what="service_actions")


# Reading.


def test_lines():
    for server in every_server(Echo):
        with Guest(server) as c:
            for line in (b"one\n", b"\n", b"two\r\n", b"\x00\xff\n", b"x" * 1000 + b"\n"):
                c.send(line)
                assert c.line() == line
            c.send(b"three\nfour\nfi")
            assert c.line() == b"three\n" and c.line() == b"four\n"
            c.send(b"ve\n")
            assert c.line() == b"five\n"


def test_bytes_are_counted():
    for server in every_server(Echo):
        with Guest(server) as c:
            c.send(b"x" * 300 + b"\n")
            assert c.line()
        idle(server)
        assert server.stats["bytes_in"] == server.stats["bytes_out"] == 301
        assert server.stats["accepted"] == 1


class Collector(Handler):
    async def handle(self):
        line = b"x"
        while line:
            line = await self.rfile.readline()
            self.server.got.append(line)
        self.server.got.append(await self.rfile.readline())  # the end stays the end


def test_last_line_without_newline():
    for server in every_server(Collector):
        for last in (b"last", b"x" * 255, b"x" * 256, b"x" * 700):
            with Guest(server) as c:
                c.send(b"one\n" + last)
            idle(server)
            assert server.got == [b"one\n", last, b"", b""], server.got
            del server.got[:]


def test_client_that_says_nothing_and_goes():
    for server in every_server(Collector):
        Guest(server).close()
        wait_until(lambda got=server.got: got == [b"", b""])


def test_reply_after_the_end_of_the_input():
    for server in every_server(Echo):
        with Guest(server) as c:
            c.send(b"one\nlast")
            half_close(c)
            assert c.rest() == b"one\nlast"


def test_lines_in_many_small_sends():
    for server in every_server(Echo):
        with Guest(server) as c:
            c._socket.setsockopt(6, 1, 1)  # TCP_NODELAY
            sent = 0
            for line in (b"in pieces\n", b"two\nlines\n"):
                for i in range(len(line)):
                    c.send(line[i : i + 1])
                    sent += 1
                    if server.kind in SHARED:  # the others count when the handler has ended
                        wait_until(lambda s=server.stats, n=sent: s["bytes_in"] == n)
                while line:
                    assert c.line() == line[: line.find(b"\n") + 1]
                    line = line[line.find(b"\n") + 1 :]


def test_many_lines_in_one_send():
    for server in every_server(Echo):
        with Guest(server) as c:
            c.send(b"".join([b"line %d\n" % i for i in range(200)]))
            for i in range(200):
                assert c.line() == b"line %d\n" % i


def test_read_returns_what_is_there():
    class Reader(Handler):
        async def handle(self):
            for n in (3, 0, 2, 100, 100):
                self.server.got.append(await self.rfile.read(n))
            self.wfile.write(b"more\n")
            for n in (5, 5, 5):
                self.server.got.append(await self.rfile.read(n))

    for server in every_server(Reader):
        with Guest(server) as c:
            c.send(b"abcdefgh")
            wait_until(lambda got=server.got: len(got) == 4)
            c.send(b"x")
            assert c.line() == b"more\n"
            c.send(b"yz")
            wait_until(lambda got=server.got: len(got) == 6)  # it does not wait for five
        idle(server)
        expected = [b"abc", b"", b"de", b"fgh", b"x", b"yz", b"", b""]
        assert server.got == expected, server.got


def test_read_to_the_end():
    class Reader(Handler):
        async def handle(self):
            self.server.got.append(await self.rfile.readline())
            for n in (-1, -1, 10):
                data = await self.rfile.read(n)
                self.server.got.append((len(data), data.count(b"z")))
            self.server.got.append(await self.rfile.read())

    for server in every_server(Reader):
        with Guest(server) as c:
            c.send(b"line\nz")
            c.send(b"z" * 3000)
        idle(server)
        assert server.got == [b"line\n", (3001, 3001), (0, 0), (0, 0), b""], server.got


def test_readexactly():
    class Reader(Handler):
        async def handle(self):
            try:
                await self.rfile.readexactly(-1)
            except ValueError as e:
                assert "-1" in str(e)
            else:
                raise AssertionError("readexactly(-1)")
            for n in (4, 0, 300, 2):
                self.server.got.append(await self.rfile.readexactly(n))
                self.wfile.write(b"%d\n" % n)
            try:
                await self.rfile.readexactly(10)
            except EOFError as e:
                self.server.got.append(str(e))
            self.server.got.append(await self.rfile.read(10))
            await self.rfile.readexactly(1)  # EOFError is the client's doing, and not told

    for server in every_server(Reader):
        with Guest(server) as c:
            c.send(b"head")
            assert c.line() == b"4\n" and c.line() == b"0\n"
            c.send(b"y" * 299)
            c.send(b"ytwsho")
            assert c.line() == b"300\n" and c.line() == b"2\n"
            c.send(b"rt")
        idle(server)
        assert server.got[:4] == [b"head", b"", b"y" * 300, b"tw"], server.got
        assert "5 of 10" in server.got[4] and server.got[5] == b"", server.got
        assert server.stats["errors"] == 1


def test_readinto():
    class Reader(Handler):
        async def handle(self):
            buf = bytearray(b"......")
            n = await self.rfile.readinto(buf)
            self.server.got.append((n, bytes(buf)))
            n = await self.rfile.readinto(memoryview(buf)[4:])
            self.server.got.append((n, bytes(buf)))
            n = await self.rfile.readinto(bytearray())
            self.server.got.append(n)
            self.wfile.write(b"more\n")
            n = await self.rfile.readinto(memoryview(buf))
            self.server.got.append((n, bytes(buf)))
            n = await self.rfile.readinto(buf)
            self.server.got.append((n, bytes(buf)))

    for server in every_server(Reader):
        with Guest(server) as c:
            c.send(b"abcdefgh")
            assert c.line() == b"more\n"
            c.send(b"Z")
        idle(server)
        expected = [(6, b"abcdef"), (2, b"abcdgh"), 0, (1, b"Zbcdgh"), (0, b"Zbcdgh")]
        assert server.got == expected, server.got


def test_all_ways_to_read_share_one_buffer():
    class Reader(Handler):
        async def handle(self):
            buf = bytearray(3)
            got = self.server.got
            got.append(await self.rfile.readline())
            got.append(await self.rfile.readexactly(2))
            got.append(await self.rfile.read(1))
            await self.rfile.readinto(buf)
            got.append(bytes(buf))
            got.append(await self.rfile.readline())
            got.append(await self.rfile.read())

    for server in every_server(Reader):
        with Guest(server) as c:
            c.send(b"line\nab1xyzend\nrest")
        idle(server)
        expected = [b"line\n", b"ab", b"1", b"xyz", b"end\n", b"rest"]
        assert server.got == expected, server.got


def test_longest_line():
    for server in every_server(Echo):
        for longest in (1, 10, 255, 256, 257, 1024, 3000):
            server.RequestHandlerClass = type("Short", (Echo,), {"max_line": longest})
            line = b"x" * (longest - 1) + b"\n"
            with Guest(server) as c:
                c.send(line * 2)
                assert c.line() == line and c.line() == line
                c.send(b"x" + line)
                assert c.rest() == b""
            check_told(server, ValueError)


def test_line_that_never_ends():
    for server in every_server(Echo):
        for longest in (10, 256, 700):
            server.RequestHandlerClass = type("Short", (Echo,), {"max_line": longest})
            with Guest(server) as c:
                c.send(b"x" * (longest + 1))  # and no newline
                assert c.rest() == b""
            check_told(server, ValueError)


def test_too_long_a_line_can_be_caught():
    class Forgiving(Handler):
        max_line = 20

        async def handle(self):
            for _ in range(3):
                try:
                    self.wfile.write(await self.rfile.readline())
                except ValueError:
                    self.wfile.write(b"too long\n")

    for server in every_server(Forgiving):
        with Guest(server) as c:
            c.send(b"one\n" + b"x" * 40 + b"\ntwo\n")
            assert c.rest() == b"one\ntoo long\ntwo\n"


# Writing.


def test_write_takes_bytes_bytearrays_and_memoryviews():
    class Writer(Handler):
        async def handle(self):
            for size in (1, 10, 1024, 1025, 3000):
                data = b"a" * size
                self.wfile.write(data)
                self.wfile.write(bytearray(data))
                self.wfile.write(b"")
                self.wfile.write(memoryview(data))
                self.wfile.write(memoryview(b"--" + data)[2:])
                await self.wfile.drain()
            for empty in (b"", bytearray(), memoryview(b"")):
                self.wfile.write(empty)
            await self.wfile.drain()

    for server in every_server(Writer):
        with Guest(server) as c:
            assert c.rest() == b"a" * (4 * (1 + 10 + 1024 + 1025 + 3000))


def test_setup_and_finish_may_write():
    class Polite(Handler):
        def setup(self):
            super().setup()
            self.wfile.write(b"hello\n")

        async def handle(self):
            self.wfile.write(await self.rfile.readline())

        def finish(self):
            self.wfile.write(b"bye\n")
            super().finish()

    for server in every_server(Polite):
        with Guest(server) as c:
            c.send(b"x\n")
            assert c.rest() == b"hello\nx\nbye\n"
        idle(server)
        assert server.stats["bytes_out"] == 12


def test_big_writes_with_drain():
    class Writer(Handler):
        async def handle(self):
            await self.rfile.readline()
            for i in range(30):
                self.wfile.write(block(i, self.max_pending))
                await self.wfile.drain()

    for server in every_server(Writer, small=True):
        with Slow(server) as c:
            c.send(b"go\n")
            assert check_blocks(c, size=Writer.max_pending) == 30


def test_write_beyond_max_pending():
    class Writer(Handler):
        async def handle(self):
            n = fill(self)
            self.server.got.append(n)
            await self.wfile.drain()  # until the client reads
            self.wfile.write(block(n))

    for server in every_server(Writer, small=True):
        with Slow(server) as c:
            wait_until(lambda got=server.got: got)
            assert check_blocks(c) == server.got[0] + 1
        idle(server)
        assert server.stats["bytes_out"] == 500 * (server.got[0] + 1)


def test_refused_write_takes_no_byte():
    class Writer(Handler):
        async def handle(self):
            n = fill(self)
            e = raises(OSError, self.wfile.write, b"y" * (self.max_pending + 1))
            assert e.errno == ENOBUFS, e
            self.server.got.append(n)

    for server in every_server(Writer, small=True):
        with Slow(server) as c:
            wait_until(lambda got=server.got: got)
            assert check_blocks(c) == server.got[0]


def test_write_beyond_max_pending_that_is_not_caught():
    class Writer(Handler):
        async def handle(self):
            try:
                while True:
                    self.wfile.write(b"z" * 500)
            finally:
                self.server.got.append(1)

    for server in every_server(Writer, small=True):
        with Slow(server) as c:
            wait_until(lambda got=server.got: got)
            assert not c.rest().strip(b"z")  # what had been taken arrives all the same
        check_told(server, OSError)


def test_reply_is_whole_without_drain():
    class Writer(Handler):
        max_pending = 60000

        async def handle(self):
            await self.rfile.readline()
            for i in range(120):  # 60000 bytes
                self.wfile.write(block(i))

    for server in every_server(Writer, small=True):
        with Slow(server) as c:
            c.send(b"go\n")
            idle_or_not = server.stats["active"]  # it is read only now, when all is written
            assert check_blocks(c) == 120, idle_or_not


def test_written_bytearray_can_be_used_again():
    class Writer(Handler):
        async def handle(self):
            n = fill(self)
            await self.wfile.drain()
            fill_from = n
            buf = bytearray(500)
            while n < fill_from + 100:
                buf[:] = block(n)
                try:
                    self.wfile.write(buf)
                    n += 1
                except OSError:
                    await self.wfile.drain()
                buf[:] = b"w" * 500
            self.server.got.append(n)

    for server in every_server(Writer, small=True):
        with Slow(server) as c:
            n = check_blocks(c)
        assert server.got == [n]


def test_drain_with_nothing_to_send():
    class Drainer(Handler):
        async def handle(self):
            for _ in range(50):  # also more often than in one turn
                await self.wfile.drain()
            self.wfile.write(b"done")
            await self.wfile.drain()

    for server in every_server(Drainer):
        with Guest(server) as c:
            assert c.rest() == b"done"


def test_reader_and_writer_at_once():
    # Output waits while the handler reads on, and goes out meanwhile.
    class Both(Handler):
        max_pending = PLENTY

        async def handle(self):
            n = fill(self)
            self.server.got.append(n)
            self.server.got.append(await self.rfile.readline())
            await self.sleep(0.05)
            self.server.got.append(await self.rfile.readline())

    for server in every_server(Both, small=True):
        with Slow(server) as c:
            wait_until(lambda got=server.got: got)
            c.send(b"one\n")
            wait_until(lambda got=server.got: len(got) == 2)
            assert check_blocks(c, server.got[0]) == server.got[0]
            c.send(b"two\n")
            assert c.rest() == b""
        assert server.got[1:] == [b"one\n", b"two\n"]


def test_one_handler_writes_to_another():
    # Only where one thread serves both: elsewhere it would be another thread's socket.
    class Chat(Handler):
        async def handle(self):
            self.server.members.append(self)
            self.wfile.write(b"welcome\n")
            while True:
                line = await self.rfile.readline()
                if not line:
                    break
                for member in self.server.members:
                    member.wfile.write(line)
            self.server.members.remove(self)

    for server in every_server(Chat, SHARED):
        with Guest(server) as a, Guest(server) as b:
            assert a.line() == b"welcome\n" and b.line() == b"welcome\n"
            for c in (a, b, a):
                c.send(b"hello\n")
                assert a.line() == b"hello\n" and b.line() == b"hello\n"


def test_one_handler_fills_another_that_sleeps():
    class Flood(Handler):
        async def handle(self):
            if await self.rfile.readline() == b"listen\n":
                self.server.members.append(self)
                self.wfile.write(b"ready\n")
                await self.rfile.readline()
                await self.sleep(0.01)
            else:
                self.server.got.append(fill(self.server.members[0]))

    for server in every_server(Flood, SHARED, small=True):
        with Slow(server) as a:
            a.send(b"listen\n")
            assert a.line() == b"ready\n"
            with Guest(server) as b:
                b.send(b"flood\n")
                assert b.rest() == b""
            assert check_blocks(a, server.got[0]) == server.got[0]
            a.send(b"enough\n")
            assert a.rest() == b""


# Time.


def test_timeout_can_be_caught():
    class Patient(Handler):
        timeout = 0.3

        async def handle(self):
            begin = time.time()
            try:
                await self.rfile.readline()
            except OSError as e:
                assert e.errno == ETIMEDOUT, e
                self.server.got.append(time.time() - begin)
                self.wfile.write(b"bye\n")
            self.wfile.write(await self.rfile.readline())

    for server in every_server(Patient):
        with Guest(server) as c:
            assert c.line() == b"bye\n"
            c.send(b"late\n")
            assert c.rest() == b"late\n"
        assert 0.25 < server.got[0] < 5, server.got
        assert server.stats["timed_out"] == server.stats["errors"] == 0


def test_timeout_that_is_not_caught():
    class Hasty(Echo):
        timeout = 0.3

    for server in every_server(Hasty):
        with Guest(server) as c:
            c.send(b"once\n")
            assert c.line() == b"once\n"
            assert c.rest() == b""
        idle(server)
        assert server.stats["timed_out"] == 1 and server.stats["errors"] == 0, server.stats
        check_told(server)  # no traceback for a client's silence


def test_timeout_of_a_client_that_never_speaks():
    for server in every_server(type("Hasty", (Echo,), {"timeout": 0.1})):
        with Guest(server) as c:
            assert c.rest() == b""
        idle(server)
        assert server.stats["timed_out"] == 1 and server.stats["errors"] == 0, server.stats


def test_timeout_begins_anew_with_each_byte():
    class Patient(Echo):
        timeout = 2

    for server in every_server(Patient):
        with Guest(server) as c:
            end = time.time() + 2.5
            while time.time() < end:
                c.send(b".")
                time.sleep(0.1)  # a client that is slow
            c.send(b"\n")
            assert c.line().strip(b".") == b"\n"
        assert server.stats["timed_out"] == 0


def test_timeout_none():
    for server in every_server(type("Patient", (Echo,), {"timeout": None})):
        with Guest(server) as c:
            time.sleep(0.4)  # longer than deadlines are looked at
            c.send(b"at last\n")
            assert c.line() == b"at last\n"
        assert server.stats["timed_out"] == 0


def test_what_came_before_a_timeout_is_kept():
    class Patient(Handler):
        timeout = 0.3

        async def handle(self):
            for read, n in ((self.rfile.readline, None), (self.rfile.readexactly, 6)):
                while True:
                    try:
                        data = await (read() if n is None else read(n))
                        break
                    except OSError as e:
                        assert e.errno == ETIMEDOUT, e
                        self.wfile.write(b"late\n")
                self.wfile.write(data)

    for server in every_server(Patient):
        with Guest(server) as c:
            c.send(b"half a ")
            assert c.line() == b"late\n"
            c.send(b"line\nabc")
            while True:
                line = c.line()
                if line != b"late\n":
                    break
            assert line == b"half a line\n"
            assert c.line() == b"late\n"
            c.send(b"def")
            assert c.rest().replace(b"late\n", b"") == b"abcdef"


def test_output_that_waits_survives_a_timeout():
    class Patient(Handler):
        max_pending = PLENTY
        timeout = 0.3

        async def handle(self):
            n = fill(self)
            try:
                await self.rfile.readline()
            except OSError as e:
                assert e.errno == ETIMEDOUT, e
                self.server.got.append(n)
            self.timeout = 20
            await self.wfile.drain()

    for server in every_server(Patient, small=True):
        with Slow(server) as c:
            wait_until(lambda got=server.got: got)
            assert check_blocks(c) == server.got[0]


def busy_then(wait):
    """Return a handler that gives others their turns for longer than its timeout, then waits."""

    class Busy(Handler):
        max_pending = PLENTY
        timeout = 0.3

        async def handle(self):
            end = time.time() + 0.6
            while time.time() < end:
                await self.wfile.drain()
            self.wfile.write(b"now\n")
            begin = time.time()
            try:
                await wait(self)
            finally:
                self.server.got.append(time.time() - begin)

    return Busy


def test_timeout_counts_from_the_beginning_of_a_wait():
    for server in every_server(busy_then(lambda h: h.rfile.readline())):
        with Guest(server) as c:
            assert c.line() == b"now\n"
            assert c.rest() == b""
        idle(server)
        assert server.stats["timed_out"] == 1
        assert 0.25 < server.got[0] < 5, server.got


def test_timeout_counts_from_the_beginning_of_a_wait_for_room():
    async def wait(handler):
        fill(handler)
        await handler.wfile.drain()

    for server in every_server(busy_then(wait), small=True):
        with Slow(server) as c:
            idle(server)
            c.line()
        assert server.stats["timed_out"] == 1 and server.stats["errors"] == 0, server.stats
        assert 0.25 < server.got[0] < 5, server.got


def test_timeout_after_a_long_sleep():
    class Sleeper(Handler):
        timeout = 0.3

        async def handle(self):
            await self.sleep(0.6)
            begin = time.time()
            try:
                await self.rfile.readline()
            finally:
                self.server.got.append(time.time() - begin)

    for server in every_server(Sleeper):
        with Guest(server) as c:
            assert c.rest() == b""
        idle(server)
        assert server.stats["timed_out"] == 1
        assert 0.25 < server.got[0] < 5, server.got


def test_client_that_does_not_read_times_out():
    class Writer(Handler):
        max_pending = PLENTY
        timeout = 0.3

        async def handle(self):
            fill(self)
            try:
                await self.wfile.drain()
            except OSError as e:
                self.server.got.append(e.errno)
                raise

    for server in every_server(Writer, small=True):
        with Slow(server) as c:
            idle(server)
            c.line()
        assert server.got == [ETIMEDOUT]
        assert server.stats["timed_out"] == 1 and server.stats["errors"] == 0, server.stats


def test_client_that_does_not_read_the_last_reply():
    class Writer(Handler):
        max_pending = PLENTY
        timeout = 0.3

        async def handle(self):
            fill(self)

    for server in every_server(Writer, small=True):
        with Slow(server) as c:
            idle(server)
            c.line()
        # The handler has ended before: not every kind counts that as its timeout.
        assert server.stats["errors"] == 0, server.stats


def test_sleep():
    class Streamer(Handler):
        async def handle(self):
            for i in range(4):
                begin = time.time()
                await self.sleep(0.05)
                self.server.got.append(time.time() - begin)
                self.wfile.write(b"%d\n" % i)
            begin = time.time()
            for seconds in (0, -1, 0.0):
                await self.sleep(seconds)
            await self.sleep(0.4)
            self.server.got.append(time.time() - begin)

    for server in every_server(Streamer):
        with Guest(server) as c:
            for i in range(4):
                assert c.line() == b"%d\n" % i  # nobody has asked for it
            assert c.rest() == b""
        for seconds in server.got[:4]:
            assert 0.04 < seconds < 3, server.got
        assert 0.35 < server.got[4] < 4, server.got


def test_input_during_sleep_is_kept():
    class Sleeper(Handler):
        async def handle(self):
            self.wfile.write(b"asleep\n")
            await self.sleep(0.1)
            while not self.server.got:
                await self.sleep(0.01)
            self.wfile.write(await self.rfile.readline())

    for server in every_server(Sleeper):
        with Guest(server) as c:
            assert c.line() == b"asleep\n"
            c.send(b"wake up\n")
            server.got.append("sent")
            assert c.rest() == b"wake up\n"


def test_many_handlers_sleep_at_once():
    class Sleeper(Handler):
        async def handle(self):
            with lock:
                self.server.got.append(1)
            while len(self.server.got) < 3:
                await self.sleep(0.02)
            self.wfile.write(b"all are here")

    # A plain server has one connection at a time, rp2 one thread.
    for server in every_server(Sleeper, SHARED if BOARD == "rp2" else KINDS[1:]):
        clients = [Guest(server) for _ in range(3)]
        for c in clients:
            assert c.rest() == b"all are here"
            c.close()


def test_many_handlers_take_turns():
    for server in every_server(Echo, SHARED if BOARD == "rp2" else KINDS[1:]):
        clients = [Guest(server) for _ in range(3)]
        for i in range(10):
            for c in clients:
                c.send(b"%d\nand " % i)
            for c in reversed(clients):
                assert c.line().endswith(b"%d\n" % i)
        for c in clients:
            c.close()


def test_handler_that_never_waits_lets_others_have_their_turn():
    class Greedy(Handler):
        async def handle(self):
            if await self.rfile.readline() == b"greedy\n":
                self.wfile.write(b"begin\n")
                while not self.server.got:
                    await self.wfile.drain()
                self.wfile.write(b"end\n")
            else:
                self.server.got.append(1)

    for server in every_server(Greedy, SHARED):
        with Guest(server) as greedy, Guest(server) as other:
            greedy.send(b"greedy\n")
            assert greedy.line() == b"begin\n"
            other.send(b"other\n")
            assert other.rest() == b""
            assert greedy.rest() == b"end\n"


# Clients that vanish.


class Vanishing(Handler):
    """Does what the first line says and records the error that comes."""

    timeout = 20
    max_pending = PLENTY
    caught = False

    async def handle(self):
        what = await self.rfile.readline()
        try:
            if what == b"drain\n":
                fill(self)
            self.server.got.append(what)
            if what == b"read\n":
                await self.rfile.readline()
            elif what == b"sleep\n":
                await self.sleep(9)  # less than a handler without a thread may take
            else:
                await self.wfile.drain()
            self.server.got.append("no error")
        except OSError as e:
            self.server.got.append(e.errno != ETIMEDOUT)
            if not self.caught:
                raise
            try:
                self.wfile.write(b"anybody there?")
            except OSError:
                return  # of course


def vanish(what, caught):
    handler = type("V", (Vanishing,), {"caught": caught})
    for server in every_server(handler, small=True):
        begin = time.time()
        c = Slow(server)
        c.send(what)
        wait_until(lambda got=server.got: got)
        reset(c)
        wait_until(lambda got=server.got: len(got) == 2, what="the error to reach the handler")
        idle(server)
        assert time.time() - begin < 8  # long before its time
        assert server.got == [what, True], server.got
        check_told(server)
        assert server.stats["errors"] == (0 if caught else 1), server.stats
        assert server.stats["timed_out"] == 0


def test_client_vanishes_while_it_is_read_from():
    vanish(b"read\n", False)


def test_client_vanishes_during_sleep():
    vanish(b"sleep\n", False)


def test_client_vanishes_during_drain():
    vanish(b"drain\n", False)


def test_vanished_client_can_be_caught_while_it_is_read_from():
    vanish(b"read\n", True)


def test_vanished_client_can_be_caught_during_sleep():
    vanish(b"sleep\n", True)


def test_vanished_client_can_be_caught_during_drain():
    vanish(b"drain\n", True)


def test_stream_to_a_client_that_goes():
    class Streamer(Handler):
        async def handle(self):
            while True:
                self.wfile.write(b"tick\n")
                await self.wfile.drain()
                await self.sleep(0.005)

    for server in every_server(Streamer):
        with Guest(server) as c:
            assert c.line() == b"tick\n"
        idle(server)
        assert server.stats["errors"] == 1, server.stats


def test_client_that_goes_while_its_handler_has_not_begun():
    for server in every_server(Echo):
        for data in (b"", b"", b"x\n", b"x\n"):  # no more than may wait to be accepted
            c = Guest(server)
            c.send(data)
            reset(c)
        if BOARD == "rp2":  # who is reset while it waits is not accepted
            with Guest(server) as c:
                c.send(b"the last one\n")
                assert c.line() == b"the last one\n"
            server.guests = server.stats["accepted"]


# Errors of handlers.


def test_exception_in_handle():
    class Faulty(Handler):
        async def handle(self):
            if await self.rfile.readline() == b"write\n":
                self.wfile.write(b"so far\n")
            raise KeyError("a handler's mistake")

    for server in every_server(Faulty):
        for what, reply in ((b"go\n", b""), (b"write\n", b"so far\n")):
            with Guest(server) as c:
                c.send(what)
                assert c.rest() == reply
            assert "a handler's mistake" in str(server.told[0])
            check_told(server, KeyError)
        assert server.stats["errors"] == 2 and server.last_error is None


def test_exception_at_once():
    class Faulty(Handler):
        async def handle(self):
            raise KeyError

    for server in every_server(Faulty):
        with Guest(server) as c:
            assert c.rest() == b""
        check_told(server, KeyError)


def test_exception_after_each_kind_of_wait():
    class Faulty(Handler):
        async def handle(self):
            what = await self.rfile.readline()
            if what == b"sleep\n":
                await self.sleep(0.01)
            elif what == b"turn\n":
                for _ in range(20):
                    await self.wfile.drain()
            else:
                self.server.got.append(fill(self))
                await self.wfile.drain()
            raise KeyError

    for server in every_server(Faulty, small=True):
        for what in (b"sleep\n", b"turn\n", b"drain\n"):
            with Slow(server) as c:
                c.send(what)
                if what == b"drain\n":
                    wait_until(lambda got=server.got: got)  # it would go on while we read
                c.rest()
            check_told(server, KeyError)


def test_exception_in_setup():
    class Faulty(Handler):
        def setup(self):
            raise KeyError

        def finish(self):
            self.server.got.append("finish")

    for server in every_server(Faulty):
        with Guest(server) as c:
            assert c.rest() == b""
        check_told(server, KeyError)
        assert not server.got  # as with socketserver


def test_exception_in_finish():
    class Faulty(Handler):
        async def handle(self):
            if await self.rfile.readline() == b"both\n":
                raise ValueError

        def finish(self):
            super().finish()
            raise KeyError

    for server in every_server(Faulty):
        with Guest(server) as c:
            c.send(b"finish\n")
            assert c.rest() == b""
        check_told(server, KeyError)
        with Guest(server) as c:
            c.send(b"both\n")
            assert c.rest() == b""
        # Multiplexing tells of each by itself; alone, the last is all that comes out of __init__.
        check_told(server, *([ValueError, KeyError] if server.kind in SHARED else [KeyError]))


def test_memory_error_in_handle():
    class Faulty(Handler):
        async def handle(self):
            await self.rfile.readline()
            raise MemoryError

    for server in every_server(Faulty):
        with Guest(server) as c:
            c.send(b"go\n")
            assert c.rest() == b""
        check_told(server, MemoryError)
        assert server.stats["out_of_memory"] == 1 and server.stats["errors"] == 0


def test_handle_that_is_not_async():
    class Plain(Handler):
        def setup(self):
            return  # finish is not called: it would be one too few

        def handle(self):
            self.server.got.append(1)

    for server in every_server(Plain):
        with Guest(server) as c:
            assert c.rest() == b""
        assert "Plain" in str(server.told[0]) and "async def" in str(server.told[0])
        check_told(server, TypeError)


def test_awaiting_what_is_no_awaitable():
    class Faulty(Handler):
        async def handle(self):
            await self.rfile.readline()
            await 5

    for server in every_server(Faulty):
        with Guest(server) as c:
            c.send(b"go\n")
            assert c.rest() == b""
        wait_until(lambda told=server.told: told)
        check_told(server, TypeError)


# Awaiting what is another loop's.


def foreign_sleep():
    return asyncio.sleep(0.01)


def foreign_turn():
    return asyncio.sleep(0)


def foreign_event():
    if MICROPYTHON:
        return Event().wait()
    return asyncio.get_running_loop().create_future()  # what its Event waits for


@port.coro
def foreign_number():
    yield 7  # as other loops' coroutines may


class Foreign(Handler):
    waits = (foreign_sleep, foreign_event, foreign_turn, foreign_number)

    async def handle(self):
        for wait in self.waits:
            await self.rfile.readline()
            try:
                await wait()
                self.wfile.write(b"it waited\n")
            except RuntimeError as e:
                self.wfile.write(b"%s\n" % str(e).encode())


def check_foreign(server, text):
    # Outside a loop CPython's asyncio has words of its own for it.
    assert b"self.sleep" in text or not MICROPYTHON and b" loop" in text, text


def test_foreign_awaits():
    for server in every_server(Foreign):
        for _ in range(5):
            with Guest(server) as c:
                for _ in Foreign.waits:
                    c.send(b"go\n")
                    check_foreign(server, c.line())
                assert c.rest() == b""


def test_foreign_awaits_of_many_connections():
    # In one thread: MicroPython's asyncio is not for several at once.
    for server in every_server(Foreign, SHARED):
        clients = [Guest(server) for _ in range(3)]
        for _ in Foreign.waits:
            for c in clients:
                c.send(b"go\n")
            for c in clients:
                check_foreign(server, c.line())
        for c in clients:
            assert c.rest() == b""
            c.close()


def test_foreign_awaits_in_many_threads():
    if BOARD == "rp2":
        raise Skip("more than one thread")
    # Between its two halves MicroPython's asyncio.sleep keeps its state for all: see its source.
    Foreign.waits = (foreign_event,) * 5
    for server in every_server(Foreign, ("threading",)):
        for _ in range(3):
            clients = [Guest(server) for _ in range(4)]
            for _ in Foreign.waits:
                for c in clients:
                    c.send(b"go\n")
                for c in clients:
                    check_foreign(server, c.line())
            for c in clients:
                assert c.rest() == b""
                c.close()


def test_foreign_await_that_is_not_caught():
    class Faulty(Handler):
        async def handle(self):
            await asyncio.sleep(0.01)

    for server in every_server(Faulty):
        for _ in range(5):
            with Guest(server) as c:
                assert c.rest() == b""
            check_told(server, RuntimeError)


def test_output_that_waits_survives_a_foreign_await():
    class Faulty(Handler):
        max_pending = PLENTY

        async def handle(self):
            n = fill(self)
            try:
                await foreign_number()
            except RuntimeError:
                self.server.got.append(n)
            await self.wfile.drain()

    for server in every_server(Faulty, small=True):
        with Slow(server) as c:
            wait_until(lambda got=server.got: got)
            assert check_blocks(c) == server.got[0]


def test_foreign_await_again_and_again():
    # A handler that does not learn must not keep the others from their turns.
    class Stubborn(Handler):
        async def handle(self):
            if await self.rfile.readline() != b"stubborn\n":
                self.server.got.append(1)
                return
            self.wfile.write(b"begin\n")
            while not self.server.got:
                try:
                    await asyncio.sleep(0)
                except RuntimeError:
                    continue

    for server in every_server(Stubborn, SHARED):
        with Guest(server) as c, Guest(server) as other:
            c.send(b"stubborn\n")
            assert c.line() == b"begin\n"
            other.send(b"other\n")
            assert other.rest() == b""
            assert c.rest() == b""


# SystemExit and KeyboardInterrupt.


def leaving(kind):
    class AtOnce(Handler):
        async def handle(self):
            raise kind

    class Later(Handler):
        async def handle(self):
            await self.rfile.readline()
            raise kind

    class Asleep(Handler):
        async def handle(self):
            await self.sleep(0.01)
            raise kind

    for server in every_server(None):
        for handler in (AtOnce, Later, Asleep):
            server.RequestHandlerClass = handler
            with Guest(server) as c:
                if handler is Later:
                    c.send(b"go\n")
                assert c.rest() == b""  # closed all the same
            idle(server)
            # SystemExit ends a thread in silence, Ctrl-C in a thread the whole server.
            if server.kind != "threading" or kind is KeyboardInterrupt:
                check_left(server, kind)
                serve(server)


def test_system_exit_in_a_handler():
    leaving(SystemExit)


def test_keyboard_interrupt_in_a_handler():
    leaving(KeyboardInterrupt)


def test_server_can_be_closed_after_keyboard_interrupt():
    class Leaver(Handler):
        async def handle(self):
            await self.rfile.readline()
            raise KeyboardInterrupt

    for kind in KINDS:
        print("--", kind)
        server = make(kind, Leaver)
        serve(server)
        with Guest(server) as c:
            c.send(b"go\n")
            assert c.rest() == b""
        check_left(server, KeyboardInterrupt)
        server.server_close()
        assert len(server.finished) == 1


def test_other_connections_live_on_after_keyboard_interrupt():
    class Leaver(Handler):
        async def handle(self):
            while True:
                line = await self.rfile.readline()
                if line == b"leave\n":
                    raise KeyboardInterrupt
                if not line:
                    break
                self.wfile.write(line)

    for server in every_server(Leaver, SHARED):
        with Guest(server) as c, Guest(server) as other:
            other.send(b"one\n")
            assert other.line() == b"one\n"
            c.send(b"leave\n")
            assert c.rest() == b""
            check_left(server, KeyboardInterrupt)
            other.send(b"two\n")
            serve(server)
            assert other.line() == b"two\n"


# A handler and its server.


def test_order_and_attributes():
    class Whole(Handler):
        def setup(self):
            super().setup()
            self.server.got.append("setup")

        async def handle(self):
            self.server.got.append("handle")
            self.word = await self.helper()
            self.server.got.append(self.word)

        async def helper(self):
            return await self.rfile.readline()

        def finish(self):
            super().finish()
            self.server.got.append("finish")
            self.server.got.append(self.client_address[0])
            self.server.got.append(self.request is not None)

    for server in every_server(Whole):
        with Guest(server) as c:
            c.send(b"word\n")
            assert c.rest() == b""
        idle(server)
        expected = ["setup", "handle", b"word\n", "finish", "127.0.0.1", True]
        assert server.got == expected, server.got


def test_active_while_a_handler_is_at_work():
    class Handler2(Handler):
        async def handle(self):
            self.server.got.append(self.server.stats["active"])
            await self.rfile.readline()
            self.server.got.append(self.server.stats["active"])

    for server in every_server(Handler2):
        for _ in range(2):
            with Guest(server) as c:
                c.send(b"go\n")
                assert c.rest() == b""
            idle(server)
        assert server.got == [1] * 4, server.got


def test_disable_nagle_algorithm():
    for server in every_server(type("Quick", (Echo,), {"disable_nagle_algorithm": True})):
        with Guest(server) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"


def test_reply_is_not_lost_to_what_the_client_still_sends():
    class Short(Handler):
        async def handle(self):
            await self.rfile.readline()
            for _ in range(10):
                self.wfile.write(b"answer\n")

    for server in every_server(Short):
        for size in (100, 50000):
            with Guest(server) as c:
                c.send(b"first\n" + b"z" * size)
                assert c.rest() == b"answer\n" * 10, size
            idle(server)


def test_shutdown_from_a_handler():
    class Stopper(Handler):
        async def handle(self):
            await self.rfile.readline()
            self.server.shutdown()
            self.wfile.write(b"bye")

    for server in every_server(Stopper):
        with Guest(server) as c:
            c.send(b"stop\n")
            assert c.rest() == b"bye"
        wait_until(lambda record=server.record: record["done"], what="the loop to end")
        assert not server.left
        idle(server)
        serve(server)


def test_server_close_closes_connections():
    # The other kinds wait for their handlers, as socketserver does.
    class Waiter(Handler):
        max_pending = PLENTY

        async def handle(self):
            try:
                what = await self.rfile.readline()
                self.wfile.write(b"ready\n")
                if what == b"sleep\n":
                    await self.sleep(100)
                elif what == b"drain\n":
                    fill(self)
                    await self.wfile.drain()
                else:
                    await self.rfile.readline()
            finally:
                self.server.got.append("finally")

    for kind in SHARED:
        print("--", kind)
        server = make(kind, Waiter, small=True)
        serve(server)
        clients = []
        for what in (b"read\n", b"sleep\n", b"drain\n"):
            c = Slow(server)
            clients.append(c)
            c.send(what)
            assert c.line() == b"ready\n"
        server.shutdown()
        wait_until(lambda record=server.record: record["done"])
        server.server_close()
        for c in clients:
            try:
                c.rest()
            except OSError:
                c.close()  # reset, with output that nobody will send
            c.close()
        assert len(server.finished) == 3, server.finished
        assert server.got == ["finally"] * 3
        assert server.stats["active"] == 0 and not server.told and not server.left
        server.server_close()  # again: nothing happens


def test_server_close_in_a_handler():
    class Closer(Handler):
        async def handle(self):
            await self.rfile.readline()
            self.server.server_close()
            self.server.got.append("closed")

    for kind in KINDS:
        print("--", kind)
        server = make(kind, Closer)
        serve(server)
        with Guest(server) as c:
            c.send(b"close\n")
            assert c.rest() == b""
        if server.loop is not server:
            server.loop.shutdown()  # it serves others, if there are any
        wait_until(lambda record=server.record: record["done"], what="the loop to end")
        idle(server)
        assert server.got == ["closed"]
        assert not server.told and not server.left, (server.told, server.left)
        assert len(server.finished) == 1, server.finished


def test_handler_closes_its_connection():
    class Closer(Handler):
        async def handle(self):
            self.wfile.write(await self.rfile.readline())
            self.request.close()

    for server in every_server(Closer):
        with Guest(server) as c:
            c.send(b"x\n")
            assert c.rest() == b"x\n"


def test_handler_closes_its_connection_while_output_waits():
    class Closer(Handler):
        async def handle(self):
            fill(self)
            self.request.close()

    # Where a multiplexer has it, the connection is its own to close.
    for server in every_server(Closer, ("plain", "threading"), small=True):
        with Slow(server):
            idle(server)


def test_handler_waits_on_a_connection_it_has_closed():
    class Closer(Handler):
        async def handle(self):
            await self.rfile.readline()
            self.request.close()
            try:
                await self.rfile.readline()
            except (OSError, ValueError):
                self.server.got.append("error")

    for server in every_server(Closer):
        with Guest(server) as c:
            c.send(b"x\n")
            assert c.rest() == b""
        idle(server)
        del server.told[:]  # a handler's mistake: what comes of it is no promise


def test_threads_beside_the_multiplexer_and_handlers_without_a_thread():
    class Hasty(Echo):
        timeout = 0.3

    for server in every_server(Hasty, ("inline", "threads in a multiplexer")):
        for _ in range(2):
            with Guest(server) as c:
                c.send(b"one\ntwo\n")
                assert c.line() == b"one\n" and c.line() == b"two\n"
                assert c.rest() == b""
        idle(server)
        assert server.stats["timed_out"] == 2 and server.stats["errors"] == 0
        server.RequestHandlerClass = Vanishing
        c = Guest(server)
        c.send(b"sleep\n")
        wait_until(lambda got=server.got: got)
        reset(c)
        idle(server)
        assert server.got[1:] == [True]
        server.RequestHandlerClass = Foreign
        with Guest(server) as c:
            for _ in Foreign.waits:
                c.send(b"go\n")
                check_foreign(server, c.line())


def test_one_round_at_a_time():
    # No serve_forever: handle_request() and poll() in a loop of the program's own.
    class Sleeper(Handler):
        async def handle(self):
            line = await self.rfile.readline()
            await self.sleep(0.02)
            self.wfile.write(line)
            await self.wfile.drain()

    for kind in ("plain", "threading", "multiplexing", "multiplexer"):
        print("--", kind)
        server = make(kind, Sleeper, timeout=0.05)
        with Guest(server) as c:
            c.send(b"x\n")
            while not server.finished:
                if kind == "multiplexer":
                    server.loop.poll(0.05)
                else:
                    server.handle_request()
            assert c.line() == b"x\n"
        server.server_close()
        assert server.stats["active"] == 0 and not server.told


def test_many_connections():
    for server in every_server(Echo):
        for i in range(25):
            with Guest(server) as c:
                c.send(b"%d\n" % i)
                assert c.line() == b"%d\n" % i
        idle(server)
        assert server.stats["accepted"] == 25 and server.stats["errors"] == 0
        assert server.stats["evicted"] == 0
