"""The table of connections: who is in it, for how long, and who has to leave.

The half of the engine of multiplexing that does not drive the handlers; hub.py does.
"""

from errno import ETIMEDOUT

from . import port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ_SIZE = const(256)  # as in stream.py
_READ = const(1)
_SLEEP = const(2)
_TURN = const(0)
# A client that has sent or taken a byte so recently is at work, and not evicted; if its handler
# has not answered and waits for more, as for the rest of a request, only while that is on its way,
# and nobody has waited: a byte now and then costs it nothing.
_AT_WORK_MS = const(1000)
_PART_MS = const(50)
_RETRY_MS = const(50)  # how long servers do not accept while everybody is at work
_LOOK_MS = const(250)  # how often deadlines are looked at: so exact are they

_HEAP_EACH = const(1200)  # bytes: about 320 for a connection, the rest for what its handler does

# MicroPython finds what a module calls its own at once.
ticks_diff = port.ticks_diff
ticks_ms = port.ticks_ms

# To read away what nobody wants: closing must not need memory.
buf = bytearray(64)


class Table:
    """What is polled: servers by their socket, connections with their handlers."""

    step: "Any"  # Hub's

    def __init__(self, stats, max_connections, when_full):
        if when_full not in ("evict", "wait"):
            raise ValueError('when_full is "evict" or "wait", not %r' % (when_full,))
        if not max_connections:
            # rp2: lwIP has 5 TCP connections in all, and the newcomer needs one. esp32: 10 sockets
            # in all, listeners included. CPython: half of the usual number of descriptors. Else
            # what the heap has room for.
            for word in "rp2:4 esp32:8 esp8266:4 :512".split():  # its parts are names in a dict
                name, number = word.split(":")
                if name == port.platform:
                    max_connections = int(number)
            if not max_connections:
                import gc

                memory: Any = gc
                memory.collect()
                max_connections = max(4, min(512, memory.mem_free() // _HEAP_EACH))
        self.server: Any = self  # what has the following two
        self.max_connections = max_connections
        self.when_full = when_full
        self.stats = stats  # where out_of_memory is counted
        self.map: Any = {}  # sockets, and who is there
        self.select = port.poll()
        self.count = 0  # connections in the table
        self.locked = False  # True: no server accepts, because there is no room
        # How many may go now although the rest of their request is on its way, for as many who
        # have waited.
        self.left = 0
        self.open: Any = []  # sockets of servers at which somebody is
        self.index = 0  # which of them is first
        self.start: Any = []  # handlers that have not begun
        self.next: Any = []  # handlers that let the others have their turn
        self.target: Any = None  # the tick before which no deadline passes; None: there is none
        self.time: Any = 0  # ticks of this round
        # The handler at work; False: none in this round, None: there is no round.
        self.cur_task: Any = None
        self.readsize = _READ_SIZE  # bytes asked of a socket at once, less if memory is short
        self.done = False  # collect() was called
        self.gc: Any = 0  # when garbage was to be enough, in ticks
        self.sleep: Any = 0  # how long the last round might wait, and
        self.sleep_ms = 0  # that in milliseconds
        self.coro: Any = None  # what asyncio takes for its current task
        self.filter: Any = None  # called before a round with its timeout, returns how long it is

    def register(self, socket, value):
        # Poll socket for input; value is what stands for it in the table.
        try:
            self.select.register(socket, _READ)
        except MemoryError:
            self.insert(socket)
        try:
            self.map[socket] = value
        except MemoryError:
            self.select.unregister(socket)
            raise

    def insert(self, socket):
        # Register socket after all. The poller must not poll before the same register has worked:
        # it would crash the interpreter.
        while self.collect():
            try:
                self.select.register(socket, _READ)
                return
            except MemoryError:
                continue
        # Only servers are left.
        poller = None
        while poller is None:
            try:
                poller = port.poll()
                for known in self.map:
                    poller.register(known, _READ)
            except MemoryError:
                poller = None
                port.sleep_ms(_RETRY_MS)  # somebody else has to give some back
        self.select = poller
        raise MemoryError

    def unregister(self, socket):
        # Forget socket. Return what stood for it; None: it was forgotten before.
        h = self.map.get(socket)
        if h is not None:
            self.select.unregister(socket)  # first: after Ctrl-C somebody will try again
            del self.map[socket]
            if h._se_since is not None:
                self.count -= 1
                h.server._se_stats["active"] -= 1
                if self.locked:
                    self.listen(True)
        return h

    def exception(self, h, exc):
        if not h._se_blame(exc):
            h.server._se_report(h.request, h.client_address, exc)

    def cancel(self, h):
        # Close the connection of h in the middle of what it does.
        co = h._se_co
        h._se_co = None
        try:
            try:
                if co is not None and h is not self.cur_task:
                    co.close()
            finally:
                if not h._se_done:
                    h._se_done = True
                    h.finish()
            if co is not None:
                self.clear(h)
        except Exception as e:
            self.exception(h, e)
        finally:
            self.close(h)

    def close(self, h):
        # Close the connection of h.
        if self.unregister(h.request) is None:
            return
        h.server._se_drained = h.request  # nothing is to be read away any more
        try:
            h.server.shutdown_request(h.request)
        except Exception:
            h.server._se_count("errors")  # a hook of the user's, or the socket is closed already

    def discard(self, server):
        # Close the connections of a server; None: of all.
        for h in list(self.map.values()):
            if h._se_since is not None and (server is None or h.server is server):
                self.cancel(h)

    # Deadlines.

    def timeout(self, h):
        # Return True if the deadline of h has passed, and see to it that it is looked at.
        if h._se_want == _SLEEP:
            left = ticks_diff(h._se_wake, ticks_ms())  # self.time may be 3 ms ahead
        elif h.timeout is None or h._se_want == _TURN:
            return False
        else:
            waited = ticks_diff(self.time, h._se_since)
            if h._se_wake is not None:
                waited = min(waited, ticks_diff(self.time, h._se_wake))
            left = int(h.timeout * 1000) - waited
        if left > 0:
            self.schedule(left)
        return left <= 0

    def schedule(self, sleep_ms):
        # Look at the deadlines after so long at the latest.
        tick = port.ticks_add(self.time, min(sleep_ms, _LOOK_MS))
        if self.target is None or ticks_diff(tick, self.target) < 0:
            self.target = tick

    def peek(self):
        # Wake who has slept enough, and tell who has waited too long.
        self.target = None
        if self.readsize < _READ_SIZE:
            self.readsize <<= 1  # there may be room again
        late = []
        for h in self.map.values():
            if h._se_since is not None and self.timeout(h):
                late.append(h)
        for h in late:
            if h.request not in self.map:
                continue  # closed meanwhile
            if h._se_co is None:
                h._se_knock(None)  # it should have spoken first
                continue
            error = None
            if h._se_want != _SLEEP:
                error = OSError(ETIMEDOUT, "timed out")
                h._se_wake = self.time  # should it wait again
                self.timeout(h)
            self.step(h, error)
        self.left = 0
        if self.locked and self.server.when_full == "evict":
            self.listen(True)
            self.left = self.count
        if self.count:
            self.schedule(_LOOK_MS)  # a handler may have shortened its timeout

    # Limits.

    def acquire(self):
        # Make room for one more connection, and return True if that could be done.
        if self.server.when_full == "evict":
            if self.evict(False):
                if self.left:
                    self.left -= 1
                return True
            if self.start:
                return False  # they have their turn first
            self.schedule(_RETRY_MS)
        self.listen(False)
        return False

    def listen(self, on):
        # Let servers take connections or not.
        self.locked = not on
        for socket in self.map:
            entry = self.map[socket]
            if entry._se_since is None and entry._se_limited:
                self.select.modify(socket, 1 if on else 0)

    def evict(self, mem, map=None):
        # Close the connection that is silent longest, of all or of those in map, and return True
        # if there was one.
        # First those that have never spoken; of the others only one that is not at work.
        # For memory, mem, anybody may go: first the one that holds most, then who has not spoken
        # in time, who has sent a part of something, who has just come, and who is answered.
        found = None
        longest = 0
        for h in map or self.map.values():
            since = h._se_since
            if since is None:
                continue
            age = ticks_diff(self.time, since) + 1
            if age < 0 or age > 0x7FFFFFF:
                age = 0x7FFFFFF  # after six days ticks say that it has just spoken
            if mem:
                held = len(h._se_out) + len(h._se_buffer or b"")
                rank = since & 2 if h._se_want == _READ else 0
                if since & 1 == 0:
                    rank = 3 if age > _PART_MS else 1
                age = min(held, 0x1FFF) << 16 | rank << 14 | min(age, 0x3FFF)
            elif since & 1 == 0:
                if h in self.start:
                    continue  # it came in this round: what it has sent is not read yet
                age += 0x8000000
            elif since & 2 and h._se_want == _READ:
                if age <= _PART_MS and not self.left:
                    continue
            elif age <= _AT_WORK_MS:
                continue
            if age > longest:
                longest = age
                found = h
        if found is None:
            return False
        if mem and longest < 0x10000 and ticks_diff(self.time, self.gc) > _LOOK_MS:
            # It holds nothing: what is garbage may be enough. If not, this is called again.
            self.gc = self.time
            return True
        found.server._se_count("evicted")
        self.cancel(found)
        return True

    def collect(self):
        # Make room in the heap, and return True if that could be done.
        self.stats["out_of_memory"] += 1
        self.done = True
        found = self.evict(True)
        port.collect()
        return found

    def clear(self, h):
        # Say that nothing more comes, and return False if the client is in the middle of sending.
        try:
            if not port.platform:
                port.shutdown(h.request)
            read = h.request.readinto if port.platform else h.request.recv_into
            for _ in range(4):
                n = read(buf)
                if n is None or n < len(buf):
                    return True
        except Exception:  # a tuple would need memory
            return True  # nothing there, or the client is gone
        return False


def is_async(server):
    """Return True if the server's handler is an AsyncStreamRequestHandler."""
    handler = server.RequestHandlerClass
    return hasattr(getattr(handler, "func", handler), "_se_blame")  # functools.partial's func
