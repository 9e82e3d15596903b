"""The results as tables on a terminal."""

import targets
from rich import box
from rich.table import Table

NAMES = {
    "poll_loop": "bare poll loop",
    "multiplexing": "socketse, async handler",
    "remote": "socketse, RemoteServer",
    "plain": "socketse, TCPServer",
    "threads": "socketse, ThreadingTCPServer",
    "asyncio_streams": "asyncio",
    "asyncio_wait_for": "asyncio with wait_for",
    "cpython_threads": "CPython, ThreadingTCPServer",
    "http_microdot": "microdot, an HTTP request",
    "http_socketse": "socketse, an HTTP request",
    "small_plain": "TCPServer",
    "small_multiplexing": "MultiplexingTCPServer",
}


def number(figure, form=",.6g"):
    """Return a figure as people read it."""
    return "-" if figure is None else format(figure, form)


def _table(title, *columns):
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column is columns[0] else "right")
    return table


def _rows(table, rows, **forms):
    """Add a row of figures for each server; why some are missing is told below."""
    whys = []
    for name, row in rows.items():
        figures = [number(row.get(key), form) for key, form in forms.items()]
        table.add_row(NAMES[name], *figures)
        if "failed" in row:
            whys.append("%s: %s" % (NAMES[name], row["failed"]))
    table.caption = "\n".join(whys) or None
    table.caption_justify = "left"
    return table


def tables(results):
    """Yield a table for each part of the results."""
    for key, title in (
        ("requests", "Server CPU per request, on 32 connections that stay"),
        ("connections", "Server CPU per connection with one request"),
        ("together", "Server CPU per connection with one request, eight at a time"),
    ):
        if key in results:
            table = _table(title, "server", "µs", "x poll loop", "x asyncio")
            yield _rows(table, results[key], us=".1f", to_poll=".2f", to_asyncio=".2f")
    if "calls" in results:
        table = _table("Server CPU per remote call, on 8 connections", "server", "µs", "x echo")
        yield _rows(table, results["calls"], us=".1f", to_echo=".2f")
    if "rates" in results:
        sizes = {"1": ",", "8": ",", "32": ",", "100": ","}
        table = _table("Requests per second, by connections", "server", *sizes)
        yield _rows(table, results["rates"], **sizes)
    for interpreter, rows in results.get("idle", {}).items():
        title = "Bytes of heap per connection that waits for a line, %s" % interpreter
        table = _table(title, "server", "the first", "another")
        yield _rows(table, rows, silent=".0f", spoken=".0f")
    if "garbage" in results:
        table = _table("Bytes of garbage", "server", "per request", "per idle round")
        yield _rows(table, results["garbage"], request=".0f", round=".6g")
    if "growth" in results:
        table = _table("Growth of the heap over 10,000 connections", "server", "bytes")
        yield _rows(table, results["growth"], bytes=",")
    if "smallest" in results:
        table = _table("Smallest heap that serves four clients", "server", "kB")
        yield _rows(table, results["smallest"], kB=",")
    if "imports" in results:
        title = "Bytes of heap that the import of a server and its handler keeps"
        table = _table(title, "server", "i386", "armhf")
        for what, row in results["imports"].items():
            table.add_row(what, number(row["i386"]), number(row["armhf"]))
        yield table
    if "rooms" in results:
        table = _table("Rooms", "file", "bytes of .mpy")
        for name, size in results["rooms"].items():
            table.add_row(name, number(size))
        table.add_section()
        table.add_row("all", number(sum(results["rooms"].values())))
        yield table
    if "flood" in results:
        title = "300 silent clients in a heap of %d kB" % targets.SMALLEST["small_multiplexing"]
        table = _table(title, "server", "an honest one waits, s", "bytes kept")
        yield _rows(table, results["flood"], seconds=".3f", kept=",")
    if "web" in results:
        yield _web(results["web"])


def _web(results):
    table = _table("HTTP, beside microdot", "", "socketse", "microdot")
    for key, what, form in (
        ("keep-alive", "CPU per request, connections that stay, µs", ".1f"),
        ("connection", "CPU per request in a connection of its own, µs", ".1f"),
        ("idle", "heap per idle connection, bytes", ".0f"),
        ("kept", "the same after a request", ".0f"),
        ("half", "heap per connection with half a request, bytes", ".0f"),
        ("import", "heap that the import adds, bytes", ",.6g"),
        ("whole", "the same with bodies, errors, long answers", ",.6g"),
    ):
        row = []
        for name in ("http_socketse", "http_microdot"):
            figure = results[key].get(name)
            row.append(number(figure.get("us") if isinstance(figure, dict) else figure, form))
        table.add_row(what, *row)
    return table


def verdict(results):
    """Return the table of targets, and the names of those that were missed."""
    table = _table("Targets", "what", "at most", "measured", "", "")
    missed = []
    for what, limit, measured, unit, kept in targets.judge(results):
        form = ".2f" if unit == "x" else ",.4g" if unit == "s" else ",.6g"
        figures = number(limit, form), number(measured, form)
        table.add_row(what, *figures, unit, "ok" if kept else "[red]MISSED[/]")
        if not kept:
            missed.append(what)
    return table, missed
