"""Measure what servers on MicroPython cost in time and memory, socketse's beside others.

    python tools/bench                all of it, in about one minute: tables, build/bench.json,
                                      and the chart for the README
    python tools/bench --check        only what has a target; exit status 1 if one is missed
    python tools/bench --only cpu     only some parts, {parts};
                                      or of them a group, {groups}

It wants Linux, and a machine that has little else to do. The servers are the small programs in
servers/, most of which echo lines; all listen on the loopback net. The library is compiled to
.mpy, the heap of each MicroPython is 64 kB unless said otherwise, and the interpreter is the
32-bit one, whose words and heap blocks are those of ESP32 and RP2040. ARM code runs under
emulation, where memory can be measured and time cannot.

requests, connections, together
    CPU time that the server's process uses, the system's part included: for a line of 32 bytes
    and its echo, on 32 connections that stay; for a connection with one such line; and for the
    latter with eight of them at a time. All servers run side by side and take turns, some
    hundreds or thousands of requests each; a ratio is taken within each round, and the median
    counts. Clients and servers share one core, on which a server runs when the clients have sent
    all they have: so no server gains by being slow and finding more to do at once, and what it
    takes to wake another core, which varies by more than what is compared, is in no figure. Over
    two cores the ratios are nearer to 1. An HTTP request to microdot is there for scale.
calls
    The same for a call of a small method of a remote object, on 8 connections, beside lines of as
    many bytes that are echoed.
rates
    Requests per second by the clock, each connection's next one as soon as the last is answered.
    The clients are one process of CPython on another core, which is what limits the faster
    servers. For 100 connections MicroPython's heap is 128 kB.
idle
    Heap that a connection takes while it waits for its first line, and for another one: what
    is added from the 10th such connection to the 50th (with wait_for, the 5th to the 25th), in
    equal shares. Each comes from an address of its own: one that many share, or that MicroPython
    knows, as it does 127.0.0.1, would hide what addresses take.
garbage
    By how much the heap in use grows without a collector, per request and per round of a hub in
    which nothing is ready.
growth
    By how much more of the heap is in use after 10,000 connections than after the first 200.
smallest
    From how many kB on every heap is large enough to import the library, start the server and
    serve four clients that are connected at the same time.
imports, rooms
    The heap that imports keep, and the size of the files that a board loads.
flood
    How long a new client waits for its echo while 300 are connected that say nothing, at worst
    of 20, in the heap that the target allows the server; and what the 300 leave in the heap.
web
    A small page from socketse's HTTP server and from microdot: CPU time per request on
    connections that stay, which microdot does not know: it gets a new one for each, and with one
    connection for each; heap per connection that waits, with nothing and with half a request in;
    and what imports keep, of socketse on top of a Multiplexer, of microdot on top of asyncio.
"""

import argparse
import json
import pathlib
import platform
import signal
import sys

import chart
import cpu
import heap
import launch
import report
import web
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

# What measures a part, and about how many seconds that takes.
PARTS = {
    "requests": (cpu.requests, 4),
    "connections": (cpu.connections, 7),
    "calls": (cpu.calls, 2),
    "together": (cpu.together, 6),
    "rates": (cpu.rates, 15),
    "idle": (heap.idle, 4),
    "garbage": (heap.garbage, 1),
    "growth": (heap.growth, 5),
    "smallest": (heap.smallest, 5),
    "imports": (heap.imports, 1),
    "rooms": (heap.rooms, 1),
    "flood": (heap.flood, 5),
    "web": (web.web, 9),
}
GROUPS = {
    "cpu": ("requests", "connections"),
    "memory": ("idle", "garbage"),
}
WITHOUT_TARGET = ("together", "rates", "rooms")
CHART = pathlib.Path(__file__).resolve().parent / "chart.svg"


def measure(names, check, console):
    """Return {part: results}, with a progress bar meanwhile."""
    results = {}
    bar = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*bar, console=console, transient=True) as progress:
        task = progress.add_task("", total=sum(PARTS[name][1] for name in names))
        done = 0
        for name in names:
            work, seconds = PARTS[name]
            results[name] = work(lambda what: progress.update(task, description=what), check)
            done += seconds
            progress.update(task, completed=done)
    return results


def main(argv):
    """Measure, show and store; return the exit status."""
    about = __doc__.format(parts=", ".join(PARTS), groups=", ".join(GROUPS))
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="judge what has a target")
    parser.add_argument(
        "--only", action="append", choices=[*PARTS, *GROUPS], help="may be given more than once"
    )
    arguments = parser.parse_args(argv)
    if not sys.platform.startswith("linux"):
        parser.exit(2, "It reads other processes' CPU time, and knows how to on Linux only.\n")
    # `finally` is for exceptions only; a shell's background ignores the second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    names = []
    for name in arguments.only or PARTS:
        names += GROUPS.get(name, [name])
    if arguments.check:
        names = [name for name in names if name not in WITHOUT_TARGET]

    console = Console(highlight=False)
    try:
        launch.prepare()
        results = measure(names, arguments.check, console)
    except launch.interpreters.Unavailable as e:
        parser.exit(2, "%s\n" % e)
    results["about"] = {
        "micropython": launch.interpreter("i386").version,
        "cpython": platform.python_version(),
    }
    build = launch.ROOT / "build"
    (build / "bench.json").write_text(json.dumps(results, indent=2) + "\n")
    if not arguments.check:
        for table in report.tables(results):
            console.print(table)
    table, missed = report.verdict(results)
    console.print(table)
    if not arguments.check and not arguments.only:
        CHART.write_text(chart.draw(results))
    if arguments.check and missed:
        console.print("missed: " + "; ".join(missed))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
