"""Multiplexer, MultiplexingMixIn and its servers: many connections in one thread."""

import errno
import io
import os
import select
import sys
import time

import support
from socketse import (
    AsyncStreamRequestHandler,
    BaseRequestHandler,
    DatagramRequestHandler,
    Multiplexer,
    MultiplexingMixIn,
    MultiplexingTCPServer,
    StreamRequestHandler,
    TCPServer,
    ThreadingTCPServer,
    UDPServer,
    limits,
    port,
)
from support import (
    BACKLOG,
    BOARD,
    MICROPYTHON,
    MOST,
    SCALE,
    UNIX,
    Client,
    Skip,
    ask,
    free,
    logged,
    no_room,
    raises,
    serving,
    socket,
    thread,
    wait_until,
)

ONE_LINE = b"anybody there?\n"


class Echo(AsyncStreamRequestHandler):
    async def handle(self):
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            self.wfile.write(line)
            await self.wfile.drain()


class PlainEcho(StreamRequestHandler):
    """One line, because it stops all others."""

    def handle(self):
        self.wfile.write(self.rfile.readline())


class EagerEcho(PlainEcho):
    client_speaks_first = True


class UDPEcho(DatagramRequestHandler):
    def handle(self):
        self.wfile.write(self.packet)


class running(serving):
    """with running(hub): its serve_forever runs in a thread."""

    def __exit__(self, *args):
        self.server.shutdown()
        wait_until(lambda: self.record["done"], what="serve_forever to end")
        self.server.close()


def server_with(handler=Echo, kind=MultiplexingTCPServer, **attributes):
    attributes["request_queue_size"] = BACKLOG
    return type("Server", (kind,), attributes)(free(), handler)


def tell_nobody(self, request, client_address):
    """A handle_error for what a test does on purpose."""


def exchange(c, data=ONE_LINE):
    c.send(data)
    answer = c.line()
    assert answer == data, answer


def exchange_once(address, data=ONE_LINE):
    with Client(address) as c:
        exchange(c, data)


def is_answered(address, seconds=2):
    """See that an honest client is answered promptly."""
    begin = port.ticks_ms()
    exchange_once(address)
    took = port.ticks_diff(port.ticks_ms(), begin) / 1000
    assert took < seconds, took


def has_news(c):
    """Return True if there is something for this client to read, were it the end."""
    poller = select.poll()
    poller.register(c._socket, 1)
    return bool(poller.poll(0))


class Narrow(Client):
    """A client for which little can be under way: what it does not read waits at the server."""

    def __init__(self, address, timeout=20):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUF", 8), 4096)
        if MICROPYTHON:
            address = socket.getaddrinfo(address[0], address[1])[0][-1]
        self._socket.connect(address)
        self._socket.settimeout(timeout)
        self._buffer = b""


def narrow(server):
    """Let the server's system keep little of what the server sends."""
    native = getattr(server.socket, "_native", server.socket)
    native.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_SNDBUF", 7), 4096)
    return server


# A server of its own.


def test_a_server_has_all_its_attributes_before_it_serves():
    # Without a GIL a thread that looks into an object must not see it grow.
    for kind in (TCPServer, MultiplexingTCPServer):
        address = free()
        server = kind(address, Echo)
        before = sorted(server.__dict__)
        with serving(server):
            client = Client(address)
            client.send(b"hi\n")
            assert client.line() == b"hi\n"
            client.close()
            assert sorted(server.__dict__) == before


def test_clients_are_served_at_once():
    with serving(server_with(max_connections=30)) as server:
        n = min(20, MOST)
        clients = [Client(server.server_address) for _ in range(n)]
        wait_until(lambda: server.stats["accepted"] == n)
        for c in reversed(clients):
            exchange(c)
        assert server.stats["active"] == n
        for c in clients:
            exchange(c, b"again\n")
            c.close()
        wait_until(lambda: server.stats["active"] == 0)
    stats = server.stats
    assert stats["bytes_in"] == stats["bytes_out"] == n * len(ONE_LINE + b"again\n"), stats
    assert stats["evicted"] == stats["errors"] == stats["timed_out"] == 0, stats


def hooked(log, handler):
    """Return a server that logs the calls of its hooks."""

    class Mine(TCPServer):
        def verify_request(self, request, client_address):
            log.append(("verify_request", request, client_address))
            return not self.refuse

        def finish_request(self, request, client_address):
            log.append(("finish_request", request, client_address))
            TCPServer.finish_request(self, request, client_address)

        def shutdown_request(self, request):
            log.append(("shutdown_request", request))
            TCPServer.shutdown_request(self, request)

        def close_request(self, request):
            log.append(("close_request", request))
            TCPServer.close_request(self, request)

        def handle_error(self, request, client_address):
            log.append(("handle_error", request, client_address))
            assert isinstance(self.last_error, ValueError), self.last_error

        def service_actions(self):
            self.actions += 1

    class Server(MultiplexingMixIn, Mine):
        refuse = False
        actions = 0

        def get_request(self):
            request, client_address = TCPServer.get_request(self)
            log.append(("get_request", request, client_address))
            return request, client_address

        def process_request(self, request, client_address):
            log.append(("process_request", request, client_address))
            MultiplexingMixIn.process_request(self, request, client_address)

    return Server(free(), handler)


def test_order_and_arguments_of_the_hooks():
    class Handler(AsyncStreamRequestHandler):
        def setup(self):
            log.append(("setup", self.request, self.client_address))
            if self.server.fault == "setup":
                raise ValueError

        async def handle(self):
            log.append(("handle", self.request, self.client_address))
            await self.rfile.readline()
            if self.server.fault == "handle":
                raise ValueError
            self.wfile.write(b"fine\n")

        def finish(self):
            log.append(("finish", self.request, self.client_address))
            if self.server.fault == "finish":
                raise ValueError

    log = []
    begin = ["get_request", "verify_request"]
    process = ["process_request", "finish_request", "setup"]
    end = ["shutdown_request", "close_request"]
    work = begin + process + ["handle", "finish"]
    expected = (
        (None, work + end, b"fine\n"),
        ("setup", begin + process + ["handle_error"] + end, b""),
        ("handle", work[:-1] + ["handle_error", "finish"] + end, b""),
        ("finish", work + ["handle_error"] + end, b"fine\n"),
        ("refuse", begin + end, b""),
    )
    with serving(hooked(log, Handler)) as server:
        for fault, calls, answer in expected:
            server.fault = fault
            server.refuse = fault == "refuse"
            log.clear()
            with Client(server.server_address) as c:
                if fault in (None, "handle", "finish"):
                    c.send(b"x\n")
                assert c.rest() == answer, fault
            wait_until(lambda: ("close_request",) == log[-1][:1])
            assert [entry[0] for entry in log] == calls, (fault, log)
            request, client_address = log[0][1:]
            assert client_address[0] == "127.0.0.1" and client_address[1] > 0
            for entry in log:
                assert entry[1] is request, entry
                assert entry[2:] in ((), (client_address,)), entry
        wait_until(lambda: server.actions > 3)  # once in each round, also without events
    assert server.stats["accepted"] == 5 and server.stats["refused"] == 1
    assert server.stats["errors"] == 3 and server.stats["active"] == 0


def test_each_connection_is_closed_once():
    class Handler(Echo):
        timeout = 0.3

        async def handle(self):
            line = await self.rfile.readline()
            if line == b"raise\n":
                raise ValueError
            if line == b"exit\n":
                raise SystemExit
            if line == b"pending\n":
                self.wfile.write(b"x" * 3000)

        def finish(self):
            finished.append(self.client_address)

    log = []
    finished = []
    server = hooked(log, Handler)
    server.max_connections = 3
    server.refuse = False
    record = thread(raises, SystemExit, server.serve_forever, 0.02)
    # One after the other: it raises, leaves something unsent, is too slow, closes without a word.
    for line in (b"raise\n", b"pending\n", b"silence", b""):
        with Client(server.server_address) as c:
            if line:
                c.send(line)
                c.rest()
        wait_until(lambda: server.stats["active"] == 0 and log and log[-1][0] == "close_request")
        log.append(("next",))
    with Client(server.server_address) as c:
        c.send(b"exit\n")
        assert c.rest() == b""
    wait_until(lambda: record["done"])
    server.server_close()
    opened = [entry[1] for entry in log if entry[0] == "get_request"]
    for name in ("shutdown_request", "close_request"):
        closed = [entry[1] for entry in log if entry[0] == name]
        assert len(closed) == len(opened), (name, len(closed), len(opened))
        for request in opened:
            assert len([c for c in closed if c is request]) == 1, name
    assert len(finished) == len(set(finished)) == len(opened), (finished, len(opened))


def test_hooks_of_the_users_base_class_are_called():
    # As behind ThreadingMixIn: MultiplexingMixIn must not hide what its user has written.
    class Mine(TCPServer):
        def get_request(self):
            log.append("get_request")
            return TCPServer.get_request(self)

    class Server(MultiplexingMixIn, Mine):
        pass

    log = []
    with serving(Server(free(), Echo)) as server:
        exchange_once(server.server_address)
    assert log == ["get_request"], log


