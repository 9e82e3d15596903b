"""ThreadingMixIn: threads where there are some, and connections that wait where there are none."""

import errno
import time

from socketse import (
    BaseRequestHandler,
    DatagramRequestHandler,
    StreamRequestHandler,
    ThreadingMixIn,
    ThreadingTCPServer,
    ThreadingUDPServer,
    limits,
    port,
    workers,
)
from support import (
    BACKLOG,
    BOARD,
    MOST,
    SCALE,
    Client,
    Skip,
    ask,
    free,
    quiet,
    raises,
    serving,
    thread,
    wait_until,
)


class Echo(StreamRequestHandler):
    client_speaks_first = True

    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


def server_with(max_threads, handler=Echo, **attributes):
    attributes["max_threads"] = max_threads
    attributes["request_queue_size"] = BACKLOG
    return type("Server", (ThreadingTCPServer,), attributes)(free(), handler)


def silent_clients(max_threads):
    with serving(server_with(max_threads)) as server:
        silent = []
        for n in range(20):
            silent.append(Client(server.server_address))
            if BOARD:  # whose queue is short
                wait_until(lambda n=n: server.stats["accepted"] == n + 1)
        wait_until(lambda: server.stats["accepted"] == 20)
        for _ in range(3):
            begin = time.time()
            with Client(server.server_address) as c:
                c.send(b"anybody there?\n")
                assert c.line() == b"anybody there?\n"
            assert time.time() - begin < 10  # as long as an inline wait would last
        for c in silent:
            if (
                not BOARD
            ):  # which has too few sockets for all of them, and gives them to the newest
                c.send(b"now me\n")
                assert c.line() == b"now me\n"
            c.close()
        assert BOARD or server.stats["evicted"] == 0
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["accepted"] == 23


def test_silent_clients_with_any_number_of_threads():
    if BOARD == "esp32":
        raise Skip("as many sockets as threads")
    silent_clients(None)


def test_silent_clients_with_four_threads():
    silent_clients(4)


def test_silent_clients_with_one_thread():
    silent_clients(1)


def test_silent_clients_with_no_thread():
    silent_clients(0)


def test_connections_are_handled_at_once():
    with serving(server_with(None)) as server:
        n = 1 if BOARD == "rp2" else min(10, MOST)
        clients = [Client(server.server_address) for _ in range(n)]
        for c in reversed(clients):
            c.send(b"x\n")
            assert c.line() == b"x\n"
        wait_until(lambda: server.stats["active"] == n)
        for c in clients:
            c.close()
        wait_until(lambda: server.stats["active"] == 0)


class Greeter(StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"hello\n")
        self.rfile.readline()


def stop(server, record):
    """Shut down a server whose loop waits longer than a test would."""
    thread(server.shutdown)
    wait_until(lambda: server._se_stop)
    Client(server.server_address).close()  # wakes the loop
    wait_until(lambda: record["done"], what="serve_forever to end")
    server.server_close()


def test_waiting_connection_gets_the_thread_that_becomes_free():
    server = server_with(1, Greeter)
    record = thread(server.serve_forever, 60)  # the loop must not wait as long for a free thread
    first = Client(server.server_address)
    assert first.line() == b"hello\n"
    second = Client(server.server_address)
    wait_until(lambda: server.stats["accepted"] == 2)
    first.send(b"bye\n")
    assert second.line() == b"hello\n"  # though it has said nothing
    second.send(b"bye\n")
    assert second.rest() == b""
    first.close()
    second.close()
    stop(server, record)


def test_without_threads_the_server_speaks_first():
    class Greeter(BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"hello")

    with serving(server_with(0, Greeter)) as server:
        with Client(server.server_address) as c:
            assert c.rest() == b"hello"


def test_inline_handlers_have_ten_seconds_in_all():
    class Dripping:
        """A client that sends a byte a second, on a clock that the test turns."""

        def __init__(self):
            self.timeouts = []
            self.closed = False

        def settimeout(self, seconds):
            self.timeouts.append(seconds)

        def recv(self, n):
            clock[0] = port.ticks_add(clock[0], 1000)
            return b"x"

        def send(self, data):
            clock[0] = port.ticks_add(clock[0], 1000)
            return len(data)

        sendall = send

        def close(self):
            self.closed = True

    clock = [port.ticks_add(0, -4000)]  # MicroPython's ticks wrap on the way
    port.ticks_ms = lambda: clock[0]

    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.settimeout(3)
            self.request.send(b"hello")
            self.request.sendall(b"hello")
            for _ in range(100):
                got.append(self.request.recv(1))

    got = []
    told = []
    server = server_with(0, Handler, handle_error=lambda self, *args: told.append(self.last_error))
    sock = Dripping()
    with server:
        server.process_request(sock, ("127.0.0.1", 5000))
    assert len(got) == 8 and len(told) == 1 and told[0].errno == errno.ETIMEDOUT, (got, told)
    assert sock.closed and server.stats["timed_out"] == 1
    assert max(sock.timeouts[2:]) <= 3, sock.timeouts


