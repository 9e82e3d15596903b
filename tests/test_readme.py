"""The README's commands and programs, as they stand there; a virtual board is the board."""

import http.client
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys

import cert
import clients
import interpreters
import pytest
import virtual_board
from conftest import ROOT, connect, find_target, free_port
from test_services import PORTS, free_base

TEXT = (ROOT / "README.md").read_text()
HEARD = "192.168.1.20"  # the address that the README's board has
JOIN = """
import network, time
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
if not wlan.isconnected():
    wlan.connect("home", "secret")
while not wlan.isconnected():
    time.sleep_ms(10)
"""


def blocks():
    """Return the indented blocks of the README, and its fenced ones apart."""
    fenced = re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S)
    rest = re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S)
    indented = re.findall(r"(?:(?<=\n\n)|\A)((?:    .*\n)+)", rest)
    return [re.sub(r"^    ", "", block, flags=re.M).strip() for block in indented], fenced


class Reader:
    """Somebody who follows the README, and has a virtual board instead of a real one."""

    def __init__(self, board, folder):
        self.board = board
        self.folder = folder
        self.config = folder / "board"
        shutil.copytree(
            ROOT / "board", self.config, ignore=shutil.ignore_patterns("config.json", "*.pem")
        )
        path = folder / "bin"
        path.mkdir()
        for name in ("nc", "rdate"):
            try:
                argv = clients.client(name, report=lambda line: None)
            except clients.Unavailable as e:
                pytest.skip(str(e))
            script = path / name
            script.write_text('#!/bin/sh\nexec %s "$@"\n' % " ".join(str(word) for word in argv))
            script.chmod(0o755)
        self.path = path

    def run(self, command, status=0, **variables):
        """Run a command of the README; return what it prints."""
        done = subprocess.run(
            command,
            shell=True,
            capture_output=True,
            text=True,
            timeout=60,
            cwd=variables.pop("cwd", ROOT),
            env=dict(os.environ, PATH="%s:%s" % (self.path, os.environ["PATH"]), **variables),
        )
        assert done.returncode == status, command + "\n" + done.stdout + done.stderr
        return done.stdout + done.stderr

    def translate(self, command):
        """Return a command with this board in place of the README's."""
        offset = self.board.port_offset
        command = re.sub(
            r"(nc -q1) %s (\d+)" % HEARD,
            lambda m: "%s %s %d" % (m[1], self.board.address, int(m[2]) + offset),
            command,
        )
        command = command.replace("nc -q1 127.0.7.1 11007", "nc -q1 %s 11007" % self.board.address)
        command = command.replace(
            "rdate -p " + HEARD, "rdate -p -o %d %s" % (37 + offset, self.board.address)
        )
        command = re.sub(
            r"^mpremote",
            "%s -m mpremote connect %s" % (sys.executable, self.board.device),
            command,
        )
        command = command.replace("board/config.json", str(self.config / "config.json"))
        if command.startswith("make flash"):
            command = "make flash PORT=%s ARGS='--board %s'" % (self.board.device, self.config)
        if command == "make find":
            command += " ARGS='--from 127.0.0.1 --to 127.255.255.255:%d'" % (20007 + offset)
        return command


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    try:
        interpreters.find("i386", report=lambda line: None)
    except interpreters.Unavailable as e:
        pytest.skip("i386: %s" % e)
    folder = tmp_path_factory.mktemp("reader")
    with virtual_board.Board("esp32", flash=folder / "flash") as board:
        yield Reader(board, folder)


def test_every_block_is_tried_here():
    indented, fenced = blocks()
    known = [line for block in TRIED for line in block.splitlines()]
    assert [line for block in indented for line in block.splitlines() if line not in known] == []
    assert len(fenced) == 11


