"""AsyncStreamRequestHandler: handlers that are coroutines, for every kind of server.

A handler's coroutine tells what drives it, a Multiplexer or alone.py, what it waits for by
yielding one of these numbers, and is resumed with what came:

    1  READ   bytes, b"" at the end of the stream
    4  WRITE  nothing, when all that was written has been sent
    2  SLEEP  nothing, at self._se_wake
    0  TURN   nothing, after the others had their turn
"""

from errno import (
    EAGAIN,
    ECONNABORTED,
    ECONNRESET,
    EHOSTUNREACH,
    ENOBUFS,
    ENOTCONN,
    ETIMEDOUT,
)

from .server import BaseRequestHandler  # first: the largest compiles best into a whole heap

# isort: split
from . import port
from .port import const, coroutine

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ = const(1)
_WRITE = const(4)
_SLEEP = const(2)
_TURN = const(0)
# Bytes asked of a socket at once: MicroPython's recv allocates them beforehand.
_READ_SIZE = const(256)
# Bytes that are sent without looking at max_pending; CPython's sockets have no write().
_SHORT = 1024 if port.PLATFORM else -1
_TURNS = const(8)  # how often a handler may call drain() before the others have their turn
_LONGEST = const(0x8000000)  # ms of one sleep: ticks wrap

# What a client that is gone or silent leads to; 32: EPIPE, of which MicroPython has no name.
_CLIENTS = (ECONNRESET, ETIMEDOUT, ECONNABORTED, ENOTCONN, EHOSTUNREACH, EAGAIN, 32)

# MicroPython finds what a module calls its own at once, a builtin only after a long search.
len = len
getattr = getattr

_turns = 0  # calls of drain() since a handler was last resumed


