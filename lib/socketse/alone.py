"""Drives one async handler by itself: for servers that are not in a Multiplexer."""

from errno import ECONNRESET, ETIMEDOUT
from sys import modules

from . import port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

# As in stream.py.
_READ_SIZE = const(256)
_READ = const(1)
_WRITE = const(4)
_SLEEP = const(2)
_TURN = const(0)
_HUP = const(16)  # esp32: who does not ask for it is not told that the client is gone


class _Driver:
    """Waits for what the coroutine of the handler h asks for, see stream.py."""

    def __init__(self, h):
        self._h = h
        request = h.request
        # workers.Bounded: what holds up the serving thread has so long and no longer.
        self._end: Any = getattr(request, "_end", None)
        self._sock = getattr(request, "_sock", request)
        self._sock.settimeout(0)
        self._poller = port.poll()
        self._poller.register(self._sock, _READ)

    def drive(self, co):
        """Run co to its end; raise what it raises."""
        value: Any = None
        error: Any = None
        while True:
            core: Any = modules.get("asyncio.core")
            if core and core.cur_task is None:
                from .trouble import create_task

                core.cur_task = create_task(core)
            try:
                want = co.throw(error) if error else co.send(value)
            except StopIteration:
                return
            value = error = None
            try:
                if want == _READ:
                    value = self._read()
                elif want == _WRITE:
                    self.flush()
                elif want == _SLEEP:
                    self._sleep()
                elif want != _TURN:
                    from .trouble import create_task, exception

                    if core:
                        core.cur_task = create_task(core)  # the old one stands in a queue now
                    raise exception(want)
            except Exception as e:
                error = e
                if isinstance(e, OSError) and not port.timeout(e):
                    self._h._se_out = b""  # nobody takes it any more

    def _poll(self, mask, ms):
        # Return what of mask has happened within ms; 0: nothing.
        if self._h._se_out:
            mask |= _WRITE
        self._poller.modify(self._sock, mask | _HUP)
        for _, event in self._poller.poll(ms):
            if event & _WRITE:
                self._h._se_flush()
            return event
        return 0

    def _wait(self, mask):
        # Wait for one of mask. Raises OSError(ETIMEDOUT) if that takes too long.
        end = self._end
        seconds = self._h.timeout
        if seconds is not None:
            own = port.ticks_add(port.ticks_ms(), int(seconds * 1000))
            if end is None or port.ticks_diff(own, end) < 0:
                end = own
        while True:
            ms = -1 if end is None else max(port.ticks_diff(end, port.ticks_ms()), 0)
            event = self._poll(mask, ms)
            if not event:
                raise OSError(ETIMEDOUT, "timed out")
            if mask == _WRITE and event & ~(_READ | _WRITE):
                raise OSError(ECONNRESET, "the client is gone")
            if event & ~_WRITE or event & mask:
                return

    def _read(self):
        while True:
            self._wait(_READ)
            try:
                data = self._sock.recv(_READ_SIZE)
            except OSError as e:
                if not port.timeout(e):
                    raise
            else:
                self._h._se_stats["bytes_in"] += len(data)
                return data

    def flush(self):
        """Wait until all that was written has been sent."""
        while self._h._se_out:
            self._wait(_WRITE)

    def _sleep(self):
        while True:
            left = port.ticks_diff(self._h._se_wake, port.ticks_ms())
            if left <= 0:
                return
            if self._end is not None and port.ticks_diff(self._end, port.ticks_ms()) < left:
                raise OSError(ETIMEDOUT, "timed out")
            if self._poll(0, left) & ~_WRITE:
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
            try:
                h._se_co.close()  # Ctrl-C, or no memory: it waits, and MicroPython would drop it
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
