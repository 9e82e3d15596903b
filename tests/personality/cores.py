"""_thread as on a board. The tests' own threads are not from here: they are not the board's."""

from _thread import LockType, allocate_lock, exit, get_ident  # noqa: F401
from _thread import start_new_thread as _start

import personality
from personality import ESP32, trip
from utime import sleep_ms

_SMALLEST = 4096 if ESP32 else 2048  # bytes of stack (fact 34)
_MOST = 12 if ESP32 else 1  # threads besides the first; esp32: about what its other heap can hold
_lock = allocate_lock()
_size = 0
running = 0  # those at work, and cores that are lost
second_core = None  # who runs on it


def stack_size(size=0):
    """Set how much stack all threads get from now on, and return what it was (fact 36)."""
    global _size
    old, _size = _size or 4096, size and max(size, _SMALLEST)
    return old


def start_new_thread(function, args, kwargs=None):
    """Start a thread. Raises OSError if there is no core or no memory for one more."""
    global running
    trip("start_new_thread")
    with _lock:
        if running >= _MOST or not personality.idf_heap:
            # Facts 30 and 31.
            raise OSError("can't create thread" if ESP32 else "core1 in use")
        running += 1
    stack = None
    if not ESP32:
        # The core is taken before there is a stack: without memory it is lost (fact 32).
        trip("stack")
        stack = bytearray(_size or 4096)
    _start(_run, (function, args, kwargs or {}, stack))


def _run(function, args, kwargs, stack):
    global running, second_core
    second_core = get_ident()
    try:
        function(*args, **kwargs)
    finally:
        sleep_ms(3)  # the core is free only some time after the last of its work (fact 33)
        with _lock:
            second_core = None
            running -= 1


def recover():
    """Give back a core that was lost, as a reset does: for tests."""
    global running
    running = 0
