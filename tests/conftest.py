"""What all tests share: the interpreters, free ports, programs that are run and never left behind.

A *target* is an interpreter that runs our code in a process of its own: CPython and the
MicroPythons that tools/interpreters.py finds. At the end stands a table of targets with what
passed, failed and was not run, and why.
"""

import atexit
import collections
import concurrent.futures
import functools
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

# Started in a shell's background we would ignore it, and so would the programs under test.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import cert  # noqa: E402
import interpreters  # noqa: E402
import join  # noqa: E402

LIB = ROOT / "lib"
PORTABLE = ROOT / "tests" / "portable"
BOARDS = ("esp32", "rp2")  # a MicroPython of the host that is one of these, see PERSONALITY
PERSONALITY = ROOT / "tests" / "personality"
SOCKETS = ROOT / "tools" / "virtual_board" / "device" / "socket.py"
ALL_TARGETS = ("cpython", *interpreters.names(), *BOARDS)
SECONDS = 60  # how long any one program may take before its test fails


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="the same tests with bigger numbers")
    parser.addoption("--board-host", help="the address of a board for tests/test_real_board.py")
    parser.addoption("--board-port", help="the device of that board, which is to be flashed")


def pytest_configure(config):
    # The programs under test read it too: see tests/portable/support.py.
    os.environ["SCALE"] = "10" if config.getoption("--all") else "1"


def scale():
    """Return by how much more than usual a test is to do: 10 with --all, else 1."""
    return int(os.environ["SCALE"])


@functools.lru_cache(None)
def certificates():
    """Return a folder, made once, with keys and certificates: PEM files with both, and DER.

    server.pem for localhost, cert.pem its certificate alone, server.der, cert.der and key.der, and
    all that in odd.pem, chain.pem and chain.der; rsa.pem; locked.pem and old-locked.pem, keys with
    a password;
    client.pem, signed by who is in clients.pem; stranger.pem, signed by itself.
    """
    folder = pathlib.Path(tempfile.mkdtemp(prefix="certificates-"))
    atexit.register(shutil.rmtree, folder, True)
    key, certificate = cert.make(["localhost", "127.0.0.1"])
    (folder / "server.pem").write_bytes(key + certificate)
    (folder / "cert.pem").write_bytes(certificate)
    (folder / "key.der").write_bytes(ssl.PEM_cert_to_DER_cert(_as_certificate(key)))
    (folder / "cert.der").write_bytes(ssl.PEM_cert_to_DER_cert(certificate.decode()))
    both = (folder / "cert.der").read_bytes() + (folder / "key.der").read_bytes()
    (folder / "server.der").write_bytes(both)
    ours = serialization.load_pem_private_key(key, None)
    secret = serialization.BestAvailableEncryption(b"secret")
    old = serialization.PrivateFormat.TraditionalOpenSSL
    sec1 = _pem(ours, old)
    odd = b"\xc3\xa4 text\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n"
    odd += b"-----END EC PARAMETERS-----\n" + sec1 + b"\xe4 text\n" + certificate + b"text"
    (folder / "odd.pem").write_bytes(odd.replace(b"\n", b"\r\n"))
    (folder / "locked.pem").write_bytes(_pem(ours, encryption=secret) + certificate)
    (folder / "old-locked.pem").write_bytes(certificate + _pem(ours, old, secret))
    (folder / "rsa.pem").write_bytes(_pem(rsa.generate_private_key(65537, 2048), old))
    issuer = cert.make(["clients"], client=True)
    (folder / "chain.pem").write_bytes(certificate + issuer[1] + key)
    issuer_der = ssl.PEM_cert_to_DER_cert(issuer[1].decode())
    (folder / "chain.der").write_bytes((folder / "cert.der").read_bytes() + issuer_der)
    (folder / "clients.pem").write_bytes(issuer[1])
    (folder / "client.pem").write_bytes(b"".join(cert.make(["ann"], 1, issuer, client=True)))
    (folder / "stranger.pem").write_bytes(b"".join(cert.make(["ann"], 1, client=True)))
    return folder


def _pem(key, form=serialization.PrivateFormat.PKCS8, encryption=None):
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, encryption)


def _as_certificate(key):
    # ssl decodes base64 between the words for certificates alone.
    return key.decode().replace("PRIVATE KEY", "CERTIFICATE")


