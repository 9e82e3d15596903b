"""The users file: right, whole and quick, whoever changes it."""

import os

from socketse import (
    AsyncStreamRequestHandler,
    MultiplexingTCPServer,
    StreamRequestHandler,
    ThreadingTCPServer,
    Users,
    guard,
    port,
    scram,
)
from socketse.auth import AuthError, AuthMixIn, login
from support import Client, free, raises, serving, thread, wait_until

_number = [0]


class Folder:
    """with Folder() as path: a users file that is gone afterwards, with all beside it."""

    def __enter__(self):
        # Each test has its ports for itself, on all interpreters.
        from support import ports

        _number[0] += 1
        self.path = "build/users-test-%d-%d" % (ports[-1], _number[0])
        try:
            os.mkdir("build")
        except OSError:
            pass
        self.__exit__()
        return self.path

    def __exit__(self, *args):
        for end in ("", ".new"):
            try:
                os.remove(self.path + end)
            except OSError:
                pass

    def there(self):
        name = self.path.split("/")[1]
        return [n for n in os.listdir("build") if n.startswith(name)]


def text(path):
    with open(path) as f:
        return f.read()


def test_set_check_change_delete():
    folder = Folder()
    with folder as path:
        users = Users(path, 20)
        assert users.names() == [] and not users.check_now("anna", "secret")
        assert not users.delete("anna")
        users.set("anna", "secret")
        users.set("m\xfcller", "p\xe4ss wort:")
        users.set(b"otto", b"x")
        assert users.names() == ["anna", "m\xfcller", "otto"]
        assert users.check_now("anna", "secret") and users.check_now("otto", b"x")
        assert users.check_now("m\xfcller", "p\xe4ss wort:")
        for user, password in (
            ("anna", "Secret"),
            ("anna", ""),
            ("anna", "secret "),
            ("ann", "secret"),
            ("", "secret"),
            ("anna:SCRAM-SHA-256$20", "secret"),
            ("anna\nx", "secret"),
            ("#", "x"),
            ("anna", "x" * 1000),
            (b"\xff\xfe", b"\xff"),
        ):
            assert not users.check_now(user, password), user
            assert not users.change_now(user, password, "new")
        before = text(path)
        assert users.change_now("anna", "secret", "new one")
        assert users.check_now("anna", "new one") and not users.check_now("anna", "secret")
        users.set("otto", "y")
        assert users.check_now("otto", "y") and users.names() == ["anna", "m\xfcller", "otto"]
        assert text(path) != before and len(text(path)) == len(before)
        assert users.delete("m\xfcller") and not users.delete("m\xfcller")
        assert users.names() == ["anna", "otto"]
        assert folder.there() == [path.split("/")[1]]  # and nothing half done beside it


def same_password_looks_different_each_time():
    with Folder() as path:
        users = Users(path, 1)
        lines = set()
        for name in ("a", "b", "a"):
            users.set(name, "secret")
            lines.update(text(path).split())
        parts = [part for line in lines for part in line.replace(":", "$").split("$")[3:]]
        assert len(lines) == 3 and len(set(parts)) == 9
        assert "secret" not in text(path)


def what_cannot_be_stored_is_refused():
    with Folder() as path:
        users = Users(path, 1)
        users.set("anna", "secret")
        for name in ("", "a:b", "#a", " #a", " anna", "anna ", "a\nb", "a\0", "x" * 65, b"\xff"):
            raises(ValueError, users.set, name, "secret")
        for password in ("", "a\nb", "\0", "x" * 129):
            raises(ValueError, users.set, "otto", password)
            raises(ValueError, users.change_now, "anna", "secret", password)
        assert users.names() == ["anna"] and users.check_now("anna", "secret")
        raises(ValueError, Users, path, 0)
        raises(ValueError, Users, path, 10000001)


def lines_of_others_stay_as_they_are():
    with Folder() as path:
        users = Users(path, 7)
        users.set("anna", "secret")
        line = text(path).strip()
        with open(path, "w") as f:
            f.write("# who may come in\n\nbroken\n%s" % line)  # and no newline at the end
        users.set("otto", "x")
        assert text(path).startswith("# who may come in\n\nbroken\n%s\notto:" % line)
        assert users.names() == ["anna", "otto"]
        users.delete("otto")
        assert text(path) == "# who may come in\n\nbroken\n%s\n" % line
        assert not users.delete("") and not users.delete(b"")
        assert text(path) == "# who may come in\n\nbroken\n%s\n" % line


