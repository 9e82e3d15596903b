"""What boards do that no other Python does, and what the servers make of it.

The boards are played by tests/personality; the facts are numbered in tests/facts.md.
"""

import errno
import select
import struct
import time

from socketse import (
    AsyncStreamRequestHandler,
    BaseRequestHandler,
    Multiplexer,
    MultiplexingTCPServer,
    StreamRequestHandler,
    TCPServer,
    ThreadingTCPServer,
    UDPServer,
    port,
)
from support import (
    BOARD,
    HOST,
    Client,
    Skip,
    ask,
    free,
    personality,
    raises,
    serving,
    socket,
    thread,
    wait_until,
)


class Line(StreamRequestHandler):
    client_speaks_first = True

    def handle(self):
        self.wfile.write(self.rfile.readline())


class AsyncLine(AsyncStreamRequestHandler):
    async def handle(self):
        self.wfile.write(await self.rfile.readline())


class Echo(BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(data, self.client_address)


KINDS = (TCPServer, ThreadingTCPServer, MultiplexingTCPServer)


def each(**attributes):
    """Yield a server of each kind at work, which must serve at the end, too."""
    for base in KINDS:
        handler = AsyncLine if base is MultiplexingTCPServer else Line
        server = type("Server", (base,), attributes)(free(), handler)
        print("--", base.__name__)
        with serving(server):
            is_served(server)
            yield server
            is_served(server)
            wait_until(lambda server=server: server.stats["active"] == 0)


def is_served(server):
    with Client(server.server_address) as c:
        c.send(b"an honest client\n")
        assert c.line() == b"an honest client\n"


def gone(client):
    """Return True if the server has closed the connection of client, one way or the other."""
    try:
        return client.recv() == b""
    except OSError as e:
        assert e.errno == errno.ECONNRESET, e
        return True


def only(board):
    personality()
    if board != BOARD:
        raise Skip("a trap of %s" % board)


def board_socket(*args):
    """Return a socket of the board, not of the test."""
    import socket

    return socket.socket(*args)


def pair():
    """Return a connection as the board has it, and its client."""
    address = free()
    listener = board_socket()
    listener.bind(address)
    listener.listen(2)
    client = Client(address)
    connection, peer = listener.accept()
    assert peer[0] == HOST
    listener.close()
    return connection, client


def poll(stream, mask, ms=0):
    poller = select.poll()
    poller.register(stream, mask)
    return [event for _, event in poller.poll(ms)]


def reset(client):
    client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


# The boards are what tests/facts.md says.


def test_numbers_of_errors():
    personality()
    if BOARD == "esp32":
        assert (errno.ETIMEDOUT, errno.EADDRINUSE, errno.EHOSTUNREACH) == (116, 112, 118)
    connection, client = pair()
    connection.settimeout(0)
    assert raises(OSError, connection.recv, 1).errno == errno.EAGAIN
    connection.settimeout(0.2)
    assert raises(OSError, connection.recv, 1).errno == errno.ETIMEDOUT
    address = free()
    other = board_socket()
    other.bind(address)
    other.listen(2)
    assert raises(OSError, board_socket().bind, address).errno == errno.EADDRINUSE
    other.close()
    connection.close()
    client.close()


def test_timeouts_in_steps():
    only("esp32")
    connection, client = pair()
    for seconds, least, error in ((0.05, 90, errno.EAGAIN), (0.25, 290, errno.ETIMEDOUT)):
        connection.settimeout(seconds)
        begin = time.ticks_ms()
        assert raises(OSError, connection.recv, 1).errno == error
        assert time.ticks_diff(time.ticks_ms(), begin) >= least
    connection.settimeout(0.05)
    assert connection.read(1) is None
    connection.close()
    client.close()


def test_accepted_sockets_inherit_the_timeout():
    personality()
    address = free()
    listener = board_socket()
    listener.bind(address)
    listener.listen(2)
    listener.settimeout(0.3)
    assert raises(OSError, listener.accept).errno == errno.ETIMEDOUT
    client = Client(address)
    connection, _ = listener.accept()
    assert connection._timeout == (0.3 if BOARD == "rp2" else None)
    assert hasattr(connection, "fileno") == (BOARD == "esp32")
    for s in (connection, client, listener):
        s.close()


def test_events():
    personality()
    assert poll(board_socket(), 1) == [16]
    connection, client = pair()
    assert poll(connection, 1) == []
    assert poll(connection, 5) == [4]
    client.close()
    wait_until(lambda: poll(connection, 1))
    assert connection.recv(10) == b""
    assert poll(connection, 1) == ([] if BOARD == "esp32" else [1])  # the end is told once
    assert connection.recv(10) == b""
    connection.close()
    assert poll(connection, 1) == [32]
    connection, client = pair()
    reset(client)
    wait_until(lambda: poll(connection, 1))
    if BOARD == "esp32":
        assert (poll(connection, 1), poll(connection, 17), poll(connection, 0)) == ([1], [17], [])
    else:
        assert (poll(connection, 1), poll(connection, 0)) == ([25], [24])
    assert raises(OSError, connection.recv, 1).errno == errno.ECONNRESET
    connection.close()


def test_nothing_to_send():
    only("esp32")
    connection, client = pair()
    for method in (connection.send, connection.sendall):
        assert raises(OSError, method, b"").errno == errno.ETIMEDOUT
    connection.settimeout(0)
    assert raises(OSError, connection.send, b"").errno == errno.EAGAIN
    connection.close()
    client.close()


def test_a_stream_reads_all_it_can():
    personality()
    connection, client = pair()
    client.send(b"a line\nhalf")
    wait_until(lambda: poll(connection, 1))
    assert connection.readline() == b"a line\n"
    connection.settimeout(0)
    buf = bytearray(10)
    wait_until(lambda: poll(connection, 1))
    assert connection.readinto(buf) == 4 and buf[:4] == b"half"
    assert connection.readinto(buf) is None
    assert connection.write(b"12345", 2) == 2
    assert client.recv() == b"12"
    connection.close()
    client.close()


# What the servers make of it.


def test_sockets_run_out():
    only("esp32")
    for server in each():
        others = []
        while True:
            try:
                others.append(board_socket())
            except OSError as e:
                assert e.errno == 23
                break
        for _ in range(3):
            with Client(server.server_address) as c:
                assert gone(c)
        wait_until(lambda server=server: server.stats["errors"] == 3)
        for s in others:
            s.close()


def test_connections_run_out():
    personality().abort_ms = 1000
    n = {"rp2": 5, "esp32": 12}[BOARD]
    for server in each():
        silent = [Client(server.server_address) for _ in range(n + 3)]
        if isinstance(server, ThreadingTCPServer):
            is_served(server)  # beside them
        for c in silent:
            c.close()


def test_closed_connections_keep_their_places_for_a_while():
    only("rp2")
    personality().abort_ms = 1000
    for server in each():
        staying = []
        begin = time.ticks_ms()
        for _ in range(12):  # more than there are, all at once
            c = Client(server.server_address)
            c.send(b"x\n")
            staying.append(c)
        for c in staying:
            assert c.line() == b"x\n"
        assert time.ticks_diff(time.ticks_ms(), begin) > 900  # it is played
        is_served(server)
        for c in staying:
            c.close()


def test_full_backlog():
    personality()
    entered = []
    leave = []

    class Slow(StreamRequestHandler):
        def handle(self):
            entered.append(1)
            wait_until(lambda: leave)
            self.wfile.write(self.rfile.readline())

    class Server(TCPServer):
        request_queue_size = 2

    with serving(Server(free(), Slow)) as server:
        clients = [Client(server.server_address)]
        wait_until(lambda: entered)
        clients += [Client(server.server_address) for _ in range(4 if BOARD == "rp2" else 2)]
        leave.append(1)
        lines = []
        for c in clients:
            try:
                c.send(b"x\n")
                lines.append(c.line())
            except OSError as e:
                assert e.errno in (errno.ECONNRESET, 32), e  # 32: EPIPE
                lines.append(None)
            c.close()
        # rp2: those beyond the backlog were connected, and are reset.
        assert lines.count(b"x\n") >= 3 and (BOARD == "rp2") == (None in lines or b"" in lines), (
            lines
        )
        is_served(server)


def test_memory_error_in_accept():
    p = personality()
    # A connection of which nobody knows any more cannot be closed: rp2 has five.
    for server in each():
        with p.failing("accepted", MemoryError()) as failures:
            with Client(server.server_address):
                wait_until(lambda f=failures: f.count)
        wait_until(lambda server=server: server.stats["out_of_memory"] == 1)


def test_the_other_heap_is_used_up():
    only("esp32")
    p = personality()
    for server in each():
        p.idf_heap = False
        try:
            for _ in range(3):
                with Client(server.server_address) as c:
                    assert gone(c)
        finally:
            p.idf_heap = True
        wait_until(lambda server=server: server.stats["errors"] == 3)


def test_an_empty_datagram_while_the_other_heap_is_used_up():
    only("esp32")
    p = personality()
    with serving(UDPServer(free(), Echo)) as server:
        assert ask(server.server_address, b"x") == b"x"
        old = server.socket
        calls = []
        p.on_call = calls.append
        p.idf_heap = False
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.sendto(b"", socket.getaddrinfo(*server.server_address)[0][-1])
        wait_until(lambda: calls.count("socket") > 1, what="a second try to make a socket anew")
        p.idf_heap = True
        wait_until(lambda: ask(server.server_address, b"x", timeout=0.5) == b"x")
        assert server.socket is not old
        client.close()


def test_an_empty_datagram_while_no_memory_is_left():
    only("esp32")
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for kind in (UDPServer, Multiplexer):
        server = loop = UDPServer(free(), Echo)
        if kind is Multiplexer:
            loop = Multiplexer()
            loop.add(server)
        done = thread(loop.serve_forever, 0.02)
        assert ask(server.server_address, b"x") == b"x"
        with personality().failing("register", MemoryError(), 3) as failures:
            client.sendto(b"", socket.getaddrinfo(*server.server_address)[0][-1])
            wait_until(lambda f=failures: f.count == 3)
        wait_until(lambda server=server: ask(server.server_address, b"x", timeout=0.5) == b"x")
        loop.shutdown()
        wait_until(lambda done=done: done["done"])
        server.server_close()
    client.close()


def test_no_thread_can_be_started():
    personality()
    import cores

    before = cores.running
    cores.running = 12  # the program's own
    try:
        with serving(ThreadingTCPServer(free(), Line)) as server:
            for _ in range(3):
                is_served(server)
            cores.running = before
            is_served(server)
            assert server.stats["accepted"] == 4 and server.stats["errors"] == 0
    finally:
        cores.running = before


def test_a_core_that_is_lost():
    only("rp2")
    import cores

    with serving(ThreadingTCPServer(free(), Line)) as server:
        with personality().failing("stack", MemoryError()) as failures:
            is_served(server)
        assert failures.count == 1 and cores.running == 1
        for _ in range(3):
            is_served(server)
        assert server.stats["errors"] == 0


def test_register_that_finds_no_memory():
    p = personality()
    for server in each(max_threads=0):
        for _ in range(3):
            with p.failing("register", MemoryError()) as failures:
                with Client(server.server_address) as c:
                    c.send(b"x\n")
                    if server.__class__.__bases__[0] is TCPServer:
                        assert c.line() == b"x\n"
                        continue
                    wait_until(lambda f=failures: f.count)
                    try:
                        c.line()
                    except OSError:
                        continue  # it may have had to go


def test_lwips_heap_is_full():
    only("rp2")
    p = personality()

    class Talker(AsyncStreamRequestHandler):
        async def handle(self):
            line = await self.rfile.readline()
            while line == b"all of it\n":
                self.wfile.write(b"x" * 2000)
                await self.wfile.drain()
            self.wfile.write(line)

    p.lwip_heap = 3000
    p.stall_ms = 2000  # on boards 10 s
    try:
        with serving(MultiplexingTCPServer(free(), Talker)) as server:
            deaf = Client(server.server_address)
            deaf._socket.setsockopt(socket.SOL_SOCKET, 8, 2048)  # SO_RCVBUF
            deaf.send(b"all of it\n")
            wait_until(lambda: p.stalled, what="a write that waits")
            with Client(server.server_address) as c:
                c.send(b"an honest client\n")
                assert c.line() == b"an honest client\n"
            deaf.close()
            is_served(server)
    finally:
        p.lwip_heap = None


def test_time_counts_from_the_boards_epoch():
    personality()
    board = __import__("time")  # ours is the host's
    assert isinstance(board.time(), int) and len(board.gmtime(0)) == 8
    assert board.gmtime(0)[0] == (2000 if BOARD == "esp32" else 1970)
    assert abs(board.time() + board.EPOCH - time.time()) < 5


def test_threads_beside_a_thread_of_the_programs_own():
    only("rp2")
    import cores

    leave = []
    cores.start_new_thread(wait_until, (lambda: leave,))
    assert str(raises(OSError, cores.start_new_thread, print, ())) == "core1 in use"
    with serving(ThreadingTCPServer(free(), Line)) as server:
        done = thread(is_served, server)
        is_served(server)
        wait_until(lambda: done["done"])
    leave.append(1)
    wait_until(lambda: not cores.running)
    assert port.platform == "rp2"


def test_datagrams_that_nobody_has_read_yet():
    most = {"esp32": 6, "rp2": 4}
    personality()
    with_handler = UDPServer(free(), Echo)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(20)
    target = socket.getaddrinfo(*with_handler.server_address)[0][-1]
    for i in range(10):
        client.sendto(b"%d" % i, target)
    with serving(with_handler) as server:
        wait_until(lambda: server.stats["accepted"] == most[BOARD])
        for i in range(most[BOARD]):
            assert client.recv(10) == b"%d" % i
        assert ask(server.server_address, b"x") == b"x"  # and no other has come between
        assert server.stats["accepted"] == most[BOARD] + 1
    client.close()
