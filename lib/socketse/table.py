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
# A client that has sent or taken a byte so recently is at work, and not evicted, unless all that
# came is part of a request: that costs it nothing.
_AT_WORK_MS = const(1000)
_RETRY_MS = const(100)  # how long servers do not accept while everybody is at work
_LOOK_MS = const(250)  # how often deadlines are looked at: so exact are they

# rp2: lwIP has 5 TCP connections in all, and the newcomer needs one. esp32: 10 sockets in all,
# listeners included. CPython: half of the usual number of descriptors. Else what the heap has
# room for: about 320 bytes are kept for each, the rest is for what the handlers do.
_CONNECTIONS = {"rp2": 4, "esp32": 8, "esp8266": 4, "": 512}.get(port.PLATFORM)
_HEAP_EACH = const(1200)

# MicroPython finds what a module calls its own at once, a builtin only after a long search.
len = len
min = min
ticks_diff = port.ticks_diff
ticks_ms = port.ticks_ms

# To read away what nobody wants: closing must not need memory.
_scratch = bytearray(256)
_READINTO = "readinto" if port.PLATFORM else "recv_into"


class Table:
    """What is polled: servers by their socket, connections with their handlers."""

    _se_resume: "Any"  # Hub's

    def __init__(self, stats, max_connections, when_full):
        if when_full not in ("evict", "wait"):
            raise ValueError('when_full is "evict" or "wait", not %r' % (when_full,))
        if not max_connections:
            max_connections = _CONNECTIONS
            if not max_connections:
                import gc

                memory: Any = gc
                memory.collect()
                max_connections = max(4, min(512, memory.mem_free() // _HEAP_EACH))
        self.max_connections = max_connections
        self.when_full = when_full
        self._se_stats = stats  # where out_of_memory is counted
        self._se_table: Any = {}
        self._se_poll = port.Poller()
        self._se_size = 0  # connections in the table
        self._se_shut = False  # no server accepts, because there is no room
        self._se_open: Any = []  # sockets of servers at which somebody is
        self._se_fresh: Any = []  # handlers that have not begun
        self._se_turns: Any = []  # handlers that let the others have their turn
        self._se_next: Any = None  # the tick before which no deadline passes; None: there is none
        self._se_now: Any = 0  # ticks of this round
        self._se_running: Any = None  # the handler at work
        self._se_polling = False
        self._se_piece = _READ_SIZE  # bytes asked of a socket at once, less if memory is short
        self._se_relieved = False
        self._se_spared: Any = 0  # when somebody was, in ticks
        self._se_seconds: Any = 0  # how long the last round might wait, and
        self._se_ms = 0  # that in milliseconds
        self._se_guard: Any = None

    def _se_register(self, sock, entry):
        # Poll sock for input; entry is what stands for it in the table.
        try:
            self._se_poll.register(sock, _READ)
        except MemoryError:
            self._se_register_again(sock)
        try:
            self._se_table[sock] = entry
        except MemoryError:
            self._se_poll.unregister(sock)
            raise

    def _se_register_again(self, sock):
        # The poller must not poll before the same register has worked: it would crash the
        # interpreter.
        while self._se_relieve():
            try:
                self._se_poll.register(sock, _READ)
                return
            except MemoryError:
                continue
        # Only servers are left.
        poller = None
        while poller is None:
            try:
                poller = port.Poller()
                for known in self._se_table:
                    poller.register(known, _READ)
            except MemoryError:
                poller = None
                port.sleep_ms(_RETRY_MS)  # somebody else has to give some back
        self._se_poll = poller
        raise MemoryError

    def _se_leave(self, sock):
        # Forget sock. Return what stood for it; None: it was forgotten before.
        h = self._se_table.pop(sock, None)
        if h is not None:
            self._se_poll.unregister(sock)
            if h._se_since is not None:
                self._se_size -= 1
                h.server._se_stats["active"] -= 1
                if self._se_shut:
                    self._se_let_in(_READ)
        return h

    def _se_tell(self, h, exc):
        if not h._se_blame(exc):
            h.server._se_report(h.request, h.client_address, exc)

    def _se_abort(self, h):
        # Close the connection of h in the middle of what it does.
        co = h._se_co
        h._se_co = None
        try:
            try:
                if co is not None and h is not self._se_running:
                    co.close()
            finally:
                if not h._se_done:
                    h._se_done = True
                    h.finish()
            if co is not None:
                drained(h)
        except Exception as e:
            self._se_tell(h, e)
        finally:
            self._se_close(h)

    def _se_close(self, h):
        # Close the connection of h.
        if self._se_leave(h.request) is None:
            return
        h.server._se_drained = h.request  # nothing is to be read away any more
        try:
            h.server.shutdown_request(h.request)
        except Exception:
            h.server._se_count("errors")  # a hook of the user's, or the socket is closed already

    def _se_close_connections(self, server):
        # Close the connections of a server; None: of all.
        for h in list(self._se_table.values()):
            if h._se_since is not None and (server is None or h.server is server):
                self._se_abort(h)

    # Deadlines.

    def _se_due(self, h):
        # Return True if the deadline of h has passed, and see to it that it is looked at.
        if h._se_want == _SLEEP:
            left = ticks_diff(h._se_wake, self._se_now)
        elif h.timeout is None or h._se_want == _TURN:
            return False
        else:
            waited = ticks_diff(self._se_now, h._se_since)
            if h._se_wake is not None:
                waited = min(waited, ticks_diff(self._se_now, h._se_wake))
            left = int(h.timeout * 1000) - waited
        if left > 0:
            self._se_look_in(left)
        return left <= 0

    def _se_look_in(self, ms):
        tick = port.ticks_add(self._se_now, min(ms, _LOOK_MS))
        if self._se_next is None or ticks_diff(tick, self._se_next) < 0:
            self._se_next = tick

    def _se_look(self):
        # Wake who has slept enough, and tell who has waited too long.
        self._se_next = None
        if self._se_piece < _READ_SIZE:
            self._se_piece <<= 1  # there may be room again
        late = []
        for h in self._se_table.values():
            if h._se_since is not None and self._se_due(h):
                late.append(h)
        for h in late:
            if h.request not in self._se_table:
                continue  # closed meanwhile
            if h._se_co is None:  # it should have spoken first
                h.server._se_count("timed_out")
                self._se_close(h)
                continue
            error = None
            if h._se_want != _SLEEP:
                error = OSError(ETIMEDOUT, "timed out")
                h._se_wake = self._se_now  # should it wait again
                self._se_due(h)
            self._se_resume(h, error)
        if self._se_shut and self.when_full == "evict":
            self._se_let_in(_READ)
        if self._se_size:
            self._se_look_in(_LOOK_MS)  # a handler may have shortened its timeout

    # Limits.

    def _se_room(self):
        # Make room for one more connection, and return True if that could be done.
        if self.when_full == "evict":
            if self._se_evict(False):
                return True
            self._se_look_in(_RETRY_MS)
        self._se_let_in(0)
        return False

    def _se_let_in(self, mask):
        self._se_shut = not mask
        for sock in self._se_table:
            entry = self._se_table[sock]
            if entry._se_since is None and entry._se_limited:
                self._se_poll.modify(sock, mask)

    def _se_evict(self, anybody):
        # Close the connection that is silent longest, and return True if there was one.
        # First those that have never spoken; of the others only one that is not at work.
        # For memory anybody may go: first the one that holds most.
        found = None
        longest = 0
        for h in self._se_table.values():
            since = h._se_since
            if since is None:
                continue
            age = ticks_diff(self._se_now, since) + 1
            if age < 0 or age > 0x7FFFFFF:
                age = 0x7FFFFFF  # after six days ticks say that it has just spoken
            if anybody:
                held = len(h._se_out) + len(h._se_buffer or b"")
                age = min(held, 0x1FFF) << 16 | min(age, 0x7FFF)
                if since & 1 == 0:
                    age |= 0x8000
            elif since & 1 == 0:
                age += 0x8000000
            elif age <= _AT_WORK_MS and not h._se_buffer:
                continue
            if age > longest:
                longest = age
                found = h
        if found is None:
            return False
        if anybody and longest < 0x10000 and ticks_diff(self._se_now, self._se_spared) > _LOOK_MS:
            # It holds nothing: what is garbage may be enough. If not, this is called again.
            self._se_spared = self._se_now
            return True
        found.server._se_count("evicted")
        self._se_abort(found)
        return True

    def _se_relieve(self):
        # Make room in the heap, and return True if that could be done.
        self._se_stats["out_of_memory"] += 1
        self._se_relieved = True
        found = self._se_evict(True)
        port.collect()
        return found


def is_async(server):
    """Return True if the server's handler is an AsyncStreamRequestHandler."""
    handler = server.RequestHandlerClass
    return hasattr(getattr(handler, "func", handler), "_se_blame")  # functools.partial's func


def drained(h):
    """Say that nothing more comes, and return False if the client is in the middle of sending."""
    try:
        if not port.PLATFORM:
            port.shutdown(h.request)
        n = getattr(h.request, _READINTO)(_scratch)
    except Exception:  # a tuple would need memory
        return True  # nothing there, or the client is gone
    return n is None or n < len(_scratch)
