"""lib/package.json, lib/extras.json and lib/manifest.py: they name every file of the library."""

import copy
import json
import re
import subprocess
import sys

import mpy
import pytest
import virtual_board
from conftest import LIB, connect, find_target
from mpremote import mip

IMPORT = """
import socketse
from socketse import TCPServer, ThreadingUDPServer, Multiplexer, AsyncStreamRequestHandler
for room in %r:
    __import__("socketse." + room)
print(socketse.__version__)
"""

ECHO = """
import network, time
from socketse import Multiplexer, TCPServer, services
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.connect("home", "secret")
while not wlan.isconnected():
    time.sleep_ms(10)
hub = Multiplexer()
hub.add(TCPServer(("", 7), services.EchoHandler))
print("rea" + "dy")
hub.serve_forever()
"""


def on_boards():
    """Return the names of the files that belong on a board."""
    names = {path.relative_to(LIB).as_posix() for path in (LIB / "socketse").rglob("*.py")}
    return names - {"socketse/" + name for name in mpy.NOT_ON_BOARDS}


def version():
    return re.search(r'__version__ = "(.*)"', (LIB / "socketse/__init__.py").read_text())[1]


def package(name):
    return json.loads((LIB / name).read_text())


class Folder:
    """What mpremote's mip takes for a board, with a folder as its file system.

    platform  what sys.platform is to be there
    """

    def __init__(self, root, platform):
        self.root = root
        self.platform = platform

    def fs_exists(self, path):
        return (self.root / path.strip("/")).exists()

    def fs_mkdir(self, path):
        (self.root / path.strip("/")).mkdir()

    def fs_writefile(self, path, data, progress_callback=None):
        data = data.replace(b"sys.platform", repr(self.platform).encode())
        (self.root / path.strip("/")).write_bytes(data)


class Recorder:
    """What a manifest finds when MicroPython's tools/manifestfile.py runs it."""

    def __init__(self, **given):
        self.given = given
        self.default = {}
        self.files = {}
        self.meta = None

    def run(self):
        code = compile((LIB / "manifest.py").read_text(), "manifest.py", "exec")
        exec(code, {"metadata": self.metadata, "package": self.package, "options": self})
        return self

    def defaults(self, **values):
        self.default = values

    def __getattr__(self, name):
        return self.given.get(name, self.default.get(name))

    def metadata(self, *, description=None, version=None, license=None, author=None):
        assert self.meta is None and not self.files, "metadata() comes first, and once"
        self.meta = {"description": description, "version": version, "license": license}

    def package(self, package_path, files=None, base_path=".", opt=None):
        for name in files:
            full = package_path + "/" + name
            assert full not in self.files and (LIB / base_path / full).is_file(), full
            self.files[full] = opt


def test_packages_name_every_file_once():
    names = [entry[0] for one in ("package.json", "extras.json") for entry in package(one)["urls"]]
    assert len(names) == len(set(names))
    assert set(names) == on_boards()


@pytest.mark.parametrize("name", ["package.json", "extras.json"])
def test_package_is_in_order(name):
    found = package(name)
    assert found["version"] == version()
    assert all(target == url for target, url in found["urls"])
    assert found["urls"] == sorted(found["urls"])


def test_manifest_names_every_file():
    whole = Recorder().run()
    assert set(whole.files) == on_boards()
    assert set(whole.files.values()) == {3}
    assert whole.meta["version"] == version() and all(whole.meta.values())
    core = Recorder(extras=False).run()
    assert set(core.files) == {entry[0] for entry in package("package.json")["urls"]}
    unix = Recorder(unix=True).run()
    assert set(unix.files) - on_boards() == {"socketse/unixport.py"}


@pytest.mark.parametrize("name", ["esp32", "rp2"])
def test_what_mip_installs_is_enough(name, tmp_path):
    """On a board: what it imports is there, without the files of hosts."""
    target = copy.copy(find_target(name))
    target.lib = tmp_path / "lib"
    board = Folder(tmp_path, name)
    mip._install_package(board, str(LIB / "package.json"), None, "/lib", None, True)
    done = target.run("-c", IMPORT % (["trouble", "options", "allow", "workers"],))
    assert done.stdout.strip() == version(), done.stdout + done.stderr
    done = target.run("-c", "import socketse.services")
    assert "ImportError" in done.stderr
    mip._install_package(board, str(LIB / "extras.json"), None, "/lib", None, True)
    done = target.run("-c", IMPORT % (["services"],))
    assert done.stdout.strip() == version(), done.stdout + done.stderr


def test_mpremote_installs_both_and_they_serve(tmp_path):
    with virtual_board.Board("pico_w", flash=tmp_path / "flash") as board:
        mpremote = [sys.executable, "-m", "mpremote", "connect", board.device]
        board.wait_for_console("help()")
        for name in ("package.json", "extras.json"):
            command = [*mpremote, "mip", "install", str(LIB / name)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0 and "Done" in done.stdout, done.stdout + done.stderr
        program = tmp_path / "echo.py"
        program.write_text(ECHO)
        subprocess.run([*mpremote, "run", "--no-follow", str(program)], timeout=60, check=True)
        board.wait_for_console("ready")
        with connect(7 + board.port_offset, board.address) as client:
            client.sendall(b"hello\n")
            assert client.makefile("rb").readline() == b"hello\n"


def test_no_file_but_the_librarys_is_compiled(tmp_path):
    command = [sys.executable, mpy.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert found == {name.replace(".py", ".mpy") for name in on_boards()}
    (tmp_path / "socketse" / "old.mpy").write_bytes(b"M")
    mpy.compile_lib(tmp_path, board=True)
    assert not (tmp_path / "socketse" / "old.mpy").exists()