def test_hooks_that_raise_cost_one_connection():
    class Server(MultiplexingTCPServer):
        fault = None

        def verify_request(self, request, client_address):
            self.may_raise("verify_request")
            return True

        def finish_request(self, request, client_address):
            self.may_raise("finish_request")
            MultiplexingTCPServer.finish_request(self, request, client_address)

        def shutdown_request(self, request):
            MultiplexingTCPServer.shutdown_request(self, request)
            self.may_raise("shutdown_request")

        def close_request(self, request):
            MultiplexingTCPServer.close_request(self, request)
            self.may_raise("close_request")

        def may_raise(self, name):
            if self.fault == name:
                self.fault = None
                raise ValueError(name)

    Server.handle_error = tell_nobody
    with serving(Server(free(), Echo)) as server:
        other = Client(server.server_address)
        exchange(other)
        for n, fault in enumerate(
            ("verify_request", "finish_request", "shutdown_request", "close_request")
        ):
            server.fault = fault
            with Client(server.server_address) as c:
                if n < 2:
                    assert c.rest() == b""
                else:
                    exchange(c)
            wait_until(lambda n=n: server.stats["errors"] == n + 1)
            exchange(other)
        wait_until(lambda: server.stats["active"] == 1)
        other.close()


def test_handle_request():
    class Server(MultiplexingTCPServer):
        timeout = 0.05
        timeouts = 0

        def handle_timeout(self):
            self.timeouts += 1

    with Server(free(), Echo) as server:
        server.handle_request()
        assert server.timeouts == 1
        with Client(server.server_address) as c:
            server.handle_request()  # takes it
            assert server.timeouts == 1 and server.stats["active"] == 1
            c.send(b"x\n")
            server.handle_request()  # answers
            assert c.line() == b"x\n" and server.timeouts == 1
            server.handle_request()
            assert server.timeouts == 2 and server.stats["active"] == 1
        server.handle_request()
        assert server.stats["active"] == 0 and server.timeouts == 2


def test_handle_request_waits_as_long_as_it_should():
    class Server(MultiplexingTCPServer):
        timeout = 1.5

        def handle_timeout(self):
            timeouts.append(1)

    timeouts = []
    with Server(free(), Echo) as server:
        with Client(server.server_address) as c:
            server.handle_request()
            begin = port.ticks_ms()
            server.handle_request()  # a silent connection has deadlines of its own
            took = port.ticks_diff(port.ticks_ms(), begin)
            assert timeouts == [1] and 1400 < took, (timeouts, took)
            server.timeout = None
            record = thread(server.handle_request)
            time.sleep(0.6)  # longer than the engine looks after deadlines
            assert not record["done"] and len(timeouts) == 1, timeouts
            c.send(b"x\n")
            assert c.line() == b"x\n"
            wait_until(lambda: record["done"])


def test_serve_shutdown_serve_again():
    server = server_with()
    c = Client(server.server_address)
    for _ in range(3):
        record = thread(server.serve_forever, 0.02)
        exchange(c)  # it survives the pauses
        exchange_once(server.server_address)
        server.shutdown()
        wait_until(lambda record=record: record["done"])
    server.server_close()
    assert c.rest() == b""
    c.close()
    server.server_close()
    assert server.stats["active"] == 0 and server.stats["accepted"] == 4


def test_shutdown_in_a_handler_returns_at_once():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            await self.rfile.readline()
            self.server.shutdown()
            self.wfile.write(b"bye\n")

    server = server_with(Handler)
    record = thread(server.serve_forever, 60)
    with Client(server.server_address) as c:
        c.send(b"x\n")
        assert c.line() == b"bye\n"
        wait_until(lambda: record["done"])
    server.server_close()


def test_with_closes_the_connections():
    with server_with() as server:
        with Client(server.server_address) as c:
            for _ in range(2):
                c.send(b"x\n")
                server.handle_request()
            assert c.line() == b"x\n"
            server.server_close()
            assert c.rest() in (b"", b"x\n")
    raises(OSError, Client, server.server_address)


def test_poll_interval_none():
    server = server_with()
    record = thread(server.serve_forever, None)
    exchange_once(server.server_address)
    thread(server.shutdown)
    # Whatever wakes the loop ends it; connections come until it has seen what shutdown says.
    while not record["done"]:
        try:
            Client(server.server_address).close()
        except OSError:
            break
        time.sleep(0.01)
    server.server_close()


def test_serve_forever_twice_is_an_error():
    with serving(server_with()) as server:
        exchange_once(server.server_address)
        raises(RuntimeError, server.serve_forever)
        exchange_once(server.server_address)


def test_server_close_in_a_handler():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            await self.rfile.readline()
            self.server.server_close()
            closed.append(1)

        def finish(self):
            finished.append(self.client_address)

    closed = []
    finished = []
    server = server_with(Handler)
    record = thread(server.serve_forever, 0.02)
    other = Client(server.server_address)
    wait_until(lambda: server.stats["active"] == 1)
    with Client(server.server_address) as c:
        c.send(b"x\n")
        assert c.rest() == b""
    assert other.rest() == b""
    other.close()
    wait_until(lambda: record["done"])
    assert len(closed) == 1 and len(finished) == len(set(finished)) == 2, finished
    assert server.stats["active"] == 0


def unix_path():
    """Return a path that is free; a port's number makes it this run's own."""
    name = "/tmp/socketse-test-mux-%d" % support.ports[0]
    try:
        os.unlink(name)
    except OSError:
        return name
    return name


class UnixClient(Client):
    def __init__(self, path, timeout=20):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._socket.connect(b"\x01\0" + path.encode() + b"\0" if MICROPYTHON else path)
        self._buffer = b""


def test_unix_stream_server():
    if not limits.AF_UNIX:
        raise Skip("Unix-domain sockets")
    from socketse import MultiplexingUnixStreamServer

    name = unix_path()
    with serving(MultiplexingUnixStreamServer(name, Echo)) as server:
        silent = [UnixClient(name) for _ in range(3)]
        for _ in range(3):
            with UnixClient(name) as c:
                exchange(c)
        for c in silent:
            exchange(c)
            c.close()
    assert server.server_address == name and server.stats["accepted"] == 6
    os.unlink(name)


# Plain handlers.


def hasty():
    """Let handlers that hold up the serving thread do so for 1 s, not for 10."""
    from socketse import handler, workers

    workers._HANDLER_SECONDS = handler._INLINE_SECONDS = 1


def test_plain_handlers_hold_up_the_others_for_a_bounded_time():
    class Handler(StreamRequestHandler):
        def handle(self):
            try:
                self.rfile.readline()
            except OSError as e:
                seen.append(e)
                return
            self.wfile.write(b"hello\n")

    from socketse import workers

    assert workers._HANDLER_SECONDS == 10
    hasty()
    seen = []
    with serving(server_with(Handler, handle_error=tell_nobody)) as server:
        silent = [Client(server.server_address) for _ in range(3)]
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.rest() == b"hello\n"
        for c in silent:
            assert c.rest() == b""
            c.close()
    assert len(seen) == 3
    assert server.stats["active"] == 0 and server.stats["accepted"] == 4


def test_a_dripping_client_cannot_hold_up_a_plain_handler():
    # Each byte comes in time: it is all together that takes too long.
    class Handler(BaseRequestHandler):
        def handle(self):
            while self.request.recv(1):
                got.append(1)

    hasty()
    got = []
    told = []
    with serving(
        server_with(Handler, handle_error=lambda self, *args: told.append(self.last_error))
    ) as server:
        begin = port.ticks_ms()
        with Client(server.server_address) as c:
            while not told and port.ticks_diff(port.ticks_ms(), begin) < 5000:
                try:
                    c.send(b"x")
                except OSError:
                    break
                time.sleep(0.05)
        wait_until(lambda: told)
    assert told[0].errno == errno.ETIMEDOUT and len(got) >= 2, (told, got)
    assert server.stats["timed_out"] == 1, server.stats


def test_client_speaks_first():
    # With the 10 s of plain handlers: a silent client would be noticed.
    with serving(server_with(EagerEcho, max_connections=40)) as server:
        n = min(10, MOST)
        silent = [Client(server.server_address) for _ in range(n)]
        wait_until(lambda: server.stats["accepted"] == n)
        for _ in range(3):
            is_answered(server.server_address)
        wait_until(lambda: server.stats["active"] == n)
        for c in silent:
            exchange(c)
            assert c.rest() == b""
            c.close()
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["accepted"] == n + 3 and server.stats["evicted"] == 0


def test_client_that_should_speak_first_is_evicted():
    with serving(server_with(EagerEcho, max_connections=3)) as server:
        silent = []
        for n in range(3):
            silent.append(Client(server.server_address))
            wait_until(lambda n=n: server.stats["accepted"] == n + 1)
            time.sleep(0.01)  # that they differ in age
        is_answered(server.server_address)
        assert silent[0].rest() == b"" and server.stats["evicted"] == 1
        assert not has_news(silent[1]) and not has_news(silent[2])
        for c in silent:
            c.close()
        wait_until(lambda: server.stats["active"] == 0)


def test_client_that_should_speak_first_is_timed_out():
    from socketse.plain import Knock

    assert Knock.timeout == 60
    Knock.timeout = 0.3
    with serving(server_with(EagerEcho)) as server:
        with Client(server.server_address) as c:
            assert c.rest() == b""
        wait_until(lambda: server.stats["timed_out"] == 1)
        exchange_once(server.server_address)
    assert server.stats["active"] == 0


def test_client_that_should_speak_first_and_is_gone():
    with serving(server_with(EagerEcho, handle_error=tell_nobody)) as server:
        for _ in range(5):
            Client(server.server_address).close()
        is_answered(server.server_address)
        wait_until(lambda: server.stats["accepted"] == 6 and server.stats["active"] == 0)


# Many servers in one multiplexer.


