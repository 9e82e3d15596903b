"""tools/find.py against boards that are played here: one, several, and mischievous ones."""

import io
import json
import socket
import subprocess
import sys
import threading

import find
import pytest
from conftest import ROOT

GOOD = {"name": "kitchen", "address": "127.0.7.1", "version": "0.1.0", "services": {"echo/tcp": 7}}


class FakeBoard:
    """Answers questions at an address of this machine, as a board would.

    answer   a dict, or bytes, or a list of those
    without  how many questions it lets pass first
    """

    def __init__(self, answer, host="127.0.0.1", port=0, without=0):
        answers = answer if isinstance(answer, list) else [answer]
        self.answers = [a if isinstance(a, bytes) else json.dumps(a).encode() for a in answers]
        self.without = without
        self.questions = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host, port))
        self.address = self.socket.getsockname()
        self.to = "%s:%d" % self.address
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            data, sender = self.socket.recvfrom(2048)
            if data == b"end":
                return
            self.questions.append(data)
            if len(self.questions) > self.without:
                for answer in self.answers:
                    self.socket.sendto(answer, sender)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"end", self.address)
        self._thread.join()
        self.socket.close()


def run(*args):
    command = [sys.executable, ROOT / "tools" / "find.py", "--seconds", "0.6", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def ask(*boards, seconds=0.3):
    refused = []
    targets = [("", board.address) for board in boards]
    found = find.ask(targets, seconds, lambda sender, why: refused.append(str(why)))
    return found, refused


def test_table_of_several_boards():
    other = dict(GOOD, name="attic", services={"time/tcp": 37, "sntp/udp": 123})
    with FakeBoard(GOOD) as one, FakeBoard(other, "127.0.0.2") as two:
        done = run("--to", one.to, "--to", two.to)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["name", "address", "version", "services"]
    assert [line.split()[0] for line in lines[1:] if line[0] != " "] == ["attic", "kitchen"]
    words = " ".join(done.stdout.split())
    assert "echo/tcp 7" in words and "sntp/udp 123, time/tcp 37" in words


def test_question_is_as_long_as_the_longest_answer():
    with FakeBoard(GOOD) as board:
        found, _ = ask(board)
    assert len(found) == 1
    assert board.questions[0] == b"socketse?" + b" " * 503


def test_lost_question_is_asked_again():
    with FakeBoard(GOOD, without=1) as board:
        found, _ = ask(board, seconds=0.8)
    assert [b.name for b in found] == ["kitchen"]
    assert found[0].sender == "127.0.0.1" and found[0].services == {"echo/tcp": 7}


def test_json_for_programs():
    with FakeBoard(GOOD) as board:
        done = run("--json", "--to", board.to)
    assert json.loads(done.stdout) == [dict(GOOD, sender="127.0.0.1")]


def test_nobody_answers():
    with FakeBoard([], without=100) as board:
        done = run("--to", board.to)
    assert done.returncode == 1 and done.stdout == ""
    assert "No board has answered within 0.6 s." in done.stderr
    done = run("--json", "--to", board.to)  # nobody is there any more
    assert done.returncode == 1 and json.loads(done.stdout) == []


@pytest.mark.parametrize(
    "answer, why",
    [
        (b"", "not JSON"),
        (b"hello", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 500, "not JSON"),
        (b"[1]", "not a JSON object"),
        (dict(GOOD, name="x" * 400), '"name"'),
        (dict(GOOD, name="x" * 600), "longer than the question"),
        (dict(GOOD, name="\x1b[2Jkitchen"), '"name"'),
        (dict(GOOD, name="kit\u202echen"), '"name"'),
        (dict(GOOD, name=7), '"name"'),
        (dict(GOOD, version=None), '"version"'),
        (dict(GOOD, version="1\n2"), '"version"'),
        (dict(GOOD, address="evil.example"), '"address"'),
        (dict(GOOD, services=["echo/tcp"]), '"services"'),
        (dict(GOOD, services={"echo/tcp": "7"}), '"services"'),
        (dict(GOOD, services={"echo/tcp": True}), '"services"'),
        (dict(GOOD, services={"echo/tcp": 65536}), '"services"'),
        (dict(GOOD, services={"e\x07/tcp": 7}), '"services"'),
        ({}, '"name"'),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_bad_answer_is_refused(answer, why):
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    with pytest.raises(find.BadAnswer, match=why):
        find.understand(data, "127.0.0.1")


def test_honest_board_beside_a_mischievous_one():
    bad = [b"\x1b[2J", dict(GOOD, name="\x07")] * 20
    with FakeBoard(bad) as one, FakeBoard(GOOD, "127.0.0.2") as two:
        found, refused = ask(one, two)
    assert [b.name for b in found] == ["kitchen"]
    assert len(refused) == 1  # told once
    with FakeBoard([dict(GOOD, name="n%d" % i) for i in range(700)]) as flood:
        found, _ = ask(flood)
    assert 0 < len(found) <= 500


def test_markup_in_a_name_is_text():
    from rich.console import Console

    out = io.StringIO()
    board = find.understand(json.dumps(dict(GOOD, name="[red]a[/]")).encode(), "127.0.7.9")
    find.show([board], Console(file=out, width=200))
    assert "[red]a[/]" in out.getvalue()
    assert "127.0.7.1 (the answer came from 127.0.7.9)" in out.getvalue()


def test_broadcast_and_multicast_are_asked():
    targets = find.everywhere()
    assert {("", ("255.255.255.255", 20007)), ("", ("239.255.20.7", 20007))} <= set(targets)
    assert all(not own.startswith("127.") for own, _ in targets)


def test_broadcast_on_loopback():
    with FakeBoard(GOOD, "0.0.0.0") as board:
        found = find.ask([("", ("127.255.255.255", board.address[1]))], 0.3)
    assert [b.name for b in found] == ["kitchen"]


@pytest.mark.parametrize("text", ["", ":7", "host:", "host:x", "host:0", "host:65536", "a:1:2"])
def test_target_that_is_none(text):
    if text == "host:":
        assert find.target(text) == ("", ("host", 20007))
        return
    done = run("--to", text)
    assert done.returncode == 2 and "is not HOST or HOST:PORT" in done.stderr


def test_question_that_cannot_be_sent(monkeypatch, capsys):
    class Broken(socket.socket):
        def sendto(self, data, address):
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", Broken)
    assert find.main(["--to", "127.0.0.1"]) == 1
    said = "The question cannot be sent: 127.0.0.1:20007: Network is unreachable.\n"
    assert capsys.readouterr().err == said
