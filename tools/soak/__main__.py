"""Soak all services in honest and hostile clients at once: python tools/soak [--minutes 10]

Two processes of the 32-bit MicroPython serve: a virtual ESP32 with its 56 kB of heap, flashed as
it is, and a second one with 256 kB that has HTTP, XML-RPC, remote objects, passwords, TLS and the
other small services. Each service has an honest client, and hostile ones that are silent, vanish,
reset, send half requests, one byte now and then, endless lines or noise, never read, begin
handshakes of TLS, or send datagrams of all sizes. What counts as an error is told in honest.py.

The table shows, for each service: honest answers, errors, newcomers that were turned away and
came again, silent ones that were evicted, the median and the worst answer in ms, and how many
hostile clients there were. Ten times all clients leave, and the heap in use, after a collection,
and the descriptors are read.

The verdict, and exit status 0: no errors, both processes the same as at the beginning, at the end
as many descriptors as after 20 % of the time, and, unless it was shorter than a minute, at most 64
bytes of heap more. What was measured is in build/soak: soak.json, and soak.svg, a chart. Linux
only.
"""

import argparse
import contextlib
import json
import pathlib
import signal
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import chart  # noqa: E402
import honest  # noqa: E402
import hostile  # noqa: E402
import interpreters  # noqa: E402
import places  # noqa: E402
from rich import box  # noqa: E402
from rich.console import Console, Group  # noqa: E402
from rich.live import Live  # noqa: E402
from rich.table import Table  # noqa: E402
from rich.text import Text  # noqa: E402

PLACES = (places.Board, places.Site)
MOST = 64  # bytes by which the heap may have grown
CALMS = 10
# More of them, if the heap has grown: what clients have left can look alive; a loss adds up.
AGAIN = 3
FIRST = 0.2  # of the time: then all is there that stays
SETTLED = 50  # seconds; until then a heap may still grow to what it needs
SHORT = 30  # seconds; a shorter soak has fewer calms
SIZES = {"ESP32": (16, 12.0), "site": (60, 30.0)}  # hostile clients at once, new ones in a second
BARS = "▁▂▃▄▅▆▇█"


class Soak:
    """One place, its clients, and what was measured there."""

    def __init__(self, place, seed):
        self.place = place
        self.clients = honest.clients(place, seed)
        size, rate = SIZES[place.name]
        self.horde = hostile.Horde(honest.targets(place), size=size, rate=rate, seed=seed)
        self.calms = []  # (seconds, bytes of heap in use, bytes free, descriptors)
        self.trouble = None

    def work(self):
        """Let the clients come."""
        for client in self.clients:
            client.at_work.set()
        self.horde.resume()

    def leave(self):
        """Have all clients leave."""
        self.horde.pause()
        for client in self.clients:
            client.pause()

    def measure(self, seconds):
        """Note the heap and the descriptors: there are no clients now."""
        try:
            self.calms.append((seconds, *self.place.calm()))
        except (OSError, ValueError, places.http.client.HTTPException) as e:
            self.trouble = "%s: not calm after %d s: %r" % (self.place.name, seconds, e)
        self.trouble = self.place.trouble() or self.trouble

    def first(self):
        """Return the calm that the last one is compared with."""
        after = FIRST * self.calms[-1][0] - 1
        return next(calm for calm in self.calms if calm[0] >= after)

    def lost(self, length):
        """Return how many bytes of heap are lost after a soak of so many seconds."""
        if length < SETTLED or len(self.calms) < 2:
            return 0
        return max(0, self.calms[-1][1] - self.first()[1] - MOST)

    def verdict(self, length):
        """Yield what is wrong after a soak of so many seconds, as texts."""
        for client in self.clients:
            for error in client.row.errors[:3]:
                yield "%s, %s: %s" % (self.place.name, client.service, error)
            if not client.row.times:
                yield "%s, %s: nobody was served" % (self.place.name, client.service)
        if self.trouble:
            yield self.trouble
        if len(self.calms) < 2:
            yield "%s: it was never calm" % self.place.name
            return
        first, last = self.first(), self.calms[-1]
        if self.lost(length):
            yield "%s: %d bytes of heap are lost" % (self.place.name, last[1] - first[1])
        if last[3] != first[3]:
            yield "%s: %d descriptors, then %d" % (self.place.name, first[3], last[3])

    def rows(self):
        """Yield the table's rows: figures."""
        for client in self.clients:
            row = client.row
            times = [1000 * t for t in row.times] or [0]
            yield {
                "service": client.service,
                "answers": len(row.times),
                "errors": len(row.errors),
                "turned away": row.turned_away,
                "evicted": row.evicted,
                "median": round(statistics.median(times), 1),
                "worst": round(max(times), 1),
                "hostile": self.horde.count[client.service],
            }


COLUMNS = ("answers", "errors", "turned away", "evicted", "median", "worst", "hostile")