def test_add_and_remove():
    hub = Multiplexer(max_connections=20)
    stays, goes = [server_with(kind=TCPServer) for _ in range(2)]
    assert hub.add(stays) is stays and hub.add(goes) is goes
    raises(ValueError, hub.add, goes)
    raises(ValueError, Multiplexer().add, goes)
    record = thread(hub.serve_forever, 0.02)
    left, kept = Client(goes.server_address), Client(stays.server_address)
    exchange(left)
    exchange(kept)
    hub.shutdown()
    wait_until(lambda: record["done"])
    hub.remove(goes)
    assert left.rest() == b""
    left.close()
    with running(hub), serving(goes):  # each for itself
        exchange(kept)
        exchange_once(goes.server_address)
        exchange_once(stays.server_address)
        goes.shutdown()
        exchange(kept, b"that did not concern the hub\n")
        assert hub.servers == [stays]
    assert kept.rest() == b""
    kept.close()
    assert goes.stats["accepted"] == 2 and stays.stats["accepted"] == 2
    assert goes.stats["active"] == stays.stats["active"] == 0


def test_a_removed_server_can_be_added_again():
    hub = Multiplexer()
    for kind in (TCPServer, MultiplexingTCPServer, ThreadingTCPServer):
        server = server_with(kind=kind)
        for _ in range(2):
            hub.add(server)
            record = thread(hub.serve_forever, 0.02)
            exchange_once(server.server_address)
            server.shutdown()  # the hub's
            wait_until(lambda record=record: record["done"])
            hub.remove(server)
        record = thread(server.serve_forever, 0.02)
        exchange_once(server.server_address)
        server.shutdown()  # its own
        wait_until(lambda record=record: record["done"])
        hub.add(server)
        with running(hub):
            exchange_once(server.server_address)
        assert hub.servers == []


def test_hooks_of_an_added_server():
    # What a server's own serve_forever would call, a multiplexer calls too.

    log = []
    expected = [
        "get_request",
        "verify_request",
        "process_request",
        "finish_request",
        "shutdown_request",
        "close_request",
    ]
    for handler in (PlainEcho, EagerEcho, Echo):
        log.clear()
        hub = Multiplexer()
        server = hub.add(logged(TCPServer, log)(free(), handler))
        with running(hub):
            exchange_once(server.server_address)
            wait_until(lambda: "close_request" in log)
        assert log == expected, (handler, log)
        assert server.stats["active"] == 0, server.stats


def test_service_actions_are_called_each_round():
    class Hub(Multiplexer):
        actions = 0

        def service_actions(self):
            self.actions += 1
            Multiplexer.service_actions(self)

    class Server(TCPServer):
        actions = 0

        def service_actions(self):
            self.actions += 1

    class Datagrams(UDPServer):
        actions = 0

        def service_actions(self):
            self.actions += 1

    with Hub() as hub:
        servers = [hub.add(Server(free(), Echo)), hub.add(Datagrams(free(), UDPEcho))]
        servers.append(hub.add(server_with(PlainEcho, TCPServer)))  # has none of its own
        for n in range(3):
            hub.poll(0)
            assert [hub.actions] + [s.actions for s in servers[:2]] == [n + 1] * 3
        with running(hub):
            wait_until(lambda: hub.actions > 6 and min(s.actions for s in servers[:2]) > 6)


def test_close_and_with():
    with Multiplexer(max_connections=9) as hub:
        servers = [hub.add(server_with(h, TCPServer)) for h in (Echo, EagerEcho)]
        servers.append(hub.add(UDPServer(free(), UDPEcho)))
        clients = [Client(s.server_address) for s in servers[:2] for _ in range(2)]
        while hub.stats["accepted"] < 4:
            hub.poll(0.01)
        assert hub.stats["active"] == 4
    for c in clients:
        assert c.rest() == b""
        c.close()
    assert hub.servers == [] and [s.stats["active"] for s in servers] == [0, 0, 0]
    for s in servers[:2]:
        raises(OSError, Client, s.server_address)
    hub.close()  # again: nothing happens


def test_closing_one_server_leaves_the_others():
    hub = Multiplexer()
    one, other = [hub.add(server_with(kind=TCPServer)) for _ in range(2)]
    with Client(one.server_address) as c, Client(other.server_address) as d:
        while hub.stats["active"] < 2:
            hub.poll(0.01)
        one.server_close()
        assert c.rest() == b"" and hub.servers == [other]
        with running(hub):
            exchange(d)
            exchange_once(other.server_address)


def test_stats_are_sums():
    hub = Multiplexer()
    servers = [hub.add(server_with(kind=TCPServer)) for _ in range(2)]
    servers.append(hub.add(UDPServer(free(), UDPEcho)))
    with running(hub):
        exchange_once(servers[0].server_address)
        exchange_once(servers[0].server_address)
        exchange_once(servers[1].server_address, b"hello\n")
        assert ask(servers[2].server_address, b"hello") == b"hello"
        wait_until(lambda: hub.stats["active"] == 0)
        stats = hub.stats
        assert type(stats) is dict and sorted(stats) == sorted(servers[0].stats)
        assert stats["accepted"] == 4
        assert stats["bytes_in"] == stats["bytes_out"] == 2 * len(ONE_LINE) + 6 + 5, stats
        stats["accepted"] = 99  # a copy
        assert hub.stats["accepted"] == 4


def test_all_kinds_of_servers_in_one_multiplexer():
    hasty()
    hub = Multiplexer(max_connections=40)
    kinds = [
        (Echo, TCPServer, {}),
        (EagerEcho, ThreadingTCPServer, {"max_threads": 1}),
        (EagerEcho, TCPServer, {}),
        (Echo, MultiplexingTCPServer, {}),
        (PlainEcho, TCPServer, {"handle_error": tell_nobody}),
        (EagerEcho, ThreadingTCPServer, {"max_threads": None}),
        (EagerEcho, ThreadingTCPServer, {"max_threads": 0}),
        (Echo, ThreadingTCPServer, {"max_threads": None}),
    ]
    if BOARD:
        del kinds[2:]  # their clients are more than it has sockets for
    servers = [server_with(handler, base, **kwargs) for handler, base, kwargs in kinds]
    for server in servers:
        server.block_on_close = False  # or a test that fails would wait for silent clients
        hub.add(server)
    datagrams = hub.add(UDPServer(free(), UDPEcho))
    name = None
    if limits.AF_UNIX:
        from socketse import UnixStreamServer

        name = hub.add(UnixStreamServer(unix_path(), Echo)).server_address
    with running(hub):
        silent = [Client(s.server_address) for s in servers for _ in range(2 if BOARD else 3)]
        if name:
            silent += [UnixClient(name) for _ in range(3)]
        wait_until(lambda: hub.stats["accepted"] == len(silent))
        for _ in range(3):
            for server in servers:
                is_answered(server.server_address, 5)
            assert ask(datagrams.server_address, b"hello") == b"hello"
            if name:
                with UnixClient(name) as c:
                    exchange(c)
        # Of those without a thread rp2 lets three wait.
        assert hub.stats["evicted"] == 0 or BOARD == "rp2", hub.stats
        for c in silent:
            c.close()
        wait_until(lambda: hub.stats["active"] == 0)
    if name:
        os.unlink(name)


def test_shutdown_of_a_multiplexer():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            await self.rfile.readline()
            hub.shutdown()
            self.wfile.write(b"bye\n")

    hub = Multiplexer()
    servers = [hub.add(server_with(h, TCPServer)) for h in (Echo, Handler)]
    for way in ("hub", "server", "handler"):
        record = thread(hub.serve_forever, 60 if way == "handler" else 0.02)
        exchange_once(servers[0].server_address)
        if way == "handler":
            with Client(servers[1].server_address) as c:
                c.send(b"x\n")
                assert c.line() == b"bye\n"
        elif way == "hub":
            hub.shutdown()
        else:
            servers[0].shutdown()
        if way != "handler":
            assert not hub._se_serving  # they have waited for the end
        wait_until(lambda record=record: record["done"])
    hub.shutdown()
    hub.serve_forever()  # returns at once
    hub.close()


def test_shutdown_in_a_thread_of_an_added_server_returns_at_once():
    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.recv(1)
            self.server.shutdown()
            self.request.sendall(b"bye")

    hub = Multiplexer()
    server = hub.add(server_with(Handler, ThreadingTCPServer, max_threads=None))
    record = thread(hub.serve_forever, 60)  # the loop notices only when it is woken
    with Client(server.server_address, 5) as c:
        wait_until(lambda: server.stats["active"] == 1)
        c.send(b"x")
        try:
            assert c.rest() == b"bye"
        finally:
            Client(server.server_address).close()  # wakes the loop
            wait_until(lambda: record["done"])
            hub.close()


def test_poll_in_a_loop_of_ones_own():
    hub = Multiplexer()
    server = hub.add(server_with(kind=TCPServer))
    assert hub.poll(0) is False and hub.poll() is False
    for timeout in (0, 0.01):
        with Client(server.server_address) as c:
            c.send(b"x\n")
            while not has_news(c):
                hub.poll(timeout)
            assert c.line() == b"x\n"
        while server.stats["active"]:
            hub.poll(timeout)
    begin = port.ticks_ms()
    assert hub.poll(0.3) is False
    assert port.ticks_diff(port.ticks_ms(), begin) < 2000
    with Client(server.server_address) as c:
        assert hub.poll(None) is True and server.stats["active"] == 1
        c.send(b"x\n")
        assert hub.poll(None) is True
        assert c.line() == b"x\n"
    hub.close()


