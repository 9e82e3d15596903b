"""The programs of tests/programs: each server with its client prints what it should, everywhere.

Everywhere is each interpreter with socketse, and CPython with its own socketserver: the same
text, only the import replaced, so that nothing in a handler is made for socketse.
"""

import calendar
import re
import time

import interpreters
import pytest
from conftest import LIB, ROOT, certificates, connect, find_target, free_port

PROGRAMS = ROOT / "tests" / "programs"
# What socketserver has nothing for: tested in test_passwords.py.
OURS = {"passwords.py", "setpassword.py"}


class Case:
    """A program, how it is called and what it prints.

    words   arguments of the server after its port
    args    arguments of the client after the port
    client  what the client prints; TIME stands for a right time, TOTAL for the lines so far
    server  what the server prints for each client
    """

    def __init__(self, file, words=(), args=(), client="", server=""):
        self.file = file
        self.words = words
        self.args = args
        self.client = client
        self.server = server


def numbered_answers():
    lines = ("hello", "anybody here?", "bye")
    for number, line in enumerate(lines, 1):
        for guest in range(1, 21):
            yield "guest %d: %d %s\n" % (guest, number, line)
    yield "TOTAL lines from all\n"


CASES = [
    Case(
        "double.py",
        args=["qwerty"],
        client="qwertyqwerty\n",
        server="127.0.0.1 sends qwerty\n",
    ),
    Case(
        "upper.py",
        args=["hello world with TCP"],
        client="sent: hello world with TCP\nreceived: HELLO WORLD WITH TCP\n",
        server="from 127.0.0.1: hello world with TCP\n",
    ),
    Case(
        "upper_udp.py",
        args=["hello world with UDP"],
        client="sent: hello world with UDP\nreceived: HELLO WORLD WITH UDP\n",
        server="from 127.0.0.1: hello world with UDP\n",
    ),
    Case("echo_udp.py", args=["qwerty"], client="echo:qwerty\n"),
    Case("time_both.py", words=["tcp"], args=["tcp"], client="TIME\n"),
    Case("time_both.py", words=["udp"], args=["udp"], client="TIME\n"),
    Case("time_stream.py", args=["Anna"], client="hello Anna, it is TIME\n"),
    Case("time_datagram.py", args=["Anna"], client="hello Anna, it is TIME\n"),
    Case("time_threading.py", client="second, it is TIME\nfirst, it is TIME\n"),
    Case("lines.py", client="".join(numbered_answers())),
]
# What CPython's socketserver has nothing for.
REMOTE = [
    Case(
        "double_messages.py",
        args=["qwerty"],
        client="qwertyqwerty\n42\n(1, 'x', 1, 'x')\n[None, None]\nb'\\x00\\x00'\n"
        "a dict cannot be doubled\nat the server in double_messages.py\n",
    ),
    Case(
        "remote_dict.py",
        client="True False\nTrue\n[\"('one', (1, 'tuple'))\", '(1, 2)']\n2 2 True None\n"
        "KeyError two\n",
    ),
    Case(
        "time_https.py",
        words=[certificates() / "server.pem"],
        args=[certificates() / "cert.pem"],
        client="HTTP/1.1 200 OK\nTIME\n",
    ),
]


class Place:
    """Where programs run: an interpreter, the directory of the programs, the library's."""

    def __init__(self, target, directory=PROGRAMS, lib=LIB):
        self.target = target
        self.directory = directory
        self.lib = lib

    def run(self, file, *args):
        return self.target.run(self.directory / file, *args, lib=self.lib)

    def start(self, start, file, *args):
        return start(self.target, self.directory / file, *args, lib=self.lib)


@pytest.fixture(params=["cpython", *interpreters.names(), "socketserver"])
def place(request, tmp_path):
    """Each interpreter with socketse, and CPython without it."""
    if request.param != "socketserver":
        return Place(find_target(request.param))
    for path in PROGRAMS.glob("*.py"):
        if path.name in OURS:
            continue
        original = path.read_text()
        if path.name in [case.file for case in REMOTE]:
            continue
        text = original.replace("\nfrom socketse import ", "\nfrom socketserver import ")
        assert (text == original) == (path.name == "client.py")
        assert "socketse " not in text and "socketse." not in text
        (tmp_path / path.name).write_text(text)
    return Place(find_target("cpython"), tmp_path, tmp_path)


