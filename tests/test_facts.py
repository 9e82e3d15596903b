"""The facts about ports and boards, tests/facts.md: each has its test, and each that is played
stands there; and what would be the end of a board is the end of a test."""

import ast
import re
import socket
import sys
import types

import pytest
from conftest import BOARDS, LIB, PERSONALITY, PORTABLE, ROOT, find_target

TESTS = ROOT / "tests"
# The number at the beginning of a line, and all up to the next one or to a heading.
FACTS = re.compile(r"^(\d+)\. (.*?)(?=^\d+\. |^#|\Z)", re.M | re.S)


def facts():
    return FACTS.findall((TESTS / "facts.md").read_text())


def functions(path):
    return {
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    }


def test_every_fact_has_a_test_or_a_reason():
    numbers = [number for number, _ in facts()]
    assert len(numbers) == len(set(numbers)) > 50
    for number, text in facts():
        named = re.findall(r"`([\w/]+\.py):(\w+)`", text)
        assert named or "No test: " in text, "fact %s" % number
        for name, function in named:
            assert function in functions(TESTS / name), "fact %s: %s" % (number, function)


def test_every_fact_that_is_played_stands_in_the_list():
    numbers = {number for number, _ in facts()}
    played = set()
    for path in [*PERSONALITY.glob("*.py"), PORTABLE / "test_ports.py"]:
        for match in re.findall(r"[Ff]acts? ((?:\d+(?:, | and )?)+)", path.read_text()):
            played.update(re.findall(r"\d+", match))
    assert len(played) > 25 and played <= numbers, played - numbers


@pytest.mark.parametrize(
    "platform, version, threads, most",
    [
        ("rp2", (1, 24, 1), True, 0),
        ("rp2", (1, 25, 0), True, 1),
        ("rp2", (1, 25, 0), False, 0),
        ("esp32", (1, 24, 1), True, 4),
        ("linux", (1, 24, 1), True, None),
        ("esp8266", (1, 28, 0), False, 0),
    ],
)
def test_threads_by_port_and_version(monkeypatch, platform, version, threads, most):
    code = (LIB / "socketse" / "limits.py").read_text().replace("from . import port\n", "")
    monkeypatch.setattr(sys, "implementation", types.SimpleNamespace(version=version))
    names = {"port": types.SimpleNamespace(platform=platform, _thread=threads or None)}
    exec(compile(code, "limits.py", "exec"), names)
    assert names["MAX_THREADS"] == most and names["AF_UNIX"] == socket.AF_UNIX


FATAL = {
    "spoiled": """
        poller = select.poll()
        try:
            poller.register(object())
        except OSError:
            print("refused")
        poller.poll(0)
        """,
    "register": """
        one, other = socket.socket(), socket.socket(2, 2)
        poller = select.poll()
        poller.register(one)
        for _ in poller.ipoll(0):
            print("refused")
            poller.register(other)
        """,
    "nothing": """
        print("refused")
        socket.socket(2, 2).sendto(b"", ("127.0.0.1", 9))
        """,
}


def ends(board, what, tmp_path):
    path = tmp_path / "fatal.py"
    body = "import select, socket\ntry:\n%s\nexcept BaseException:\n    pass\nprint('alive')\n"
    path.write_text(body % FATAL[what].replace("\n        ", "\n    ").strip("\n "))
    text = path.read_text().replace("try:\n", "try:\n    ", 1)
    path.write_text(text)
    done = find_target(board).run(path)
    assert done.stdout.startswith("refused\n"), done.stdout + done.stderr
    assert "alive" not in done.stdout and done.returncode < 0, (done.stdout, done.returncode)
    assert "fact" in done.stdout


@pytest.mark.parametrize("board", BOARDS)
def test_a_spoiled_poller_ends_the_program(board, tmp_path):
    ends(board, "spoiled", tmp_path)


@pytest.mark.parametrize("board", BOARDS)
def test_register_in_the_middle_of_ipoll_ends_the_program(board, tmp_path):
    ends(board, "register", tmp_path)


def test_sending_an_empty_datagram_ends_the_program(tmp_path):
    ends("esp32", "nothing", tmp_path)