def test_poll_none_waits_until_something_happens():
    hub = Multiplexer()
    server = hub.add(server_with(kind=TCPServer))
    got = []
    with Client(server.server_address) as c:
        while not server.stats["active"]:
            hub.poll(0.01)
        # A silent connection has deadlines that the engine looks after: nothing has happened then.
        record = thread(lambda: got.append(hub.poll(None)))
        time.sleep(0.6)
        early = record["done"]
        c.send(b"x\n")
        wait_until(lambda: record["done"])
        assert not early and got == [True], (early, got)
    hub.close()


def test_poll_in_a_handler_raises():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            await self.rfile.readline()
            seen.append(raises(RuntimeError, hub.poll))
            self.wfile.write(b"x\n")

    class Plain(StreamRequestHandler):
        def handle(self):
            self.rfile.readline()
            seen.append(raises(RuntimeError, hub.poll, 0))
            self.wfile.write(b"x\n")

    seen = []
    hub = Multiplexer()
    servers = [hub.add(server_with(h, TCPServer)) for h in (Handler, Plain)]
    with running(hub):
        for server in servers:
            with Client(server.server_address) as c:
                c.send(b"go\n")
                assert c.rest() == b"x\n"
    assert len(seen) == 2


def test_add_and_remove_in_a_handler():
    class Hub(Multiplexer):
        wanted = None

        def service_actions(self):
            if self.wanted:
                self.add(self.wanted)
                self.wanted = None

    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            while True:
                line = await self.rfile.readline()
                if line == b"add\n":
                    # The poller is at work: it must not be given more now, but after this round.
                    seen.append(raises(RuntimeError, hub.add, spare))
                    hub.wanted = spare
                elif line == b"remove\n":
                    hub.remove(spare)
                elif not line:
                    return
                self.wfile.write(line)

    seen = []
    hub = Hub(max_connections=20)
    server = hub.add(server_with(Handler, TCPServer))
    spare = server_with(kind=TCPServer)
    with running(hub):
        clients = [Client(server.server_address) for _ in range(4 if BOARD == "rp2" else 6)]
        for c in clients:
            exchange(c)
        for _ in range(10):
            # All at once: the others' events are still to be looked at when the table changes.
            for n, c in enumerate(clients):
                c.send(b"add\n" if n == 2 else b"hello\n")
            for n, c in enumerate(clients):
                assert c.line() == (b"add\n" if n == 2 else b"hello\n")
            d = Client(spare.server_address)
            exchange(d)
            for n, c in enumerate(clients):
                c.send(b"remove\n" if n == 3 else b"hello\n")
            assert d.rest() == b""
            d.close()
            for n, c in enumerate(clients):
                assert c.line() == (b"remove\n" if n == 3 else b"hello\n")
        for c in clients:
            c.close()
    spare.server_close()
    assert len(seen) == 10


def test_wrong_arguments():
    e = raises(ValueError, Multiplexer, 4, "never")
    assert "never" in str(e)
    server = server_with(when_full="sometimes")
    raises(ValueError, server.serve_forever)
    server.server_close()


# Beside asyncio.


def asyncio_with(hub, work):
    """Serve hub in asyncio, here, while work() runs in a thread; return how often a task ran."""
    import asyncio

    ticks = [0]

    async def main():
        task = asyncio.create_task(hub.serve())
        record = thread(work)
        while not record["done"]:
            await asyncio.sleep(0.002)
            ticks[0] += 1
        hub.shutdown()
        await task

    asyncio.run(main())
    return ticks[0]


def test_serve_beside_asyncio():
    def work():
        for _ in range(20):
            for server in servers:
                exchange_once(server.server_address)

    with Multiplexer(max_connections=20) as hub:
        servers = [hub.add(server_with(h, TCPServer)) for h in (Echo, EagerEcho)]
        silent = [Client(s.server_address) for s in servers for _ in range(2 if BOARD else 3)]
        assert asyncio_with(hub, work) > 0
        assert asyncio_with(hub, work) > 0  # and again
        for c in silent:
            c.close()


def test_serve_twice_is_an_error():
    import asyncio

    seen = []

    async def main():
        task = asyncio.create_task(hub.serve())
        await asyncio.sleep(0.02)
        try:
            await hub.serve()
        except RuntimeError as e:
            seen.append(e)
        raises(RuntimeError, hub.serve_forever)
        thread(exchange_once, server.server_address)
        while not server.stats["accepted"]:
            await asyncio.sleep(0.01)
        hub.shutdown()
        await task

    with Multiplexer() as hub:
        server = hub.add(server_with(kind=TCPServer))
        asyncio.run(main())
        hub.poll(0.1)
    assert len(seen) == 1


def test_handlers_that_await_something_of_asyncios():
    import asyncio

    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            for _ in range(3):
                try:
                    await asyncio.sleep(0.01)
                except RuntimeError as e:
                    seen.append(str(e))
            await self.rfile.readline()
            self.wfile.write(b"well\n")

    def work():
        for _ in range(5):
            with Client(server.server_address) as c:
                c.send(b"x\n")
                assert c.rest() == b"well\n"

    seen = []
    with Multiplexer() as hub:
        server = hub.add(server_with(Handler, TCPServer))
        asyncio_with(hub, work)
        with running(hub):
            work()
    assert len(seen) == 30 and "self.sleep" in seen[0], seen


# Limits.


def test_default_limits():
    maximum = Multiplexer().max_connections
    if BOARD:
        assert maximum == {"rp2": 4, "esp32": 8}[BOARD]
    elif MICROPYTHON:
        assert 4 <= maximum <= 512
    else:
        assert maximum == 512
    with serving(server_with()) as server:
        n = maximum if BOARD else 4
        clients = [Client(server.server_address) for _ in range(n)]
        wait_until(lambda: server.stats["active"] == n)
        assert server.stats["evicted"] == 0
        if BOARD:
            is_answered(server.server_address)
            assert server.stats["evicted"] == 1
        for c in clients:
            c.close()


def test_longest_silent_is_evicted():
    with serving(server_with(max_connections=3)) as server:
        spoke, never, late = [Client(server.server_address) for _ in range(3)]
        wait_until(lambda: server.stats["active"] == 3)
        exchange(spoke)
        time.sleep(0.05)
        exchange(late)
        # One that has never spoken goes first, however short it is there.
        new = Client(server.server_address)
        assert never.rest() == b"" and server.stats["evicted"] == 1
        exchange(new)
        time.sleep(1.1)  # nobody is at work any more
        exchange(new)
        # Of the others the one that is silent longest.
        newest = Client(server.server_address)
        exchange(newest)
        assert spoke.rest() == b"" and server.stats["evicted"] == 2
        exchange(late)
        exchange(new)
        for c in (spoke, never, late, new, newest):
            c.close()
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["accepted"] == 5


def test_who_comes_in_a_round_is_read_before_another_takes_its_place():
    class OneLine(AsyncStreamRequestHandler):
        async def handle(self):
            self.wfile.write(await self.rfile.readline())

    hub = Multiplexer(max_connections=1)
    servers = [hub.add(TCPServer(free(), OneLine)) for _ in range(3)]
    clients = [Client(server.server_address) for server in servers]
    for c in clients:
        c.send(ONE_LINE)
    record = thread(hub.serve_forever, 0.02)  # all are there when its first round begins
    for c in clients:
        assert c.rest() == ONE_LINE
        c.close()
    hub.shutdown()
    wait_until(lambda: record["done"])
    assert hub.stats["evicted"] == 0 and hub.stats["accepted"] == 3
    hub.close()


def test_servers_take_turns_when_there_is_room_for_one():
    order = []

    class OneLine(AsyncStreamRequestHandler):
        async def handle(self):
            order.append(self.server)
            self.wfile.write(await self.rfile.readline())

    class Server(TCPServer):
        request_queue_size = 8

    hub = Multiplexer(max_connections=1)
    servers = [hub.add(Server(free(), OneLine)) for _ in range(2)]
    clients = []
    for _ in range(5):
        for server in servers:
            clients.append(Client(server.server_address))
            clients[-1].send(ONE_LINE)
    record = thread(hub.serve_forever, 0.02)
    for c in clients:
        assert c.rest() == ONE_LINE
        c.close()
    hub.shutdown()
    wait_until(lambda: record["done"])
    hub.close()
    for server in servers:
        assert server in order[:5], "five of one server before the first of the other"


def test_clients_at_work_are_never_evicted():
    with serving(server_with(max_connections=2)) as server:
        workers = [Client(server.server_address) for _ in range(2)]
        for c in workers:
            exchange(c)
        new = Client(server.server_address)
        new.send(b"me too\n")
        begin = port.ticks_ms()
        rounds = 0
        while port.ticks_diff(port.ticks_ms(), begin) < 1300:
            for c in workers:
                exchange(c)
            rounds += 1
        assert rounds > 10 and not has_news(new)
        assert server.stats["evicted"] == 0 and server.stats["accepted"] == 2
        workers[0].close()
        assert new.line() == b"me too\n" and server.stats["evicted"] == 0
        # Now nobody goes, and one falls silent.
        newest = Client(server.server_address)
        newest.send(b"and me\n")
        while not has_news(newest):
            exchange(new)
            assert port.ticks_diff(port.ticks_ms(), begin) < 10000
        assert newest.line() == b"and me\n" and server.stats["evicted"] == 1
        assert workers[1].rest() == b""
        exchange(new)
        for c in (workers[1], new, newest):
            c.close()


