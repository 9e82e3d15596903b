"""ThreadingMixIn and its servers: each request in a thread of its own."""

from socket import SOCK_STREAM

from .server import TCPServer  # first: the largest compiles best into a whole heap

# isort: split
from . import limits, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_HANDLER_SECONDS = 10  # how long one wait of a handler may hold up the serving thread
_LOOK_SECONDS = 0.05  # how often the loop looks for a free thread while a client waits for one


class _NoLock:
    """A lock where there are no threads."""

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return None


_new_lock = port.thread.allocate_lock if port.thread else _NoLock


class _Thread:
    """A started thread that runs target(*args), with what we need of threading.Thread.

    Raises OSError or MemoryError if the port cannot start one more.
    """

    _run_args: "Any"  # (target, args); None: it has ended

    def __init__(self, target, args, stack_size, daemon):
        self._run_args = target, args
        self.ident = None
        if port.PLATFORM == "rp2":
            port.collect()  # rp2: a MemoryError while it starts loses the core until reset
        old = port.thread.stack_size(stack_size) if stack_size else 0
        try:
            self._start(20 if port.PLATFORM == "rp2" else 1)
        finally:
            if stack_size:
                port.thread.stack_size(old)

    def _start(self, tries):
        while True:
            try:
                port.thread.start_new_thread(self._run, ())
                return
            except OSError:
                # rp2: the core is free only a little after its last thread has done its work.
                tries -= 1
                if not tries:
                    raise
                port.sleep_ms(1)

    def _run(self):
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


_start_thread = _Thread if port.Thread is None else port.Thread