def file_of_another_system_is_understood():
    with Folder() as path:
        users = Users(path, 7)
        users.set("anna", "secret")
        users.set("otto", "x")
        lines = text(path).split("\n")
        with open(path, "wb") as f:
            f.write(b"# \xff\xfe\r\n" + b"\r\n".join([line.encode() for line in lines]))
            f.write(lines[0].replace("$7", "$8").encode())  # a second one is none
        assert users.names()[:2] == ["anna", "otto"]
        assert users.check_now("anna", "secret") and users.check_now("otto", "x")
        assert users.change_now("anna", "secret", "other")
        assert users.names() == ["anna", "otto"]
        assert users.check_now("anna", "other") and users.check_now("otto", "x")


def damaged_line_is_an_error_that_names_the_file():
    with Folder() as path:
        users = Users(path, 7)
        users.set("anna", "secret")
        whole = text(path)
        for damaged in (
            whole[:-20] + "\n",
            "anna:x\n",
            whole.replace("256", "255"),
            whole.replace("$7:", "$x:"),
            whole.replace("$7:", "$0:"),
            whole.replace("$7:", "$-7:"),
            whole.replace("$7:", "$10000001:"),
        ):
            with open(path, "w") as f:
                f.write(damaged)
            e = raises(ValueError, users.check_now, "anna", "secret")
            assert path in str(e)
            # Nobody else has to do with that.
            assert users.find("nobody")[0] == 7 and not users.check_now("nobody", "secret")
            users.set("otto", "x")
            assert users.check_now("otto", "x")


def entry_of_postgresql_is_understood():
    # RFC 7677's example as PostgreSQL stores it
    with Folder() as path:
        with open(path, "w") as f:
            f.write(
                "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"
            )
        assert Users(path).check_now("user", "pencil") and not Users(path).check_now("user", "x")


def unknown_users_look_like_known_ones():
    with Folder() as path:
        users = Users(path, 7)
        users.set("anna", "secret")
        known, unknown = users.find("anna"), users.find("nobody")
        for a, b in zip(known[1:], unknown[1:]):
            assert len(a) == len(b)
        assert unknown[0] == 7 and unknown[:2] == users.find("nobody")[:2]
        assert unknown[:2] == Users(path, 9).find("nobody")[:2]  # after a restart, too
        assert unknown[1] != users.find("somebody")[1]
        with Folder() as another:  # nor can anybody find out who is not known without the file
            elsewhere = Users(another, 7)
            elsewhere.set("anna", "secret")
            assert elsewhere.find("nobody")[1] != unknown[1]
        # Nor do they differ where entries do: after some users have changed their passwords.
        users.iterations = 9
        users.set("otto", "secret")
        numbers = [users.find("name%d" % i)[0] for i in range(40)]
        assert min(numbers) == 7 and max(numbers) == 9, numbers


def test_file_and_its_lines():
    """What stands in it, and what may."""
    same_password_looks_different_each_time()
    what_cannot_be_stored_is_refused()
    lines_of_others_stay_as_they_are()
    file_of_another_system_is_understood()
    damaged_line_is_an_error_that_names_the_file()
    entry_of_postgresql_is_understood()
    unknown_users_look_like_known_ones()


def test_a_change_that_lost_the_race_is_no_change():
    with Folder() as path:
        users = Users(path, 7)
        users.set("anna", "one")

        class Slow(Users):
            @port.coro
            def _line(self, name, password, h):
                # Meanwhile somebody else is done.
                assert users.change_now("anna", "one", "two")
                return (yield from Users._line(self, name, password, h))

        assert not Slow(path, 7).change_now("anna", "one", "three")
        assert users.check_now("anna", "two") and not users.check_now("anna", "three")


def test_what_a_crash_or_a_full_disk_leaves():
    folder = Folder()
    with folder as path:
        users = Users(path, 7)
        users.set("anna", "secret")
        with open(path + ".new", "w") as f:
            f.write("otto:x\n" * 1000)
        users.set("anna", "new secret")
        assert users.check_now("anna", "new secret") and users.names() == ["anna"]
        before = text(path)

        class Full(Users):
            def _copy(self, f, name, line, expected):
                f.write(line[:10])
                raise OSError(28, "full")

        assert raises(OSError, Full(path, 7).set, "anna", "x").errno == 28
        assert text(path) == before
        assert folder.there() == [path.split("/")[1]]


def test_threads_lose_no_change():
    count = 6
    with Folder() as path:
        users = Users(path, 3)
        names = ["user%d" % i for i in range(count)]
        for name in names:
            users.set(name, "0")

        def work(name):
            for i in range(5):
                assert users.change_now(name, str(i), str(i + 1))

        records = [thread(work, name) for name in names]
        wait_until(lambda: all(record["done"] for record in records))
        assert sorted(users.names()) == sorted(names)
        for name in names:
            assert users.check_now(name, "5")


