"""What clients see of a flashed board: of a virtual one, or of yours.

make test-board PORT=/dev/ttyACM0 HOST=192.168.1.20 runs this file against a real board: HOST is
asked over the network, and the one at PORT is flashed before, if PORT is given.
"""

import json
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

import flash
import pytest
import virtual_board
from conftest import ROOT, scale

SECONDS = 10  # for anything: radios are slow at times
CONFIG = json.loads((ROOT / "board" / "config.template.json").read_text())


class Served:
    """A board as its clients know it.

    host    its address
    offset  what is added to its ports: 0 but for a virtual board
    """

    def __init__(self, host, offset):
        self.host = host
        self.offset = offset

    def connect(self, port):
        return socket.create_connection((self.host, port + self.offset), SECONDS)

    def ask(self, data, port):
        """Return the datagram that answers one; as networks lose some, it is sent thrice."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(SECONDS / 3)
            for _ in range(3):
                client.sendto(data, (self.host, port + self.offset))
                try:
                    return client.recv(2000)
                except TimeoutError:
                    continue
        raise AssertionError("no answer from %s, UDP port %d" % (self.host, port))


@pytest.fixture(scope="module")
def served(request, tmp_path_factory):
    host = request.config.getoption("--board-host")
    port = request.config.getoption("--board-port")
    if port:
        assert flash.main(["--port", port]) == 0
    if host:
        yield Served(host, 0)
        return
    if port:
        pytest.skip("name the board's address, too: make test-board PORT=... HOST=...")
    folder = tmp_path_factory.mktemp("board")
    source = folder / "board"
    shutil.copytree(ROOT / "board", source, ignore=shutil.ignore_patterns("config.json", "*.pem"))
    (source / "config.json").write_text(json.dumps(dict(CONFIG, ntp=None)))
    with virtual_board.Board("esp32", flash=folder / "flash") as board:
        assert flash.main(["--port", board.device, "--board", str(source)]) == 0
        yield Served(board.address, board.port_offset)


def test_lines_come_back(served):
    lines = [b"line %d\n" % n for n in range(200 * scale())]
    with served.connect(7) as client, client.makefile("rb") as answers:
        for line in lines:
            client.sendall(line)
            assert answers.readline() == line


def test_much_at_once_comes_back_whole(served):
    data = bytes(n * 7 % 251 for n in range(20000))
    with served.connect(7) as client:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        got = b""
        while len(got) < len(data):
            more = client.recv(4096)
            assert more, "closed after %d bytes" % len(got)
            got += more
        sender.join()
    assert got == data


def test_a_silent_client_holds_nobody_up(served):
    with served.connect(7), served.connect(7) as client:
        client.sendall(b"hello\n")
        assert client.makefile("rb").readline() == b"hello\n"


def test_resets_and_rubbish_hurt_nobody(served):
    for _ in range(10):
        with served.connect(7) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"\xff" * 100)
    with served.connect(7) as client:
        client.sendall(b"hello\n")
        assert client.makefile("rb").readline() == b"hello\n"


def test_more_clients_than_it_takes(served):
    clients = []
    try:
        for _ in range(20):
            clients.append(served.connect(7))
        clients[-1].sendall(b"hello\n")
        assert clients[-1].makefile("rb").readline() == b"hello\n"
    finally:
        for client in clients:
            client.close()


def test_the_time_is_right_or_nothing_is_said(served):
    with served.connect(37) as client:
        told = client.makefile("rb").read()
    answer = served.ask(b"\x23" + bytes(47), 123)
    assert len(answer) == 48 and answer[0] & 7 == 4
    if answer[0] >> 6 == 3:
        assert told == b"" and answer[1] == 0  # nobody has set its clock
    else:
        assert abs(struct.unpack(">I", told)[0] - 2208988800 - time.time()) < 5
        assert abs(struct.unpack(">I", answer[40:44])[0] - 2208988800 - time.time()) < 5


def test_it_is_found(served):
    answer = served.ask(b"socketse?".ljust(512), 20007)
    found = json.loads(answer)
    assert found["services"]["echo/tcp"] == 7 and len(answer) <= 512
    command = [sys.executable, ROOT / "tools" / "find.py", "--json", "--seconds", "2"]
    command += ["--to", "%s:%d" % (served.host, 20007 + served.offset)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [one["address"] for one in json.loads(done.stdout)] == [found["address"]]
