"""What an HTTP server costs beside microdot: one small page, in connections that stay and not."""

import contextlib
import select
import statistics
import time

import cpu
import launch
import load

OURS, MICRODOT = "http_socketse", "http_microdot"
BOTH = (OURS, MICRODOT)
STAYING = 8  # connections
REQUESTS = 320  # in a round
CLOSING = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: loc"

_IMPORT = """
import gc
%s
gc.collect()
before = gc.mem_alloc()
%s
gc.collect()
print(gc.mem_alloc() - before)
"""
# What is there anyway, and what is imported: microdot's asyncio is in the firmware.
_IMPORTS = {
    OURS: (
        "import socketse; socketse.Multiplexer; socketse.TCPServer",
        "import socketse.http, socketse.httpdate",
    ),
    "everything": ("", "import socketse; socketse.MultiplexingTCPServer; import socketse.http"),
    MICRODOT: ("import asyncio", "import microdot"),
}
# What is loaded with the first body, the first error, and the first long answer.
_LATER = "httpbody httperror httpsend".split()


def _answer(connection):
    """Return the body of an answer, of a length that its head tells."""
    data = b""
    while True:
        chunk = connection.recv(1024)
        if not chunk:
            raise ConnectionError("a wrong answer, or none: %r" % data)
        data += chunk
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            length = int(head.lower().split(b"content-length:")[1].split()[0])
            if len(body) >= length:
                return body


class _Staying:
    """Connections that send request after request, if the server lets them."""

    def __init__(self, port):
        self._port = port
        self._connections = [load.connect(port) for _ in range(STAYING)]
        for connection in self._connections:
            connection.send(load.GET)
            _answer(connection)
        self.stay = not select.select(self._connections, [], [], 0.2)[0]

    def run(self, requests):
        for _ in range(requests // STAYING):
            for connection in self._connections:
                connection.send(load.GET)
            for connection in self._connections:
                if _answer(connection) != load.LINE:
                    raise ConnectionError("a wrong answer")

    def close(self):
        for connection in self._connections:
            connection.close()


def _cpu(tell):
    found = {"keep-alive": {}, "connection": {}}
    with contextlib.ExitStack() as stack:
        cores = stack.enter_context(cpu.Cores())
        servers, failed = cpu._start(BOTH, stack, cores)

        def visit(name):
            load.visits(servers[name].port, cpu.VISITS, 1, CLOSING)

        costs, more = cpu._rounds(servers, visit, cpu.VISITS, lambda: tell("HTTP connections"))
        found["connection"] = _table(costs, {**failed, **more})
        crowds = {}
        for name in servers:
            crowds[name] = _Staying(servers[name].port)
            stack.callback(crowds[name].close)

        def work(name):
            if crowds[name].stay:
                crowds[name].run(REQUESTS)
            else:  # it knows no connections that stay
                load.visits(servers[name].port, REQUESTS, 1, CLOSING)

        costs, more = cpu._rounds(servers, work, REQUESTS, lambda: tell("HTTP keep-alive"))
        found["keep-alive"] = _table(costs, {**failed, **more})
        found["stay"] = {name: crowds[name].stay for name in crowds}
    return found


def _table(costs, failed):
    found = {name: {"failed": failed[name]} for name in failed}
    for name in costs:
        found[name] = {"us": statistics.median(costs[name]) / 1000}
    if not failed:
        ratios = [a / b for a, b in zip(costs[OURS], costs[MICRODOT])]
        found[OURS]["to_microdot"] = statistics.median(ratios)
    return found


def _used(port):
    """Return the server's bytes of heap, as it has told three times: garbage can look alive."""
    seen = []
    for _ in range(100):
        with load.connect(port) as connection:
            connection.send(load.GET.replace(b"/ ", b"/heap ", 1))
            used = int(_answer(connection))
        if seen.count(used) == 2:
            return used
        seen.append(used)
        time.sleep(0.05)
    raise TimeoutError("the heap in use changes and changes: %s" % seen[-12:])


def _per_connection(name, data):
    few, many = 5, 25  # microdot's heap is full sooner
    with launch.Server(name, "i386") as server:
        try:
            with contextlib.ExitStack() as stack:
                used = []
                for count in (few, many - few):
                    for _ in range(count):
                        client = stack.enter_context(load.connect(server.port))
                        client.send(data)
                        if data == load.GET:
                            _answer(client)
                    used.append(_used(server.port))
        except OSError as e:
            raise server.failed(e)
    return (used[1] - used[0]) / (many - few)


def _import(name, ready, statement):
    command, options = launch.command(name, ["-c", _IMPORT % (ready, statement)])
    return int(launch.subprocess.check_output(command, **options))


def web(tell, check=False):
    """Measure CPU per request, heap per connection, and the heap that imports keep."""
    found = _cpu(tell)
    for key, data in (("idle", b""), ("half", HALF), ("kept", load.GET)):
        tell("HTTP connections that wait")
        found[key] = {}
        for name in BOTH:
            if key == "kept" and not found["stay"].get(name):
                continue
            found[key][name] = _per_connection(name, data)
    kept = found["import"] = {name: _import("i386", *_IMPORTS[name]) for name in _IMPORTS}
    kept["to_microdot"] = kept[OURS] / kept[MICRODOT]
    ready, statement = _IMPORTS[OURS]
    statement += "".join([", socketse." + room for room in _LATER])
    found["whole"] = {OURS: _import("i386", ready, statement), MICRODOT: kept[MICRODOT]}
    return found
