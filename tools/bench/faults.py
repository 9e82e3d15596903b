"""Do the same harm to socketse, asyncio's start_server and microdot, and see who survives it.

    python tools/bench/faults.py      in some minutes: a table, and build/faults.md for the README
    python tools/bench/faults.py --only silent --only reset      only some of the rows

All run on the 32-bit MicroPython with a heap of 64 kB, and with their own limits. While the
attackers stay, an honest client comes three times, and must have its answer each time; it comes
again when they have gone. That is done four times over, or until the heap (64 bytes are nothing)
and the descriptors in use are no more than before: what is lost is lost each time.

survived      all answers within a second, nothing is kept
slow: N s     the worst answer, of at most 5 s
deaf          no answer in 5 s while the attackers stay
deaf for ever no answer in 5 s after they have gone
keeps N ...   bytes of heap, or descriptors, each time
crashes       the interpreter does
dies          the program ends, with an exception
Linux only.
"""

import argparse
import concurrent.futures
import contextlib
import os
import pathlib
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import hostile  # noqa: E402
import launch  # noqa: E402
import load  # noqa: E402
import web  # noqa: E402
from rich import box  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

SERVERS = {
    "faults_echo": "socketse, lines",
    "faults_http": "socketse, HTTP",
    "faults_asyncio": "asyncio, lines",
    "faults_microdot": "microdot, HTTP",
}
HTTP = ("faults_http", "faults_microdot")
SOON, LATE = 1, 5  # seconds
KEPT = 64  # bytes
ROUNDS = 4
MARKDOWN = launch.ROOT / "build" / "faults.md"
_RESET = struct.pack("ii", 1, 0)


class Victim:
    """A server, and how an honest client talks to it."""

    def __init__(self, name, server):
        self.http = name in HTTP
        self.server = server
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" if self.http else load.LINE
        self.target = hostile.Target("", ("127.0.0.1", server.port), request)

    def ask(self, what=""):
        """Return the answer of a new client: what is "", "heap" or "stop"."""
        with load.connect(self.server.port) as client:
            client.settimeout(LATE)
            if self.http:
                client.sendall(b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % what.encode())
                return web._answer(client)
            return load.exchange(client, what.encode() + b"\n" if what else load.LINE)

    def wait(self):
        """Return how long an honest client waits for its answer, None: there is none in 5 s."""
        begin = time.monotonic()
        again = False
        while time.monotonic() - begin < LATE:
            try:
                if self.ask() == load.LINE:
                    return time.monotonic() - begin
            except (OSError, ValueError, IndexError):
                if again and isinstance(again, TimeoutError):
                    break
            again = True
            self.alive()
            time.sleep(0.05)
        self.alive()
        return None

    def alive(self):
        """Raise Failed if the process has ended."""
        if self.server._process.poll() is not None:
            raise launch.Failed(self.end())

    def end(self):
        """Return how the process has ended."""
        if self.server._process.wait() < 0:
            return "crashes"
        return "dies: %s" % self.server.trouble()

    def kept(self):
        """Return (bytes of heap in use, descriptors) once they no longer change."""
        found = None
        for _ in range(40):
            fds = len(os.listdir("/proc/%d/fd" % self.server.pid))
            last, found = found, (int(self.ask("heap")), fds)
            if found == last:
                break
            time.sleep(0.1)
        return found


# What is done: each yields while an honest client is to come.


def horde(attack, size, rate, hold=60.0, request=None):
    """Return a fault: so many attackers at once."""

    @contextlib.contextmanager
    def fault(victim):
        target = victim.target
        if request:
            target = hostile.Target("", target.address, request)
        with hostile.Horde([target], [attack], size=size, rate=rate, hold=hold) as attackers:
            end = time.monotonic() + LATE
            while attackers.count[""] < size and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(0.3)
            yield

    return fault