class Talk(AsyncStreamRequestHandler):
    """Answers a line at once; "check" after it has checked a password."""

    users = None

    async def handle(self):
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            if line == b"check\n":
                line = b"%d\n" % (await self.users.check("anna", "secret", self))
            elif line == b"guard\n":
                ok = await guard.check(self, self.users, "anna", "wrong")
                line = b"%s\n" % str(ok).encode()
            self.wfile.write(line)


def answered_meanwhile(server):
    """Return how many answers somebody gets while a password is checked for somebody else."""
    with Client(server.server_address) as a, Client(server.server_address) as b:
        a.send(b"check\n")
        done = []
        record = thread(lambda: done.append(a.line()))
        answered = 0
        while not record["done"]:
            b.send(b"hello\n")
            assert b.line() == b"hello\n"
            answered += 1
    assert done == [b"1\n"]
    return answered


def test_hashing_stops_nobody():
    with Folder() as path:
        users = Users(path, 1)
        users.set("anna", "secret")
        begin = port.ticks_ms()
        salt = b"x" * 16
        scram.finish(scram.salted(b"", salt, 2000))
        each = max(port.ticks_diff(port.ticks_ms(), begin), 1)
        users.iterations = 2000 * (700 // each + 1)  # most of a second, or more
        users.set("anna", "secret")

        class Handler(Talk):
            pass

        Handler.users = users
        with serving(MultiplexingTCPServer(free(), Handler)) as server:
            answered = answered_meanwhile(server)
            while answered <= 20 and users.iterations < 20000 * (700 // each + 1):
                # The machine was busy when that was measured: it takes longer now.
                users.iterations *= 4
                users.set("anna", "secret")
                answered = answered_meanwhile(server)
            assert answered > 20, answered
            with Client(server.server_address) as a:
                a.send(b"check\n")  # who goes in the middle of it harms nobody
            with Client(server.server_address) as b:
                b.send(b"hello\n")
                assert b.line() == b"hello\n"


def test_guarded_check():
    with Folder() as path:
        users = Users(path, 2)
        users.set("anna", "secret")

        class Handler(Talk):
            pass

        Handler.users = users

        class Plain(StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    ok = guard.check_now(self, users, "anna", line.strip())
                    self.wfile.write(b"%s\n" % str(ok).encode())

        with serving(MultiplexingTCPServer(free(), Handler)) as server:
            with Client(server.server_address) as c:
                begin = port.ticks_ms()
                for _ in range(3):
                    c.send(b"guard\n")
                    assert c.line() == b"False\n"
                assert port.ticks_diff(port.ticks_ms(), begin) >= 700
        # In its own thread a handler waits a little, in the serving one not at all.
        with serving(ThreadingTCPServer(free(), Plain)) as server:
            with Client(server.server_address) as c:
                c.send(b"secret\n")
                assert c.line() == b"True\n"
        entry = guard.table["127.0.0.1"]
        entry[:] = [7, port.ticks_ms(), None]
        with serving(MultiplexingTCPServer(free(), Plain)) as server:
            with Client(server.server_address) as c:
                c.send(b"secret\n")
                assert c.line() == b"None\n"
        guard.table.clear()


def test_users_of_a_file_log_in_with_their_own_secrets():
    with Folder() as path:
        users = Users(path, 1000)
        users.set("anna", "secret")
        users.set("otto", "geheim")

        class Handler(AuthMixIn, StreamRequestHandler):
            auth = users

            def handle(self):
                self.wfile.write(self.user.encode() + b"\n")

        class Files:
            def __init__(self, client):
                self.write = client.send
                self.client = client

            def readline(self, n):
                return self.client.line()

        with serving(ThreadingTCPServer(free(), Handler)) as server:
            for user, password in (("anna", "secret"), ("otto", b"geheim")):
                with Client(server.server_address) as c:
                    login(Files(c), Files(c), password, user)
                    assert c.line() == user.encode() + b"\n"
            for user, password in (("anna", "geheim"), ("nobody", "secret"), ("", "secret")):
                guard.table.clear()
                with Client(server.server_address) as c:
                    files = Files(c)
                    e = raises(AuthError, login, files, files, password, user)
                    assert "wrong user" in str(e), e
        # Who has stolen the file cannot log in with what stands there.
        for part in users.find("anna")[1:]:
            guard.table.clear()
            with serving(ThreadingTCPServer(free(), Handler)) as server:
                with Client(server.server_address) as c:
                    raises(AuthError, login, Files(c), Files(c), part, "anna")
        guard.table.clear()
