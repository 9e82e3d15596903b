"""The users file where power fails, and what stands around the password service on a host."""

import concurrent.futures
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading

import pytest
import virtual_board
from conftest import LIB, ROOT, find_target, free_port
from test_flash import run, small_board
from test_power_cut import cuts, restart

sys.path.insert(0, str(LIB))

from socketse import Users

PROGRAMS = ROOT / "tests" / "programs"
COUNT = 20
MAIN = (
    """
import network, time
from socketse import MultiplexingTCPServer, PasswordHandler, Users

users = Users("/users", 3)
if not users.names():
    for number in range(%d):
        users.set("user%%d" %% number, "old password")
print("the users file")
with open("/users") as f:
    print(f.read())
print("is that")

class Handler(PasswordHandler):
    pass

Handler.users = users

class Server(MultiplexingTCPServer):
    request_queue_size = 20
    when_full = "wait"

    def handle_error(self, request, client_address):
        print("failed:", self.last_error)

wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("home", "secret")
while not wlan.isconnected():
    time.sleep_ms(10)
server = Server(("", 106), Handler)
print("serving at", wlan.ifconfig()[0])
server.serve_forever()
"""
    % COUNT
)


def ask(file, connection, line):
    connection.sendall(line + b"\r\n")
    return file.readline()[:4] == b"200 "


def change(board, number):
    """Change one password; return whether that was acknowledged."""
    try:
        address = board.address, 106 + board.port_offset
        with socket.create_connection(address, 30) as connection:
            with connection.makefile("rb") as file:
                file.readline()
                ask(file, connection, b"USER user%d" % number)
                ask(file, connection, b"PASS old password")
                return ask(file, connection, b"NEWPASS new password")
    except OSError:
        return False  # no power


def change_all(board):
    """Let all change their passwords at once; return who was told that it is done."""
    with concurrent.futures.ThreadPoolExecutor(COUNT) as pool:
        done = pool.map(lambda number: change(board, number), range(COUNT))
        return [number for number, ok in enumerate(done) if ok]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The flash of a board with a password service and 20 users."""
    tmp_path = tmp_path_factory.mktemp("board")
    folder = small_board(tmp_path / "board")
    (folder / "main.py").write_text(MAIN)
    with virtual_board.Board(flash=tmp_path / "flash") as board:
        assert run(board, folder) == 0
    return tmp_path / "flash"


def users_of(board, tmp_path, since=0):
    """Return the Users of the file that a board showed when it started."""
    end = board.wait_for_console("is that", since=since)
    text = board.console[since:end].split("the users file")[-1].rsplit("\n", 1)[0].strip()
    path = tmp_path / "users"
    path.write_text(text.replace("\r", "") + "\n")
    return Users(str(path))


def test_power_goes_while_20_change_their_passwords(image, tmp_path):
    """At every write: the file is whole, and who was told of a change has it."""
    path = tmp_path / "flash"
    shutil.copy(image, path)
    with virtual_board.Board(flash=path) as board:
        board.wait_for_console("serving at")
        before = board.writes
        assert change_all(board) == list(range(COUNT))
        writes = board.writes - before
    assert writes > 100
    counts = []
    for n in cuts(writes, 3):
        shutil.copy(image, path)
        with virtual_board.Board(flash=path) as board:
            board.wait_for_console("serving at")
            board.cut_power_at_write(n)
            acknowledged = change_all(board)
            users = users_of(board, tmp_path, restart(board))
            names = sorted(users.names())
            assert names == sorted("user%d" % i for i in range(COUNT)), "write %d" % n
            changed = []
            for i in range(COUNT):
                name = "user%d" % i
                if users.check_now(name, "new password"):
                    changed.append(i)
                else:
                    assert users.check_now(name, "old password"), "write %d: %s" % (n, name)
            lost = set(acknowledged) - set(changed)
            assert not lost, "write %d: %s" % (n, lost)
            assert len(changed) - len(acknowledged) <= 1, "write %d" % n
            counts.append(len(acknowledged))
            # And it goes on.
            board.wait_for_console("serving at", since=0)
    assert counts[0] == 0 and counts[-1] == COUNT, counts
    assert len(set(counts)) > 2


# The programs.

GUESTS = ["guest%d" % (i + 1) for i in range(20)]


def serve(start, target, file, *args):
    port = free_port()
    server = start(target, PROGRAMS / file, "server", port, *args)
    server.wait_for("serving on 127.0.0.1 %d\n" % port)
    return server, port


def answers(target, file, port, *args):
    done = target.run(PROGRAMS / file, "client", port, *args)
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


def test_program_of_many_who_change_their_passwords(target, start, tmp_path):
    path = tmp_path / "users"
    server, port = serve(start, target, "passwords.py", path)
    done = ["%s: 200 changed" % guest for guest in GUESTS]
    assert answers(target, "passwords.py", port, "first password", "second password") == done
    cpython = find_target("cpython")
    assert answers(cpython, "passwords.py", port, "second password", "third password") == done
    told = answers(cpython, "passwords.py", port, "third password", "short")
    assert told == ["%s: 500 a new password needs 8 bytes" % guest for guest in GUESTS]
    server.interrupt()
    assert server.wait() == 0
    assert server.output == "serving on 127.0.0.1 %d\nbye\n" % port
    users = Users(str(path))
    assert sorted(users.names()) == sorted(GUESTS)
    assert users.check_now("guest20", "third password")
    # The same file serves the others.
    server, port = serve(start, cpython, "passwords.py", path)
    assert answers(target, "passwords.py", port, "third password", "fourth password") == done


COMMAND = """#!/bin/sh
read -r old
read -r new
echo "$1 $old $new" >> "$0.log"
[ "$new" = unlucky!! ] && { echo "too simple"; exit 2; }
[ "$old" = right ]
"""


def test_program_whose_backend_is_a_command(start, tmp_path):
    command = tmp_path / "setpassword"
    command.write_text(COMMAND)
    command.chmod(0o700)
    cpython = find_target("cpython")
    server, port = serve(start, cpython, "setpassword.py", command)

    def ask(*args):
        return answers(cpython, "setpassword.py", port, *args)

    assert ask("anna", "right", "new $(word)") == ["200 changed"]
    assert ask("anna", "right", "unlucky!!") == ["500 too simple"]
    assert ask("anna", "wrong", "new word") == ["500 user or old password is wrong"]
    port_of_log = tmp_path / "setpassword.log"
    assert port_of_log.read_text() == (
        "anna right new $(word)\nanna right unlucky!!\nanna wrong new word\n"
    )
    assert ask("--help", "right", "new word")[0][:3] == "500"
    assert "--help" not in port_of_log.read_text()
    server.interrupt()
    assert server.wait() == 0 and "Traceback" not in server.output


USERS_SERVER = """
import sys
from socketse import AuthMixIn, StreamRequestHandler, ThreadingTCPServer, Users

