"""time as on a board: whole seconds (fact 41), on esp32 from the year 2000 (fact 40).

Ticks come to their end, 2**30, when a test wants it, and begin anew (fact 42).
"""

from personality import ESP32, trip
from utime import mktime as _mktime
from utime import sleep_ms as _sleep_ms
from utime import (  # noqa: F401
    sleep_us,
    ticks_cpu,
    ticks_us,
)
from utime import ticks_ms as _ticks_ms
from utime import time as _time

EPOCH = 946684800 if ESP32 else 0  # s of Unix time at which time() is 0


_PERIOD = 1 << 30
_end = 0  # when they come to it, as the host counts; else as asyncio's, which asks nobody


def wrap_in(ms):
    """Let ticks come to their end in so many milliseconds: for tests, before they serve."""
    global _end
    _end = _ticks_ms() + ms


def ticks_ms():
    """Return the milliseconds since some moment, below 2**30."""
    return (_ticks_ms() - _end) & (_PERIOD - 1)


def ticks_add(ticks, ms):
    """Return the ticks ms later."""
    return (ticks + ms) & (_PERIOD - 1)


def ticks_diff(a, b):
    """Return how many ticks a is after b."""
    return ((a - b + (_PERIOD >> 1)) & (_PERIOD - 1)) - (_PERIOD >> 1)


def sleep_ms(ms):
    """Wait so many milliseconds."""
    trip("sleep_ms")
    _sleep_ms(ms)


def sleep(seconds):
    """Wait for so many seconds."""
    _sleep_ms(int(seconds * 1000))


def time():
    """Return the seconds since the port's epoch, as an int."""
    return int(_time()) - EPOCH


def time_ns():
    """Return the same in nanoseconds."""
    return time() * 1000000000


def gmtime(seconds=None):
    """Return (year, month, day, hour, minute, second, weekday, yearday)."""
    # Not the host's, which ends in 2038 on 32 bits.
    days, left = divmod((time() if seconds is None else int(seconds)) + EPOCH, 86400)
    year = 1970 + days // 366
    while _days_before(year + 1) <= days:
        year += 1
    day = days - _days_before(year)
    month = 1
    while True:
        length = (31, 29 if _is_leap(year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[
            month - 1
        ]
        if day < length:
            break
        day -= length
        month += 1
    return (year, month, day + 1, left // 3600, left // 60 % 60, left % 60) + (
        (days + 3) % 7,
        days - _days_before(year) + 1,
    )


def _is_leap(year):
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_before(year):
    # From 1970 on.
    year -= 1
    return (year - 1969) * 365 + year // 4 - year // 100 + year // 400 - 477


localtime = gmtime


def mktime(moment):
    """Return the seconds since the port's epoch of what gmtime returned."""
    return int(_mktime(tuple(moment[:8]) + (0,))) - EPOCH