@contextlib.contextmanager
def descriptors(victim):
    """40 silent clients, and the server may have 24 descriptors."""
    limit = resource.prlimit(victim.server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(victim.server.pid, resource.RLIMIT_NOFILE, (24, limit[1]))
    try:
        with horde(hostile.silent, 40, 200)(victim):
            yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(victim.server.pid, resource.RLIMIT_NOFILE, limit)


@contextlib.contextmanager
def reset_in_queue(victim):
    """100 clients have come and reset before the server accepts them."""
    os.kill(victim.server.pid, signal.SIGSTOP)
    try:
        for i in range(100):
            with socket.socket() as client, contextlib.suppress(BlockingIOError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                client.bind(hostile.source())
                client.setblocking(False)  # its queue may be short
                client.connect_ex(victim.target.address)
                time.sleep(0.002)
                if i % 2:
                    client.send(victim.target.request)
    finally:
        os.kill(victim.server.pid, signal.SIGCONT)
    yield


@contextlib.contextmanager
def clock(victim):
    """The clock has been set while the server was at work; ticks go on, as on boards."""
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        victim.ask()
        time.sleep(0.2)
    yield


def attacked(name, fault, *arguments):
    """Return what becomes of a server, in a word or two."""
    with launch.Server(name, "i386", launch.HEAP, *arguments) as server:
        victim = Victim(name, server)
        try:
            victim.ask()  # what it loads with the first request is there
            kept = []
            worst = 0
            for _ in range(ROUNDS):
                with fault(victim):
                    for _ in range(3):
                        waited = victim.wait()
                        worst = LATE if waited is None else max(worst, waited)
                        if waited is None:
                            break
                if victim.wait() is None:
                    return "deaf for ever"
                kept.append(victim.kept())
                grown = [kept[-1][i] - max(one[i] for one in kept[:-1] or kept) for i in (0, 1)]
                if len(kept) > 1 and grown[0] <= KEPT and grown[1] <= 0:
                    break
        except launch.Failed as e:
            return str(e)
        except OSError as e:
            victim.alive()
            return "fails: %s" % e
        words = []
        if worst >= LATE:
            words.append("deaf")
        elif worst > SOON:
            words.append("slow: %.1f s" % worst)
        if grown[0] > KEPT:
            words.append("keeps %d bytes" % grown[0])
        if grown[1] > 0:
            words.append("keeps %d descriptors" % grown[1])
        return ", ".join(words) or "survived"


def interrupted(name):
    """Press Ctrl-C three times while clients are there; the program starts anew each time."""
    with launch.Server(name, "i386") as server, contextlib.ExitStack() as stack:
        victim = Victim(name, server)
        worst = 0
        for _ in range(3):
            for _ in range(5):
                client = stack.enter_context(load.connect(server.port))
                client.sendall(victim.target.request[:5])
            victim.ask()
            os.kill(server.pid, signal.SIGINT)
            time.sleep(0.3)
            try:
                waited = victim.wait()
            except launch.Failed as e:
                return str(e)
            if waited is None:
                return "deaf for ever"
            worst = max(worst, waited)
        return "survived" if worst <= SOON else "slow: %.1f s" % worst


def stopped(name):
    """Ask it to shut down while eight clients are at work."""
    with launch.Server(name, "i386") as server:
        victim = Victim(name, server)
        over = threading.Event()

        def work():
            with contextlib.suppress(OSError, ValueError, IndexError):
                while not over.is_set():
                    victim.ask()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        begin = time.monotonic()
        with contextlib.suppress(OSError, ValueError, IndexError):
            victim.ask("stop")
        try:
            status = server._process.wait(LATE)
            if status:
                return victim.end()
            took = time.monotonic() - begin
            return "survived" if took <= SOON else "slow: %.1f s" % took
        except subprocess.TimeoutExpired:
            return "never ends"
        finally:
            over.set()
            for thread in threads:
                thread.join()


_LONG = b"GET /" + b"x" * 900

# By a name for --only: what stands in the table, and what is to be done.
FAULTS = {
    "silent": ("300 silent clients", horde(hostile.silent, 300, 600)),
    "half": ("100 half requests", horde(hostile.half_request, 100, 300)),
    "half-close": ("100 half requests, half closed", horde(hostile.half_close, 100, 300)),
    "slow": ("100 clients, a byte each 0.3 s", horde(hostile.slow, 100, 300)),
    "vanish": (
        "clients that connect and vanish, 300 in a second",
        horde(hostile.vanish, 100, 300),
    ),
    "reset": ("clients that reset, 200 in a second", horde(hostile.reset, 100, 200)),
    "endless": ("4 endless lines", horde(hostile.endless_line, 4, 50)),
    "unread": ("20 clients that read no answer", horde(hostile.never_reads, 20, 100)),
    "random": ("100 clients that send noise", horde(hostile.random_bytes, 100, 300)),
    "tls": ("100 handshakes of TLS that go astray", horde(hostile.tls_garbage, 100, 300)),
    "descriptors": ("no descriptors left", descriptors),
    "memory": (
        "200 half requests, of more memory than there is",
        horde(hostile.half_request, 200, 300, request=_LONG * 2),
    ),
    "queue": ("100 resets before they are accepted", reset_in_queue),
    "clock": ("the clock is set 20 years later", clock),
    "ctrl-c": ("Ctrl-C, and run again, three times", interrupted),
    "shutdown": ("shut down while eight clients are at work", stopped),
}


def measure(name, key):
    """Return what becomes of a server under one fault."""
    fault = FAULTS[key][1]
    try:
        if fault in (interrupted, stopped):
            return fault(name)
        return attacked(name, fault, *(["clock"] if fault is clock else []))
    except launch.Failed as e:
        return str(e)


def markdown(rows):
    """Return the table for the README."""
    lines = ["| | %s |" % " | ".join(SERVERS.values()), "|---" * (1 + len(SERVERS)) + "|"]
    for key, found in rows.items():
        lines.append("| %s | %s |" % (FAULTS[key][0], " | ".join(found)))
    return "\n".join(lines) + "\n"


def main(argv=None):
    """Measure, show and store; return the exit status: 1 if socketse has not survived all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=list(FAULTS), help="may be given more than once"
    )
    options = parser.parse_args(argv)
    if not sys.platform.startswith("linux"):
        parser.exit(2, "It limits other processes' descriptors: on Linux only.\n")
    # `finally` is for exceptions only; a shell's background ignores the second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    launch.prepare()
    console = Console()
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", *SERVERS.values()):
        table.add_column(column)
    rows = {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool, console.status("") as status:
        for key in options.only or FAULTS:
            status.update(FAULTS[key][0])
            rows[key] = list(pool.map(lambda name, key=key: measure(name, key), SERVERS))
            table.add_row(FAULTS[key][0], *rows[key])
            console.log(FAULTS[key][0], *rows[key], sep=" | ")
    console.print(table)
    if not options.only:
        MARKDOWN.write_text(markdown(rows))
        console.print("For the README: %s" % MARKDOWN)
    ours = [word for row in rows.values() for word in row[:2]]
    return 0 if all(word.startswith(("survived", "slow")) for word in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
