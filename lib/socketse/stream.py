"""AsyncStreamRequestHandler: handlers that are coroutines, for every kind of server.

A handler's coroutine tells what drives it, a Multiplexer or alone.py, what it waits for by
yielding one of these numbers, and is resumed with what came:

    1  READ   bytes, b"" at the end of the stream
    4  WRITE  nothing, when all that was written has been sent
    2  SLEEP  nothing, at self._se_wake
    0  TURN   nothing, after the others had their turn
"""

import errno

from .server import BaseRequestHandler  # first: the largest compiles best into a whole heap

# isort: split
from . import port
from .port import const, coro

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ = const(1)
_WRITE = const(4)
_SLEEP = const(2)
_TURN = const(0)
# Bytes asked of a socket at once: MicroPython's recv allocates them beforehand.
_READ_SIZE = const(256)
# Bytes that are sent without looking at max_pending; CPython's sockets have no write().
maxsize = 1024 if port.platform else -1
_TURNS = const(8)  # how often a handler may call drain() before the others have their turn
_LONGEST = const(0x8000000)  # ms of one sleep: ticks wrap

# What a client that is gone or silent leads to; 32: EPIPE, of which MicroPython has no name.
errorcode = (
    errno.ECONNRESET,
    errno.ETIMEDOUT,
    errno.ECONNABORTED,
    errno.ENOTCONN,
    errno.EHOSTUNREACH,
    errno.EAGAIN,
    32,
)

# MicroPython finds what a module calls its own at once, a builtin only after a long search.
len = len
getattr = getattr

count = 0  # calls of drain() since a handler was last resumed


