"""The engine of multiplexing: many connections in one thread, in bounded memory.

What is polled stands in one table: servers by their socket, connections with their handlers. The
loop hands what has come to a handler's coroutine, and that says what it waits for next: the
numbers that stand in stream.py.
"""

from errno import ECONNRESET
from sys import modules

from . import port
from .port import const
from .table import Table, drained

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ = const(1)  # as in stream.py
_WRITE = const(4)
_SLEEP = const(2)
_TURN = const(0)
_LOOK_MS = const(250)  # how often deadlines are looked at: so exact are they
# What a client still sends when its handler is done is read away, or it would lose the reply.
_GOODBYE_BYTES = const(0x100000)
_GOODBYE_MS = const(1000)

# MicroPython finds what a module calls its own at once, a builtin only after a long search.
len = len
max = max
type = type
StopIteration = StopIteration
ticks_diff = port.ticks_diff
ticks_ms = port.ticks_ms


class Hub(Table):
    """Polls servers and connections, and drives the handlers."""

    def _se_round(self, timeout):
        # Wait for something to happen, do all that it asks for, and return True if it did.
        if self._se_polling:
            raise RuntimeError("a handler cannot call what has called it")
        if timeout is not self._se_seconds:  # once, because a float needs memory
            self._se_seconds = timeout
            self._se_ms = -1 if timeout is None else int(timeout * 1000)
        ms = self._se_ms
        if self._se_turns:
            ms = 0
        elif self._se_next is not None:
            left = max(ticks_diff(self._se_next, ticks_ms()), 0)
            if not 0 <= ms < left:
                ms = left
        # MicroPython's asyncio would queue its current task for whatever a handler awaits.
        core: Any = modules.get("asyncio.core")
        if core:
            task = core.cur_task
            if self._se_guard is None:
                self._se_new_guard(core)
            else:
                core.cur_task = self._se_guard
        self._se_polling = True
        try:
            return self._se_serve(ms)
        except MemoryError:
            self._se_relieve()
            return True
        except BaseException:
            if self._se_running:
                self._se_abort(self._se_running)
            raise
        finally:
            self._se_running = None
            # Empty, unless an exception got between. What is at the doors will be there again.
            self._se_open.clear()
            while self._se_fresh:
                self._se_abort(self._se_fresh.pop())
            self._se_polling = False
            if core:
                core.cur_task = task

    def _se_new_guard(self, core):
        from .trouble import new_guard

        core.cur_task = self._se_guard = new_guard(core)

    def _se_wait(self, timeout):
        # Do rounds until something has happened, or timeout seconds have passed.
        end = None
        if timeout is not None:
            end = port.ticks_add(ticks_ms(), int(timeout * 1000))
        while not self._se_round(timeout):
            if end is not None:
                left = ticks_diff(end, ticks_ms())
                if left <= 0:
                    return False
                timeout = left / 1000
        return True

    def _se_serve(self, ms):
        table = self._se_table
        size = self._se_piece
        h = None
        events = self._se_poll.ipoll(ms)
        now: Any = ticks_ms()
        self._se_now = now = now | 1  # odd: since a byte has come
        for sock, event in events:
            h = table.get(sock)
            if h is None:
                continue  # closed by what came before it
            co = h._se_co
            if co is None:
                self._se_open.append(sock)
            elif event == _READ or self._se_other(h, event):
                data = None
                self._se_running = h
                try:
                    data = sock.recv(size)
                    h._se_since = now
                    h._se_stats["bytes_in"] += len(data)
                    want = co.send(data)
                    if want != _READ:
                        self._se_change(h, want)
                except Exception as e:
                    self._se_end(h, e, data)
        self._se_running = None
        # Not before: to register while ipoll goes on would mix it up.
        while self._se_open:
            sock = self._se_open.pop()
            if sock in table:
                table[sock]._se_knock(sock)
        while self._se_fresh:
            h = self._se_fresh.pop()
            if h._se_co is not None:
                self._se_resume(h, None)
                self._se_running = None
        turns = len(self._se_turns)
        busy = turns or h is not None
        while turns:
            turns -= 1
            h = self._se_turns.pop(0)
            if h._se_co is not None and h._se_want == _TURN:
                error = h._se_wake
                h._se_wake = None
                self._se_resume(h, error)
        if self._se_next is not None and ticks_diff(self._se_next, now) <= 0:
            self._se_look()
        return bool(busy)

    # Connections.

    def _se_adopt(self, h):
        # Drive the handler h from now on.
        h._se_since = self._se_now & ~1  # even: no byte has come yet
        self._se_fresh.append(h)
        try:
            self._se_register(h.request, h)
        except MemoryError:
            self._se_fresh.remove(h)
            raise
        self._se_size += 1
        h._se_stats["active"] += 1
        if h._se_out:
            self._se_watch(h)
        if self._se_next is None:
            self._se_look_in(_LOOK_MS)

    def _se_take(self, server):
        # Let a server take a request that is there.
        stats = server._se_stats
        lost = stats["out_of_memory"]
        self._se_relieved = False
        server._handle_request_noblock()
        if stats["out_of_memory"] != lost and not self._se_relieved:
            self._se_relieve()

    def _se_resume(self, h, error):
        # Resume the coroutine of h with nothing, or with error.
        self._se_running = h
        stats = h._se_stats
        sent = stats["bytes_out"]
        try:
            want = h._se_co.throw(error) if error else h._se_co.send(None)
            if stats["bytes_out"] != sent:
                h._se_since = self._se_now  # its client takes what it sends
            if want != _READ or h._se_want != _READ:
                self._se_change(h, want)
        except Exception as e:
            self._se_end(h, e, b"")

    def _se_change(self, h, want):
        # Let h wait for what its coroutine has asked for.
        if want is None or want not in (_READ, _WRITE, _SLEEP, _TURN):
            from .trouble import foreign_await

            core: Any = modules.get("asyncio.core")
            if core:
                self._se_new_guard(core)  # the old one stands in a queue now
            # Not at once: it may await that again and again.
            h._se_wake = foreign_await(want)
            want = _TURN
        elif want != _SLEEP:
            h._se_wake = None if want == _TURN else ticks_ms()  # when the wait began
        h._se_want = want
        if want == _TURN and h not in self._se_turns:
            self._se_turns.append(h)
        self._se_watch(h)
        if self._se_due(h):
            self._se_look_in(0)

    def _se_watch(self, h):
        # Poll for what h waits for, and for room for what it has written.
        mask = _READ if h._se_want == _READ else 0
        if h._se_out:
            mask |= _WRITE
        self._se_poll.modify(h.request, mask)

    def _se_other(self, h, event):
        # Do what an event asks for that is not input alone. Return True to read.
        want = h._se_want
        try:
            if event & _WRITE:
                h._se_since = self._se_now
                if h._se_out and h._se_flush():
                    self._se_watch(h)
            if want != _READ and event & ~(_READ | _WRITE):
                raise OSError(ECONNRESET, "the client is gone")
        except Exception as e:
            h._se_out = b""  # with a MemoryError, what is left of it is lost
            self._se_resume(h, e)
            return False
        if want == _WRITE and not h._se_out:
            self._se_resume(h, None)
        return want == _READ and event != _WRITE

    def _se_end(self, h, exc, data):
        # Do what is to be done for exc: mostly the end of the coroutine of h.
        if data is None:
            self._se_unread(h, exc)
            return
        if h.request not in self._se_table:
            return  # it has closed its own server
        h._se_co = None
        if h._se_done:
            self._se_close(h)
            return
        h._se_done = True
        # Whatever fails, for want of memory too, the connection is closed.
        try:
            try:
                if type(exc) is not StopIteration:
                    self._se_tell(h, exc)
            finally:
                h.finish()
            if h._se_out or h._se_buffer is not None and not drained(h):
                h._se_co = _goodbye(h)
        except Exception as e:
            self._se_tell(h, e)
        finally:
            if h._se_co is None:
                self._se_close(h)
        if h._se_co is not None:
            self._se_resume(h, None)

    def _se_unread(self, h, exc):
        # Tell h that recv has failed.
        if isinstance(exc, MemoryError):
            self._se_running = None  # it waits as before
            if self._se_piece > 32:
                self._se_piece >>= 1  # a smaller piece of heap may do
                self._se_stats["out_of_memory"] += 1
                port.collect()
            else:
                self._se_relieve()
        elif not port.as_timeout(exc):
            self._se_resume(h, exc)


@port.coroutine
def _goodbye(h):
    # Send what h has written, and read away what its client still sends.
    while h._se_out:
        yield _WRITE
    if h._se_buffer is None or drained(h):
        return
    h.timeout = _GOODBYE_MS // 1000
    end = port.ticks_add(ticks_ms(), _GOODBYE_MS)
    left = _GOODBYE_BYTES
    while left > 0 and ticks_diff(end, ticks_ms()) > 0:
        data = yield _READ
        if not data:
            return
        left -= len(data)
