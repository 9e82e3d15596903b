"""time as firmware has it: whole seconds, a clock that somebody must set, years from its epoch."""

import _host
from _host import EPOCH as _EPOCH
from utime import gmtime as _gmtime
from utime import mktime as _mktime
from utime import sleep_ms as _sleep_ms
from utime import (  # noqa: F401
    sleep_us,
    ticks_add,
    ticks_cpu,
    ticks_diff,
    ticks_ms,
    ticks_us,
)
from utime import time as _time

_behind = _host.get_clock() + _EPOCH


def sleep_ms(ms):
    """Wait so many milliseconds; what a timer has scheduled is called meanwhile, as on boards."""
    end = ticks_add(ticks_ms(), ms)
    while ms > 0:
        _sleep_ms(min(ms, 10))
        ms = ticks_diff(end, ticks_ms())


def sleep(seconds):
    """Wait for so many seconds."""
    sleep_ms(int(seconds * 1000))


def time():
    """Return the seconds since the port's epoch, by the board's clock."""
    return int(_time()) - _behind


def time_ns():
    """Return the same in nanoseconds."""
    return time() * 1000000000


def gmtime(seconds=None):
    """Return (year, month, day, hour, minute, second, weekday, yearday)."""
    return _gmtime((time() if seconds is None else int(seconds)) + _EPOCH)[:8]


localtime = gmtime  # boards know no time zones


def mktime(moment):
    """Return the seconds since the port's epoch of what gmtime returned."""
    return int(_mktime(tuple(moment[:8]) + (0,))) - _EPOCH  # TZ is UTC here


def _set(seconds):
    # For machine.RTC: the board's clock shows this Unix time now.
    global _behind
    behind = int(_time()) - seconds
    _host.put_clock(behind)
    _behind = behind + _EPOCH