class ThreadingMixIn:
    """Handles each request in a new thread, as in CPython.

    daemon_threads  True: server_close and the interpreter's end do not wait for the threads
    block_on_close  True: server_close waits for the threads that are not daemons
    max_threads     how many at once; None: as many as the system allows, 0: none
    stack_size      bytes of stack for each; 0: the port's default

    With no free thread a new connection waits until it speaks or a thread is
    free. One that speaks earlier is handled in the serving thread, where every wait
    for it ends after 10 s. Where no thread can be started at all, so is every
    request; with a handler whose client_speaks_first is True, not before that.
    """

    daemon_threads = False
    block_on_close = True
    max_threads = limits.MAX_THREADS
    stack_size = limits.STACK_SIZE
    # Held for a few lines at a time, hence one for all servers: unix and rp2 have no GIL.
    _lock = _new_lock()
    _telling = _new_lock()  # last_error belongs to one handle_error at a time
    # From the server that it is mixed into.
    RequestHandlerClass: "Any"
    socket: "Any"
    socket_type: int
    stats: dict
    finish_request: "Any"
    shutdown_request: "Any"
    close_request: "Any"
    _inline: "Any"
    _interrupted: bool
    _poller: "Any"
    _serving: "Any"
    _threads: "Any"  # those that run, and some that have ended
    _waiting: "Any"  # (request, client_address, whether any thread will do), the oldest first

    def process_request(self, request, client_address):
        """Start a thread that handles the request."""
        started = self._start(request, client_address)
        if started:
            return
        # None: one of the threads will be free. False: there are none to wait for.
        may_wait = started is None or getattr(
            self.RequestHandlerClass, "client_speaks_first", False
        )
        if may_wait and self._poller and self.socket_type == SOCK_STREAM:
            self._wait(request, client_address, started is None)
        else:
            self._handle_inline(request, client_address)

    def process_request_thread(self, request, client_address):
        """Handle one request in its thread, as process_request does without threads."""
        try:
            self._count("active")
            try:
                self.finish_request(request, client_address)
            finally:
                self._count("active", -1)
        except Exception as e:
            self._report(request, client_address, e)
        except KeyboardInterrupt:
            if port.get_ident() == self._serving:
                raise
            self._interrupted = True  # unix: Ctrl-C may hit any thread; serve_forever is to end
        finally:
            self.shutdown_request(request)

    def _start(self, request, client_address):
        """Return True if a thread has taken the request, None if all are busy, else False."""
        if self.max_threads == 0:
            return False
        with self._lock:
            threads = [thread for thread in self._threads if thread.is_alive()]
            self._threads = threads
            if self.max_threads is not None and len(threads) >= self.max_threads:
                return None
            try:
                threads = threads + [None]  # the place is there before the thread needs it
                threads[-1] = _start_thread(
                    self.process_request_thread,
                    (request, client_address),
                    self.stack_size,
                    self.daemon_threads,
                )
            except (OSError, RuntimeError, MemoryError):
                return False  # rp2: "core1 in use", by a thread of the program's own
            self._threads = threads
        return True

    def _handle_inline(self, request, client_address):
        self._inline = request  # StreamRequestHandler keeps its timeout below ours then
        try:
            if hasattr(request, "settimeout"):
                request.settimeout(_HANDLER_SECONDS)
            self.process_request_thread(request, client_address)
        except SystemExit:
            return  # it ends a thread in silence, and this stands for one
        finally:
            self._inline = None

    # Connections without a thread: they stay in the serving loop's poller.

    def _wait(self, request, client_address, any_thread):
        if len(self._waiting) >= limits.MAX_WAITING:
            self._evict(1)
        try:
            waiting = list(self._waiting) + [(request, client_address, any_thread)]
            self._poller.register(request, 1)
            self._waiting = waiting
        except MemoryError:
            self._poller = None  # after a register that failed it would crash the interpreter
            self._evict(len(self._waiting))
            self._poller = self._new_poller()
            raise

    def _evict(self, n):
        """Close the n connections that have waited longest."""
        for _ in range(n):
            self._count("evicted")
            self.close_request(self._stop_waiting(0)[0])

    def _stop_waiting(self, i):
        entry = self._waiting.pop(i)
        if self._poller:
            self._poller.unregister(entry[0])
        return entry

    def _new_poller(self: "Any"):
        poller = TCPServer._new_poller(self)
        for entry in self._waiting:
            poller.register(entry[0], 1)
        return poller

    def _ready(self, timeout):
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt
        self._use_free_threads()
        if self._waiting:
            timeout = min(timeout, _LOOK_SECONDS)
        listener = False
        for ready in self._poller.poll(int(timeout * 1000)):
            if ready[0] is self.socket:
                listener = True
            else:
                self._spoke(ready[0])
        return listener

    def _use_free_threads(self):
        i = 0
        while i < len(self._waiting):
            request, client_address, any_thread = self._waiting[i]
            if not any_thread:
                i += 1
            elif self._start(request, client_address):
                self._stop_waiting(i)
            else:
                return

    def _spoke(self, request):
        for i, entry in enumerate(self._waiting):
            if entry[0] is request:
                self._stop_waiting(i)
                if not self._start(request, entry[1]):
                    self._handle_inline(request, entry[1])
                return

    def _is_own_thread(self, ident):
        with self._lock:
            return ident == self._serving or ident in [t.ident for t in self._threads]

    def _join(self):
        while self._waiting:
            self.close_request(self._stop_waiting(0)[0])
        if self.block_on_close and not self.daemon_threads:
            own = port.get_ident()
            for thread in self._threads:
                if thread.ident != own:
                    thread.join()

    # What threads share is written under the lock.

    def _count(self, name, n=1):
        with self._lock:
            self.stats[name] += n

    def _report(self: "Any", request, client_address, exc):
        with self._telling:
            TCPServer._report(self, request, client_address, exc)


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """TCPServer with a thread for each connection."""


def __getattr__(name):
    # Made on first use, so that a ThreadingTCPServer loads neither udp.py nor unix.py.
    base: Any
    if name == "ThreadingUDPServer":
        from .udp import UDPServer as base
    elif name == "ThreadingUnixStreamServer":
        from .unix import UnixStreamServer as base
    elif name == "ThreadingUnixDatagramServer":
        from .unix import UnixDatagramServer as base
    else:
        raise AttributeError("module 'socketse.threads' has no attribute '%s'" % name)
    made = type(name, (ThreadingMixIn, base), {"__module__": __name__})
    globals()[name] = made
    return made
