"""Measure what socketse costs in heap, on a 32-bit MicroPython: python tools/memory.py."""

import contextlib
import io
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

import interpreters
import mpy

ROOT = pathlib.Path(__file__).resolve().parent.parent

_IMPORT = """
import gc, sys
gc.collect()
before = gc.mem_alloc()
import socketse
for name in sys.argv[1:]:
    if name[:9] == "socketse.":
        __import__(name)
    else:
        getattr(socketse, name)
gc.collect()
print(gc.mem_alloc() - before)
"""

_SERVE = """
import gc, sys
from socketse import StreamRequestHandler, TCPServer

class Handler(StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline()
        if line == b"heap\\n":
            gc.collect()
            line = b"%d\\n" % gc.mem_alloc()
        self.wfile.write(line)

server = TCPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready")
server.serve_forever()
"""


def _command(interpreter, heap, program, *args):
    # A program from -c gets no arguments in sys.argv: set them.
    argv = "import sys; sys.argv[:] = %r\n" % (["-c", *[str(arg) for arg in args]],)
    return [*interpreter.argv, "-X", "heapsize=%s" % heap, "-c", argv + program]


def _options(lib):
    # Relative paths: they end up on the heap, and a clone elsewhere must not measure otherwise.
    relative = os.path.relpath(lib, ROOT)
    return {"cwd": ROOT, "env": dict(os.environ, MICROPYPATH=relative + ":.frozen")}


def import_cost(interpreter, lib, *names, heap="64k"):
    """Return the bytes of heap that importing these names of socketse takes and keeps.

    names  of classes, or of rooms as in "socketse.port"
    Returns None if the heap is too small for it.
    """
    done = subprocess.run(
        _command(interpreter, heap, _IMPORT, *names),
        capture_output=True,
        text=True,
        **_options(lib),
    )
    return int(done.stdout) if done.returncode == 0 else None


def smallest_heap(interpreter, lib, *names):
    """Return the size in kB from which on every heap is large enough to import these names.

    A smaller one may do by chance, as the pieces of the heap happen to lie.
    """
    kilobytes = failed = 4
    while kilobytes < failed + 12:
        kilobytes += 1
        if import_cost(interpreter, lib, *names, heap="%dk" % kilobytes) is None:
            failed = kilobytes
    return failed + 1


def growth(interpreter, lib, connections, heap="32k", first=200):
    """Return by how many bytes the heap in use grows between two moments of a TCPServer's life.

    The first is after `first` connections, the second after `connections`, each of which sends a
    line and checks that it comes back. Raises AssertionError if one does not.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = _command(interpreter, heap, _SERVE, port)
    server = subprocess.Popen(command, stdout=subprocess.PIPE, **_options(lib))
    try:
        assert server.stdout.readline() == b"ready\n", "the server did not start"

        def ask(i, line):
            # From many addresses: no port is used twice within its minute of TIME-WAIT.
            source = ("127.0.%d.%d" % (1 + i // 250 % 250, 1 + i % 250), 0)
            with socket.create_connection(("127.0.0.1", port), 20, source) as client:
                client.sendall(line)
                return client.makefile("rb").readline()

        used = []
        for i in range(connections):
            if i == first:
                used.append(int(ask(i, b"heap\n")))
            line = b"line %d\n" % i
            answer = ask(i, line)
            assert answer == line, "connection %d: %r instead of %r" % (i, answer, line)
        return int(ask(connections, b"heap\n")) - used[0]
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def free_while_serving(kind):
    """Return the bytes of heap that are free on a flashed virtual board that serves.

    kind  "esp32", the first 56 kB of its heap, or "pico_w"
    It has boot.py, main.py, app.py and all services of config.template.json; what the virtual
    board itself needs is not counted.
    """
    import flash
    import virtual_board

    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "board"
        shutil.copytree(
            ROOT / "board", source, ignore=shutil.ignore_patterns("config.json", "*.pem")
        )
        with virtual_board.Board(kind, flash=pathlib.Path(folder) / "flash") as board:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                status = flash.main(["--port", board.device, "--board", str(source)])
            assert status == 0, said.getvalue()
            end = board.wait_for_console(" bytes of heap are free")
            return int(board.console[:end].split()[-6])


def rooms():
    """Return the names of the rooms that MicroPython can load: all but CPython's."""
    found = [path.stem for path in sorted((ROOT / "lib/socketse").glob("*.py"))]
    return [name for name in found if name not in ("__init__", "host", "hosttls")]


def main():
    """Print the figures as a table."""
    compiled = mpy.compile_lib(ROOT / "build" / "mpy")
    print("Bytes of heap that an import keeps, and the smallest heap for it in kB, .mpy and .py\n")
    print("%-52s %6s %6s %5s %4s" % ("import", "i386", "armhf", ".mpy", ".py"))
    small = [interpreters.find(name) for name in ("i386", "armhf")]
    for names in (
        ("TCPServer", "BaseRequestHandler"),
        ("TCPServer", "StreamRequestHandler"),
        ("UDPServer", "DatagramRequestHandler"),
        ("ThreadingTCPServer", "StreamRequestHandler"),
        ("AsyncStreamRequestHandler", "MultiplexingTCPServer"),
        ("AsyncStreamRequestHandler", "Multiplexer", "TCPServer"),
        ("Multiplexer", "TCPServer", "UDPServer", "services"),
        ("AsyncStreamRequestHandler", "MultiplexingTCPServer", "server_context", "tls"),
        ("AsyncStreamRequestHandler", "MultiplexingTCPServer", "AuthMixIn"),
        ("AsyncStreamRequestHandler", "MultiplexingTCPServer", "PasswordHandler", "Users"),
    ):
        costs = [import_cost(interpreter, compiled, *names) for interpreter in small]
        heaps = [smallest_heap(small[0], lib, *names) for lib in (compiled, ROOT / "lib")]
        print("%-52s %6d %6d %5d %4d" % (", ".join(names), *costs, *heaps))
    print("\nBytes of heap that are free on a board that serves, flashed as it is")
    for kind, name in (("esp32", "ESP32, of its first 56 kB"), ("pico_w", "Pico W, of 180 kB")):
        print("%-52s %6d" % (name, free_while_serving(kind)))
    grown = growth(small[0], compiled, 10000)
    print("\n10,000 connections to a TCPServer in a heap of 32 kB: it grew by %d bytes" % grown)


if __name__ == "__main__":
    sys.exit(main())