def test_who_goes_when_memory_is_short():
    # Whoever has just come goes late: it holds nothing, and has had no time to speak.
    class Greedy(AsyncStreamRequestHandler):
        data = "silent"

        async def handle(self):
            if wanted:
                self.data = "new"
                while wanted:
                    self.server._se_hub.collect()
                    wanted.pop()
            while True:
                data = await self.rfile.read(512)  # nothing of it stays in the buffer
                if not data:
                    break
                self.data = data
                if data[-1:] == b"\n":
                    self.wfile.write(data)

        def finish(self):
            gone.append(self.data)

    gone = []
    wanted = []
    with serving(server_with(Greedy)) as server:
        answered, silent, part = [Client(server.server_address) for _ in range(3)]
        exchange(answered)
        part.send(b"x")
        wait_until(lambda: server.stats["active"] == 3 and server.stats["bytes_in"] > 1)
        time.sleep(0.3)
        exchange(answered)
        wanted += [1, 2, 3]  # at first garbage is to be enough
        with Client(server.server_address) as new:
            new.send(b"new\n")
            assert new.line() == b"new\n" and gone == ["silent", b"x"], gone
            exchange(answered)
        for c in (answered, silent, part):
            c.close()


def test_who_drips_and_gets_no_answer_cannot_keep_its_place():
    class Upload(AsyncStreamRequestHandler):
        async def handle(self):
            while True:
                data = await self.rfile.read(512)  # nothing of it stays in the buffer
                if not data or data[-1:] == b"\n":
                    break
            self.wfile.write(b"done\n")

    with serving(server_with(Upload, max_connections=2)) as server:
        dripping = [Client(server.server_address) for _ in range(2)]
        for c in dripping:
            c.send(b"x")
        wait_until(lambda: server.stats["bytes_in"] == 2)
        with Client(server.server_address) as new:
            new.send(b"all of it\n")
            begin = port.ticks_ms()
            while not has_news(new):
                for c in dripping:
                    try:
                        c.send(b"x")
                    except OSError:
                        continue  # it had to go
                time.sleep(0.1)
                assert port.ticks_diff(port.ticks_ms(), begin) < 10000, server.stats
            assert new.line() == b"done\n" and server.stats["evicted"] == 1
        for c in dripping:
            c.close()


def test_a_crowd_that_drips_is_passed_by_all_at_once():
    # As many may come in as there are places, each time that somebody has waited: not one.
    class Upload(AsyncStreamRequestHandler):
        async def handle(self):
            await self.rfile.readline()

    with server_with(Upload, max_connections=4) as server:
        dripping = [Client(server.server_address) for _ in range(4)]
        for c in dripping:
            c.send(b"x")
        while server.stats["bytes_in"] < 4:
            server.handle_request()
        hub = server._se_hub
        for h in hub.map.values():
            if h._se_since is not None:
                h._se_since = hub.time  # a byte has just come
        assert not hub.acquire() and hub.locked
        hub.peek()
        assert [hub.acquire() for _ in range(4)] == [True] * 4 and not hub.locked
        assert server.stats["evicted"] == 4
        hub.peek()
        assert not hub.left  # nobody waits any more
        for c in dripping:
            c.close()


def test_client_that_only_listens_is_at_work():
    # What it takes counts as much as what it says.
    class Ticker(AsyncStreamRequestHandler):
        async def handle(self):
            await self.rfile.readline()
            while True:
                self.wfile.write(b"tick\n")
                await self.sleep(0.1)

    hub = Multiplexer(max_connections=2)
    ticker, echo = [hub.add(server_with(h, TCPServer)) for h in (Ticker, Echo)]
    with running(hub):
        listener = Client(ticker.server_address)
        listener.send(b"go\n")
        for _ in range(13):  # more than a second after its last word
            assert listener.line() == b"tick\n"
        silent = Client(echo.server_address)
        exchange(silent)
        new = Client(echo.server_address)
        new.send(b"me too\n")
        while not has_news(new):
            assert listener.line() == b"tick\n"
        assert new.line() == b"me too\n" and silent.rest() == b""
        assert listener.line() == b"tick\n"
        for c in (listener, silent, new):
            c.close()


def test_newcomers_wait_when_they_should():
    for kind in ("server", "hub"):
        if kind == "hub":
            hub = Multiplexer(2, "wait")
            server = hub.add(server_with(kind=TCPServer))
            run = running(hub)
        else:
            server = server_with(max_connections=2, when_full="wait")
            run = serving(server)
        with run:
            clients = [Client(server.server_address) for _ in range(2)]
            wait_until(lambda s=server: s.stats["active"] == 2)
            new = [Client(server.server_address) for _ in range(2)]
            for c in new:
                c.send(b"me too\n")
            for _ in range(20):
                exchange(clients[0])  # rounds go by
            assert server.stats["accepted"] == 2 and not has_news(new[0])
            clients[0].close()
            assert new[0].line() == b"me too\n"
            assert server.stats["accepted"] == 3 and not has_news(new[1])
            new[0].close()
            assert new[1].line() == b"me too\n"
            exchange(clients[1])
            clients[1].close()
            new[1].close()
            is_answered(server.server_address)
        assert server.stats["evicted"] == 0 and server.stats["accepted"] == 5


def test_waiting_for_a_place_concerns_only_those_who_need_one():
    hub = Multiplexer(2, "wait")
    server = hub.add(server_with(kind=TCPServer))
    others = [
        hub.add(server_with(PlainEcho, TCPServer)),
        hub.add(server_with(EagerEcho, ThreadingTCPServer, max_threads=None)),
    ]
    datagrams = hub.add(UDPServer(free(), UDPEcho))
    with running(hub):
        clients = [Client(server.server_address) for _ in range(3)]
        wait_until(lambda: server.stats["active"] == 2)
        exchange(clients[0])
        assert ask(datagrams.server_address, b"hello", timeout=3) == b"hello"
        for other in others:
            is_answered(other.server_address)
        for c in clients:
            c.close()


def test_one_limit_for_all_servers():
    hub = Multiplexer(max_connections=3)
    servers = [hub.add(server_with(h, TCPServer)) for h in (Echo, Echo, EagerEcho)]
    with running(hub):
        clients = [Client(s.server_address) for s in servers]
        wait_until(lambda: hub.stats["active"] == 3)
        is_answered(servers[0].server_address)
        assert hub.stats["evicted"] == 1
        assert [has_news(c) for c in clients].count(True) == 1
        for c in clients:
            c.close()
        wait_until(lambda: hub.stats["active"] == 0)


def test_silent_newcomers_take_the_place_of_each_other_one_in_a_round():
    class Handler(Echo):
        def setup(self):
            log.append("setup")

        def finish(self):
            log.append("finish")

    log = []
    told = []
    with Multiplexer(max_connections=1) as hub:
        servers = [
            hub.add(server_with(Handler, TCPServer, handle_error=lambda *args: told.append(1)))
            for _ in range(3)
        ]
        clients = [Client(s.server_address) for s in servers]
        for n in range(3):
            hub.poll(0.1)
            assert hub.stats["accepted"] == n + 1 and hub.stats["evicted"] == n
        assert hub.stats["active"] == 1 and hub.stats["errors"] == 0 and not told, hub.stats
        assert log.count("setup") == 3 and log.count("finish") == 2, log
    for c in clients:
        assert c.rest() == b""
        c.close()
    assert log.count("finish") == 3


def test_many_connections_come_and_go():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            while True:
                line = await self.rfile.readline()
                if not line:
                    return
                await self.sleep(int(line) / 1000)
                self.wfile.write(line)

    big = not BOARD and sys.maxsize > 1 << 32
    at_once = min(20, MOST)
    with serving(server_with(Handler, max_connections=50)) as server:
        total = 0
        for batch in range((20 if big else 3) * SCALE):
            clients = [Client(server.server_address) for _ in range(at_once)]
            for n, c in enumerate(clients):
                c.send(b"%d\n" % ((n * 7 + batch) % 15))
            for n, c in enumerate(clients):
                assert c.line() == b"%d\n" % ((n * 7 + batch) % 15)
                if n % 2:
                    exchange(c, b"0\n")
                c.close()
            total += at_once
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["accepted"] == total
    assert server.stats["errors"] == server.stats["evicted"] == 0, server.stats


# Deadlines.


def test_timeouts_of_different_lengths():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            line = await self.rfile.readline()
            self.timeout = int(line) / 1000
            begin = port.ticks_ms()
            try:
                await self.rfile.readline()
            except OSError as e:
                assert e.errno == errno.ETIMEDOUT
                late.append(port.ticks_diff(port.ticks_ms(), begin) - int(line))
                raise

    late = []
    # No round ends early because of poll_interval.
    with serving(server_with(Handler, max_connections=40), 20) as server:
        clients = [Client(server.server_address) for _ in range(min(20, MOST))]
        for n, c in enumerate(clients):
            c.send(b"%d\n" % (100 + 73 * n))
        for c in clients:
            assert c.rest() == b""
            c.close()
        wait_until(lambda: server.stats["timed_out"] == len(clients))
        stop(server)
    # The engine looks every 250 ms, and begins to count when the line comes.
    assert len(late) == len(clients) and min(late) >= -250 and max(late) < 1500, late


