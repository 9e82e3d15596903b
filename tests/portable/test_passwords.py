"""The password service: its protocol, many clients at once, and peers that mean harm."""

import os

from socketse import (
    MultiplexingTCPServer,
    PasswordHandler,
    TCPServer,
    ThreadingTCPServer,
    Users,
    guard,
    port,
    server_context,
)
from support import (
    BACKLOG,
    BOARD,
    MICROPYTHON,
    Client,
    TLSClient,
    certificate,
    free,
    ports,
    raises,
    serving,
    socket,
    thread,
    wait_until,
)

KINDS = (TCPServer, ThreadingTCPServer, MultiplexingTCPServer)


class users_file:
    """with users_file(n) as users: user0 to user<n - 1>, whose passwords are "password"."""

    def __init__(self, n=1, iterations=10):
        self.path = "build/passwords-test-%d" % ports[-1]
        try:
            os.mkdir("build")
        except OSError:
            pass
        self.remove()
        self.users = Users(self.path, 1)
        for i in range(n):
            self.users.set("user%d" % i, "password")
        self.users.iterations = iterations
        guard.table.clear()

    def remove(self):
        for end in ("", ".new"):
            try:
                os.remove(self.path + end)
            except OSError:
                pass

    def __enter__(self):
        return self.users

    def __exit__(self, *args):
        guard.table.clear()
        self.remove()


def handler(which, **attributes):
    class Handler(PasswordHandler):
        users = which

    for name in attributes:
        setattr(Handler, name, attributes[name])
    return Handler


def say(client, line):
    """Send a line and return the code of the answer."""
    client.send(line + b"\r\n")
    answer = client.line()
    assert answer[-2:] == b"\r\n" and answer[3:4] == b" ", answer
    return int(answer[:3])


def change(client, user, old, new):
    assert say(client, b"USER " + user) == 200
    assert say(client, b"PASS " + old) == 200
    return say(client, b"NEWPASS " + new)


def test_change_on_every_kind_of_server():
    for base in KINDS:
        with users_file() as users:
            with serving(base(free(), handler(users))) as server:
                with Client(server.server_address) as c:
                    assert c.line()[:4] == b"200 "
                    assert change(c, b"user0", b"password", b"new password ") == 200
                    assert users.check_now("user0", "new password ")
                    assert change(c, b"user0", b"new password ", b"n\xc3\xa4chstes") == 200
                    assert users.check_now("user0", "n\xe4chstes")
                    assert say(c, b"quit") == 200
                    assert c.rest() == b""


def test_a_damaged_line_is_told_to_the_owner_alone():
    """To anybody else its user looks like one who is not known, and that is a failure."""
    told = []

    class Telling(MultiplexingTCPServer):
        def handle_error(self, request, client_address):
            told.append(str(self.last_error))

    with users_file() as users:
        with open(users.path, "w") as f:
            f.write("anna:SCRAM-SHA-256$x\n")
        with serving(Telling(free(), handler(users))) as server:
            answers = []
            for user in (b"anna", b"nobody"):
                with Client(server.server_address) as c:
                    c.line()
                    c.send(b"USER " + user + b"\r\nPASS password\r\nNEWPASS new password\r\n")
                    answers.append(c.rest())
            assert answers[0] == answers[1] and b"wrong" in answers[0], answers
            assert guard.table[guard.address_of(Stranger)][0] == 2, guard.table
        assert len(told) == 1 and users.path in told[0], told


class Stranger:
    client_address = ("127.0.0.1", 1)


