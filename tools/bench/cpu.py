"""What a request and a connection cost the server in CPU time, and how many fit into a second."""

import contextlib
import os
import statistics

import launch
import load

POLL = "poll_loop"
ASYNCIO = "asyncio_streams"
OURS = "multiplexing"
REMOTE = "remote"

REQUESTS = 2048  # in a round
VISITS = 320
CALLS = 1024
ROUNDS = 21
# Connections, and the heap for them: 64 kB do not hold a hundred with any server but the loop.
RATES = ((1, launch.HEAP), (8, launch.HEAP), (32, launch.HEAP), (100, "128k"))
RATE_SECONDS = 0.3

CYCLE = (POLL, OURS, "threads", ASYNCIO, "cpython_threads")
VISITED = (POLL, OURS, "plain", "threads", ASYNCIO, "cpython_threads", "http_microdot")
TOGETHER = (POLL, OURS, "threads", ASYNCIO, "cpython_threads")
CHECKED = (POLL, OURS, ASYNCIO)


def runs_on(program):
    """Return the name of the interpreter for a server."""
    return "cpython" if program.startswith("cpython") else "i386"


class Cores:
    """While it lasts, this process is bound to one core, and the servers that it is shown too.

    apart  False: to the same one. There a server runs when the clients have sent all they have
           and wait: each round gives each server the same number of requests at once, and no
           server's time holds what it takes to wake another core. Ratios scatter by two percent
           then, on two cores by ten and more. True: to another one, if there is one.
    """

    def __init__(self, apart=False):
        self._apart = apart

    def __enter__(self):
        self._all = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(self._all)})
        return self

    def __exit__(self, *exc_info):
        os.sched_setaffinity(0, self._all)

    def keep(self, server):
        """Give a server its core."""
        if self._apart:
            os.sched_setaffinity(server.pid, {min(self._all)})
        else:  # it has inherited ours
            os.sched_setscheduler(server.pid, os.SCHED_BATCH, os.sched_param(0))


def _rounds(servers, work, count, tell):
    """Have each server do work(name) in turn, again and again.

    Returns {name: [nanoseconds for one of the `count` that make a round]}, and {name: why} of
    those that failed.
    """
    costs = {name: [] for name in servers}
    failed = {}
    for i in range(ROUNDS + 1):
        tell()
        for name in list(costs)[:: 1 if i % 2 else -1]:
            before = servers[name].cpu()
            try:
                work(name)
            except OSError as e:
                failed[name] = str(servers[name].failed(e))
                del costs[name]
                continue
            if i:  # the first warms up
                costs[name].append((servers[name].cpu() - before) / count)
    return costs, failed


def _table(names, costs, failed, **compared):
    """Return {name: {"us": microseconds, "to_poll": ratio, "to_asyncio": ratio}}.

    compared  the ratios' keys with the server to which they are, other than these two
    """
    found = {}
    for name in names:
        if name in failed:
            found[name] = {"failed": failed[name]}
            continue
        each = costs[name]
        found[name] = {"us": statistics.median(each) / 1000}
        for key, other in (compared or {"to_poll": POLL, "to_asyncio": ASYNCIO}).items():
            if other in costs:
                ratios = [a / b for a, b in zip(each, costs[other])]
                found[name][key] = statistics.median(ratios)
    return found


def _start(names, stack, cores):
    """Return the servers that come up, and {name: why} of those that do not."""
    servers, failed = {}, {}
    for name in names:
        try:
            servers[name] = stack.enter_context(launch.Server(name, runs_on(name)))
            cores.keep(servers[name])
        except launch.Failed as e:
            failed[name] = str(e)
    return servers, failed


def requests(tell, check=False):
    """Measure the server's CPU per request on 32 connections that stay."""
    names = CHECKED if check else CYCLE
    with contextlib.ExitStack() as stack:
        cores = stack.enter_context(Cores())
        servers, failed = _start(names, stack, cores)
        crowds = {}
        for name in list(servers):
            try:
                crowds[name] = stack.enter_context(load.Crowd(servers[name].port, 32))
            except OSError as e:
                failed[name] = str(servers.pop(name).failed(e))
        costs, more = _rounds(
            servers, lambda name: crowds[name].run(REQUESTS), REQUESTS, lambda: tell("requests")
        )
    return _table(names, costs, {**failed, **more})


def calls(tell, check=False):
    """Measure the server's CPU per call of a remote method, and per echo of as many bytes."""
    echo = b"x" * (len(load.CALL) - 1) + b"\n"
    with contextlib.ExitStack() as stack:
        cores = stack.enter_context(Cores())
        servers, failed = _start((OURS, REMOTE), stack, cores)
        crowds = {}
        for name in list(servers):
            says = (load.CALL, load.CALLED, load.NEW) if name == REMOTE else (echo,)
            try:
                crowds[name] = stack.enter_context(load.Crowd(servers[name].port, 8, *says))
            except OSError as e:
                failed[name] = str(servers.pop(name).failed(e))
        costs, more = _rounds(
            servers, lambda name: crowds[name].run(CALLS), CALLS, lambda: tell("calls")
        )
    return _table((OURS, REMOTE), costs, {**failed, **more}, to_echo=OURS)


def _visits(tell, names, at_once):
    with contextlib.ExitStack() as stack:
        cores = stack.enter_context(Cores())
        servers, failed = _start(names, stack, cores)

        def work(name):
            request = load.GET if name == "http_microdot" else load.LINE
            load.visits(servers[name].port, VISITS, at_once, request)

        costs, more = _rounds(servers, work, VISITS, lambda: tell("connections"))
    return _table(names, costs, {**failed, **more})


def connections(tell, check=False):
    """Measure the server's CPU per connection that sends one line, gets it back and closes."""
    return _visits(tell, CHECKED if check else VISITED, 1)


def together(tell, check=False):
    """Measure the same with eight connections at a time."""
    return _visits(tell, CHECKED if check else TOGETHER, 8)


def rates(tell, check=False):
    """Measure the requests per second that one client process gets answered."""
    found = {}
    for name in CYCLE:
        found[name] = {}
        for size, heap in RATES:
            tell("requests per second")
            try:
                found[name][str(size)] = _rate(name, size, heap)
            except launch.Failed as e:
                found[name][str(size)] = None
                found[name]["failed"] = "%d connections: %s" % (size, e)
    return found


def _rate(name, size, heap):
    # A server for each: its heap is not parted by what came before.
    with Cores(apart=True) as cores, launch.Server(name, runs_on(name), heap) as server:
        cores.keep(server)
        try:
            with load.Crowd(server.port, size) as crowd:
                return round(statistics.median(crowd.race(RATE_SECONDS) for _ in range(3)))
        except OSError as e:
            raise server.failed(e)