def serve(place, start, case, port):
    server = place.start(start, case.file, "server", port, *case.words)
    server.wait_for("serving on 127.0.0.1 %d\n" % port)
    return server


def call(place, case, port, total=60):
    """Run the client, which must print what it should."""
    began = int(time.time())
    done = place.run(case.file, "client", port, *case.args)
    assert done.stderr == ""
    assert times_replaced(done.stdout, began) == case.client.replace("TOTAL", str(total))
    assert done.returncode == 0


def times_replaced(text, began):
    """Return text with TIME for its times, none of which may lie before began or ahead."""

    def check(match):
        told = calendar.timegm(time.strptime(match.group(), "%Y-%m-%d %H:%M:%S"))
        assert began - 1 <= told <= time.time()  # the clock behind gmtime() is a little late
        return "TIME"

    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", check, text)


def end(server, port, served=""):
    """Press Ctrl-C: the server must say bye, and must have said no more than it should."""
    server.interrupt()
    assert server.wait() == 0
    assert server.output == "serving on 127.0.0.1 %d\n%sbye\n" % (port, served)


def test_every_program_is_here():
    files = {path.name for path in PROGRAMS.glob("*.py")}
    assert files == {case.file for case in CASES + REMOTE} | {"client.py"} | OURS


@pytest.mark.parametrize("case", CASES, ids=lambda case: "_".join([case.file[:-3], *case.words]))
def test_server_and_client(case, place, start):
    port = free_port()
    server = serve(place, start, case, port)
    call(place, case, port)
    clients = 1
    if place.target.micropython:
        call(Place(find_target("cpython")), case, port, total=120)
        clients = 2
    end(server, port, case.server * clients)


@pytest.mark.parametrize("case", REMOTE, ids=lambda case: case.file[:-3])
def test_our_server_and_client(case, target, start):
    place = Place(target)
    port = free_port()
    server = serve(place, start, case, port)
    call(place, case, port)
    call(Place(find_target("cpython")), case, port)
    end(server, port)
    port = free_port()
    server = serve(Place(find_target("cpython")), start, case, port)
    call(place, case, port)
    end(server, port)


def test_threading_server_gets_its_port_back(place, start):
    case = next(case for case in CASES if case.file == "time_threading.py")
    port = free_port()
    server = serve(place, start, case, port)
    with connect(port) as client:
        client.sendall(b"still here\n")
        assert client.makefile("rb").readline().startswith(b"still here, it is ")
        end(server, port)  # the server closes first: the system remembers the connection
        server = serve(place, start, case, port)
        call(place, case, port)
        end(server, port)


def test_tells_how_to_call_it(target):
    place = Place(target)
    for case in CASES + REMOTE:
        form = "usage: %s server PORT.*\nusage: %s client PORT.*\n" % (case.file, case.file)
        for args in ([], ["server", "port", *case.words], ["client", "7100", "too", "many"]):
            done = place.run(case.file, *args)
            assert re.fullmatch(form, done.stdout)
            assert (done.stderr, done.returncode) == ("", 2)


def test_says_in_one_line_why_it_cannot_serve_or_call(place, start):
    case = CASES[0]
    port = free_port()
    server = serve(place, start, case, port)
    second = place.run(case.file, "server", port)
    assert re.fullmatch("server %d: .*(EADDRINUSE|in use).*\n" % port, second.stdout)
    assert (second.stderr, second.returncode) == ("", 1)
    end(server, port)
    client = place.run(case.file, "client", port, "nobody there")
    assert re.fullmatch("client %d: .*(ECONNREFUSED|refused).*\n" % port, client.stdout)
    assert (client.stderr, client.returncode) == ("", 1)
