"""What servers cost in heap: per idle connection, per request, in the long run, to start with."""

import contextlib
import subprocess
import time

import launch
import load
import memory
import targets

OURS = "multiplexing"
SMALL_SERVER, SMALL_HUB = "small_plain", "small_multiplexing"
IDLE = ("poll_loop", OURS, "asyncio_streams", "asyncio_wait_for")
GARBAGE = ("poll_loop", OURS, "threads", "asyncio_streams", "asyncio_wait_for")
SMALL = ("i386", "armhf")  # words and heap blocks as on boards

FEW, MANY = 10, 50  # connections; between the two, growing tables cost what they do on average
REQUESTS = 100
FEWER = {"asyncio_wait_for": (5, 25, 20)}  # of all three: its heap is full sooner
FIRST, VISITS = 200, 10000  # connections after which the heap is looked at
PATIENCE = 3  # seconds: in too small a heap a server may be alive and deaf
ABOVE = 6  # kB that are tried beyond the last that was too little
IMPORTS = {
    "TCPServer": ("TCPServer", "StreamRequestHandler"),
    "UDPServer": ("UDPServer", "DatagramRequestHandler"),
    "ThreadingTCPServer": ("ThreadingTCPServer", "StreamRequestHandler"),
    "MultiplexingTCPServer": ("MultiplexingTCPServer", "AsyncStreamRequestHandler"),
    "services on a Multiplexer": ("Multiplexer", "TCPServer", "UDPServer", "services"),
}

# Rounds of a hub with four connections that are idle, and its listener.
_ROUNDS = """
import gc, socket
from socketse import AsyncStreamRequestHandler, Multiplexer, TCPServer

class Echo(AsyncStreamRequestHandler):
    async def handle(self):
        await self.rfile.readline()

address = ("127.0.0.1", %d)
hub = Multiplexer()
hub.add(TCPServer(address, Echo))
clients = []
for _ in range(4):
    clients.append(socket.socket())
    clients[-1].connect(socket.getaddrinfo(*address)[0][-1])
    for _ in range(4):
        hub.poll(0.01)

def used(rounds):
    before = gc.mem_alloc()
    for _ in range(rounds):
        hub.poll(0)
    return gc.mem_alloc() - before

gc.collect()
gc.disable()
print((used(1000) - used(0)) / 1000)
"""


def settled(connection):
    """Return the server's bytes of heap once they no longer change: all there is to do is done."""
    last, used = None, load.heap(connection)
    for _ in range(100):
        if used == last:
            return used
        time.sleep(0.05)
        last, used = used, load.heap(connection)
    raise TimeoutError("the heap in use changes and changes")


def _per_connection(program, interpreter, speak):
    few, many, _ = FEWER.get(program, (FEW, MANY, REQUESTS))
    with launch.Server(program, interpreter) as server:
        try:
            with contextlib.ExitStack() as stack:
                control = stack.enter_context(load.connect(server.port))
                used = []
                for count in (few, many - few):
                    for _ in range(count):
                        client = stack.enter_context(load.connect(server.port))
                        if speak:
                            load.exchange(client)
                    used.append(settled(control))
        except OSError as e:
            raise server.failed(e)
    return (used[1] - used[0]) / (many - few)


def idle(tell, check=False):
    """Measure the heap per connection that waits for a line: the first, and another one."""
    found = {}
    for interpreter in SMALL:
        found[interpreter] = {}
        for name in (OURS,) if check else IDLE:
            tell("idle connections, %s" % interpreter)
            try:
                found[interpreter][name] = {
                    "silent": _per_connection(name, interpreter, False),
                    "spoken": _per_connection(name, interpreter, True),
                }
            except launch.Failed as e:
                found[interpreter][name] = {"failed": str(e)}
    return found


def _per_request(program):
    requests = FEWER.get(program, (FEW, MANY, REQUESTS))[2]
    with launch.Server(program, "i386", launch.HEAP, "nogc") as server:
        try:
            with load.connect(server.port) as client:
                load.exchange(client)
                load.heap(client)
                first, second = load.heap(client), load.heap(client)
                for _ in range(requests):
                    load.exchange(client)
                # Asking made garbage too.
                return (load.heap(client) - second - (second - first)) / requests
        except OSError as e:
            raise server.failed(e)


def _per_round():
    command, options = launch.command("i386", ["-c", _ROUNDS % launch.free_port()])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    except subprocess.TimeoutExpired:
        raise launch.Failed("no end")
    if done.returncode:
        raise launch.Failed(done.stderr.strip().split("\n")[-1])
    return float(done.stdout)


