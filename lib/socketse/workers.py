"""What threads.py works with: threads and locks by port, and connections without a thread."""

from errno import ETIMEDOUT

from . import port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_HANDLER_SECONDS = 10  # how long a handler may hold up the serving thread


class _NoLock:
    """A lock where there are no threads."""

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return None


new_lock: "Any" = port._thread.allocate_lock if port._thread else _NoLock
_lock = new_lock()  # held to look who takes what a thread is to do


class _Thread:
    """A started thread that runs target(*args), with what we need of threading.Thread.

    Raises OSError or MemoryError if the port cannot start one more.
    """

    _run_args: "Any"  # (target, args); None: it has ended

    def __init__(self, target, args, stack_size, daemon):
        self._run_args = target, args
        self._taken = False
        self.ident = None
        if port.platform == "rp2":
            port.collect()  # rp2: a MemoryError while it starts loses the core until reset
        old = port._thread.stack_size(stack_size) if stack_size else 0
        try:
            self._start(20 if port.platform == "rp2" else 1)
        finally:
            if stack_size:
                port._thread.stack_size(old)

    def _start(self, tries):
        while True:
            try:
                port._thread.start_new_thread(self._run, ())
                return
            except MemoryError:
                # It may run all the same: its number is an address, and needs memory.
                if self._take():
                    raise
                return
            except OSError:
                # rp2: the core is free only a little after its last thread has done its work.
                tries -= 1
                if not tries:
                    raise
                port.sleep_ms(1)

    def _take(self):
        # Return True to the first who asks.
        with _lock:
            taken = self._taken
            self._taken = True
        return not taken

    def _run(self):
        if not self._take():
            return  # who has started it has been told that it did not work
        try:
            try:
                self.ident = port.get_ident()
            except MemoryError:  # an address on 32-bit ports, and no small int
                port.collect()
            target, args = self._run_args
            target(args[0], args[1])  # with a star it would need memory
        finally:
            self._run_args = None

    def is_alive(self):
        return self._run_args is not None

    def join(self):
        while self._run_args is not None:
            port.sleep_ms(5)


start_thread: "Any" = _Thread
if not port.platform:
    start_thread = port.Thread


class Bounded:
    """A connection that may hold up the serving thread for so long and no longer."""

    def __init__(self, sock):
        self._sock = sock
        self._end = port.ticks_add(port.ticks_ms(), _HANDLER_SECONDS * 1000)
        self.settimeout(None)

    def __getattr__(self, name):
        return getattr(self._sock, name)

    def settimeout(self, seconds):
        self._timeout = _HANDLER_SECONDS if seconds is None else seconds
        self._sock.settimeout(self._timeout)  # CPython's files read from it directly

    def _in_time(self):
        left = port.ticks_diff(self._end, port.ticks_ms()) / 1000
        if left <= 0:
            raise OSError(ETIMEDOUT, "the serving thread is wanted by others")
        # esp32: less than 0.1 s is no time at all
        self._sock.settimeout(min(self._timeout, max(left, 0.1)))
        return self._sock

    def recv(self, *args):
        return self._in_time().recv(*args)

    def send(self, *args):
        return self._in_time().send(*args)

    def sendall(self, *args):
        return self._in_time().sendall(*args)
