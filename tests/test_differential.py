"""The same programs with CPython's socketserver and with socketse must say the same.

Each program of tests/differential runs on CPython with the standard library's socketserver: what
it prints is the truth. Then it runs with socketse, on CPython and on every MicroPython.
"""

import re
import subprocess

import pytest
from conftest import ROOT, find_target, free_port

FOLDER = ROOT / "tests" / "differential"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "helper")
PORTS = 6
SECONDS = 30  # for a program that takes one

_truths = {}


def outcome(start, target, program, module, folder):
    """Run a program and return what it printed, without what must differ, and its status."""
    ports = [free_port() for _ in range(PORTS)]
    running = start(target, FOLDER / (program + ".py"), module, folder, *ports)
    try:
        status = running.wait(SECONDS)
    except subprocess.TimeoutExpired:
        status = "none: no end after %d s" % SECONDS
        running.kill()
    return "%sexit status %s\n" % (alike(running.output), status)


def alike(output):
    """Return the output without the frames of tracebacks and the ports of clients."""
    lines = [line for line in output.splitlines(True) if not re.match(r"    |  File ", line)]
    text = re.sub(r"\('127\.0\.0\.1', \d+\)", "('127.0.0.1', PORT)", "".join(lines))
    # CPython's words before 3.10.
    return text.replace("Exception happened during", "Exception occurred during")


@pytest.mark.parametrize("program", PROGRAMS)
def test_differential(program, target, start, tmp_path):
    if program not in _truths:
        (tmp_path / "truth").mkdir()
        said = outcome(start, find_target("cpython"), program, "socketserver", tmp_path / "truth")
        # A program that fails with the original proves nothing.
        assert said.endswith("exit status 0\n") and len(said.splitlines()) > 5, said
        assert ("Traceback" in said) == (program == "default_error"), said
        _truths[program] = said
    (tmp_path / "ours").mkdir()
    said = outcome(start, target, program, "socketse", tmp_path / "ours")
    assert said.splitlines() == _truths[program].splitlines()


def test_programs_are_there():
    assert len(PROGRAMS) >= 16, PROGRAMS