def test_inline_handlers_timeout_is_bounded():
    class Handler(StreamRequestHandler):
        timeout = None

        def handle(self):
            seen.append(raises(OSError, self.rfile.readline))
            self.wfile.write(b"too late")

    seen = []
    inner, workers.Bounded.settimeout = workers.Bounded.settimeout, None

    def hasty(self, seconds):
        asked.append(seconds)
        inner(self, 0.1)

    asked = []
    workers.Bounded.settimeout = hasty
    with serving(server_with(0, Handler)) as server:
        with Client(server.server_address) as c:
            assert c.rest() == b"too late"
    assert 10 in asked and len(seen) == 1


def test_thread_that_cannot_be_started_is_replaced_by_the_loop():
    def refuse(*args):
        raise faults.pop(0)

    faults = [OSError("core1 in use"), MemoryError(), RuntimeError("can't start new thread")]
    start, workers.start_thread = workers.start_thread, refuse
    with serving(server_with(None)) as server:
        for left in (2, 1, 0):
            with Client(server.server_address) as c:
                # It waits to speak: that is one try more, in vain as well.
                faults.append(OSError("core1 in use"))
                c.send(b"x\n")
                assert c.line() == b"x\n"
                del faults[left:]
        workers.start_thread = start
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"


def test_oldest_waiting_connection_makes_room():
    limits.MAX_WAITING = 3
    with serving(server_with(1)) as server:
        clients = []
        for i in range(6):
            clients.append(Client(server.server_address))
            wait_until(lambda i=i: server.stats["accepted"] == i + 1)
        assert clients[1].recv() == b"" and clients[2].recv() == b""  # 0 has the thread
        for i in (0, 3, 4, 5):
            clients[i].send(b"x\n")
            assert clients[i].line() == b"x\n"
            clients[i].close()
    assert server.stats["evicted"] == 2


def test_waiting_connection_that_vanishes():
    with serving(server_with(1)) as server:
        first = Client(server.server_address)
        wait_until(lambda: server.stats["accepted"] == 1)
        for _ in range(5):
            Client(server.server_address).close()
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"
        first.close()


def test_memory_error_while_registering_a_waiting_connection():
    from socketse import port

    faults = []
    server = server_with(1)
    port_poller = port.poll

    class Wrapper:
        """Stands in for a poller whose register fails; it must not be used again."""

        def __init__(self):
            self.inner = port_poller()
            self.broken = False

        def register(self, sock, events):
            if sock is not server.socket and faults:
                self.broken = True
                raise faults.pop()
            self.inner.register(sock, events)

        def unregister(self, sock):
            assert not self.broken
            self.inner.unregister(sock)

        def poll(self, ms):
            assert not self.broken, "a poisoned poller crashes the interpreter"
            return self.inner.poll(ms)

    server.handle_error = lambda request, client_address: None
    port.poll = Wrapper
    with serving(server):
        first = Client(server.server_address)
        wait_until(lambda: server.stats["accepted"] == 1)
        second = Client(server.server_address)
        wait_until(lambda: len(server._se_waiting) == 1)
        faults.append(MemoryError())
        third = Client(server.server_address)
        assert third.recv() == b"" and second.recv() == b""
        first.send(b"x\n")
        assert first.line() == b"x\n"
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"
        for c in (first, second, third):
            c.close()
    assert server.stats["out_of_memory"] == 1 and server.stats["evicted"] == 1


def test_errors_in_threads_cost_one_connection():
    told = []

    def handle_error(self, request, client_address):
        told.append((type(self.last_error), client_address[0]))

    def handler(request, client_address, server):
        if request.recv(10) != b"fine":
            raise ValueError
        request.sendall(b"fine")

    with serving(server_with(None, handler, handle_error=handle_error)) as server:
        for _ in range(3):
            with Client(server.server_address) as c:
                c.send(b"bad")
                assert c.rest() == b""
        with Client(server.server_address) as c:
            c.send(b"fine")
            assert c.rest() == b"fine"
        wait_until(lambda: server.stats["active"] == 0)
    assert told == [(ValueError, "127.0.0.1")] * 3
    assert server.last_error is None