def _bars(values):
    low, high = min(values), max(values)
    step = (high - low) / (len(BARS) - 1) or 1
    return "".join(BARS[round((value - low) / step)] for value in values)


def show(soaks, seconds, minutes):
    """Return the live table."""
    table = Table(box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.title = "%d of %d s" % (seconds, 60 * minutes)
    table.add_column("service", no_wrap=True)
    for column in COLUMNS:
        table.add_column(
            column + (", ms" if column in ("median", "worst") else ""), justify="right"
        )
    lines = []
    for soak in soaks:
        table.add_section()
        table.add_row("[bold]%s" % soak.place.name)
        for row in soak.rows():
            bad = "red" if row["errors"] else None
            figures = [format(row[column], ",") for column in COLUMNS]
            table.add_row(row["service"], *figures, style=bad)
        for what, at in (("bytes of heap in use", 1), ("descriptors", 3)):
            values = [calm[at] for calm in soak.calms]
            if values:
                line = "%-6s %-20s %s  %s to %s" % (
                    soak.place.name,
                    what,
                    _bars(values),
                    format(values[0], ","),
                    format(values[-1], ","),
                )
                lines.append(Text(line))
    return Group(table, *lines)


def run(soaks, minutes, console):
    """Soak; Ctrl-C ends it early."""
    length = 60 * minutes
    calms = CALMS if length >= SHORT else 5
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        for soak in soaks:
            stack.enter_context(soak.horde)
            for client in soak.clients:
                client.start()
                stack.callback(client.join)
                stack.callback(client.over.set)
            soak.work()
        live = stack.enter_context(Live(console=console, refresh_per_second=1))
        for n in range(1, calms + AGAIN + 1):
            if n > calms and not any(soak.lost(length) for soak in soaks):
                return
            end = begin + length * n / calms
            while time.monotonic() < end:
                time.sleep(min(1, max(0, end - time.monotonic())))
                live.update(show(soaks, time.monotonic() - begin, minutes))
            for soak in soaks:
                soak.leave()
            for soak in soaks:
                soak.measure(round(time.monotonic() - begin, 1))
            live.update(show(soaks, time.monotonic() - begin, minutes))
            if any(soak.trouble for soak in soaks):
                return
            if n < calms or n < calms + AGAIN and any(soak.lost(length) for soak in soaks):
                for soak in soaks:
                    soak.work()


def store(soaks, problems):
    """Write soak.json and soak.svg."""
    places.BUILD.mkdir(parents=True, exist_ok=True)
    found = {
        soak.place.name: {
            "services": list(soak.rows()),
            "counters": soak.place.counters,
            "calm": [dict(zip(("seconds", "used", "free", "fds"), calm)) for calm in soak.calms],
        }
        for soak in soaks
    }
    found["problems"] = problems
    (places.BUILD / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    panels = []
    for soak in soaks:
        for what, at in (("bytes of heap in use", 1), ("descriptors", 3)):
            points = [(calm[0], calm[at]) for calm in soak.calms]
            panels.append(("%s: %s, when all clients are gone" % (soak.place.name, what), points))
    (places.BUILD / "soak.svg").write_text(chart.draw(panels))


def main(argv=None):
    """Soak and judge; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random")
    options = parser.parse_args(argv)
    if not sys.platform.startswith("linux"):
        parser.exit(2, "It reads other processes' descriptors in /proc: on Linux only.\n")
    # `finally` is for exceptions only; a shell's background ignores the second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    console = Console()
    try:
        with contextlib.ExitStack() as stack:
            found = [place(stack) for place in PLACES]
            soaks = [Soak(place, options.seed + 100 * i) for i, place in enumerate(found)]
            run(soaks, options.minutes, console)
            problems = [
                problem for soak in soaks for problem in soak.verdict(60 * options.minutes)
            ]
    except interpreters.Unavailable as e:
        print(e, file=sys.stderr)
        return 2
    store(soaks, problems)
    answers = sum(row["answers"] for soak in soaks for row in soak.rows())
    enemies = sum(row["hostile"] for soak in soaks for row in soak.rows())
    console.print("%d honest answers among %d hostile clients" % (answers, enemies))
    for soak in soaks:
        if len(soak.calms) > 1:
            first, last = soak.first(), soak.calms[-1]
            console.print(
                "%s: heap in use %d bytes after %d s, %d after %d s; descriptors %d, %d"
                % (soak.place.name, first[1], first[0], last[1], last[0], first[3], last[3])
            )
        counters = ["%s %s" % (count, name) for name, count in soak.place.counters.items()]
        console.print("%s: %s" % (soak.place.name, ", ".join(counters)))
    for problem in problems:
        console.print(problem, style="red", markup=False, soft_wrap=True)
    console.print("FAILED" if problems else "survived", style="bold")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