def test_wrong_order_and_wrong_words():
    with users_file() as users:
        with serving(MultiplexingTCPServer(free(), handler(users))) as server:
            with Client(server.server_address) as c:
                c.line()
                for line in (
                    b"",
                    b"PASS password",
                    b"NEWPASS new password",
                    b"HELLO",
                    b"USER",
                    b"USER ",
                    b"\xff\x00\xfe",
                ):
                    assert say(c, line) == 500, line
                assert say(c, b"user user0") == 200
                assert say(c, b"NEWPASS new password") == 500
                assert say(c, b"PASS password") == 200
                assert say(c, b"PASS password") == 500
                assert say(c, b"USER user0") == 200  # from the beginning
                assert say(c, b"NEWPASS new password") == 500
                assert say(c, b"pass password") == 200
                assert say(c, b"NEWPASS short") == 500
                assert change(c, b"user0", b"password", b"\xff\xff\x00\x00 not taken") == 500
                assert change(c, b"user0", b"password", b"x" * 129) == 500
                assert users.check_now("user0", "password")
                assert change(c, b"user0", b"password", b"new password") == 200
            assert server.stats["errors"] == 0
            for wrong in (b"USER user0", b"x" * 300, b"x" * 300 + b"\n", b"USER " + b"y" * 2000):
                with Client(server.server_address) as c:
                    c.line()
                    c.send(wrong)
                    if len(wrong) > 256:
                        assert c.rest()[:4] in (b"500 ", b"")
            with Client(server.server_address) as c:
                c.line()
                assert change(c, b"user0", b"new password", b"password") == 200
            assert server.stats["errors"] == 0


def test_slow_ones_do_not_hold_a_place_for_ever():
    """Byte by byte, line by line: each wait is short, and all of them together are not long."""
    with users_file() as users:
        with serving(MultiplexingTCPServer(free(), handler(users, timeout=0.2))) as server:
            for said in (b"x", b"USER user0\r\n", b"HELLO\r\n"):
                with Client(server.server_address) as c:
                    c._socket.settimeout(0.05)
                    begin = port.ticks_ms()
                    while port.ticks_diff(port.ticks_ms(), begin) < 20000:
                        try:
                            c.send(said)
                            if not c.recv():
                                break
                        except OSError as e:
                            if not port.timeout(e):
                                break
                    else:
                        raise AssertionError("%r holds a place for ever" % said)
            wait_until(lambda: server.stats["timed_out"] == 3)
            assert server.stats["errors"] == 0


def test_lines_that_come_in_pieces_or_together():
    begun = []

    def begin(self):
        begun.append(self)
        PasswordHandler._se_begin(self)

    with users_file() as users:
        known = handler(users, _se_begin=begin)
        with serving(MultiplexingTCPServer(free(), known)) as server:
            with Client(server.server_address) as c:
                c.line()
                for piece in (b"US", b"ER user0\r", b"\nPASS password\r\nNEWP"):
                    c.send(piece)
                    port.sleep_ms(20)
                assert c.line()[:4] == c.line()[:4] == b"200 "
                c.send(b"ASS new password\nUSER user0\nPASS new password\n")
                c.send(b"NEWPASS password\nQUIT\n")
                assert [c.line()[:4] for _ in range(5)] == [b"200 "] * 5
                assert c.rest() == b""
            assert len(begun) == 3  # each change has its time
            assert users.check_now("user0", "password")


def test_wrong_password_or_user_gets_the_same_answer_ever_later():
    with users_file() as users:
        with serving(MultiplexingTCPServer(free(), handler(users))) as server:
            begin = port.ticks_ms()
            said = []
            for user, old in ((b"user0", b"wrong"), (b"nobody", b"password"), (b"a:b", b"x")):
                with Client(server.server_address) as c:
                    c.line()
                    assert say(c, b"USER " + user) == 200
                    assert say(c, b"PASS " + old) == 200
                    c.send(b"NEWPASS new password\r\n")
                    said.append(c.rest())
            assert said[0][:4] == b"500 " and said.count(said[0]) == 3
            assert port.ticks_diff(port.ticks_ms(), begin) >= 700
            with Client(server.server_address) as c:
                c.line()
                assert change(c, b"user0", b"password", b"new password") == 200
            assert users.names() == ["user0"]


def test_many_clients_at_once():
    count = {"rp2": 4, "esp32": 5}.get(BOARD, 20)  # as many as wait for a thread there
    for base in (ThreadingTCPServer, MultiplexingTCPServer):
        with users_file(count) as users:

            class Server(base):
                request_queue_size = BACKLOG
                when_full = "wait"

            with serving(Server(free(), handler(users))) as server:
                done = []

                def talk(i):
                    with Client(server.server_address) as c:
                        assert c.line()[:4] == b"200 "
                        name = b"user%d" % i
                        old = b"password"
                        for turn in range(2):
                            new = b"password %d of %d" % (turn, i)
                            assert change(c, name, old, new) == 200
                            old = new
                        done.append((name, old))  # noqa: B023

                for i in range(count):
                    thread(talk, i)
                wait_until(lambda: len(done) == count, 25)  # noqa: B023
            assert len(users.names()) == count
            for name, password in done:
                assert users.check_now(name, password)


