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
    MICROPYTHON,
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


def test_sending_all_of_what_is_too_much():
    personality()
    connection, client = pair()
    connection.settimeout(0)
    error = errno.ETIMEDOUT if BOARD == "esp32" else errno.EAGAIN
    assert raises(OSError, connection.sendall, bytes(100000)).errno == error
    client._socket.settimeout(0.1)
    if BOARD == "esp32":
        assert client.recv(1) == b"\0"  # a part of it has gone
    else:
        raises(OSError, client.recv, 1)  # nothing
    connection.close()
    client.close()


def test_two_listeners_on_one_port():
    personality()
    address = free()
    listeners = [board_socket() for _ in range(2)]
    for s in listeners:
        s.setsockopt(socket.SOL_SOCKET, port_option("SO_REUSEADDR"), 1)
        s.bind(address)  # there is no word about the other
        if s is listeners[0]:
            s.listen(2)
    assert raises(OSError, listeners[1].listen, 2).errno == errno.EADDRINUSE
    listeners[0].close()
    listeners[1].listen(2)
    listeners[1].close()
    with TCPServer(address, Line):
        e = raises(OSError, TCPServer, address, Line)
        assert e.errno == errno.EADDRINUSE and "another server has this address" in str(e), e


def port_option(name):
    """Return the number that the board has for an option."""
    import socket

    return getattr(socket, name)


def test_numeric_addresses():
    only("rp2")
    s = board_socket()
    raises(ValueError, s.bind, ("localhost", free()[1]))
    s.close()
    with serving(TCPServer(("localhost", free()[1]), Line)) as server:
        is_served(server)


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


def test_listeners_run_out():
    only("rp2")
    with serving(TCPServer(free(), Line)) as server:
        others = [TCPServer(free(), Line) for _ in range(7)]
        address = free()
        e = raises(OSError, TCPServer, address, Line)
        assert e.errno == errno.ENOMEM and str(address[1]) in str(e), e
        datagrams = [UDPServer(free(), Echo) for _ in range(2)]
        assert raises(OSError, UDPServer, free(), Echo).errno == errno.ENOMEM
        for s in others + datagrams:
            s.server_close()
        TCPServer(address, Line).server_close()
        is_served(server)


def test_forgotten_sockets_make_room():
    only("esp32")
    for server in each():
        cycle = []
        cycle.append((cycle, [board_socket() for _ in range(9)]))
        cycle = None  # all that esp32 has are in use, and nobody knows them
        with Client(server.server_address) as c:
            c.send(b"x\n")
            gone(c)  # or served, if they were collected by chance
        # A word on the stack may look like one of them, for a while.
        wait_until(lambda server=server: comes_in(server), what="them to be collected")


def comes_in(server):
    try:
        is_served(server)
        return True
    except (OSError, AssertionError):
        return False


def test_a_queue_of_one():
    personality()
    for server in each(request_queue_size=1):
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"


def test_reset_between_the_look_and_accept():
    only("rp2")
    p = personality()
    rounds = []
    actions = {"service_actions": lambda self: rounds.append(1)}
    for server in each(**actions):
        clients = []

        def look(call, clients=clients):
            if call == "accept":
                wait_until(lambda: clients)
                p.on_call = None
                reset(clients[0])

        p.on_call = look
        clients.append(Client(server.server_address))
        wait_until(lambda: not p.on_call, what="accept")
        n = len(rounds)
        # Nobody else comes: accept must end by itself.
        wait_until(lambda n=n: len(rounds) > n + 2, 10, "the loop")
        assert server.stats["errors"] == 0 and server.stats["accepted"] == 1


