"""What is soaked: a flashed virtual board, and a MicroPython with what it does not serve."""

import contextlib
import http.client
import io
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

import cert
import flash
import hostile
import interpreters
import mpy
import virtual_board

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "soak"
SITE = pathlib.Path(__file__).resolve().parent / "site.py"
SITE_HEAP = "256k"  # of which its code takes a half; the rest is for 16 connections
USERS = ("anna", "otto")
CALM = 20  # seconds in which a server must have seen that all are gone
_1970 = 2208988800  # in seconds from 1900


class Place:
    """A process that serves, as its clients and its system know it.

    name   of the place
    host   its address
    ports  {service: port}
    """

    page = "page"  # the service that tells of the heap
    between = 0.05, 0.3  # seconds between two visits of an honest client, at least and at most
    counters: "dict[str, int]" = {}  # some of the servers' stats, in sum, as calm() has seen them

    def numbers(self, connection=None):
        """Return /stats.json."""
        if connection is None:
            with contextlib.closing(self.connection()) as connection:
                return self.numbers(connection)
        connection.request("GET", "/stats.json")
        return json.loads(connection.getresponse().read())

    def connection(self):
        """Return an HTTP connection to the page."""
        return http.client.HTTPConnection(
            self.host, self.ports[self.page], timeout=CALM, source_address=hostile.source()
        )

    def descriptors(self):
        """Return how many the process has."""
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def calm(self):
        """Return (bytes of heap in use, free, descriptors) when only one client is left: we.

        Raises TimeoutError if others stay.
        """
        end = time.monotonic() + CALM
        with contextlib.closing(self.connection()) as connection:
            while True:
                found = self.numbers(connection)
                if sum(one["active"] for one in found["services"]) == 1:
                    break
                if time.monotonic() > end:
                    raise TimeoutError("%s: somebody stays: %s" % (self.name, found["services"]))
                time.sleep(0.1)
            # The least of some: what the last clients have left is gone by then.
            found = [self.numbers(connection) for _ in range(4)]
            self.counters = {
                name: sum(one[name] for one in found[0]["services"])
                for name in ("accepted", "evicted", "timed_out", "errors", "out_of_memory")
            }
            best = min(found, key=lambda one: one["used"])
            return best["used"], best["free"], self.descriptors()


class Board(Place):
    """A virtual ESP32, just flashed; its clock is set by a time server of ours."""

    name = "ESP32"
    page = "http/tcp"
    between = 0.5, 3  # it has room for three connections at once

    def __init__(self, stack):
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = folder / "board"
        unwanted = shutil.ignore_patterns("config.json", "*.pem")
        shutil.copytree(ROOT / "board", source, ignore=unwanted)
        config = json.loads((source / "config.template.json").read_text())
        config["ntp"] = "127.0.0.1:%d" % stack.enter_context(_time_server())
        (source / "config.json").write_text(json.dumps(config))
        board = virtual_board.Board("esp32", flash=folder / "flash")
        self._board = stack.enter_context(board)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            status = flash.main(["--port", board.device, "--board", str(source)])
        if status:
            raise RuntimeError(said.getvalue())
        board.wait_for_console("the clock is set by")
        board.wait_for_console(" bytes of heap are free")
        self._events = len(board.events)
        self.host = board.address
        services = dict(config["services"], **{"app/tcp": 8000})
        self.ports = {name: port + board.port_offset for name, port in services.items()}
        self.pid = board._process.pid

    def trouble(self):
        """Return what has happened to the process, None if it has served on."""
        # Reset, or ended: a new process has another number.
        process = self._board._process
        if process is None or process.pid != self.pid:
            events = self._board.events[self._events :]
            return "%s: %s\n%s" % (self.name, events, self._board.console[-1500:])
        return None


class Site(Place):
    """What a board does not serve when it is flashed, on the 32-bit MicroPython."""

    name = "site"

    def __init__(self, stack):
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        key, certificate = cert.make(["127.0.0.1"])
        (folder / "server.pem").write_bytes(key + certificate)
        self.certificate = folder / "cert.pem"
        self.certificate.write_bytes(certificate)
        users = folder / "users"
        for user in USERS:
            command = ["python3", str(ROOT / "tools/passwd.py"), str(users), user]
            command += ["--iterations", "200"]
            subprocess.run(command, input=user + " 0 secret\n", text=True, check=True)
        self.host = "127.0.0.1"
        names = _services()
        self.ports = {name: _free_port() for name in names}
        self._output = folder / "output"
        lib = mpy.compile_lib(BUILD / "lib")
        mpy.compile_file(SITE, lib / "site.mpy", "site")  # sources fragment a small heap
        interpreter = interpreters.find("i386", report=lambda line: None)
        argv = [*interpreter.argv, "-X", "heapsize=" + SITE_HEAP, "-m", "site", self.host]
        argv += [folder / "server.pem", users, *self.ports.values()]
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [str(word) for word in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(os.environ, MICROPYPATH="%s:.frozen" % lib, TZ="UTC"),
                start_new_session=True,
            )
        stack.callback(self._end)
        self.pid = self._process.pid
        end = time.monotonic() + 20
        while b"ready" not in self._output.read_bytes():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(self.trouble())
            time.sleep(0.05)
        for _ in range(16):
            self._guess()

    def _guess(self):
        # So many that have failed are remembered, and no more: they are on the heap from now on.
        address = self.host, self.ports["passwords"]
        with socket.create_connection(address, 10, hostile.source()) as sock:
            file = sock.makefile("rb")
            for line in (b"USER otto\r\n", b"PASS wrong\r\n", b"NEWPASS another one\r\n"):
                file.readline()
                sock.sendall(line)
            file.read()

    def trouble(self):
        """Return what has happened to the process, None if it has served on."""
        output = self._output.read_text(errors="replace")
        status = self._process.poll()
        if status is None:
            return None
        return "%s: exit status %s\n%s" % (self.name, status, output[-1500:])

    def _end(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _services():
    """Return the names of what site.py serves, in its order."""
    text = SITE.read_text()
    found = text[text.index("SERVICES = (") : text.index("\n)\n", text.index("SERVICES = ("))]
    return [word.strip(' ",') for word in found.splitlines()[1:]]


def _free_port():
    # Not from the range that clients get theirs from.
    while True:
        port = random.randrange(10000, 30000)
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as sock:
                    sock.bind(("", port))
            return port
        except OSError:
            continue


@contextlib.contextmanager
def _time_server():
    """Answer SNTP's questions; yields the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve():
            while True:
                data, client = server.recvfrom(600)
                if not data:
                    return
                now = time.time() + _1970
                stamp = struct.pack(">II", int(now), int(now % 1 * 2**32))
                head = b"\x24\x02\x06\xec" + bytes(20)
                server.sendto(head + data[40:48] + stamp + stamp, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.sendto(b"", server.getsockname())
            thread.join()