class Target:
    """An interpreter for programs that use socketse.

    name  "cpython", or the MicroPython's name
    argv  the command that starts it
    """

    portable = PORTABLE  # where the portable tests are that it can run

    def __init__(self, name, argv):
        self.name = name
        self.argv = argv

    @property
    def micropython(self):
        return self.name != "cpython"

    def environment(self, lib=LIB):
        """Return the environment in which the interpreter finds the library."""
        path = str(lib)
        found = dict(os.environ, PYTHONPATH=path, MICROPYPATH=path + ":.frozen")
        found.update(PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1", TZ="UTC")
        found["CERTIFICATES"] = str(certificates())
        return found

    def run(self, *args, heap=None, seconds=SECONDS, lib=LIB, stdin=""):
        """Run a program to its end and return subprocess's CompletedProcess, output as text.

        heap  MicroPython's heap, e.g. "32k"
        """
        return subprocess.run(
            self.command(args, heap),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=self.environment(lib),
        )

    def command(self, args, heap=None):
        options = ["-X", "heapsize=" + heap] if heap and self.micropython else []
        return self.argv + options + [str(arg) for arg in args]


class Program:
    """A program at work, with its output as it comes; always used through the fixture `start`."""

    def __init__(self, command, env):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            env=env,
            start_new_session=True,
        )
        self.output = ""
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self.output += line
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, text, seconds=SECONDS):
        """Wait until text stands in the output. Fails the test if it does not come."""
        with self._changed:
            self._changed.wait_for(lambda: text in self.output or self._ended, seconds)
            assert text in self.output, "no %r in:\n%s" % (text, self.output)

    def interrupt(self):
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, seconds=SECONDS):
        """Wait for the end and return the exit status."""
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        return status

    def kill(self):
        """End the program and all that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()


class Board(Target):
    """A MicroPython of the host that takes itself for a board, by the modules of PERSONALITY."""

    def __init__(self, name, argv):
        super().__init__(name, argv)
        self.lib = ROOT / "build" / "boards" / name
        if self.lib.exists():
            shutil.rmtree(self.lib)
        # One as make flash writes the library, the other as mip does.
        folder = join.write(self.lib, rooms=join.ROOMS if name == "esp32" else ())
        for source in folder.glob("*.py"):
            # _thread alone of all modules is MicroPython's own, whatever else is on the path.
            text = self._played(source).replace("import _thread", "import cores as _thread")
            source.write_text(text.replace("sys.platform", repr(name)))
        for source in PERSONALITY.glob("*.py"):
            shutil.copy(str(source), str(self.lib))
        self.portable = self.lib / "portable"
        self.portable.mkdir()
        for source in PORTABLE.glob("*.py"):
            # Tests and their clients have the host's clock, and fractions of seconds.
            text = self._played(source).replace("import time\n", "import utime as time\n")
            (self.portable / source.name).write_text(text)
        shutil.copy(str(SOCKETS), str(self.lib / "device_socket.py"))

    @staticmethod
    def _played(source):
        # MicroPython's compiler puts its own number in the place of errno.EAGAIN.
        return re.sub(r"\berrno\.(?=E[A-Z])", "__import__('errno').", source.read_text())

    def environment(self, lib=LIB):
        found = super().environment(lib)
        found.update(BOARD=self.name, MICROPYPATH="%s:.frozen" % self.lib)
        return found


_given = collections.deque(maxlen=2000)
_lock = threading.Lock()


def free_port():
    """Return a port that is free for TCP and UDP on every address of this machine.

    Not from the range that the system takes clients' ports from: one of the thousands of
    connections that the tests leave in TIME_WAIT could have it before its server.
    """
    while True:
        port = random.randrange(10000, 30000)
        with _lock:
            if port in _given:
                continue  # to a test that may not have begun to use it
            _given.append(port)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as s:
                    s.bind(("", port))
            return port
        except OSError:
            continue


def connect(port, host="127.0.0.1", seconds=20):
    """Return a connection to a server that may only just be starting."""
    end = time.monotonic() + seconds
    while True:
        try:
            connection = socket.create_connection((host, port), timeout=seconds)
            return connection
        except ConnectionRefusedError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


_targets = {"cpython": Target("cpython", [sys.executable])}
_missing = {}


def find_target(name):
    """Return the target, or skip the test with what is missing."""
    if name not in _targets and name not in _missing:
        board = name in BOARDS
        base = interpreters.names()[1:2] or ["native"]  # of 32 bits, where there is one
        try:
            found = interpreters.find(base[0] if board else name, report=_report)
            _targets[name] = (Board if board else Target)(name, found.argv)
        except interpreters.Unavailable as e:
            _missing[name] = str(e)
    if name in _missing:
        pytest.skip("%s: %s" % (name, _missing[name]))
    return _targets[name]


def _report(line):
    print(line, file=sys.__stderr__)


@pytest.fixture(params=["cpython", *interpreters.names()])
def target(request):
    """Each interpreter in turn."""
    return find_target(request.param)


@pytest.fixture(params=interpreters.names())
def micropython(request):
    """Each MicroPython in turn."""
    return find_target(request.param)


@pytest.fixture
def small():
    """The MicroPython with the word size and the heap blocks of the boards."""
    return find_target("i386")


@pytest.fixture
def start():
    """start(target, program, *args, heap=None): a Program, ended with the test at the latest."""
    programs = []

    def start_program(target, *args, heap=None, lib=LIB):
        programs.append(Program(target.command(args, heap), target.environment(lib)))
        return programs[-1]

    yield start_program
    for program in programs:
        program.kill()


# Portable tests: functions in tests/portable/test_*.py, each run by each target in a process.


def pytest_collect_file(file_path, parent):
    named = parent.session.isinitpath(file_path)  # pytest asks the hook below for those
    if file_path.parent == PORTABLE and file_path.match("test_*.py") and not named:
        return PortableFile.from_parent(parent, path=file_path)
    return None


def pytest_pycollect_makemodule(module_path, parent):
    if module_path.parent == PORTABLE:
        return PortableFile.from_parent(parent, path=module_path)
    return None


class PortableFile(pytest.File):
    def collect(self):
        import ast

        for node in ast.parse(self.path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for name in ALL_TARGETS:
                    yield PortableTest.from_parent(
                        self, name="%s[%s]" % (node.name, name), function=node.name, target=name
                    )


class PortableTest(pytest.Item):
    def __init__(self, *, function, target, **kwargs):
        super().__init__(**kwargs)
        self.function_name = function
        self.target_name = target

    def runtest(self):
        status, output = _ahead.outcome(self)
        if status == -signal.SIGSEGV and self.target_name != "cpython":
            # MicroPython's unix port has no GIL: now and then a thread meets its garbage collector
            # at the wrong moment. What crashes twice is ours.
            status, output = self.run_program()
        last = output.rstrip().rsplit("\n", 1)[-1]
        if last.startswith("SKIP "):
            pytest.skip("%s: %s" % (self.target_name, last[5:]))
        if status != 0 or last != "OK":
            raise PortableFailure("%s\nexit status %s" % (output, status))

    def run_program(self):
        """Run the function in a process of its own; return its exit status and output."""
        with _lock:
            target = find_target(self.target_name)
        ports = [free_port() for _ in range(16)]
        program = Program(
            target.command(
                [PORTABLE / "run.py", target.portable / self.path.name, self.function_name, *ports]
            ),
            target.environment(),
        )
        try:
            status = program.wait(SECONDS * scale())
        except subprocess.TimeoutExpired:
            status = "no end in time"
        finally:
            program.kill()
        return status, program.output

    def repr_failure(self, excinfo):
        if isinstance(excinfo.value, PortableFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self):
        return self.path, 0, self.name


class _Ahead:
    """Runs portable tests, which mostly wait, a few at a time: those that come next."""

    WIDTH = 6

    def __init__(self):
        self._pool = concurrent.futures.ThreadPoolExecutor(self.WIDTH)
        self._begun = {}

    def outcome(self, item):
        items = item.session.items
        at = items.index(item)
        for one in items[at : at + self.WIDTH]:
            if isinstance(one, PortableTest) and one not in self._begun:
                self._begun[one] = self._pool.submit(one.run_program)
        return self._begun[item].result()


_ahead = _Ahead()


class PortableFailure(Exception):
    """A portable test failed; the text is what it printed."""


# The table at the end.


def _target_of(nodeid):
    for name in ALL_TARGETS:
        if "[%s" % name in nodeid or "-%s]" % name in nodeid:
            return name
    return "host"


def pytest_terminal_summary(terminalreporter):
    rows = {}
    whys = {}
    for outcome, reports in terminalreporter.stats.items():
        if outcome not in ("passed", "failed", "error", "skipped"):
            continue
        for report in reports:
            name = _target_of(report.nodeid)
            row = rows.setdefault(name, {"passed": 0, "failed": 0, "skipped": 0})
            row["failed" if outcome == "error" else outcome] += 1
            if outcome == "skipped":
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
                whys.setdefault(name, []).append(reason.replace("Skipped: ", "", 1))
    write = terminalreporter.write_line
    write("")
    write("%-12s %7s %7s %8s  %s" % ("interpreter", "passed", "failed", "not run", "why"))
    for name in sorted(rows):
        row = rows[name]
        why = sorted(set(whys.get(name, [])))
        first = why[0] if why else ""
        write(
            "%-12s %7d %7d %8d  %s" % (name, row["passed"], row["failed"], row["skipped"], first)
        )
        for reason in why[1:]:
            write(" " * 38 + reason)


def pytest_sessionfinish(session, exitstatus):
    # An interpreter on which nothing ran is a failure, unless nothing was asked of it.
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    ran = {_target_of(r.nodeid) for r in reporter.stats.get("passed", [])}
    asked = {_target_of(item.nodeid) for item in session.items}
    nothing = sorted(asked - ran - {"host"})
    if nothing and exitstatus == 0 and not session.config.option.collectonly:
        reporter.write_line("")
        reporter.write_line("nothing ran on: " + ", ".join(nothing), red=True)
        session.exitstatus = 1
