"""TCPServer and its loop: what keeps it serving, how it stops, what it refuses."""

import errno
import sys

import socketse
from socketse import BaseRequestHandler, StreamRequestHandler, TCPServer
from support import (
    BOARD,
    HOST,
    MICROPYTHON,
    Client,
    Skip,
    free,
    logged,
    quiet,
    raises,
    rooms_are_files,
    serving,
    socket,
    thread,
    wait_until,
)


class Echo(StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


def ask(address, data=b"x\n"):
    with Client(address) as c:
        c.send(data)
        return c.line()


def test_echo():
    address = free()
    with serving(TCPServer(address, Echo)) as server:
        assert ask(address) == b"x\n"
        assert tuple(server.server_address) == address
    assert server.stats["accepted"] == 1 and server.stats["active"] == 0


def test_empty_host_is_every_address():
    port = free()[1]
    with serving(TCPServer(("", port), Echo)) as server:
        assert tuple(server.server_address) == ("0.0.0.0", port)
        assert ask((HOST, port)) == b"x\n"
        assert ask(("127.0.0.9", port)) == b"x\n"


def test_host_name_is_resolved():
    port = free()[1]
    with serving(TCPServer(("localhost", port), Echo)) as server:
        assert tuple(server.server_address) == (HOST, port)


def test_ipv6():
    from socketse.limits import inet_pton

    if BOARD:
        raise Skip("IPv6")

    class Server(TCPServer):
        address_family = socket.AF_INET6

    port = free()[1]
    seen = []

    class Handler(BaseRequestHandler):
        def handle(self):
            seen.append(self.client_address)
            self.request.sendall(b"six")

    with serving(Server(("::1", port), Handler)) as server:
        assert server.server_address[:2] == ("::1", port)
        s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        s.connect(socket.getaddrinfo("::1", port)[0][-1])
        assert s.recv(10) == b"six"
        s.close()
    assert seen[0][0] == "::1"
    assert len(seen[0]) == (2 if MICROPYTHON else 4)
    assert len(inet_pton(socket.AF_INET6, "::1")) == 16


def test_request_has_the_sockets_of_a_board():
    address = free()
    seen = []

    class Handler(BaseRequestHandler):
        def handle(self):
            seen.append(self.client_address)
            data = self.request.recv(100)
            assert self.request.send(data[:1]) == 1
            self.request.sendall(data[1:])
            self.request.sendall(b"y" * 60000)
            self.request.settimeout(5)

    with serving(TCPServer(address, Handler)):
        with Client(address) as c:
            c.send(b"hello")
            assert c.rest() == b"hello" + b"y" * 60000
    assert seen[0][0] == HOST and isinstance(seen[0][1], int)


def test_accepted_connections_are_blocking():
    address = free()
    seen = []

    def handler(request, client_address, server):
        # rp2's accepted sockets inherit the listener's timeout.
        seen.append(request._timeout if BOARD else None)
        request.sendall(request.recv(10))

    with serving(TCPServer(address, handler)):
        with Client(address) as c:
            c.send(b"x")
            assert c.rest() == b"x"
    assert seen == [None]


def test_closed_request_raises_oserror():
    address = free()
    seen = []

    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.close()
            self.request.close()
            for use in (
                lambda: self.request.recv(1),
                lambda: self.request.send(b"x"),
                lambda: self.request.sendall(b"x"),
            ):
                seen.append(raises(OSError, use).errno)

    with serving(TCPServer(address, Handler)):
        with Client(address) as c:
            assert c.recv() == b""
    assert seen == [errno.EBADF] * 3, seen


def test_handler_must_be_callable():
    e = raises(TypeError, TCPServer, free(), "handler")
    assert "handler" in str(e) and "callable" in str(e)


def test_function_as_handler():
    address = free()

    def handler(request, client_address, server):
        request.sendall(b"f")

    with serving(TCPServer(address, handler)):
        with Client(address) as c:
            assert c.rest() == b"f"


def test_bad_addresses_raise_at_once():
    for bad in ((HOST, 70000), (HOST, -1)):
        raises(OverflowError, TCPServer, bad, Echo)
    for bad in ("localhost", "127.0.0.1:80", (HOST,), (HOST, "80"), None, 80):
        raises(TypeError, TCPServer, bad, Echo)
    e = raises(OSError, TCPServer, ("no.such.host.invalid", free()[1]), Echo)
    assert "no.such.host.invalid" in str(e), e


def test_port_0():
    if MICROPYTHON:
        e = raises(ValueError, TCPServer, (HOST, 0), Echo)
        assert "port" in str(e)
    else:
        with TCPServer((HOST, 0), Echo) as server:
            assert server.server_address[1] > 0


def test_two_live_servers_on_one_port_are_an_error():
    address = free()
    with serving(TCPServer(address, Echo)):
        e = raises(OSError, TCPServer, address, Echo)
        assert e.errno == errno.EADDRINUSE
        assert str(address[1]) in str(e), e
        assert ask(address) == b"x\n"


def test_rebind_after_close():
    address = free()
    for _ in range(5):
        with serving(TCPServer(address, Echo)):
            assert ask(address) == b"x\n"


class Stop(BaseException):
    """Stands for Ctrl-C, which a test cannot press at a chosen moment."""


def test_second_run_after_an_exception_left_serve_forever():
    address = free()

    class Interrupted(TCPServer):
        def service_actions(self):
            raise Stop

    for wildcard in (False, True, False):
        host = "" if wildcard else HOST
        raises(Stop, Interrupted((host, address[1]), Echo).serve_forever, 0.01)
    # Left open by the last one, as Ctrl-C leaves it:
    with serving(TCPServer(address, Echo)):
        assert ask(address) == b"x\n"


def test_second_run_after_an_exception_left_handle_request():
    address = free()

    class Handler(BaseRequestHandler):
        def handle(self):
            raise Stop

    server = TCPServer(address, Handler)
    with Client(address) as c:
        raises(Stop, server.handle_request)
        assert c.recv() == b""
    with serving(TCPServer(address, Echo)):
        assert ask(address) == b"x\n"


def test_second_run_by_name():
    address = free()

    class Interrupted(TCPServer):
        def service_actions(self):
            raise Stop

    raises(Stop, Interrupted(("localhost", address[1]), Echo).serve_forever, 0.01)
    with serving(TCPServer(("localhost", address[1]), Echo)):
        assert ask(address) == b"x\n"


def test_left_servers_without_a_socket_are_nobodys_concern():
    class Odd(socketse.BaseServer):
        def __init__(self):
            socketse.BaseServer.__init__(self, "nowhere", Echo)
            self.socket = TCPServer(free(), Echo)

        def fileno(self):
            return self.socket.fileno()

        def service_actions(self):
            raise Stop

    odd = Odd()
    if MICROPYTHON:
        odd.socket = odd.socket.socket  # MicroPython polls a server's socket
    raises(Stop, odd.serve_forever, 0.01)
    address = free()
    with serving(TCPServer(address, Echo)):
        assert ask(address) == b"x\n"


def test_servers_left_behind_do_not_pile_up():
    from socketse import server

    class Interrupted(TCPServer):
        def service_actions(self):
            raise Stop

    for _ in range(12):
        raises(Stop, Interrupted(free(), Echo).serve_forever, 0)
    assert len(server._left) == 4
    for left in server._left:
        left.server_close()
    assert server._left == ()


def test_server_that_serves_again_is_not_replaced():
    address = free()

    class Interrupted(TCPServer):
        broken = True

        def service_actions(self):
            if self.broken:
                self.broken = False
                raise Stop

    server = Interrupted(address, Echo)
    raises(Stop, server.serve_forever, 0.01)
    with serving(server):
        assert ask(address) == b"x\n"  # in its loop again
        assert raises(OSError, TCPServer, address, Echo).errno == errno.EADDRINUSE
        assert ask(address) == b"x\n"


def test_a_server_of_another_port_is_left_alone():
    class Interrupted(TCPServer):
        def service_actions(self):
            raise Stop

    def handler(request, client_address, server):
        request.sendall(b"here")

    old = Interrupted(free(), handler)
    raises(Stop, old.serve_forever, 0.01)
    new = TCPServer(free(), Echo)
    with Client(old.server_address) as c:
        raises(Stop, old.serve_forever, 1)
        assert c.rest() == b"here"
    old.server_close()
    new.server_close()


def test_hooks_in_order():
    address = free()
    log = []

    class Server(logged(TCPServer, log)):
        def handle_error(self, request, client_address):
            log.append(type(self.last_error).__name__)

    class Handler(BaseRequestHandler):
        def setup(self):
            log.append("setup")

        def handle(self):
            log.append("handle")
            raise KeyError("k")

        def finish(self):
            log.append("finish")

    with Server(address, Handler) as server, Client(address) as c:
        server.handle_request()
        assert c.recv() == b""
    expected = (
        "get_request verify_request process_request finish_request setup handle finish "
        "KeyError shutdown_request close_request"
    )
    assert " ".join(log) == expected, log
    assert server.stats["errors"] == 1 and server.last_error is None


def test_exceptions_cost_one_connection():
    address = free()

    class Handler(StreamRequestHandler):
        def handle(self):
            what = self.rfile.readline().strip()
            if what == b"error":
                raise ValueError("a handler's mistake")
            if what == b"memory":
                raise MemoryError
            self.wfile.write(what)

    with quiet() as text, serving(TCPServer(address, Handler)) as server:
        for what in (b"error\n", b"memory\n", b"error\n"):
            with Client(address) as c:
                c.send(what)
                assert c.rest() == b""
        assert ask(address, b"fine\n") == b"fine"
    assert server.stats["errors"] == 2
    assert server.stats["out_of_memory"] == 1
    if not MICROPYTHON:
        assert "a handler's mistake" in text.getvalue()
        assert "127.0.0.1" in text.getvalue()


def test_memory_error_while_telling_of_an_error():
    address = free()

    class Server(TCPServer):
        def handle_error(self, request, client_address):
            raise MemoryError

    def handler(request, client_address, server):
        raise ValueError

    with serving(Server(address, handler)) as server:
        for _ in range(2):
            with Client(address) as c:
                assert c.rest() == b""
    assert server.stats["out_of_memory"] == 2 and server.stats["errors"] == 2


def test_base_exceptions_leave_serve_forever():
    for kind in (SystemExit, KeyboardInterrupt):
        address = free()

        def handler(request, client_address, server, kind=kind):
            raise kind

        server = TCPServer(address, handler)
        with Client(address) as c:
            raises(kind, server.serve_forever)
            assert c.recv() == b""  # closed all the same
        server.server_close()


def test_exception_in_verify_request_costs_one_connection():
    address = free()

    class Server(TCPServer):
        errors = []

        def verify_request(self, request, client_address):
            if not self.errors:
                raise ValueError("no")
            return True

        def handle_error(self, request, client_address):
            self.errors.append(str(self.last_error))

    with serving(Server(address, Echo)) as server:
        assert ask(address) == b""
        assert ask(address) == b"x\n"
    assert server.errors == ["no"]


def accept_errors():
    yield OSError(23, "ENFILE")
    yield OSError(errno.ECONNABORTED, "aborted")
    yield OSError(errno.ENOTCONN, "not connected")
    yield OSError(errno.ENOBUFS, "no buffers")
    yield OSError(errno.EAGAIN, "gone again")
    yield OSError("a text and no number")
    yield MemoryError()
    yield ValueError("an invalid certificate")


def test_accept_errors_leave_the_server_serving():
    address = free()
    faults = list(accept_errors())

    class Server(TCPServer):
        told = []

        def get_request(self):
            if faults:
                request, client_address = TCPServer.get_request(self)
                request.close()
                raise faults.pop(0)
            return TCPServer.get_request(self)

        def handle_error(self, request, client_address):
            self.told.append((type(self.last_error), request))

    with serving(Server(address, Echo)) as server:
        for _ in range(len(faults)):
            with Client(address) as c:
                assert c.recv() == b""
        assert ask(address) == b"x\n"
    assert server.stats["accepted"] == 1
    assert server.stats["out_of_memory"] == 1
    assert server.stats["errors"] == 6  # all but EAGAIN and MemoryError
    assert server.told == [(MemoryError, None), (ValueError, None)]


def test_resets_do_not_hurt():
    import struct

    address = free()

    class Handler(StreamRequestHandler):
        def handle(self):
            try:
                while self.rfile.readline():
                    self.wfile.write(b"y" * 1000)
            except OSError:
                return

    with quiet(), serving(TCPServer(address, Handler)):
        for data in (b"", b"half", b"line\n", b"l\n" * 500):
            c = Client(address)
            c.send(data)
            c._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.close()  # a reset
        with Client(address) as c:
            c.send(b"line\n")
            assert c.recv() == b"y" * 1000


def test_handle_request_times_out():
    address = free()
    calls = []

    class Server(TCPServer):
        timeout = 0.05

        def handle_timeout(self):
            calls.append("timeout")

    with Server(address, Echo) as server:
        server.handle_request()
        assert calls == ["timeout"]
        with Client(address) as c:
            c.send(b"x\n")
            record = thread(server.handle_request)
            assert c.line() == b"x\n"
        wait_until(lambda: record["done"])
    assert calls == ["timeout"]


def test_shutdown_before_serve_forever_is_not_lost():
    with TCPServer(free(), Echo) as server:
        server.shutdown()
        server.serve_forever()


def test_shutdown_from_a_handler_returns_at_once():
    address = free()

    class Handler(BaseRequestHandler):
        def handle(self):
            self.server.shutdown()
            self.request.sendall(b"bye")

    with TCPServer(address, Handler) as server:
        record = thread(server.serve_forever)
        with Client(address) as c:
            assert c.rest() == b"bye"
        wait_until(lambda: record["done"], what="the loop to end")


def test_shutdown_from_service_actions():
    class Server(TCPServer):
        rounds = 0

        def service_actions(self):
            self.rounds += 1
            if self.rounds == 3:
                self.shutdown()

    with Server(free(), Echo) as server:
        server.serve_forever(0.01)
    assert server.rounds == 3


def test_shutdown_waits_for_the_loop():
    address = free()
    server = TCPServer(address, Echo)
    for _ in range(3):  # and a server can be started again
        record = thread(server.serve_forever, 0.02)
        assert ask(address) == b"x\n"
        server.shutdown()
        assert server._se_serving is None
        wait_until(lambda record=record: record["done"])
    server.server_close()


def test_serve_forever_twice_at_once_raises():
    address = free()
    with serving(TCPServer(address, Echo)) as server:
        assert ask(address) == b"x\n"
        raises(RuntimeError, server.serve_forever)
        assert ask(address) == b"x\n"


def test_server_close_ends_the_loop_and_can_be_repeated():
    address = free()

    class Handler(BaseRequestHandler):
        def handle(self):
            self.server.server_close()
            self.server.server_close()

    server = TCPServer(address, Handler)
    record = thread(server.serve_forever)
    with Client(address) as c:
        assert c.recv() == b""
    wait_until(lambda: record["done"], what="the loop to end")
    server.server_close()
    with serving(TCPServer(address, Echo)):
        assert ask(address) == b"x\n"


def test_bind_and_activate_false():
    address = free()
    server = TCPServer(address, Echo, bind_and_activate=False)
    server.server_bind()
    server.server_activate()
    with serving(server):
        assert ask(address) == b"x\n"


def test_reply_is_not_lost_to_a_reset():
    # The client is still sending when the handler has answered and is done: closing now would
    # reset the connection, and the reply with it.
    address = free()

    class Handler(StreamRequestHandler):
        def handle(self):
            self.rfile.readline()
            self.wfile.write(b"answer\n" * 100)

    with serving(TCPServer(address, Handler)):
        for size in (100, 5000, 50000):
            with Client(address) as c:
                c.send(b"first\n" + b"z" * size)
                assert c.rest() == b"answer\n" * 100, size


def test_a_few_unread_bytes_do_not_hold_up_the_server():
    class Request:
        """A connection with some bytes that nobody has read."""

        def __init__(self, unread):
            self.unread = unread
            self.timeouts = []

        def settimeout(self, seconds):
            self.timeouts.append(seconds)

        def recv(self, n):
            if not self.unread:
                raise OSError(errno.EAGAIN, "would block")
            data, self.unread = self.unread[:n], self.unread[n:]
            return data

        def shutdown(self, how):
            return

        def close(self):
            self.timeouts.append("closed")

    with TCPServer(free(), Echo) as server:
        for unread, timeouts in ((0, [0]), (4, [0]), (255, [0]), (1000, [0, 0.1])):
            request = Request(b"z" * unread)
            server.shutdown_request(request)
            assert request.timeouts[: len(timeouts)] == timeouts
            assert set(request.timeouts) == set(timeouts + ["closed"]), request.timeouts
            assert not request.unread


def test_draining_is_bounded():
    # Somebody who never stops sending holds the server up for a second at most.
    address = free()
    stop = []

    class Handler(BaseRequestHandler):
        def handle(self):
            self.request.recv(10)

    def flood():
        with Client(address) as c:
            try:
                while not stop:
                    c.send(b"z" * 4096)
            except OSError:
                return

    with serving(TCPServer(address, Handler)) as server:
        thread(flood)
        wait_until(lambda: server.stats["accepted"] == 1)
        with Client(address) as c:
            c.send(b"x")
            assert c.recv() == b""
        stop.append(1)


def test_refused_clients_are_not_drained():
    class Server(TCPServer):
        allow = ["10.0.0.1"]

    class Request:
        received = 0

        def settimeout(self, seconds):
            return

        def recv(self, n):
            Request.received += 1
            return b"z" * n

        def shutdown(self, how):
            return

        def close(self):
            return

    with Server(free(), Echo) as server:
        server.get_request = lambda: (Request(), ("127.0.0.1", 5000))
        server._handle_request_noblock()
    assert server.stats["refused"] == 1 and Request.received == 0


def test_closing_survives_a_full_heap():
    class Request:
        closed = False

        def settimeout(self, seconds):
            raise MemoryError

        def close(self):
            self.closed = True

    with TCPServer(free(), Echo) as server:
        request = Request()
        server.shutdown_request(request)
    assert request.closed


def test_reply_does_not_reach_a_stranger():
    # Before 1.27 a closed socket of the unix port keeps its number, which the next one gets.
    address = free()

    class Handler(StreamRequestHandler):
        wbufsize = -1

        def handle(self):
            if self.rfile.readline() == b"secret\n":
                self.wfile.write(b"SECRET\n")
                self.request.close()
                others.append(Client(address))

    others = []
    with serving(TCPServer(address, Handler)):
        with Client(address) as c:
            c.send(b"secret\n")
            c.rest()
        wait_until(lambda: others)
        others[0].send(b"quiet\n")
        assert others[0].rest() == b""
        others[0].close()


def test_active_counts_handlers():
    address = free()
    seen = []

    class Handler(BaseRequestHandler):
        def handle(self):
            seen.append(self.server.stats["active"])

    with serving(TCPServer(address, Handler)) as server:
        for _ in range(2):
            with Client(address) as c:
                assert c.recv() == b""
    assert seen == [1, 1] and server.stats["active"] == 0


def test_socket_options():
    class Server(TCPServer):
        socket_options = (("SOL_SOCKET", "SO_KEEPALIVE", 1), ("SOL_SOCKET", "SO_NO_SUCH", 1))
        allow_reuse_port = True

    with quiet() as text:
        with Server(free(), Echo):
            pass
    if not MICROPYTHON:
        assert text.getvalue().count("SO_NO_SUCH") == 1


def test_disable_nagle_algorithm():
    class Handler(Echo):
        disable_nagle_algorithm = True

    address = free()
    with serving(TCPServer(address, Handler)):
        assert ask(address) == b"x\n"


def test_users_subclass_with_super():
    address = free()

    class Server(TCPServer):
        def __init__(self, address, handler, word):
            super().__init__(address, handler)
            self.word = word

        def server_bind(self):
            super().server_bind()
            self.bound = True

        def get_request(self):
            return super().get_request()

    class Handler(StreamRequestHandler):
        def setup(self):
            super().setup()
            self.extra = self.server.word

        def handle(self):
            self.wfile.write(self.extra)

    with serving(Server(address, Handler, b"word")) as server:
        assert ask(address, b"") == b"word"
        assert server.bound


def test_plain_server_loads_no_threads():
    rooms_are_files()
    assert socketse.TCPServer
    loaded = [name for name in sys.modules if name.startswith("socketse.")]
    for room in (
        "threads",
        "udp",
        "unix",
        "services",
        "allow",
        "options",
        "limits",
        "trouble",
        "tell",
    ):
        assert "socketse." + room not in loaded, loaded