def garbage(tell, check=False):
    """Measure the garbage that a request leaves, and a round of the loop in which nothing is."""
    found = {}
    for name in (OURS,) if check else GARBAGE:
        tell("garbage")
        found[name] = {}
        try:
            found[name]["request"] = _per_request(name)
            if name == OURS:
                found[name]["round"] = _per_round()
        except launch.Failed as e:
            found[name]["failed"] = str(e)
    return found


def _growth(program, heap="32k"):
    with launch.Server(program, "i386", heap) as server:
        try:
            used = []
            for count in (FIRST, VISITS - FIRST):
                load.visits(server.port, count)
                with load.connect(server.port) as control:
                    used.append(load.heap(control))
        except OSError as e:
            raise server.failed(e)
    return used[1] - used[0]


def growth(tell, check=False):
    """Measure by how much the heap in use grows with 10,000 connections after the first 200."""
    found = {}
    for name in ("plain", OURS):
        tell("10,000 connections")
        try:
            found[name] = {"bytes": _growth(name)}
        except launch.Failed as e:
            found[name] = {"failed": str(e)}
    return found


def _serves_four(program, kilobytes):
    """Return whether a heap is enough for four clients that are connected at once."""
    try:
        with launch.Server(program, "i386", "%dk" % kilobytes) as server:
            for _ in range(3):
                with contextlib.ExitStack() as stack:
                    clients = [stack.enter_context(load.connect(server.port)) for _ in range(4)]
                    for client in clients:
                        client.settimeout(PATIENCE)
                    if program == SMALL_SERVER:  # the next one's turn is when this one has gone
                        for client in clients:
                            with client:
                                _lines(client)
                    else:
                        for _ in range(3):
                            for client in clients:
                                _lines(client)
            return True
    except (OSError, launch.Failed):
        return False


def _lines(client):
    for i in range(10):
        line = b"line %d\n" % i
        if load.exchange(client, line) != line:
            raise ConnectionError("a wrong answer")


def smallest(tell, check=False):
    """Measure from how many kB on every heap is large enough to start and to serve four clients.

    A smaller one may do by chance, as the pieces of the heap happen to lie.
    """
    found = {}
    for name in (SMALL_SERVER, SMALL_HUB):
        failed = size = 8
        while size < failed + ABOVE:
            size += 1
            tell("smallest heap")
            if not _serves_four(name, size):
                failed = size
        found[name] = {"kB": failed + 1}
    return found


def imports(tell, check=False):
    """Measure what imports cost in heap."""
    found = {}
    for label in ["TCPServer"] if check else IMPORTS:
        tell("imports")
        found[label] = {}
        for name in SMALL:
            found[label][name] = memory.import_cost(
                launch.interpreter(name), launch.COMPILED, *IMPORTS[label]
            )
    return found


def rooms(tell, check=False):
    """Measure the .mpy files that a board gets."""
    names = ["__init__", *memory.rooms()]
    return {
        name: (launch.COMPILED / "socketse" / (name + ".mpy")).stat().st_size for name in names
    }


def _flood(program, heap):
    with launch.Server(program, "i386", heap) as server, contextlib.ExitStack() as stack:

        def used():
            with load.connect(server.port) as control:
                return settled(control)

        try:
            silent = []
            slowest = 0.0
            used_before = None
            for count in (50, 300):  # the first make its tables as large as they get
                for _ in range(count):
                    silent.append(stack.enter_context(load.connect(server.port)))
                for _ in range(20):
                    started = time.monotonic()
                    with load.connect(server.port) as honest:
                        load.exchange(honest)
                    slowest = max(slowest, time.monotonic() - started)
                while silent:
                    silent.pop().close()
                if used_before is None:
                    used_before = used()
            return {"seconds": slowest, "kept": used() - used_before}
        except OSError as e:
            raise server.failed(e)


def flood(tell, check=False):
    """Measure how long an honest client waits among 300 silent ones, and what heap these keep."""
    found = {}
    least = targets.SMALLEST[SMALL_HUB]
    for kilobytes in (least,) if check else (least, least + 2):
        tell("300 silent clients, %d kB" % kilobytes)
        try:
            found[SMALL_HUB] = _flood(SMALL_HUB, "%dk" % kilobytes)
            break
        except launch.Failed as e:
            found[SMALL_HUB] = {"failed": str(e)}
    return found
