"""ThreadingMixIn and its servers: each request in a thread of its own."""

from socket import SOCK_STREAM

from .server import TCPServer  # first: the largest compiles best into a whole heap

# isort: split
from . import limits, port, workers

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_LOOK_MS = 50  # how often the loop looks for a free thread while a client waits for one


class ThreadingMixIn:
    """Handles each request in a new thread, as in CPython.

    With no free thread a new connection waits until it speaks or a thread is
    free. One that speaks earlier is handled in the serving thread, for at most
    10 s in all. Where no thread can be started at all, so is every
    request; with a handler whose client_speaks_first is True, not before that.
    """

    daemon_threads = False  # True: server_close and the interpreter's end do not wait for threads
    block_on_close = True  # False: server_close does not wait for threads
    max_threads = limits.MAX_THREADS  # at once; None: as many as the system allows, 0: none
    stack_size = limits.STACK_SIZE  # bytes of stack for each; 0: the port's default
    # Held for a few lines at a time, hence one for all servers: unix and rp2 have no GIL.
    _se_lock = workers.new_lock()
    _se_telling = workers.new_lock()  # last_error belongs to one handle_error at a time
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
        # Make the attributes that threads share, before there are any.
        self._se_inline = None  # the request that the serving thread handles itself
        self._se_interrupted = False  # Ctrl-C has hit a thread
        self._threads = ()  # those that run, and some that have ended
        # (request, client_address, whether any thread will do), the oldest first
        self._se_waiting = ()
        # Now, and not in threads: without a GIL others would see it half made.
        from .tell import handle_error  # noqa: F401

        if getattr(self.RequestHandlerClass, "disable_nagle_algorithm", False):
            from . import options  # noqa: F401
        if hasattr(self.RequestHandlerClass, "_se_blame"):  # AsyncStreamRequestHandler's
            from .alone import run  # noqa: F401
            from .trouble import exception  # noqa: F401

            load = getattr(self.RequestHandlerClass, "_se_load", None)
            if load:
                load(self.RequestHandlerClass)

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
            try:
                self._se_count("active")
                try:
                    self.finish_request(request, client_address)
                finally:
                    self._se_count("active", -1)
            except Exception as e:
                self._se_report(request, client_address, e)
            finally:
                self.shutdown_request(request)
        except KeyboardInterrupt:
            if self._se_is_serving():
                raise
            self._se_interrupted = True  # unix: Ctrl-C may hit any thread; serve_forever is to end

    def _se_start(self, request, client_address):
        # Return True if a thread has taken the request, None if all are busy, else False.
        if self.max_threads == 0:
            return False
        with self._se_lock:
            threads: Any = []
            for thread in self._threads:
                if thread.is_alive():
                    threads.append(thread)
            self._threads = threads
            if self.max_threads is not None and len(threads) >= self.max_threads:
                return None
            try:
                threads = threads + [None]  # the place is there before the thread needs it
                threads[-1] = workers.start_thread(
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
        if hasattr(request, "settimeout"):
            # StreamRequestHandler knows it by _se_inline, and keeps its timeout below ours.
            request = self._se_inline = workers.Bounded(request)
        try:
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
        except Exception as e:
            # After a register that failed a poller would crash the interpreter: _se_ready makes
            # a new one.
            self._se_poller = None
            if isinstance(e, MemoryError):
                self._se_evict(len(self._se_waiting))
                raise
            self._se_handle_inline(request, client_address)  # it cannot be polled

    def _se_evict(self, n):
        # Close the n connections that have waited longest.
        for _ in range(min(n, len(self._se_waiting))):
            self._se_count("evicted")
            self.close_request(self._se_stop_waiting(0)[0])

    def _se_stop_waiting(self, i):
        if self._se_poller:
            self._se_poller.unregister(self._se_waiting[i][0])  # first: Ctrl-C must not lose it
        return self._se_waiting.pop(i)

    def _se_new_poller(self: "Any"):
        poller = TCPServer._se_new_poller(self)
        for entry in self._se_waiting:
            poller.register(entry[0], 1)
        return poller

    def _se_turn(self, ms):
        # Do what each round begins with; return how long it may wait, in ms.
        if self._se_interrupted:
            self._se_interrupted = False
            raise KeyboardInterrupt
        i = 0
        while i < len(self._se_waiting):
            request, client_address, any_thread = self._se_waiting[i]
            if not any_thread:
                i += 1
            elif self._se_start(request, client_address):
                self._se_waiting.pop(i)  # first: a thread has it
                if self._se_poller:
                    self._se_poller.unregister(request)
            else:
                break
        return _LOOK_MS if self._se_waiting and not 0 <= ms < _LOOK_MS else ms

    def _se_ready(self, timeout):
        ms = self._se_turn(-1 if timeout is None else int(timeout * 1000))
        if self._se_poller is None:
            self._se_poller = self._se_new_poller()
        listener = False
        for ready in self._se_poller.poll(ms):
            if not self._se_spoke(ready[0]):
                listener = True
        return listener

    def _se_spoke(self, request):
        # Handle a connection that has spoken. Return False if it does not wait: the listener.
        for i, entry in enumerate(self._se_waiting):
            if entry[0] is request:
                self._se_stop_waiting(i)
                try:
                    if not self._se_start(request, entry[1]):
                        self._se_handle_inline(request, entry[1])
                except BaseException:
                    self.close_request(request)
                    raise
                return True
        return False

    def _se_is_serving(self):
        # Return True in the thread of serve_forever.
        loop = self._se_serving
        return loop is not None and loop[0] == port.get_ident()

    def _se_is_own_thread(self, ident):
        with self._se_lock:
            for thread in self._threads:
                if thread.ident == ident and thread.is_alive():
                    return True
        return False

    def _se_join(self):
        while self._se_serving and not self._se_is_serving():
            port.sleep_ms(5)  # the loop is about to end, and may be looking at who waits
        while self._se_waiting:
            self.close_request(self._se_stop_waiting(0)[0])
        if self.block_on_close and not self.daemon_threads:
            if not self._se_is_own_thread(port.get_ident()):  # two would wait for each other
                for thread in self._threads:
                    thread.join()

    # In a Multiplexer the loop is another's: door, see there, is what stands for the server in it.

    def _se_share(self, door):
        door.turn = lambda timeout: self._se_turn_of(door, timeout)
        loop = door.loop
        door.hub.filter = lambda timeout: _turn_all(loop, timeout)
        loop._se_is_own_thread = lambda ident: _is_own_thread(loop, ident)

    def _se_turn_of(self, door, timeout):
        hub = door.hub
        if self._se_poller is None:  # a register has failed
            for socket in list(hub.map):
                if hub.map[socket] is door and socket is not self.socket:
                    hub.unregister(socket)
            self._se_poller = door
            for entry in self._se_waiting:
                door.register(entry[0], 1)
        ms = self._se_turn(-1 if timeout is None else int(timeout * 1000))
        return ms / 1000 if self._se_waiting else timeout

    # What threads share is written under the lock.

    def _se_count(self, name, n=1):
        with self._se_lock:
            self._se_stats[name] += n

    def _se_report(self: "Any", request, client_address, exc):
        with self._se_telling:
            TCPServer._se_report(self, request, client_address, exc)


def _turn_all(loop, timeout):
    # Let the servers of a Multiplexer do what each of their rounds begins with.
    for door in loop._se_doors:
        if door.turn:
            timeout = door.turn(timeout)
    return timeout


def _is_own_thread(loop, ident):
    # Return True in the thread of a handler of one of its servers: it cannot wait for its end.
    for server in loop.servers:
        if server._se_is_own_thread and server._se_is_own_thread(ident):
            return True
    return False


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """TCPServer with a thread for each connection."""


def __getattr__(name):
    # Made on first use: few programs need them, and they load udp.py or unix.py.
    from .mixed import find

    globals()[name] = found = find(name, ThreadingMixIn, __name__)
    return found