class Handler(AuthMixIn, StreamRequestHandler):
    auth = Users(sys.argv[2])
    purpose = b"test"

    def handle(self):
        self.wfile.write(b"welcome, " + self.user.encode() + b"\\n")

server = ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready")
server.serve_forever()
"""
USERS_CLIENT = """
import socket, sys
from socketse import auth

s = socket.socket()
s.connect(socket.getaddrinfo("127.0.0.1", int(sys.argv[1]))[0][-1])
f = s.makefile("rwb")
try:
    auth.login(f, f, sys.argv[3], sys.argv[2], b"test")
    print(f.readline().decode().strip())
except auth.AuthError as e:
    print("refused:", e)
"""


def test_each_logs_in_at_the_other(target, start, tmp_path):
    cpython = find_target("cpython")
    server, client = tmp_path / "server.py", tmp_path / "client.py"
    server.write_text(USERS_SERVER)
    client.write_text(USERS_CLIENT)
    path = tmp_path / "users"
    Users(str(path), 1000).set("m\xfcller", "p\xe4ss wort")
    for one, other in ((target, cpython), (cpython, target)):
        port = free_port()
        start(one, server, port, path).wait_for("ready")
        done = other.run(client, port, "m\xfcller", "p\xe4ss wort")
        assert done.stdout == "welcome, m\xfcller\n", done.stderr
        done = other.run(client, port, "m\xfcller", "wrong")
        assert done.stdout.startswith("refused: ") and "wrong user" in done.stdout


def test_mix_in_before_a_handler_of_the_standard_library():
    import socketserver

    from socketse import AuthError, AuthMixIn, Secret, auth

    class Handler(AuthMixIn, socketserver.StreamRequestHandler):
        auth = Secret("secret")

        def handle(self):
            self.wfile.write(b"welcome\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            for secret in ("secret", "wrong"):
                with socket.create_connection(server.server_address, 20) as connection:
                    with connection.makefile("rwb") as file:
                        if secret == "wrong":
                            with pytest.raises(AuthError):
                                auth.login(file, file, secret)
                        else:
                            auth.login(file, file, secret)
                            assert file.readline() == b"welcome\n"
        finally:
            server.shutdown()
            thread.join()


class Sleeper:
    """A handler, as far as hashing sees one."""

    def sleep(self, seconds):
        yield seconds


def test_hashing_in_a_thread_that_fails_is_told():
    from socketse import port

    hashing = port.pbkdf2_hmac(b"password", b"salt", 0, Sleeper())
    with pytest.raises(ValueError):
        for _ in range(2000):
            next(hashing)
            port.sleep_ms(1)


def test_who_comes_and_goes_leaves_no_threads():
    from socketse import port

    before = threading.active_count()
    for _ in range(100):
        hashing = port.pbkdf2_hmac(b"password", b"salt", 1000000, Sleeper())
        next(hashing)
        hashing.close()  # its client is gone
    assert threading.active_count() <= before + 2
    # And it goes on.
    hashing = port.pbkdf2_hmac(b"password", b"salt", 1, Sleeper())
    with pytest.raises(StopIteration) as done:
        while True:
            next(hashing)
            port.sleep_ms(1)
    assert len(done.value.value) == 32


# tools/passwd.py.


def passwd(*args, stdin=""):
    command = [sys.executable, ROOT / "tools" / "passwd.py", *args]
    done = subprocess.run(
        [str(word) for word in command], input=stdin, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_passwd(tmp_path):
    path = tmp_path / "users"
    assert passwd(path) == (0, "", "")
    assert passwd(path, "anna", stdin="secret one\n") == (0, "", "")
    assert passwd("--iterations", "10", path, "otto", stdin="two") == (0, "", "")
    assert passwd(path) == (0, "anna\notto\n", "")
    users = Users(str(path))
    assert users.check_now("anna", "secret one") and users.check_now("otto", "two")
    assert (users.find("anna")[0], users.find("otto")[0]) == (2000, 10)
    assert passwd(path, "anna", stdin="three\n")[0] == 0
    assert users.check_now("anna", "three")
    assert passwd("--delete", path, "anna") == (0, "", "")
    for args in (("--delete", path, "anna"), (path, "a:b"), (path, "anna"), (tmp_path, "anna")):
        status, out, err = passwd(*args)
        assert (status, out) == (1, "") and err.count("\n") == 1, args
    assert passwd("--delete", path)[0] == 2
    assert passwd(path) == (0, "otto\n", "")


def test_passwd_asks_twice(tmp_path, monkeypatch):
    import passwd as tool

    path = str(tmp_path / "users")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    said = iter("aabc")
    monkeypatch.setattr(tool.getpass, "getpass", lambda prompt: next(said))
    assert tool.main([path, "anna"]) == 0 and tool.main([path, "otto"]) == 1
    assert Users(path).names() == ["anna"] and Users(path).check_now("anna", "a")


def test_processes_lose_no_change(tmp_path):
    path = tmp_path / "users"
    users = Users(str(path), 1)
    program = (
        "import sys; from socketse import Users; users = Users(sys.argv[1], 1)\n"
        "for i in range(50): users.set(sys.argv[2] + str(i), 'x')"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), name],
            env=dict(os.environ, PYTHONPATH=str(LIB)),
        )
        for name in "abc"
    ]
    for process in processes:
        assert process.wait(60) == 0
    assert len(users.names()) == 150


def test_a_process_that_holds_the_folder_stops_nobody(tmp_path, monkeypatch):
    import fcntl

    from socketse import host

    monkeypatch.setattr(host, "_HOLD_MS", 50)
    path = tmp_path / "users"
    users = Users(str(path), 1)
    users.set("anna", "x")
    number = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        files = len(os.listdir("/dev/fd"))
        with pytest.raises(OSError):
            users.set("otto", "x")
        assert len(os.listdir("/dev/fd")) == files
    finally:
        os.close(number)
    users.set("otto", "x")
    assert users.names() == ["anna", "otto"]


def test_a_change_is_on_the_disk_before_it_is_told(tmp_path, monkeypatch):
    path = tmp_path / "users"
    users = Users(str(path), 1)
    users.set("anna", "x")
    done = []

    def fsync(number):
        found = os.fstat(number)
        if stat.S_ISDIR(found.st_mode):
            done.append("the folder")
        else:
            done.append((found.st_ino, found.st_size))

    monkeypatch.setattr(os, "fsync", fsync)
    users.set("otto", "x")
    assert done == [(path.stat().st_ino, path.stat().st_size), "the folder"]


def test_new_file_is_for_its_owner_alone(tmp_path):
    path = tmp_path / "users"
    users = Users(str(path), 1)
    users.set("anna", "x")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    if not os.geteuid():
        os.chown(path, 12345, 23456)
    before = path.stat()
    mask = os.umask(0o077)
    try:
        users.set("otto", "x")
    finally:
        os.umask(mask)
    after = path.stat()
    assert after.st_mode & 0o777 == 0o640
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert [one.name for one in tmp_path.iterdir()] == ["users"]