def test_ticks_come_to_their_end():
    personality()
    board = __import__("time")

    class Sleeper(AsyncStreamRequestHandler):
        async def handle(self):
            for _ in range(8):
                begin = port.ticks_ms()
                await self.sleep(0.1)
                slept.append((begin, port.ticks_diff(port.ticks_ms(), begin)))
            self.timeout = 0.3
            for _ in range(3):
                begin = port.ticks_ms()
                try:
                    await self.rfile.readline()
                except OSError:
                    waited.append((begin, port.ticks_diff(port.ticks_ms(), begin)))
            self.wfile.write(b"good morning\n")

    for ms in (400, 1200):  # in the middle of a sleep, and of a wait
        slept, waited = [], []
        board.wrap_in(ms)
        with serving(MultiplexingTCPServer(free(), Sleeper), 20) as server:
            with Client(server.server_address) as c:
                assert c.line() == b"good morning\n"
            thread(server.shutdown)
            while server._se_serving:
                time.sleep(0.01)
                try:
                    Client(server.server_address).close()
                except OSError:
                    break
        found = slept if ms == 400 else waited
        assert found[0][0] > 1 << 29 > found[-1][0], found  # they came to their end meanwhile
        assert all([100 <= took < 1500 for _, took in slept]), slept
        assert all([250 <= took < 1500 for _, took in waited]), waited


def test_datagrams_that_find_no_room():
    personality()
    # esp32: a sendto that would block says that its time is up.
    error = OSError(errno.ETIMEDOUT if BOARD == "esp32" else errno.EAGAIN)
    for kind in (UDPServer, Multiplexer):
        server = loop = UDPServer(free(), Echo)
        if kind is Multiplexer:
            loop = Multiplexer()
            loop.add(server)
        done = thread(loop.serve_forever, 0.02)
        with personality().failing("sendto", error, 2) as failures:
            for _ in range(2):
                assert ask(server.server_address, b"x", timeout=0.3) is None
        assert failures.count == 2
        assert ask(server.server_address, b"x") == b"x"
        loop.shutdown()
        wait_until(lambda done=done: done["done"])
        server.server_close()


def test_the_other_heap_has_no_room_to_send():
    only("esp32")
    p = personality()
    for server in each():
        with Client(server.server_address) as c:
            c.send(b"a li")
            wait_until(lambda s=server.stats: s["accepted"] == 2 and s["active"] == 1)
            p.idf_heap = False
            try:
                c.send(b"ne\n")
                assert gone(c)
            finally:
                p.idf_heap = True
        wait_until(lambda server=server: not server.stats["active"])


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


def test_more_than_six_wait():
    only("esp32")
    entered = []
    leave = []

    class Slow(StreamRequestHandler):
        def handle(self):
            entered.append(1)
            wait_until(lambda: leave)
            self.wfile.write(self.rfile.readline())

    with serving(type("Server", (TCPServer,), {"request_queue_size": 8})(free(), Slow)) as server:
        clients = [Client(server.server_address)]
        wait_until(lambda: entered)
        clients += [Client(server.server_address) for _ in range(9)]
        leave.append(1)
        answers = []
        for c in clients:
            try:
                c.send(b"x\n")
                answers.append(c.line())
            except OSError as e:
                assert e.errno in (errno.ECONNRESET, 32), e  # 32: EPIPE
                answers.append(None)
            c.close()
        # Six have waited, whatever the backlog is; the others were connected, and are reset.
        assert answers[:7] == [b"x\n"] * 7 and answers[7:] == [None] * 3, answers
        is_served(server)


def test_memory_error_in_accept():
    p = personality()
    # A connection of which nobody knows any more cannot be closed: rp2 has five.
    for server in each():
        with p.failing("accepted", MemoryError()) as failures:
            with Client(server.server_address):
                wait_until(lambda f=failures: f.count)
        wait_until(lambda server=server: server.stats["out_of_memory"] == 1)


def test_ctrl_c_right_after_accept_loses_nobody():
    personality()
    listener, connection = Timed(), Timed()
    listener.accept = lambda: (connection, (HOST, 7, "more"))
    assert port.accept(listener) == (connection, (HOST, 7))
    assert listener.left is None and connection.left is None
    for at in range(3):
        for error in (KeyboardInterrupt, MemoryError):
            listener, connection = Timed(), Timed()
            listener.accept = lambda c=connection: (c, (HOST, 7))
            calls = [at]

            def fail(calls=calls, error=error):
                calls[0] -= 1
                if calls[0] == -1:
                    raise error

            listener.fail = connection.fail = fail
            raises(error, port.accept, listener)
            assert connection.closed == (at > 0), "call %d" % at
            assert listener.left is None  # or the loop would look at a listener with a timeout


class Timed:
    """A socket whose settimeout may fail."""

    left = 0
    closed = False

    def fail(self):
        pass

    def settimeout(self, seconds):
        self.fail()
        self.left = seconds

    def close(self):
        self.closed = True


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