def test_two_who_change_the_same_one():
    """One of them is the first; nobody is told of a change that is not there."""
    with users_file() as users:
        with serving(MultiplexingTCPServer(free(), handler(users))) as server:
            clients = [Client(server.server_address) for _ in range(4)]
            for c in clients:
                c.line()
                assert say(c, b"USER user0") == 200
                assert say(c, b"PASS password") == 200
            for i, c in enumerate(clients):
                c.send(b"NEWPASS password %d\r\n" % i)
            told = [c.line()[:3] for c in clients]
            assert told.count(b"200") == 1, told
            assert users.check_now("user0", b"password %d" % told.index(b"200"))
            for c in clients:
                c.close()


def test_backend_of_ones_own():
    asked = []

    class Handler(PasswordHandler):
        min_length = 1

        async def change(self, user, old, new):
            asked.append((user, old, new))
            if new == b"taken":
                raise ValueError("not that one")
            if new == b"fault":
                raise OSError(5)
            await self.sleep(0)
            return old == b"right"

    class Server(MultiplexingTCPServer):
        def handle_error(self, request, client_address):
            asked.append(self.last_error)

    guard.table.clear()
    with serving(Server(free(), Handler)) as server:
        with Client(server.server_address) as c:
            c.line()
            assert change(c, b"a", b"right", b"x y ") == 200
            assert change(c, b"a", b"right", b"taken") == 500
            assert not guard.table  # that was no failure
            assert change(c, b"a", b"wrong", b"x") == 500
            assert guard.table
            assert asked[0] == (b"a", b"right", b"x y ") and len(asked) == 3
        guard.table.clear()
        with Client(server.server_address) as c:
            c.line()
            say(c, b"USER a")
            say(c, b"PASS right")
            c.send(b"NEWPASS fault\r\n")
            assert c.rest() == b""
        assert isinstance(asked[-1], OSError) and not guard.table


class Away(PasswordHandler):
    """Takes its clients for ones from elsewhere."""

    def setup(self):
        self.client_address = ("192.0.2.1", 1)


def test_clear_text_from_elsewhere_is_refused_unless_told_otherwise():
    with users_file() as users:
        Away.users = users
        with serving(MultiplexingTCPServer(free(), Away)) as server:
            with Client(server.server_address) as c:
                answer = c.rest()
                assert answer[:4] == b"500 " and b"TLS" in answer
            assert server.stats["refused"] == 1
            Away.allow_plain = True
            with Client(server.server_address) as c:
                c.line()
                assert change(c, b"user0", b"password", b"new password") == 200
            Away.allow_plain = False
            server.ssl_context = server_context(certificate("server.pem"))
            with TLSClient(server.server_address) as c:
                assert c.line()[:4] == b"200 "


class From(Client):
    """A client with another address of this machine."""

    def __init__(self, source, address):
        self._socket = socket.socket()
        self._buffer = b""
        if MICROPYTHON:
            address = socket.getaddrinfo(address[0], address[1])[0][-1]
            self._socket.bind(socket.getaddrinfo(source, 0)[0][-1])
        else:
            self._socket.bind((source, 0))
        self._socket.connect(address)
        self._socket.settimeout(25)


def test_guessers_from_many_addresses_stop_no_honest_user():
    with users_file(1, 100) as users:

        class Server(MultiplexingTCPServer):
            request_queue_size = 6 if BOARD else 250

        with serving(Server(free(), handler(users))) as server:
            guessers = []
            for i in range(20 if BOARD else 200):
                c = From("127.0.1.%d" % (i % 20 + 1), server.server_address)
                try:
                    c.send(b"USER user0\nPASS wrong%d\nNEWPASS new password\n" % i)
                except OSError:
                    pass  # it had to make room for a newcomer
                guessers.append(c)
            with Client(server.server_address) as c:
                c.line()
                assert change(c, b"user0", b"password", b"new password") == 200
            assert users.check_now("user0", "new password")
            for c in guessers:
                c.close()


def test_without_users_the_programmer_is_told():
    e = raises(TypeError, PasswordHandler, None, ("127.0.0.1", 1), None)
    assert "users" in str(e)