def test_last_error_belongs_to_one_thread_at_a_time():
    told = []

    def handle_error(self, request, client_address):
        error = self.last_error
        time.sleep(0.01)
        told.append(self.last_error is error)

    def handler(request, client_address, server):
        request.recv(10)
        raise ValueError(client_address)

    with serving(server_with(None, handler, handle_error=handle_error)) as server:
        clients = [Client(server.server_address) for _ in range(4 if BOARD else 8)]
        for c in clients:
            c.send(b"now")
        for c in clients:
            assert c.rest() == b""
            c.close()
    assert told == [True] * len(clients)


def test_shutdown_in_a_threads_handler_returns_at_once():
    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.recv(1)
            self.server.shutdown()
            self.request.sendall(b"bye")

    server = server_with(None, Handler)
    record = thread(server.serve_forever, 60)  # the loop notices only when it is woken
    with Client(server.server_address) as c:
        wait_until(lambda: server.stats["active"] == 1)
        c.send(b"x")
        assert c.rest() == b"bye"
    assert not record["done"]
    stop(server, record)


def test_shutdown_in_handle_error_does_not_lock_up():
    def handle_error(self, request, client_address):
        self.shutdown()

    def handler(request, client_address, server):
        raise ValueError

    server = server_with(None, handler, handle_error=handle_error)
    record = thread(server.serve_forever, 0.02)
    with Client(server.server_address) as c:
        assert c.rest() == b""
    wait_until(lambda: record["done"], what="the loop to end")
    server.server_close()


def test_server_close_waits_for_threads():
    done = []

    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.recv(1)
            time.sleep(0.1)
            done.append(1)

    server = server_with(None, Handler)
    with Client(server.server_address) as c:
        with serving(server):
            c.send(b"x")
            wait_until(lambda: server.stats["active"] == 1)
        assert done == [1]


def test_daemon_threads_are_not_waited_for():
    for attributes in ({"daemon_threads": True}, {"block_on_close": False}):
        server = server_with(None, **attributes)
        with Client(server.server_address) as c:
            with serving(server):
                wait_until(lambda server=server: server.stats["active"] == 1)
            # server_close is over though the client still holds its thread
            c.send(b"x\n")
            assert c.line() == b"x\n"
        wait_until(lambda server=server: server.stats["active"] == 0)


def test_closing_closes_waiting_connections():
    server = server_with(1, daemon_threads=True)
    with Client(server.server_address) as first, Client(server.server_address) as second:
        with serving(server):
            wait_until(lambda: server.stats["accepted"] == 2)
        assert second.recv() == b""
        assert first


def test_second_run_does_not_wait_for_silent_threads():
    class Stop(BaseException):
        pass

    class Interrupted(ThreadingTCPServer):
        def service_actions(self):
            if self.stats["active"]:
                raise Stop

    old = Interrupted(free(), Echo)
    silent = Client(old.server_address)
    raises(Stop, old.serve_forever, 0.01)
    with serving(ThreadingTCPServer(old.server_address, Echo)) as server:
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"
    silent.close()
    wait_until(lambda: old.stats["active"] == 0)


def test_serving_goes_on_after_shutdown_with_waiting_connections():
    server = server_with(1)
    record = thread(server.serve_forever, 0.02)
    first, second = Client(server.server_address), Client(server.server_address)
    wait_until(lambda: server.stats["accepted"] == 2)
    server.shutdown()
    wait_until(lambda: record["done"])
    with serving(server):
        second.send(b"x\n")
        assert second.line() == b"x\n"
        first.close()
        second.close()


def test_many_connections_with_few_threads():
    with serving(server_with(3)) as server:
        for _ in range(40 * SCALE):
            clients = [Client(server.server_address) for _ in range(5)]
            for c in clients:
                c.send(b"line\n")
            for c in clients:
                assert c.line() == b"line\n"
                c.close()
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["accepted"] == 200 * SCALE and server.stats["errors"] == 0


def test_handle_request_with_threads():
    with server_with(1) as server:
        for _ in range(3):
            with Client(server.server_address) as c:
                c.send(b"x\n")
                record = thread(server.handle_request)
                assert c.line() == b"x\n"
            wait_until(lambda record=record: record["done"])


def test_request_that_cannot_be_polled_is_handled_inline():
    # On MicroPython a poller whose register failed would crash the interpreter.
    class Wrapped:
        def __init__(self, sock):
            self.sock = sock

        def recv(self, n):
            return self.sock.recv(n)

        def sendall(self, data):
            self.sock.send(data)

        def close(self):
            self.sock.close()

    class Server(ThreadingTCPServer):
        max_threads = 1

        def get_request(self):
            request, client_address = ThreadingTCPServer.get_request(self)
            return Wrapped(request), client_address

    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.sendall(self.request.recv(10))

    with serving(Server(free(), Handler)) as server:
        first = Client(server.server_address)
        wait_until(lambda: server.stats["active"] == 1)
        for _ in range(3):
            with Client(server.server_address) as c:
                c.send(b"x")
                assert c.rest() == b"x"
        first.send(b"y")
        assert first.rest() == b"y"
        first.close()