def test_timeout_that_begins_at_run_time_is_noticed():
    class Handler(AsyncStreamRequestHandler):
        timeout = None

        async def handle(self):
            line = await self.rfile.readline()
            self.timeout = 0.2
            if line == b"write\n":
                self.max_pending = 1 << 20
                self.wfile.write(bytes(60000))
                await self.wfile.drain()
            else:
                await self.rfile.readline()

    # No round ends early because of poll_interval, nor is there another connection.
    with serving(narrow(server_with(Handler)), 10) as server:
        for n, line in enumerate((b"read\n", b"write\n")):
            with Narrow(server.server_address) as c:
                wait_until(lambda n=n: server.stats["accepted"] == n + 1)
                time.sleep(0.4)  # nobody looks at deadlines any more, because there are none
                c.send(line)
                wait_until(lambda n=n: server.stats["timed_out"] == n + 1, 2, "a timeout")
                assert line == b"write\n" or c.rest() == b""
            wait_until(lambda: server.stats["active"] == 0)
        stop(server)


def stop(server):
    """End a loop that waits for long: newcomers wake it."""
    thread(server.shutdown)
    while server._se_serving:
        time.sleep(0.01)
        try:
            Client(server.server_address).close()
        except OSError:
            return


def test_timeout_that_a_handler_shortens_is_noticed():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            while True:
                line = await self.rfile.readline()
                self.timeout = int(line) / 1000
                self.wfile.write(line)

    with serving(server_with(Handler), 2) as server:
        with Client(server.server_address) as c:
            exchange(c, b"9000\n")
            time.sleep(0.3)
            begin = port.ticks_ms()
            exchange(c, b"200\n")
            assert c.rest() == b""
            took = port.ticks_diff(port.ticks_ms(), begin)
            assert 150 < took < 5000, took
        assert server.stats["timed_out"] == 1


def test_a_timeout_is_for_one_wait():
    # Neither what came before it nor sleep counts.
    class Handler(AsyncStreamRequestHandler):
        timeout = 20

        async def handle(self):
            await self.rfile.readline()
            self.timeout = 0.5
            await self.sleep(0.8)
            begin = port.ticks_ms()
            try:
                self.wfile.write(await self.rfile.readline())
            except OSError:
                waited.append(port.ticks_diff(port.ticks_ms(), begin))
                self.wfile.write(b"timed out\n")
            self.timeout = 20
            self.wfile.write(await self.rfile.readline())

    waited = []
    with serving(server_with(Handler), 2) as server:
        with Client(server.server_address) as c:
            c.send(b"x\n")
            assert c.line() == b"timed out\n"  # but for the new wait
            exchange(c)  # and the handler can go on
    assert waited[0] > 250, waited
    assert server.stats["timed_out"] == 0


def test_sleeping_handlers_wake_on_time():
    class Handler(AsyncStreamRequestHandler):
        timeout = None

        async def handle(self):
            line = await self.rfile.readline()
            begin = port.ticks_ms()
            await self.sleep(int(line) / 1000)
            late.append(port.ticks_diff(port.ticks_ms(), begin) - int(line))
            self.wfile.write(line)
            while line == b"0\n" and len(late) < len(clients):
                await self.sleep(0)  # a round each ms, and none may wake the others too early

    late = []
    with serving(server_with(Handler, max_connections=40), 20) as server:
        clients = [Client(server.server_address) for _ in range(min(20, MOST))]
        for n, c in enumerate(clients):
            c.send(b"%d\n" % (47 * n))
        for n, c in enumerate(clients):
            assert c.line() == b"%d\n" % (47 * n)
        for c in clients:
            assert c.rest() == b""
            c.close()
        stop(server)
    assert len(late) == len(clients) and min(late) >= -1 and max(late) < 1500, late


def test_short_sleeps():
    class Handler(AsyncStreamRequestHandler):
        timeout = None

        async def handle(self):
            await self.rfile.readline()
            for _ in range(50):
                await self.sleep(0)
                await self.sleep(0.001)
                await self.sleep(0.002)
            self.wfile.write(b"awake\n")

    with serving(server_with(Handler), 0.5) as server:
        with Client(server.server_address, 8) as c:  # alone: nobody else wakes the loop
            begin = port.ticks_ms()
            c.send(b"x\n")
            assert c.line() == b"awake\n"
            took = port.ticks_diff(port.ticks_ms(), begin)
            assert took < 3000, took


def test_sleepers_client_that_leaves_is_noticed():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            await self.rfile.readline()
            try:
                await self.sleep(60)
            except OSError as e:
                seen.append(e.errno)
                raise

    seen = []
    with serving(server_with(Handler)) as server:
        c = Client(server.server_address)
        c.send(b"x\n")
        wait_until(lambda: server.stats["bytes_in"] == 2)
        reset(c)
        wait_until(lambda: server.stats["active"] == 0, 5)
    assert seen == [errno.ECONNRESET] and server.stats["errors"] == 1


def reset(c):
    """Close the connection with a reset."""
    c._socket.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_LINGER", 13), b"\1\0\0\0\0\0\0\0")
    c.close()


# Fairness.


def while_attacked(server, attack, seconds=2.5):
    """See that honest clients are answered while attack(client) goes on in threads."""
    stop = []
    started = []

    def run():
        with Narrow(server.server_address) as c:
            started.append(1)
            while not stop:
                try:
                    attack(c)
                except OSError:
                    return  # the server may have had enough of it

    records = [thread(run) for _ in range(2)]
    wait_until(lambda: len(started) == 2)
    other = Client(server.server_address)
    begin = port.ticks_ms()
    count = 0
    while port.ticks_diff(port.ticks_ms(), begin) < seconds * 1000:
        for c in (other, None):
            start = port.ticks_ms()
            if c:
                exchange(c)
            else:
                exchange_once(server.server_address)
            took = port.ticks_diff(port.ticks_ms(), start)
            assert took < 5000, took  # a busy machine, and a board with few places
        count += 1
    stop.append(1)
    other.close()
    wait_until(lambda: all(r["done"] for r in records), what="the attackers")
    return count


class Fair(AsyncStreamRequestHandler):
    """Echoes; after b"stream" it writes without end, to who reads."""

    timeout = 10  # on a busy machine a client that stays is silent for longer than 1 s

    async def handle(self):
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            while line == b"stream\n":
                self.timeout = 1
                self.wfile.write(b"0123456789abcdef" * 16)
                await self.wfile.drain()
            self.wfile.write(line)
            await self.wfile.drain()


def test_flood_of_lines_whose_answers_nobody_reads():
    if BOARD == "rp2":
        raise Skip("room in lwIP beside a client that never reads")

    def attack(c):
        c._socket.settimeout(0.2)
        c.send(b"0123456789\n" * 50)

    with serving(narrow(server_with(Fair, max_connections=10))) as server:
        while_attacked(server, attack)
        wait_until(lambda: server.stats["active"] == 0)


def test_flood_of_lines_whose_answers_are_read():
    def attack(c):
        c.send(b"0123456789\n" * 50)
        for _ in range(50):
            assert c.line() == b"0123456789\n"

    with serving(server_with(Fair, max_connections=10)) as server:
        while_attacked(server, attack)
        wait_until(lambda: server.stats["active"] == 0)


def test_handler_that_writes_without_end():
    def attack(c):
        if not hasattr(c, "asked"):
            c.asked = True
            c.send(b"stream\n")
        c.recv(65536)

    with serving(server_with(Fair, max_connections=10)) as server:
        while_attacked(server, attack)
        wait_until(lambda: server.stats["active"] == 0)


def test_handler_that_writes_without_end_to_one_who_never_reads():
    if BOARD == "rp2":
        raise Skip("room in lwIP beside a client that never reads")

    def attack(c):
        if not hasattr(c, "asked"):
            c.asked = True
            c.send(b"stream\n")
        time.sleep(0.02)

    with serving(narrow(server_with(Fair, max_connections=10))) as server:
        while_attacked(server, attack)
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["timed_out"] == 2, server.stats


# Closing.


def test_reply_is_not_lost_to_unread_input():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            self.wfile.write(await self.rfile.readline())
            self.wfile.write(b"that is enough\n")

    if BOARD:
        raise Skip("a system that keeps 200 kB of input")
    request = b"first\n" + b"x" * 200000
    with serving(server_with(Handler)) as server:
        for _ in range(5):
            with Client(server.server_address) as c:
                c.send(request)  # all of it, before the answer is read
                assert c.rest() == b"first\nthat is enough\n"  # and no ECONNRESET
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["errors"] == 0


def test_reply_waits_for_a_slow_reader():
    class Handler(AsyncStreamRequestHandler):
        max_pending = 1 << 20

        async def handle(self):
            await self.rfile.readline()
            self.wfile.write(reply)

        def finish(self):
            finished.append(1)

    reply = bytes(range(250)) * 240
    finished = []
    with serving(narrow(server_with(Handler))) as server:
        with Narrow(server.server_address) as c:
            c.send(b"x\n")
            wait_until(lambda: finished)
            got = b""
            while True:
                data = c.recv(1500)
                if not data:
                    break
                got += data
                time.sleep(0.005)
            assert got == reply, len(got)
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["errors"] == server.stats["timed_out"] == 0, server.stats
    assert server.stats["bytes_out"] == len(reply) and len(finished) == 1


def test_client_that_never_reads_its_reply_is_let_go():
    class Handler(AsyncStreamRequestHandler):
        max_pending = 1 << 20
        timeout = 1

        async def handle(self):
            await self.rfile.readline()
            self.wfile.write(bytes(60000))

        def finish(self):
            finished.append(1)

    finished = []
    with serving(narrow(server_with(Handler))) as server:
        with Narrow(server.server_address) as c:
            c.send(b"x\n")
            wait_until(lambda: finished)
            assert server.stats["active"] == 1
            wait_until(lambda: server.stats["active"] == 0, 5, "the connection to be closed")
        assert len(finished) == 1, finished


