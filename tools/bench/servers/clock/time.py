"""A clock that is set: two seconds after the start the time is 20 years later."""

from utime import *  # noqa: F403
from utime import ticks_diff, ticks_ms
from utime import time as _time

_begin = ticks_ms()


def time():
    """Return the seconds from 1970, soon 20 years too many."""
    return _time() + (630720000 if ticks_diff(ticks_ms(), _begin) >= 2000 else 0)