def test_oldest_waiting_connection_goes_when_descriptors_run_out():
    class Server(ThreadingTCPServer):
        max_threads = 1

        def get_request(self):
            if len(self._se_waiting) == 2:
                raise OSError(23, "ENFILE")  # the one that knocks stays in the listener's queue
            return ThreadingTCPServer.get_request(self)

    with serving(Server(free(), Echo)) as server:
        silent = [Client(server.server_address) for _ in range(5)]
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"
        assert server.stats["evicted"] >= 1
        for c in silent:
            c.close()


def test_full_heap_does_not_end_serve_forever():
    class Server(ThreadingTCPServer):
        faults = 0

        def service_actions(self):
            if self.faults:
                self.faults -= 1
                raise MemoryError

    server = Server(free(), Echo)
    server.faults = 3
    with serving(server):
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"
        wait_until(lambda: server.stats["out_of_memory"] == 3)


def test_idents_of_ended_threads_are_forgotten():
    with serving(server_with(None)) as server:
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"
        wait_until(lambda: server._threads and not server._threads[0].is_alive())
        # The system may give the number of a handler's ended thread to any other.
        assert not server._se_is_own_thread(server._threads[0].ident)


def test_server_close_in_two_handlers_at_once():
    if BOARD == "rp2":
        raise Skip("more than one thread")

    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.recv(1)
            self.server.server_close()
            closed.append(1)

    closed = []
    server = server_with(None, Handler)
    record = thread(server.serve_forever, 0.02)
    clients = [Client(server.server_address) for _ in range(2)]
    wait_until(lambda: server.stats["active"] == 2)
    for c in clients:
        c.send(b"x")
    for c in clients:
        assert c.rest() == b""
        c.close()
    wait_until(lambda: record["done"] and len(closed) == 2)


def test_poll_interval_none():
    server = server_with(None)
    record = thread(server.serve_forever, None)
    with Client(server.server_address) as c:
        c.send(b"x\n")
        assert c.line() == b"x\n"
    stop(server, record)


def test_keyboard_interrupt_in_a_handlers_thread_ends_the_loop():
    # MicroPython's unix port may raise it in any thread.
    def handler(request, client_address, server):
        raise KeyboardInterrupt

    ended = []

    def serve():
        try:
            server.serve_forever(0.02)
        except KeyboardInterrupt:
            ended.append(1)

    with quiet():
        server = server_with(None, handler)
        thread(serve)
        with Client(server.server_address) as c:
            assert c.rest() == b""
        wait_until(lambda: ended, what="KeyboardInterrupt to leave serve_forever")
        server.server_close()


def test_first_use_of_options_in_many_threads():
    class Handler(Echo):
        disable_nagle_algorithm = True

    with serving(server_with(None, Handler)) as server:
        clients = [Client(server.server_address) for _ in range(4 if BOARD else 8)]
        for c in clients:
            c.send(b"x\n")
        for c in clients:
            assert c.line() == b"x\n"
            c.close()


def test_threads_do_not_pile_up():
    with serving(server_with(None)) as server:
        for _ in range(30):
            with Client(server.server_address) as c:
                c.send(b"x\n")
                assert c.line() == b"x\n"
            wait_until(lambda: server.stats["active"] == 0)
        assert len(server._threads) < 10


def test_stack_size():
    import _thread

    before = _thread.stack_size()
    with serving(server_with(None, stack_size=256 * 1024)) as server:
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"
    assert _thread.stack_size() == before


def test_threading_udp():
    class Handler(DatagramRequestHandler):
        def handle(self):
            self.wfile.write(self.packet * 2)

    for max_threads in (None, 1, 0):
        kind = type("Server", (ThreadingUDPServer,), {"max_threads": max_threads})
        with serving(kind(free(), Handler)) as server:
            for i in range(10):
                assert ask(server.server_address, b"%d" % i) == b"%d%d" % (i, i)


def test_mixing_in():
    from socketse import TCPServer

    class Server(ThreadingMixIn, TCPServer):
        def __init__(self, *args):
            super().__init__(*args)
            self.mine = True

        def server_close(self):
            super().server_close()
            self.mine = False

    # On MicroPython super() looks at the bases that are written there, in their order: the
    # mix-in has no __init__ of its own, and TCPServer's is found.
    with serving(Server(free(), Echo)) as server:
        assert server.mine
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"x\n"
    assert not server.mine