def test_client_that_sends_without_end_is_let_go():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            await self.rfile.readline()

        def finish(self):
            finished.append(1)

    def flood():
        with Client(server.server_address) as c:
            try:
                while True:
                    c.send(b"x\n" * 500)
            except OSError:
                return

    finished = []
    with serving(server_with(Handler)) as server:
        record = thread(flood)
        wait_until(lambda: record["done"], 6, "the connection to be closed")
        wait_until(lambda: server.stats["active"] == 0)
    assert len(finished) == 1, finished


def test_half_close():
    # All replies come, though the client has said that it is done.
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            while True:
                line = await self.rfile.readline()
                if not line:
                    await self.sleep(0.05)
                    self.wfile.write(b"that was all\n")
                    return
                got.append(line)
                await self.sleep(0.001)
                self.wfile.write(line)

    got = []
    lines = [b"line %d\n" % n for n in range(40)]
    with serving(server_with(Handler)) as server:
        with Client(server.server_address) as c:
            c.send(b"".join(lines))
            if not MICROPYTHON:
                c._socket.shutdown(socket.SHUT_WR)
                assert c.rest() == b"".join(lines) + b"that was all\n"
            else:
                # Its sockets cannot do that: at least nothing is lost that came before the end.
                for line in lines:
                    assert c.line() == line
        wait_until(lambda: server.stats["active"] == 0)
    assert got == lines and server.stats["errors"] == 0


# The second run.


class Leaver(AsyncStreamRequestHandler):
    """Raises what it is told: that is not its server's to catch."""

    timeout = None

    async def handle(self):
        line = await self.rfile.readline()
        if line == b"exit\n":
            raise SystemExit
        if line == b"interrupt\n":
            raise KeyboardInterrupt
        self.wfile.write(line)


def test_second_run_of_a_server():
    for line, kind in ((b"exit\n", SystemExit), (b"interrupt\n", KeyboardInterrupt)):
        old = server_with(Leaver)
        record = thread(raises, kind, old.serve_forever, 0.02)
        silent = Client(old.server_address)
        exchange_once(old.server_address)
        raises(OSError, TCPServer, old.server_address, Echo)  # it is alive
        with Client(old.server_address) as c:
            c.send(line)
            assert c.rest() == b""
        wait_until(lambda record=record: record["done"])
        new = MultiplexingTCPServer(old.server_address, Echo)
        assert silent.rest() == b"" and old.stats["active"] == 0
        silent.close()
        with serving(new):
            exchange_once(new.server_address)


def test_second_run_of_handle_request():
    with server_with(Leaver) as old:
        with Client(old.server_address) as silent, Client(old.server_address) as c:
            c.send(b"exit\n")
            raises(SystemExit, handle_requests, old)
            with serving(TCPServer(old.server_address, Echo)) as new:
                exchange_once(new.server_address)
                assert silent.rest() == b""


def handle_requests(server):
    while True:
        server.handle_request()


def test_second_run_of_a_multiplexer():
    def serve_forever(hub):
        hub.serve_forever(0.02)

    rounds = []

    def poll(hub):
        while True:
            rounds.append(hub)
            hub.poll(2)

    for serve in (serve_forever, poll):
        hub = Multiplexer(max_connections=20)
        one, other = [hub.add(server_with(Leaver, TCPServer)) for _ in range(2)]
        record = thread(raises, SystemExit, serve, hub)
        silent = Client(one.server_address)
        exchange_once(other.server_address)
        if serve is poll:
            # Between two calls nobody could tell that it goes on: in the one that will wait.
            wait_until(lambda hub=hub: hub.stats["active"] == 1)
            seen = len(rounds)
            wait_until(lambda seen=seen: len(rounds) > seen)
            wait_until(lambda hub=hub: hub._se_hub.cur_task is not None)
        raises(OSError, TCPServer, one.server_address, Echo)
        raises(OSError, TCPServer, other.server_address, Echo)
        with Client(one.server_address) as c:
            c.send(b"exit\n")
            assert c.rest() == b""
        wait_until(lambda record=record: record["done"])
        new = server_with_address(one.server_address)
        assert silent.rest() == b""
        silent.close()
        with serving(new):
            exchange_once(new.server_address)
            # What is left of the multiplexer can go on.
            with running(hub):
                exchange_once(other.server_address)
                raises(OSError, TCPServer, other.server_address, Echo)
                raises(OSError, TCPServer, new.server_address, Echo)


class Tidy(AsyncStreamRequestHandler):
    async def handle(self):
        try:
            await self.rfile.readline()
            await self.sleep(60)
        finally:
            self.server.tidied.append(1)


def test_ctrl_c_between_two_waits_runs_a_handlers_finally_blocks():
    server = server_with(Tidy, tidied=[])
    hub = server._se_new_poller()

    def modify(h):
        raise KeyboardInterrupt

    with Client(server.server_address) as c:
        c.send(ONE_LINE)
        hub.modify = modify
        raises(KeyboardInterrupt, server.serve_forever, 0.02)
        assert server.tidied == [1] and server.stats["active"] == 0
    server.server_close()


class Interrupted:
    """A poller that Ctrl-C hits as soon as a handler has begun to sleep."""

    real = port.poll
    server = None

    def __init__(self):
        self.inner = Interrupted.real()

    def poll(self, ms):
        if Interrupted.server.slept:
            raise KeyboardInterrupt
        return self.inner.poll(ms)

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Sleeper(Tidy):
    def sleep(self, seconds):
        self.server.slept.append(seconds)
        return Tidy.sleep(self, seconds)


def test_ctrl_c_in_a_plain_server_runs_a_handlers_finally_blocks():
    server = Interrupted.server = server_with(Sleeper, TCPServer, tidied=[], slept=[])
    port.poll = Interrupted
    with Client(server.server_address) as c:
        c.send(ONE_LINE)
        raises(KeyboardInterrupt, server.handle_request)
        assert server.tidied == [1] and server.stats["active"] == 0
        try:
            assert c.rest() == b""
        except OSError:
            pass  # a reset
    server.server_close()


def server_with_address(address):
    return MultiplexingTCPServer(address, Echo)


def test_second_run_after_ctrl_c_between_two_rounds():
    # Of a program with a loop of its own; the objects stay, as globals do at a REPL.
    address = free()
    hub = Multiplexer()
    hub.add(server_with_address(address))
    hub.poll(0)
    again = Multiplexer()
    server = again.add(server_with_address(address))  # closes the one before
    with running(again):
        exchange_once(address)
        raises(OSError, server_with_address, address)  # serve_forever runs: it is alive
    again.poll(0)
    server.server_close()
    server_with_address(address).server_close()
    for one in (hub, again):
        assert not one.servers


def test_exceptions_in_hooks_leave_poll():
    class Stop(BaseException):
        pass

    class Server(TCPServer):
        def service_actions(self):
            if self.stats["active"]:
                raise Stop

    hub = Multiplexer()
    old = hub.add(Server(free(), Echo))
    with Client(old.server_address) as c:
        raises(Stop, hub.serve_forever, 0.02)
        with serving(TCPServer(old.server_address, Echo)) as new:
            assert c.rest() == b""
            exchange_once(new.server_address)
    hub.close()


def test_an_oserror_that_leaves_a_hook_does_not_end_a_multiplexer():
    class Server(TCPServer):
        def handle_error(self, request, client_address):
            raise OSError(5, "the log cannot be written")

    class Faulty(AsyncStreamRequestHandler):
        async def handle(self):
            raise ValueError

    hub = Multiplexer()
    server = hub.add(Server(free(), Faulty))
    other = hub.add(TCPServer(free(), Echo))
    with running(hub):
        with Client(other.server_address) as stays:
            exchange(stays)
            for n in range(3):
                with Client(server.server_address) as c:
                    assert c.rest() == b""
                wait_until(lambda n=n: hub.stats["errors"] >= n + 1)
            exchange(stays)
        exchange_once(other.server_address)


# Descriptors and memory that run out.


def test_descriptors_run_out():
    class Server(MultiplexingTCPServer):
        faults = 0

        def get_request(self):
            if self.faults:
                self.faults -= 1
                raise OSError(23, "ENFILE")
            return MultiplexingTCPServer.get_request(self)

    class Added(TCPServer):
        faults = 0

        def get_request(self):
            if self.faults:
                self.faults -= 1
                raise OSError(23, "ENFILE")
            return TCPServer.get_request(self)

    for added in (False, True):
        if added:
            hub = Multiplexer()
            server = hub.add(Added(free(), Echo))
            run = running(hub)
        else:
            server = Server(free(), Echo)
            run = serving(server)
        with run:
            idle, busy = [Client(server.server_address) for _ in range(2)]
            exchange(busy)
            exchange(idle)
            time.sleep(1.1)
            exchange(busy)
            server.faults = 1
            is_answered(server.server_address)
            assert idle.rest() == b"" and server.stats["evicted"] == 1
            exchange(busy)
            assert server.stats["errors"] == 1
            idle.close()
            busy.close()


class Faulty(io.IOBase):
    """A connection whose recv fails when it is told to."""

    def __init__(self, sock, faults):
        self.sock = sock
        self.faults = faults

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def ioctl(self, *args):  # for MicroPython's select.poll
        return self.sock.ioctl(*args)

    def fileno(self):
        return self.sock.fileno()

    def close(self):
        self.sock.close()

    def recv(self, n):
        if self.faults:
            raise self.faults.pop()(n)
        return self.sock.recv(n)