class AsyncStreamRequestHandler(BaseRequestHandler):
    """A connection whose handle() is a coroutine function, with asyncio's names.

    A Multiplexer drives many of them in one thread; a plain or threading server
    drives each to its end. setup() and finish() are plain functions.
    Await nothing but the methods here: no other loop is there to be waited for.
    """

    timeout: "float | None" = 60  # seconds that one wait for the client may last; None: for ever
    max_line = 1024  # bytes of a line
    # Bytes that were written and are not sent yet; CPython: as asyncio's high-water mark.
    max_pending = 4096 if port.PLATFORM else 65536
    disable_nagle_algorithm = False
    rfile: "Any"
    wfile: "Any"
    _se_co: "Any" = None  # the coroutine; None: there is none, or no more
    _se_want = _READ  # what it waits for
    _se_done = False  # True: finish() was called
    _se_wake: "Any" = None  # when it is to be woken, in ticks
    _se_buffer: "Any" = b""  # read and not asked for yet; None: the end of the stream came
    _se_out = b""  # written and not sent yet
    _se_since: "Any" = None  # when the last byte came, in ticks; None: no multiplexer has it yet
    _se_stats: dict  # where bytes are counted

    def __init__(self, request, client_address, server):
        self.request = request
        self.client_address = client_address
        self.server = server
        self.rfile = self.wfile = self  # the handler is its own pair of files
        if self.max_line < _READ_SIZE:
            setattr(self, "readline", self._se_line)  # noqa: B010  # a line in one piece can be too long
        hub = getattr(server, "_se_hub", None)  # the server may be a stranger
        if hub and server._se_inline is not request:
            request.settimeout(0)
            self._se_stats = server._se_stats
        else:
            # Threads share the server's: these are added at the end, under its lock.
            hub = None
            self._se_stats = {"bytes_in": 0, "bytes_out": 0}
        self.setup()
        self._se_co = self.handle()
        if self._se_co is None:
            raise TypeError("handle() of %s is not 'async def'" % type(self).__name__)
        if hub:
            hub.append(self)
        else:
            from .alone import run

            run(self)

    def setup(self):
        """Called before handle(); may be overridden."""
        if self.disable_nagle_algorithm:
            from .options import set_options

            set_options(self.request, (("IPPROTO_TCP", "TCP_NODELAY", 1),))

    async def handle(self):
        """Do the work of one connection: to be overridden."""

    def _se_knock(self, sock):
        # For want of memory it has ended, and its connection has not.
        self.server._se_hub.close(self)

    def _se_blame(self, exc):
        # Count exc and return True if it is the client's doing, and no fault of the handler.
        # EOFError: readexactly's
        if isinstance(exc, EOFError) or isinstance(exc, OSError) and exc.errno in _CLIENTS:
            self._se_count("timed_out" if port.as_timeout(exc) else "errors")
            return True
        return False

    # rfile: asyncio.StreamReader's methods. What was read before a timeout or an error is there
    # for the next call. Few locals: the frame of the one that waits stays on the heap.

    @coroutine
    def readline(self):
        """Return the next line with its newline, less at the end of the stream.

        Raises ValueError if it is longer than max_line, and OSError if the
        client is gone or silent for timeout seconds.
        """
        global _turns
        if self._se_buffer == b"":
            data = yield _READ
            _turns = 0
            if data.find(b"\n") == len(data) - 1:  # one line and no more, or the end
                if not data:
                    self._se_buffer = None
                return data
            self._se_buffer = data
        return (yield from self._se_line())

    @coroutine
    def _se_line(self):
        global _turns
        data = self._se_buffer or b""
        end = data.find(b"\n") + 1
        while not end:
            if len(data) > self.max_line:
                raise ValueError("line longer than max_line")
            more = self._se_buffer is not None and (yield _READ)
            _turns = 0
            if not more:
                self._se_buffer = None
                return data
            self._se_buffer = data = data + more
            end = data.find(b"\n") + 1
        self._se_buffer = data[end:]
        if end > self.max_line:
            raise ValueError("line longer than max_line")
        return data[:end]

    @coroutine
    def read(self, n=-1):
        """Return what is there, at most n bytes, after at most one wait; b"" at the end.

        Without n, or with a negative one, return all until the end of the stream.
        """
        global _turns
        data = self._se_buffer
        while data == b"" and n or data is not None and n < 0:
            more = yield _READ
            _turns = 0
            if not more:
                self._se_buffer = None
                return data
            self._se_buffer = data = data + more if data else more
        return self._se_take(n)

    @coroutine
    def readexactly(self, n):
        """Return n bytes. Raises EOFError if the stream ends before, ValueError if n < 0."""
        global _turns
        if n < 0:
            raise ValueError("readexactly of %d bytes" % n)
        while n > len(self._se_buffer or b""):
            more = self._se_buffer is not None and (yield _READ)
            _turns = 0
            if not more:
                got = len(self._se_buffer or b"")
                self._se_buffer = None
                raise EOFError("the stream ended after %d of %d bytes" % (got, n))
            self._se_buffer += more
        return self._se_take(n)

    @coroutine
    def readinto(self, buf):
        """Read what is there into buf, after at most one wait, and return how many bytes that is.

        0 means the end of the stream.
        """
        data = yield from self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def _se_take(self, n):
        data = self._se_buffer
        if data is None:
            return b""
        if len(data) <= n:
            self._se_buffer = b""
            return data
        self._se_buffer = data[n:]
        return data[:n]

    # wfile: asyncio.StreamWriter's.

    def write(self, data):
        """Send data, bytes or a buffer of bytes, or what the socket does not take now, later.

        Raises OSError(ENOBUFS) before it takes a byte if more than max_pending
        bytes would have to wait, and OSError if the client is gone.
        """
        # Few locals, no try: a frame of up to 11 words is not on the heap.
        if self._se_out or len(data) > _SHORT:
            self._se_pend(data, None)
            return
        n = self.request.write(data)
        if n == len(data):
            self._se_stats["bytes_out"] += n
        else:
            self._se_pend(data, n or 0)

    def _se_pend(self, data, n):
        # Keep data for later, but for the first n bytes, which were sent; None: nobody tried.
        if not n:
            if len(self._se_out) + len(data) > self.max_pending:
                raise OSError(ENOBUFS, "more than max_pending bytes wait: await drain()")
            if n is None and not self._se_out:
                n = self._se_send(data)
        if n:
            self._se_stats["bytes_out"] += n
            data = data[n:]
        if data:
            self._se_out += bytes(data)
            hub = getattr(self.server, "_se_hub", None)
            if hub and self._se_since is not None:
                hub.modify(self)

    def drain(self):
        """Wait until all that was written has been sent; let the others have their turn."""
        global _turns
        _turns += 1
        if _turns < _TURNS and not self._se_out:
            return _nothing
        return self._se_drain()

    @coroutine
    def _se_drain(self):
        global _turns
        yield _WRITE if self._se_out else _TURN
        _turns = 0

    def _se_send(self, data):
        # Return how many bytes of data the socket takes now; None or 0: none.
        if port.PLATFORM:  # a socket's write(), which raises nothing if it is full
            return self.request.write(data)
        return port.send(self.request, data)

    def _se_flush(self):
        # Send what can be sent now. Return True if nothing is left.
        n = self._se_send(self._se_out)
        if n:
            self._se_out = self._se_out[n:]
            self._se_stats["bytes_out"] += n
        return not self._se_out

    @coroutine
    def sleep(self, seconds):
        """Wait so many seconds; raises OSError if the client goes away meanwhile."""
        global _turns
        ms = int(seconds * 1000)
        while True:
            self._se_wake = port.ticks_add(port.ticks_ms(), min(ms, _LONGEST))
            yield _SLEEP
            _turns = 0
            ms -= _LONGEST
            if ms <= 0:
                return


@coroutine
def _nothing_to_wait_for():
    return
    yield


# One for all, at its end: to await it costs nothing.
_nothing = _nothing_to_wait_for()
for _ in _nothing:
    pass
