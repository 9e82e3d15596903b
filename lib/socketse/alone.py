"""Drives one async handler by itself: for servers that are not in a Multiplexer."""

from errno import ECONNRESET, ETIMEDOUT
from sys import modules

from . import port
from .port import const

_READ_SIZE = const(256)  # as in stream.py

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


class _Driver:
    """Waits for what the coroutine of the handler h asks for, see stream.py."""

    def __init__(self, h):
        self._h = h
        request = h.request
        # workers.Bounded: what holds up the serving thread has so long and no longer.
        self._end: Any = getattr(request, "_end", None)
        self._sock = getattr(request, "_sock", request)
        self._sock.settimeout(0)
        self._poller = port.Poller()
        self._poller.register(self._sock, 1)

    def drive(self, co):
        """Run co to its end; raise what it raises."""
        value: Any = None
        error: Any = None
        while True:
            core: Any = modules.get("asyncio.core")
            if core and core.cur_task is None:
                from .trouble import new_guard

                core.cur_task = new_guard(core)
            try:
                want = co.throw(error) if error else co.send(value)
            except StopIteration:
                return
            value = error = None
            try:
                if want == 1:
                    value = self._read()
                elif want == 4:
                    self.flush()
                elif want == 2:
                    self._sleep()
                elif want != 0:
                    from .trouble import foreign_await, new_guard

                    if core:
                        core.cur_task = new_guard(core)  # the old one stands in a queue now
                    raise foreign_await(want)
            except Exception as e:
                error = e
                if isinstance(e, OSError) and not port.as_timeout(e):
                    self._h._se_out = b""  # nobody takes it any more

    def _poll(self, mask, ms):
        # Return what of mask has happened within ms; 0: nothing.
        if self._h._se_out:
            mask |= 4
        self._poller.modify(self._sock, mask)
        for _, event in self._poller.poll(ms):
            if event & 4:
                self._h._se_flush()
            return event
        return 0

    def _wait(self, mask):
        # Wait for one of mask. Raises OSError(ETIMEDOUT) if that takes too long.
        seconds = self._h.timeout
        left = -1
        if seconds is not None:
            left = int(seconds * 1000)
        start = port.ticks_ms()
        while True:
            ms = left
            if self._end is not None:
                to_end = max(port.ticks_diff(self._end, port.ticks_ms()), 0)
                ms = min(left, to_end) if left >= 0 else to_end
            event = self._poll(mask, ms)
            if mask == 4 and event & ~5:
                raise OSError(ECONNRESET, "the client is gone")
            if event & ~4 or event & mask:
                return
            if not event:
                raise OSError(ETIMEDOUT, "timed out")
            if seconds is not None:
                left = max(int(seconds * 1000) - port.ticks_diff(port.ticks_ms(), start), 0)

    def _read(self):
        while True:
            self._wait(1)
            try:
                data = self._sock.recv(_READ_SIZE)
            except OSError as e:
                if not port.as_timeout(e):
                    raise
            else:
                self._h._se_stats["bytes_in"] += len(data)
                return data

    def flush(self):
        """Wait until all that was written has been sent."""
        while self._h._se_out:
            self._wait(4)

    def _sleep(self):
        while True:
            left = port.ticks_diff(self._h._se_wake, port.ticks_ms())
            if left <= 0:
                return
            if self._end is not None and port.ticks_diff(self._end, port.ticks_ms()) < left:
                raise OSError(ETIMEDOUT, "timed out")
            if self._poll(0, left) & ~4:
                raise OSError(ECONNRESET, "the client is gone")

    def close(self):
        self._poller.unregister(self._sock)
        try:
            self._sock.settimeout(None)
        except OSError:
            return  # the handler has closed it


def run(h):
    """Run the handler h to the end of its connection."""
    driver = _Driver(h)
    error = None
    try:
        try:
            driver.drive(h._se_co)
        except Exception as e:
            error = e
        finally:
            h.finish()
        if not isinstance(error, OSError):
            driver.flush()
        if error:
            raise error
    except (OSError, EOFError) as e:
        if not h._se_blame(e):
            raise
    finally:
        driver.close()
        for name in h._se_stats:
            h._se_count(name, h._se_stats[name])