class AsyncStreamRequestHandler(BaseRequestHandler):
    """A connection whose handle() is a coroutine function, with asyncio's names.

    A Multiplexer drives many of them in one thread; a plain or threading server
    drives each to its end. setup() and finish() are plain functions.
    Await nothing but the methods here: no other loop is there to be waited for.
    """

    timeout: "float | None" = 60  # seconds that one wait for the client may last; None: for ever
    max_line = 1024  # bytes of a line
    # Bytes that were written and are not sent yet; CPython: as asyncio's high-water mark.
    max_pending = 4096 if port.platform else 65536
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
            from .options import setsockopt

            setsockopt(self.request, (("IPPROTO_TCP", "TCP_NODELAY", 1),))

    async def handle(self):
        """Do the work of one connection: to be overridden."""

    def _se_knock(self, socket):
        # For want of memory it has ended, and its connection has not.
        self.server._se_hub.close(self)

    def _se_blame(self, exc):
        # Count exc and return True if it is the client's doing, and no fault of the handler.
        # EOFError: readexactly's
        if isinstance(exc, EOFError) or isinstance(exc, OSError) and exc.errno in errorcode:
            self._se_count("timed_out" if port.timeout(exc) else "errors")
            return True
        return False

    # rfile: asyncio.StreamReader's methods. What was read before a timeout or an error is there
    # for the next call. Few locals: the frame of the one that waits stays on the heap.

    @coro
    def readline(self):
        """Return the next line with its newline, less at the end of the stream.

        Raises ValueError if it is longer than max_line, and OSError if the
        client is gone or silent for timeout seconds.
        """
        global count
        if self._se_buffer == b"":
            data = yield _READ
            count = 0
            if data.find(b"\n") == len(data) - 1:  # one line and no more, or the end
                if not data:
                    self._se_buffer = None
                return data
            self._se_buffer = data
        return (yield from self._se_line())

    @coro
    def _se_line(self):
        global count
        data = self._se_buffer or b""
        end = data.find(b"\n") + 1
        while not end:
            if len(data) > self.max_line:
                raise ValueError("line longer than max_line")
            more = self._se_buffer is not None and (yield _READ)
            count = 0
            if not more:
                self._se_buffer = None
                return data
            self._se_buffer = data = data + more
            end = data.find(b"\n") + 1
        self._se_buffer = data[end:]
        if end > self.max_line:
            raise ValueError("line longer than max_line")
        return data[:end]

    @coro
    def read(self, n=-1):
        """Return what is there, at most n bytes, after at most one wait; b"" at the end.

        Without n, or with a negative one, return all until the end of the stream.
        """
        global count
        data = self._se_buffer
        while data == b"" and n or data is not None and n < 0:
            more = yield _READ
            count = 0
            if not more:
                self._se_buffer = None
                return data
            self._se_buffer = data = data + more if data else more
        if data is None:
            return b""
        if len(data) <= n:
            self._se_buffer = b""
            return data
        self._se_buffer = data[n:]
        return data[:n]

    @coro
    def readexactly(self, n):
        """Return n bytes. Raises EOFError if the stream ends before, ValueError if n < 0."""
        global count
        if n < 0:
            raise ValueError("readexactly of %d bytes" % n)
        while n > len(self._se_buffer or b""):
            more = self._se_buffer is not None and (yield _READ)
            count = 0
            if not more:
                got = len(self._se_buffer or b"")
                self._se_buffer = None
                raise EOFError("the stream ended after %d of %d bytes" % (got, n))
            self._se_buffer += more
        return (yield from self.read(n))  # without a wait

    @coro
    def readinto(self, buf):
        """Read what is there into buf, after at most one wait, and return how many bytes that is.

        0 means the end of the stream.
        """
        data = yield from self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    # wfile: asyncio.StreamWriter's.

    def write(self, data):
        """Send data, bytes or a buffer of bytes, or what the socket does not take now, later.

        Raises OSError(ENOBUFS) before it takes a byte if more than max_pending
        bytes would have to wait, and OSError if the client is gone.
        """
        # Few locals, no try: a frame of up to 11 words is not on the heap.
        size = len(data)
        if self._se_out or size > maxsize:
            self._se_pend(data, None)
            return
        n = self.request.write(data)
        if n == size:
            self._se_stats["bytes_out"] += n
        else:
            self._se_pend(data, n or 0)

    def _se_pend(self, data, n):
        # Keep data for later, but for the first n bytes, which were sent; None: nobody tried.
        # What was tried is kept: TLS may have sent a part of it, and wants to go on with it.
        if n is None and len(self._se_out) + len(data) > self.max_pending:
            raise OSError(errno.ENOBUFS, "more than max_pending bytes wait: await drain()")
        if n is None and not self._se_out:
            self._se_out = data
            try:
                self._se_flush()
            except Exception:
                self._se_out = b""
                raise
            self._se_out = bytes(self._se_out)  # of a buffer, which will change, what is left
        else:
            if n:
                self._se_stats["bytes_out"] += n
                data = data[n:]
            self._se_out += bytes(data)
        if self._se_out:
            hub = getattr(self.server, "_se_hub", None)
            if hub and self._se_since is not None:
                hub.modify(self)

    def drain(self):
        """Wait until all that was written has been sent; let the others have their turn."""
        global count
        count += 1
        if count < _TURNS and not self._se_out:
            return done
        return self._se_drain()

    @coro
    def _se_drain(self):
        global count
        yield _WRITE if self._se_out else _TURN
        count = 0

    def _se_flush(self):
        # Send what can be sent now. Return True if nothing is left.
        if port.platform:
            n = self.request.write(self._se_out)
        else:
            n = port.send(self.request, self._se_out)
        if n:
            self._se_out = self._se_out[n:]
            self._se_stats["bytes_out"] += n
        return not self._se_out

    @coro
    def sleep(self, seconds):
        """Wait so many seconds; raises OSError if the client goes away meanwhile."""
        global count
        ms = int(seconds * 1000)
        while True:
            self._se_wake = port.ticks_add(port.ticks_ms(), min(ms, _LONGEST))
            yield _SLEEP
            count = 0
            ms -= _LONGEST
            if ms <= 0:
                return


done = coro(lambda: (yield))()  # one for all, at its end: to await it costs nothing
done.close()
