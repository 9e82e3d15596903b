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

    With no free thread a new connection waits until it speaks or a thread is
    free. One that speaks earlier is handled in the serving thread, where every wait
    for it ends after 10 s. Where no thread can be started at all, so is every
    request; with a handler whose client_speaks_first is True, not before that.
    """

    daemon_threads = False  # True: server_close and the interpreter's end do not wait for threads
    block_on_close = True  # False: server_close does not wait for threads
    max_threads = limits.MAX_THREADS  # at once; None: as many as the system allows, 0: none
    stack_size = limits.STACK_SIZE  # bytes of stack for each; 0: the port's default
    # Held for a few lines at a time, hence one for all servers: unix and rp2 have no GIL.
    _se_lock = _new_lock()
    _se_telling = _new_lock()  # last_error belongs to one handle_error at a time
    # From the server that it is mixed into.
    RequestHandlerClass: "Any"
    socket: "Any"
    socket_type: int
    _se_stats: dict
    finish_request: "Any"
    shutdown_request: "Any"
    close_request: "Any"
    _se_inline: "Any"
    _se_interrupted: bool
    _se_poller: "Any"
    _se_serving: "Any"
    _threads: "Any"
    _se_waiting: "Any"

    def _se_prepare(self):
        """Make the attributes that threads share, before there are any."""
        self._se_inline = None  # the request that the serving thread handles itself
        self._se_interrupted = False  # Ctrl-C has hit a thread
        self._threads = ()  # those that run, and some that have ended
        # (request, client_address, whether any thread will do), the oldest first
        self._se_waiting = ()

    def process_request(self, request, client_address):
        """Start a thread that handles the request."""
        started = self._se_start(request, client_address)
        if started:
            return
        # None: one of the threads will be free. False: there are none to wait for.
        may_wait = started is None or getattr(
            self.RequestHandlerClass, "client_speaks_first", False
        )
        if may_wait and self._se_poller and self.socket_type == SOCK_STREAM:
            self._se_wait(request, client_address, started is None)
        else:
            self._se_handle_inline(request, client_address)

    def process_request_thread(self, request, client_address):
        """Handle one request in its thread, as process_request does without threads."""
        try:
            self._se_count("active")
            try:
                self.finish_request(request, client_address)
            finally:
                self._se_count("active", -1)
        except Exception as e:
            self._se_report(request, client_address, e)
        except KeyboardInterrupt:
            if port.get_ident() == self._se_serving:
                raise
            self._se_interrupted = True  # unix: Ctrl-C may hit any thread; serve_forever is to end
        finally:
            self.shutdown_request(request)

    def _se_start(self, request, client_address):
        """Return True if a thread has taken the request, None if all are busy, else False."""
        if self.max_threads == 0:
            return False
        with self._se_lock:
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

    def _se_handle_inline(self, request, client_address):
        self._se_inline = request  # StreamRequestHandler keeps its timeout below ours then
        try:
            if hasattr(request, "settimeout"):
                request.settimeout(_HANDLER_SECONDS)
            self.process_request_thread(request, client_address)
        except SystemExit:
            return  # it ends a thread in silence, and this stands for one
        finally:
            self._se_inline = None

    # Connections without a thread: they stay in the serving loop's poller.

    def _se_wait(self, request, client_address, any_thread):
        if len(self._se_waiting) >= limits.MAX_WAITING:
            self._se_evict(1)
        try:
            waiting = list(self._se_waiting) + [(request, client_address, any_thread)]
            self._se_poller.register(request, 1)
            self._se_waiting = waiting
        except MemoryError:
            self._se_poller = None  # after a register that failed it would crash the interpreter
            self._se_evict(len(self._se_waiting))
            self._se_poller = self._se_new_poller()
            raise

    def _se_evict(self, n):
        """Close the n connections that have waited longest."""
        for _ in range(n):
            self._se_count("evicted")
            self.close_request(self._se_stop_waiting(0)[0])

    def _se_stop_waiting(self, i):
        entry = self._se_waiting.pop(i)
        if self._se_poller:
            self._se_poller.unregister(entry[0])
        return entry

    def _se_new_poller(self: "Any"):
        poller = TCPServer._se_new_poller(self)
        for entry in self._se_waiting:
            poller.register(entry[0], 1)
        return poller

    def _se_ready(self, timeout):
        if self._se_interrupted:
            self._se_interrupted = False
            raise KeyboardInterrupt
        self._se_use_free_threads()
        if self._se_waiting:
            timeout = min(timeout, _LOOK_SECONDS)
        listener = False
        for ready in self._se_poller.poll(int(timeout * 1000)):
            if ready[0] is self.socket:
                listener = True
            else:
                self._se_spoke(ready[0])
        return listener

    def _se_use_free_threads(self):
        i = 0
        while i < len(self._se_waiting):
            request, client_address, any_thread = self._se_waiting[i]
            if not any_thread:
                i += 1
            elif self._se_start(request, client_address):
                self._se_stop_waiting(i)
            else:
                return

    def _se_spoke(self, request):
        for i, entry in enumerate(self._se_waiting):
            if entry[0] is request:
                self._se_stop_waiting(i)
                if not self._se_start(request, entry[1]):
                    self._se_handle_inline(request, entry[1])
                return

    def _se_is_own_thread(self, ident):
        with self._se_lock:
            return ident == self._se_serving or ident in [t.ident for t in self._threads]

    def _se_join(self):
        while self._se_waiting:
            self.close_request(self._se_stop_waiting(0)[0])
        if self.block_on_close and not self.daemon_threads:
            own = port.get_ident()
            for thread in self._threads:
                if thread.ident != own:
                    thread.join()

    # What threads share is written under the lock.

    def _se_count(self, name, n=1):
        with self._se_lock:
            self._se_stats[name] += n

    def _se_report(self: "Any", request, client_address, exc):
        with self._se_telling:
            TCPServer._se_report(self, request, client_address, exc)


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
