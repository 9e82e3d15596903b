"""Takes the place of time when it is imported, before anything else is.

Ticks have a period of 2**30 ms, as on boards, and begin 1.5 s before its end; the clock is ahead
by shift[0] seconds.
"""

import sys
import time

PERIOD = 1 << 30
real_time = time.time
shift = [0]


def shifted():
    """Return the time by the clock that somebody has set."""
    return real_time() + shift[0]


def ticks_add(a, b):
    """Return the ticks b ms after a."""
    return (a + b) & (PERIOD - 1)


def ticks_diff(a, b):
    """Return how many ms a is after b."""
    return ((a - b + (PERIOD >> 1)) & (PERIOD - 1)) - (PERIOD >> 1)


if sys.implementation.name == "micropython":
    real_ticks = time.ticks_ms
    first = real_ticks()

    def ticks_ms():
        """Return the ms since some moment."""
        return (real_ticks() - first - 1500) & (PERIOD - 1)

    class Module:
        """Time as all modules see it from now on."""

    module = Module()
    for name in dir(time):
        if name[0] != "_":
            setattr(module, name, getattr(time, name))
    module.ticks_ms, module.ticks_add, module.ticks_diff = ticks_ms, ticks_add, ticks_diff
    module.time = shifted
    sys.modules["time"] = module
    del name, module
else:
    from socketse import host  # not port: that takes what is there

    first = int(time.monotonic() * 1000)
    host.ticks_ms = lambda: (int(time.monotonic() * 1000) - first - 1500) & (PERIOD - 1)
    host.ticks_add, host.ticks_diff = ticks_add, ticks_diff
    time.time = shifted