def test_first_success(start, tmp_path):
    base = free_base()
    server = start(
        find_target("cpython"),
        "-c",
        "import os; os.execvp('make', %r)"
        % (["make", "-C", str(ROOT), "run", "PORT_BASE=%d" % base],),
    )
    server.wait_for("Ctrl-C stops")
    nc = clients.client("nc", report=lambda line: None)
    done = subprocess.run(
        [*nc, "-q1", "127.0.0.1", str(base + PORTS["echo"])],
        input="hi\n",
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.stdout == "hi\n"


@pytest.mark.parametrize("name", ["cpython", "unix64"])
def test_the_first_server(start, tmp_path, name):
    port = free_port()
    program = tmp_path / "echo.py"
    program.write_text(blocks()[1][0].replace("7007", str(port)))
    start(find_target(name), program)
    assert ask("127.0.0.1", port) == b"hi\n"


def ask(host, port):
    with connect(port, host) as client:
        client.sendall(b"hi\n")
        return client.makefile("rb").readline()


def test_many_servers_in_one_loop(start, tmp_path):
    first, many = blocks()[1][:2]
    ports = {}
    text = first.split("with ")[0] + re.sub(
        r"70\d\d", lambda m: str(ports.setdefault(m[0], free_port())), many
    )
    program = tmp_path / "many.py"
    program.write_text(text)
    start(find_target("cpython"), program)
    assert ask("127.0.0.1", ports["7007"]) == b"hi\n"
    assert ask("127.0.0.1", ports["7008"]) == b"hi\n"


def block(text):
    """Return the one Python block of the README with this text in it."""
    (found,) = [block for block in blocks()[1] if text in block]
    return found


@pytest.mark.parametrize("names", [("cpython", "unix64"), ("unix64", "cpython")], ids="-".join)
def test_an_object_at_the_server(start, tmp_path, names):
    port = str(free_port())
    ends = []
    for end, text in (("server.py", block("class Lamp")), ("client.py", block("as lamp"))):
        ends.append(tmp_path / end)
        ends[-1].write_text(text.replace("7120", port))
    server = start(find_target(names[0]), ends[0])
    connect(int(port)).close()
    done = find_target(names[1]).run(ends[1])
    assert (done.stdout, done.stderr) == ("25 ['pin', 'switch']\n", "")
    server.wait_for("pin 25 on\n")


@pytest.mark.parametrize("name", ["cpython", "unix64"])
def test_a_shared_secret(start, tmp_path, name):
    port = free_port()
    server, client = tmp_path / "server.py", tmp_path / "client.py"
    server.write_text(block("= Secret(").replace("7200", str(port)))
    text = block("auth.login").replace("7200", str(port)).replace(HEARD, "127.0.0.1")
    client.write_text(text)
    start(find_target(name), server)
    connect(port).close()
    for target in (find_target("cpython"), find_target("unix64")):
        assert target.run(client).stdout == "b'welcome\\n'\n"
        client.write_text(text.replace("random", "wrong"))
        assert "AuthError" in target.run(client).stderr
        client.write_text(text)


def test_the_password_service(start, tmp_path):
    port = free_port()
    program = tmp_path / "passwords.py"
    users = tmp_path / "users"
    text = block("PasswordHandler").replace("106", str(port))
    program.write_text(text.replace('"users"', repr(str(users))))
    command = block_of("tools/passwd.py").replace("users", str(users))
    for form in (command, 'make passwd ARGS="%s otto"' % users):
        done = subprocess.run(form, shell=True, cwd=ROOT, input="old one\n", text=True, timeout=60)
        assert done.returncode == 0
    start(find_target("cpython"), program)
    with connect(port) as client, client.makefile("rb") as answers:
        client.sendall(b"USER otto\r\nPASS old one\r\nNEWPASS new password\r\nQUIT\r\n")
        assert [answer[:4] for answer in answers] == [b"200 "] * 5


def block_of(text):
    """Return the one command between backticks of the README with this text in it."""
    (found,) = [one for one in re.findall("`([^`\n]+)`", TEXT) if text in one and " anna" in one]
    return found


@pytest.mark.parametrize("name", ["cpython", "unix64"])
def test_a_server_with_tls(start, tmp_path, name):
    port = free_port()
    make = re.search("`(make cert HOST=.*?)`", TEXT)[1]
    done = subprocess.run([*make.split(" ")[:2], "-n", "HOST=a"], cwd=ROOT, capture_output=True)
    assert b"tools/cert.py a" in done.stdout
    cert.write(tmp_path, *cert.make(shlex.split(make)[2].split("=")[1].split()))
    program = tmp_path / "server.py"
    text = block("server_context(").replace("7443", str(port))
    program.write_text(text.replace("board/", "%s/" % tmp_path))
    start(find_target(name), program)
    connect(port).close()
    openssl = clients.client("openssl", report=lambda line: None)
    command = TRIED[9].replace("7443", str(port)).replace("board/", "%s/" % tmp_path).split()
    with subprocess.Popen(
        [*openssl, *command[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    ) as client:
        client.stdin.write("hello\n")
        try:
            lines = list(iter(client.stdout.readline, "hello\n"))
        finally:
            client.kill()
    assert any("Verify return code: 0 (ok)" in line for line in lines), lines


@pytest.mark.parametrize("name", ["cpython", "unix64"])
def test_an_http_server(start, tmp_path, name):
    port = free_port()
    program = tmp_path / "page.py"
    program.write_text(block("HTTPServer((").replace("7080", str(port)))
    start(find_target(name), program)
    connect(port).close()
    page = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for method, body, answer in (
        ("GET", None, b"hello from the board\n"),
        ("PUT", bytes(100000), b"100000 bytes\n"),
    ):
        page.request(method, "/", body)
        assert page.getresponse().read() == answer
    page.close()


@pytest.mark.parametrize("name", ["cpython", "unix64"])
def test_an_xmlrpc_server(start, tmp_path, name):
    port = free_port()
    server, client = tmp_path / "server.py", tmp_path / "client.py"
    server.write_text(block("class Server(SimpleXMLRPCServer)").replace("7081", str(port)))
    client.write_text(block("ServerProxy").replace("7081", str(port)))
    start(find_target(name), server)
    connect(port).close()
    done = find_target("cpython").run(client)
    assert (done.stdout, done.stderr) == ("1024\n", "")
    with socket.socket() as stranger:
        stranger.settimeout(20)
        stranger.bind(("127.0.0.2", 0))
        stranger.connect(("127.0.0.1", port))
        assert stranger.recv(100) == b""  # refused


def test_a_program_on_a_board(reader):
    board = reader.board
    boot = reader.folder / "boot.py"
    boot.write_text(JOIN)
    program = reader.folder / "echo.py"
    program.write_text(blocks()[1][0])
    install, run = TRIED[2].splitlines()
    print(reader.run(reader.translate("mpremote cp %s :boot.py" % boot)))
    print(reader.run(reader.translate(install)))
    command = reader.translate(run).split()
    running = subprocess.Popen(command, cwd=reader.folder, stdout=subprocess.DEVNULL)
    try:
        assert ask(board.address, 7007 + board.port_offset) == b"hi\n"
    finally:
        running.kill()
        running.wait()
    reader.run(reader.translate("mpremote rm -r :lib"))
    reader.run(reader.translate("mpremote rm :boot.py"))


def test_a_board_of_your_own(reader):
    board = reader.board
    reader.run(reader.translate(TRIED[3]))
    said = reader.run(reader.translate("make flash"))
    serving = TRIED[6].replace(HEARD, board.address)
    assert serving in said and "echo/tcp answers" in said
    reader.run(reader.translate(TRIED[5].splitlines()[0]), EDITOR="true")
    hi, time, find = TRIED[7].splitlines()
    for command in (TRIED[5].splitlines()[1], TRIED[8].splitlines()[0]):
        at = board.console_end()
        reader.run(reader.translate(command))
        board.wait_for_console(serving, since=at)
    assert reader.run(reader.translate(hi)) == "hi\n"
    assert board.address in reader.run(reader.translate(find))
    assert reader.run(reader.translate(TRIED[8].splitlines()[1])).strip().isdigit()
    board.wait_for_console("the clock is set by pool.ntp.org")
    reader.run(reader.translate(time))
    flashed, hi = TRIED[10].splitlines()
    assert "Nothing to copy" in reader.run(reader.translate(flashed))
    assert reader.run(reader.translate(hi)) == "hi\n"


def test_links_and_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("https:") or (ROOT / target).exists(), target
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    for anchor in re.findall(r"\]\(#([^)]+)\)", TEXT):
        assert anchor in anchors, anchor


# In the order of the README.
TRIED = (
    "make run\n$ printf 'hi\\n' | nc -q1 127.0.0.1 7007\nhi",
    "PYTHONPATH=lib python3 echo.py\n"
    "MICROPYPATH=lib:.frozen python3 tools/interpreters.py native -- echo.py",
    "mpremote mip install lib/package.json\nmpremote run echo.py",
    "cp board/config.template.json board/config.json",
    "make flash",
    "mpremote edit :config.json\nmpremote cp board/config.json : + reset",
    "serving at 192.168.1.20: app/tcp 8000, discovery/udp 20007, echo/tcp 7, http/tcp 80,"
    " sntp/udp 123, time/tcp 37",
    "printf 'hi\\n' | nc -q1 192.168.1.20 7\nrdate -p 192.168.1.20\nmake find",
    "mpremote cp board/app.py : + reset\nprintf 'read\\n' | nc -q1 192.168.1.20 8000",
    "openssl s_client -connect 127.0.0.1:7443 -CAfile board/cert.pem",
    "make flash PORT=/dev/pts/3\nprintf 'hi\\n' | nc -q1 127.0.7.1 11007",
)