def test_a_flood_that_leaves_nothing_for_a_select():
    only("esp32")
    import socket as board

    def look(call):
        # Fact 85: while the flood comes there is nothing at all, later as long as they are many.
        if call == "ipoll" and (coming or len(board._all_of(board._TCP)) > 5):
            failed.append(call)
            raise OSError(5)  # EIO

    for server in each():
        failed, coming = [], [True]
        personality().on_call = look
        wait_until(lambda f=failed: f)
        flood = [Client(server.server_address) for _ in range(7)]
        for client in flood:
            client.send(b"a part of a line")
        before = len(failed)
        wait_until(lambda f=failed, n=before: len(f) > n)
        coming.clear()
        if isinstance(server, MultiplexingTCPServer):
            is_served(server)  # in the middle of it
            assert server.stats["evicted"] > 0 and server.stats["out_of_memory"] >= len(failed)
        else:
            wait_until(lambda s=server, f=failed: s.stats["errors"] >= len(f))
        for client in flood:
            client.close()
        is_served(server)
        personality().on_call = None


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

    p = personality()

    class Told(Line):
        def handle(self):
            served_by.append(cores.get_ident())
            Line.handle(self)

    before = cores.running
    asked, served_by = [], []

    def look(call):
        # esp32: there is no stack for a thread; all else has what it needs.
        p.idf_heap = call != "start_new_thread"
        if not p.idf_heap:
            asked.append(call)

    with serving(ThreadingTCPServer(free(), Told)) as server:
        if BOARD == "esp32":
            p.on_call = look
        else:
            cores.running = 1  # the program's own
        for _ in range(3):
            is_served(server)
        p.on_call = None
        p.idf_heap = True
        cores.running = before
        assert len(asked) >= 3 or BOARD == "rp2", asked
        assert served_by == server._se_serving * 3  # by the serving thread itself
        is_served(server)
        assert served_by[3] != served_by[0]
        assert server.stats["accepted"] == 4 and server.stats["errors"] == 0


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


def test_garbage_is_collected_before_a_core_is_asked_for():
    only("rp2")
    import gc

    p = personality()
    free_bytes = []

    def look(call):
        if call == "accept":
            for _ in range(100):
                bytearray(1000)
            free_bytes.append(gc.mem_free())
        elif call == "start_new_thread":
            free_bytes.append(gc.mem_free())

    with serving(ThreadingTCPServer(free(), Line)) as server:
        gc.disable()
        p.on_call = look
        try:
            is_served(server)
        finally:
            p.on_call = None
            gc.enable()
    assert free_bytes[1] - free_bytes[0] > 50000, free_bytes


def test_a_core_is_free_a_little_later():
    only("rp2")
    from socketse import workers

    for _ in range(5):
        started = workers.start_thread(lambda *args: args, (1, 2), 0, False)
        wait_until(lambda started=started: not started.is_alive())
        # At once, the core is not free yet.


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

    class Deaf(Client):
        rcvbuf = 2048

    p.stall_ms = 1000  # on boards 10 s
    try:
        # Of the 8000 bytes of a board one connection takes 6400: two fill them.
        for kind, p.lwip_heap, n in (
            (MultiplexingTCPServer, 3000, 1),
            (MultiplexingTCPServer, 8000, 2),
            (ThreadingTCPServer, 3000, 1),
            (ThreadingTCPServer, 8000, 2),
            (TCPServer, 3000, 1),
        ):
            print("--", kind.__name__, n)
            with serving(kind(free(), Talker)) as server:
                p.stalled = 0
                deaf = [Deaf(server.server_address) for _ in range(n)]
                for c in deaf:
                    c.send(b"all of it\n")
                wait_until(lambda: p.stalled, what="a write that waits")
                is_served(server)  # who writes without end has to go
                for c in deaf:
                    c.close()
                is_served(server)
    finally:
        p.lwip_heap = None


def test_a_users_object_has_no_finaliser():
    if not MICROPYTHON:
        raise Skip("a __del__ that is never called")
    called = []

    class Thing:
        def __del__(self):
            called.append(1)

    for _ in range(100):
        Thing()
    port.collect()
    assert not called


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