def test_a_stream_has_no_hole_when_recv_finds_no_room_for_what_it_took():
    if not UNIX:
        raise Skip("a recv that takes what it has no room for")

    class Taking(Faulty):
        def recv(self, n):
            data = self.sock.recv(n)
            if self.faults:
                raise self.faults.pop()(16)
            return data

    class Server(MultiplexingTCPServer):
        def get_request(self):
            request, client_address = TCPServer.get_request(self)
            return Taking(request, [no_room]), client_address

    with serving(Server(free(), Echo)) as server:
        with Client(server.server_address) as c:
            c.send(ONE_LINE * 100)
            try:
                assert c.rest() == b""
            except OSError:
                pass  # a reset: what else it has sent is not read
        wait_until(lambda: server.stats["out_of_memory"] == 1)
        assert server.stats["active"] == 0 and server.stats["evicted"] == 0, server.stats


def test_reads_smaller_pieces_when_there_is_no_room_for_a_large_one():
    class Narrow(Faulty):
        def recv(self, n):
            asked.append(n)
            if n > 64:
                raise no_room(n)
            return self.sock.recv(n)

    class Server(MultiplexingTCPServer):
        def get_request(self):
            request, client_address = TCPServer.get_request(self)
            return Narrow(request, ()), client_address

    asked = []
    with serving(Server(free(), Echo)) as server:
        with Client(server.server_address) as c, Client(server.server_address):
            line = b"x" * 300 + b"\n"
            while asked.count(128) < 2:  # now and then a larger piece is tried again
                c.send(line)
                assert c.line() == line
        wait_until(lambda: server.stats["active"] == 0)
    assert asked[:3] == [256, 128, 64] and max(asked) == 256, asked
    assert server.stats["out_of_memory"] >= 3 and server.stats["evicted"] == 0, server.stats


def test_the_end_of_a_stream_is_asked_for_once():
    # esp32 tells it once.
    class Once(Faulty):
        ended = False

        def recv(self, n):
            assert not self.ended, "asked again"
            data = self.sock.recv(n)
            self.ended = not data
            return data

    class Server(MultiplexingTCPServer):
        def get_request(self):
            request, client_address = TCPServer.get_request(self)
            return Once(request, ()), client_address

    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            if await self.read(1) == b"r":
                got.append(await self.read())
            got.append(await self.rfile.readline())
            for n in (5, -1):
                got.append(await self.rfile.read(n))
            got.append(await self.rfile.readline())

    for first in (b"l", b"r"):
        got = []
        with serving(Server(free(), Handler)) as server:
            with Client(server.server_address) as c:
                c.send(first)
            reads = 5 if first == b"r" else 4
            wait_until(lambda got=got, n=reads: len(got) == n)
            wait_until(lambda: server.stats["active"] == 0)
        assert server.stats["errors"] == 0
        assert got == [b""] * reads, got


def test_memory_errors():
    # Wherever there is no memory: it costs some, and the server goes on.
    class Server(MultiplexingTCPServer):
        def get_request(self):
            fail("get_request")
            request, client_address = TCPServer.get_request(self)
            faults = [no_room] if where[0] == "recv" else []
            where[0] = "" if faults else where[0]
            return Faulty(request, faults), client_address

        def verify_request(self, request, client_address):
            fail("verify_request")
            return True

        def handle_error(self, request, client_address):
            fail("handle_error")

    class Handler(AsyncStreamRequestHandler):
        def setup(self):
            fail("setup")

        async def handle(self):
            fail("handle")
            line = await self.rfile.readline()
            fail("later")
            self.wfile.write(line)

        def finish(self):
            fail("finish")

    def fail(name):
        if where[0] == name:
            where[0] = ""
            raise MemoryError

    places = "get_request verify_request setup handle later finish recv"
    where = [""]
    with serving(Server(free(), Handler)) as server:
        for others in (0, 2):
            for place in places.split():
                lost = server.stats["out_of_memory"]
                silent = [Client(server.server_address) for _ in range(others)]
                wait_until(lambda n=others: server.stats["active"] == n)
                where[0] = place
                with Client(server.server_address) as c:
                    try:
                        c.send(ONE_LINE)
                        got = c.rest()
                    except OSError:  # a reset: it was closed with its input unread
                        got = b""
                if place in ("get_request", "finish") or place == "recv" and others:
                    assert got == ONE_LINE, (place, got)  # what was lost was not this client's
                wait_until(lambda n=lost: server.stats["out_of_memory"] > n, what=place)
                assert not where[0]
                for c in silent:
                    c.close()
                wait_until(lambda: server.stats["active"] == 0, what=place)
                is_answered(server.server_address)
        wait_until(lambda: server.stats["active"] == 0)
    assert server.stats["errors"] == 0, server.stats


class Moody:
    """A poller whose register fails when it is told to.

    MicroPython's would crash the interpreter if it were used after that, before the same object
    was registered after all.
    """

    real = port.poll
    faults = 0  # how many of the next registers fail, of any poller

    def __init__(self):
        self.inner = Moody.real()
        self.poisoned = []

    def register(self, sock, mask):
        if Moody.faults:
            Moody.faults -= 1
            if sock not in self.poisoned:
                self.poisoned.append(sock)
            raise MemoryError
        self.inner.register(sock, mask)
        if sock in self.poisoned:
            self.poisoned.remove(sock)

    def modify(self, sock, mask):
        assert sock not in self.poisoned, "modify would crash the interpreter"
        self.inner.modify(sock, mask)

    def unregister(self, sock):
        assert sock not in self.poisoned, "unregister would crash the interpreter"
        self.inner.unregister(sock)

    def poll(self, ms):
        assert not self.poisoned, "poll would crash the interpreter"
        return self.inner.poll(ms)

    def ipoll(self, ms):
        assert not self.poisoned, "ipoll would crash the interpreter"
        return self.inner.ipoll(ms)


def test_memory_errors_of_the_poller():
    port.poll = Moody
    for handler in (Echo, EagerEcho):
        with serving(server_with(handler, max_connections=20, handle_error=tell_nobody)) as server:
            for faults in range(1, 6):
                silent = [Client(server.server_address) for _ in range(3)]
                wait_until(lambda: server.stats["active"] == 3)
                lost = server.stats["out_of_memory"]
                Moody.faults = faults
                with Client(server.server_address) as c:
                    try:
                        c.send(ONE_LINE)
                        assert c.line() in (ONE_LINE, b"")
                    except OSError:  # a reset
                        assert faults > 3
                wait_until(lambda: not Moody.faults)
                wait_until(lambda n=lost: server.stats["out_of_memory"] > n)
                is_answered(server.server_address)
                for c in silent:
                    c.close()
                wait_until(lambda: server.stats["active"] == 0)


def test_memory_errors_of_the_poller_with_threads():
    # Connections that wait for a thread are in the multiplexer's poller too.
    port.poll = Moody
    hub = Multiplexer()
    server = hub.add(
        server_with(EagerEcho, ThreadingTCPServer, max_threads=1, handle_error=tell_nobody)
    )
    server.block_on_close = False  # or a test that fails would wait for the holder
    other = hub.add(server_with(Echo, TCPServer))
    with running(hub):
        holder = Client(server.server_address)
        wait_until(lambda: server.stats["active"] == 1)
        for faults in (1, 2, 3):
            accepted = server.stats["accepted"]
            waiting = Client(server.server_address)
            wait_until(lambda n=accepted: server.stats["accepted"] > n)
            Moody.faults = faults
            Client(server.server_address).close()
            wait_until(lambda: not Moody.faults)
            waiting.close()
            is_answered(server.server_address)
            is_answered(other.server_address)
        # Nothing stays behind that the poller tells again and again.
        wait_until(lambda: not server._se_waiting)
        holder.close()
        wait_until(lambda: server.stats["active"] == 0)
    assert hub.stats["out_of_memory"] >= 3, hub.stats


# CPython without poll, as on Windows.


def test_select_instead_of_poll():
    class Handler(AsyncStreamRequestHandler):
        max_pending = 1 << 20

        async def handle(self):
            while True:
                line = await self.rfile.readline()
                if line == b"silent from now on\n":
                    self.timeout = 0.4
                elif line == b"sleep\n":
                    await self.sleep(0.2)
                elif line == b"write\n":
                    self.wfile.write(reply)
                    await self.wfile.drain()
                    return
                elif not line:
                    return
                self.wfile.write(line)

    if MICROPYTHON:
        raise Skip("select.select instead of select.poll")
    del select.poll
    reply = bytes(300000)
    hub = Multiplexer()
    server = hub.add(narrow(server_with(Handler, TCPServer)))
    own = narrow(server_with(Handler))
    plain = hub.add(server_with(PlainEcho, TCPServer))
    datagrams = hub.add(UDPServer(free(), UDPEcho))
    with running(hub), serving(own):
        for s in (server, own):
            silent = Client(s.server_address)
            exchange(silent, b"silent from now on\n")
            with Client(s.server_address) as c:
                exchange(c)
                begin = port.ticks_ms()
                exchange(c, b"sleep\n")
                assert port.ticks_diff(port.ticks_ms(), begin) >= 190
                exchange(c)
            with Narrow(s.server_address) as c:
                c.send(b"write\n")
                wait_until(lambda s=s: s.stats["bytes_out"] > 1000)
                is_answered(s.server_address)
                assert c.rest() == reply
            assert silent.rest() == b"" and s.stats["timed_out"] == 1, s.stats
            silent.close()
        exchange_once(plain.server_address)
        assert ask(datagrams.server_address, b"hello") == b"hello"
