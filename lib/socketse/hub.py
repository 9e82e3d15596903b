"""The engine of multiplexing: many connections in one thread, in bounded memory.

What is polled stands in one table: servers by their socket, connections with their handlers. The
loop hands what has come to a handler's coroutine, and that says what it waits for next: the
numbers that stand in stream.py.

A Hub is nobody's base class: its names need no prefix. Where one that MicroPython has itself says
what is meant, it is used: each new one takes up to 30 bytes of a board's heap.
"""

from errno import ECONNRESET
from sys import modules

from . import port
from .port import const
from .table import Table

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ = const(1)  # as in stream.py
_WRITE = const(4)
_SLEEP = const(2)
_HUP = const(16)  # esp32: who does not ask for it is not told that a client is gone
_TURN = const(0)
_PAUSE_MS = const(20)
_LOOK_MS = const(250)  # how often deadlines are looked at: so exact are they
# What a client still sends when its handler is done is read away, or it would lose the reply.
_GOODBYE_BYTES = const(0x100000)
_GOODBYE_MS = const(1000)

# MicroPython finds what a module calls its own at once, a builtin only after a long search.
len = len
ticks_diff = port.ticks_diff
ticks_ms = port.ticks_ms


class Hub(Table):
    """Polls servers and connections, and drives the handlers."""

    def poll(self, timeout):
        # Wait for something to happen, do all that it asks for, and return True if it did.
        if self.cur_task is not None:
            raise RuntimeError("a handler cannot call what has called it")
        if self.filter:
            timeout = self.filter(timeout)
        if timeout is not self.sleep:  # once, because a float needs memory
            self.sleep = timeout
            self.sleep_ms = -1 if timeout is None else int(timeout * 1000)
        ms = self.sleep_ms
        if self.next:
            ms = 0
        elif self.target is not None:
            left = ticks_diff(self.target, ticks_ms())
            if not 0 <= ms < left:
                ms = left if left > 0 else 0
        # MicroPython's asyncio would queue its current task for whatever a handler awaits.
        core: Any = modules.get("asyncio.core")
        if core:
            task = core.cur_task
            if self.coro is None:
                self.create_task(core)
            else:
                core.cur_task = self.coro
        self.cur_task = False
        try:
            return self.handle(ms)
        except MemoryError:
            # There was not even enough to end the handler at work: it would wait for ever.
            h = self.cur_task
            self.cur_task = False  # nothing of it runs: cancel may close its coroutine
            self.collect()
            if h:
                self.cancel(h)
            return True
        except BaseException:
            h = self.cur_task
            self.cur_task = False
            if h:
                self.cancel(h)
            raise
        finally:
            self.cur_task = None  # first: Ctrl-C may hit this, too
            if core:
                core.cur_task = task
            if self.open or self.start:  # an exception got between
                self.open.clear()  # what is at the doors will be there again
                while self.start:  # they have not begun: nothing of theirs runs now but finish()
                    self.cancel(self.start.pop())

    def create_task(self, core):
        from .trouble import create_task

        core.cur_task = self.coro = create_task(core)

    def wait(self, timeout):
        # Do rounds until something has happened, or timeout seconds have passed.
        end = None
        if timeout is not None:
            end = port.ticks_add(ticks_ms(), int(timeout * 1000))
        while not self.poll(timeout):
            if end is not None:
                left = ticks_diff(end, ticks_ms())
                if left <= 0:
                    return False
                timeout = left / 1000
        return True

    def handle(self, sleep_ms):
        table = self.map
        h = None
        try:
            events = self.select.ipoll(sleep_ms)
        except OSError:  # esp32: IDF's heap has nothing left for a select
            port.sleep_ms(_PAUSE_MS)  # should that last, nobody is to be busy with it
            raise MemoryError
        now: Any = ticks_ms()
        self.time = now = now | 3  # since a byte has come, 1, that is not answered yet, 2
        for sock, event in events:
            h = table.get(sock)
            if h is None:
                continue  # closed by what came before it
            co = h._se_co
            if co is None:
                self.open.append(sock)
            elif event == _READ or self.write(h, event):
                data = None
                self.cur_task = h
                try:
                    data = sock.recv(self.readsize)
                    h._se_since = now
                    stats = h._se_stats
                    stats["bytes_in"] += len(data)
                    sent = stats["bytes_out"]
                    want = co.send(data)
                    if stats["bytes_out"] != sent:
                        h._se_since = now ^ 2
                    if want != _READ:
                        self.update(h, want)
                except Exception as e:
                    self.end(h, e, data)
        self.cur_task = False
        # Not before: to register while ipoll goes on would mix it up.
        if self.open:
            # Another server first each time: there may be room for one newcomer at a time.
            self.index = (self.index + 1) & 127
        while self.open:
            sock = self.open.pop(self.index % len(self.open))
            if sock in table:
                table[sock]._se_knock(sock)
        while self.start:
            self.cur_task = h = self.start.pop()  # even step's frame may find no memory
            if h._se_co is not None:
                self.step(h, None)
            self.cur_task = False
        turns = len(self.next)
        busy = turns or h is not None
        while turns:
            turns -= 1
            self.cur_task = h = self.next.pop(0)
            if h._se_co is not None and h._se_want == _TURN:
                error = h._se_wake
                h._se_wake = None
                self.step(h, error)
            self.cur_task = False
        if self.target is not None and ticks_diff(self.target, now) <= 0:
            self.peek()
        return bool(busy)

    # Connections.

    def append(self, h):
        # Drive the handler h from now on.
        h._se_since = self.time & ~3  # no byte has come yet
        self.start.append(h)
        try:
            self.register(h.request, h)
        except MemoryError:
            self.start.remove(h)
            raise
        self.count += 1
        h._se_stats["active"] += 1
        if h._se_out:
            self.modify(h)
        if self.target is None:
            self.schedule(_LOOK_MS)

    def accept(self, server):
        # Let a server take a request that is there.
        stats = server._se_stats
        lost = stats["out_of_memory"]
        self.done = False
        server._handle_request_noblock()
        if stats["out_of_memory"] != lost and not self.done:
            self.collect()

    def step(self, h, exception):
        # Resume the coroutine of h with nothing, or with an exception.
        self.cur_task = h
        stats = h._se_stats
        sent = stats["bytes_out"]
        try:
            want = h._se_co.throw(exception) if exception else h._se_co.send(None)
            if stats["bytes_out"] != sent:
                h._se_since = self.time & ~2  # its client takes what it sends
            if want != _READ or h._se_want != _READ:
                self.update(h, want)
        except Exception as e:
            self.end(h, e, b"")

    def update(self, h, value):
        # Let h wait for what its coroutine has asked for.
        if value is None or value not in (_READ, _WRITE, _SLEEP, _TURN):
            from .trouble import exception

            core: Any = modules.get("asyncio.core")
            if core:
                self.create_task(core)  # the old one stands in a queue now
            # Not at once: it may await that again and again.
            h._se_wake = exception(value)
            value = _TURN
        elif value != _SLEEP:
            h._se_wake = None if value == _TURN else ticks_ms()  # when the wait began
        h._se_want = value
        if value == _TURN and h not in self.next:
            self.next.append(h)
        self.modify(h)
        if self.timeout(h):
            self.schedule(0)

    def modify(self, h):
        # Poll for what h waits for, and for room for what it has written.
        mask = _READ if h._se_want == _READ else _HUP
        if h._se_out:
            mask |= _WRITE
        self.select.modify(h.request, mask)

    def write(self, h, event):
        # Do what an event asks for that is not input alone. Return True to read.
        want = h._se_want
        try:
            if event & _WRITE:
                h._se_since = self.time & ~2
                if h._se_out and h._se_flush():
                    self.modify(h)
            if want != _READ and event & ~(_READ | _WRITE):
                raise OSError(ECONNRESET, "the client is gone")
        except Exception as e:
            h._se_out = b""  # with a MemoryError, what is left of it is lost
            self.step(h, e)
            return False
        if want == _WRITE and not h._se_out:
            self.step(h, None)
        return want == _READ and event != _WRITE

    def end(self, h, exc, data):
        # Do what is to be done for exc: mostly the end of the coroutine of h.
        if data is None:
            self.throw(h, exc)
            return
        if h.request not in self.map:
            return  # it has closed its own server
        co = h._se_co
        h._se_co = None
        if h._se_done:
            self.close(h)
            return
        h._se_done = True
        # Whatever fails, for want of memory too, the connection is closed.
        try:
            try:
                co.close()  # it goes on to its end if exc is not its own
                if type(exc) is not StopIteration:
                    self.exception(h, exc)
            finally:
                h.finish()
            if h._se_out or h._se_buffer is not None and not self.clear(h):
                h._se_co = self.flush(h)
        except Exception as e:
            self.exception(h, e)
        finally:
            if h._se_co is None:
                self.close(h)
        if h._se_co is not None:
            self.step(h, None)

    def throw(self, h, exc):
        # Tell h that recv has failed.
        if isinstance(exc, MemoryError):
            discard: Any = port.discard
            if discard and discard(exc, self.readsize):
                raise exc  # it has to go: what comes next would follow a hole
            self.cur_task = False  # it waits as before
            if self.readsize > 32:
                self.readsize >>= 1  # a smaller piece of heap may do
                self.stats["out_of_memory"] += 1
                port.collect()
            else:
                self.collect()
        elif not port.timeout(exc):
            self.step(h, exc)

    @port.coro
    def flush(self, h):
        # Send what h has written, and read away what its client still sends.
        while h._se_out:
            yield _WRITE
        if h._se_buffer is None or self.clear(h):
            return
        h.timeout = _GOODBYE_MS // 1000
        end = port.ticks_add(ticks_ms(), _GOODBYE_MS)
        left = _GOODBYE_BYTES
        while left > 0 and ticks_diff(end, ticks_ms()) > 0:
            data = yield _READ
            if not data:
                return
            left -= len(data)
