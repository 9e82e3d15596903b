"""Bodies of requests, with their length or in chunks, and methods that are coroutines."""

import errno
from io import BytesIO

from . import port
from .port import const, coro
from .shortage import make_room
from .stream import AsyncStreamRequestHandler

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ = const(1)  # as in stream.py


class BadRequest(OSError):
    """The client's mistake: the request is answered with status, if it still can be."""

    status = 400


def _theirs(h, error):
    # Return error, of which not the handler's code is to blame, but its client.
    h._se_error = error
    return error


def _bad(h, status, text):
    error = BadRequest(errno.ECONNABORTED, text)
    error.status = status
    return _theirs(h, error)


def _go_on(h):
    # RFC 9110, 10.1.1; not in the middle of an answer
    if h.protocol_version >= "HTTP/1.1" and (h._se_head or h._se_code is None):
        AsyncStreamRequestHandler.write(h, b"HTTP/1.1 100 Continue\r\n\r\n")


def _is_async(h):
    # Is do_X an "async def", or a generator?
    method = getattr(type(h), "do_" + h.command)
    method = getattr(method, "__wrapped__", method)  # functools.wraps
    if port.platform:
        return type(method) is type(_read)
    return port.iscoroutinefunction(method)


def empty(h):
    """Return the rfile of a request without a body."""
    return Body(h, 0) if h._se_async else BytesIO()


class Body:
    """What an ``async def do_X`` reads the body of its request from: self.rfile."""

    def __init__(self, h, length):
        self.h = h
        self.left = length  # bytes of it, or of this chunk, that have not been read
        self.chunked = length < 0  # True: another chunk follows
        if self.chunked:
            self.left = 0
        self.first = True  # no chunk has come
        self.end: Any = None  # the tick until which it must have come; None: there is none
        expect = h.headers.get("Expect")
        self.expect = expect is not None and h.request_version != "HTTP/1.0"
        if self.expect and expect.lower() != "100-continue":
            raise _bad(h, 417, "nothing else can be expected")

    @coro
    def read(self, n=-1):
        """Return what is there, at most n bytes, after at most one wait; b"" at the end.

        Without n return all. Raises OSError if that is more than the handler's
        max_body, or if the client is gone, silent for too long, or wrong.
        """
        if n < 0:
            data: Any = bytearray()  # it grows without a copy each time
            while True:
                more = yield from self.read(256)
                if not more:
                    return bytes(data)
                data += more
                if len(data) > self.h.max_body:
                    raise _bad(self.h, 413, "more than max_body bytes")
        if self.expect:
            self.expect = False
            _go_on(self.h)
        if self.end is not None:
            self._hurry(self.end)
        if not self.left and self.chunked:
            yield from self._chunk()
        if not self.left or not n:
            return b""
        self.h._se_spare()
        data = yield from AsyncStreamRequestHandler.read(self.h, min(n, self.left))
        if not data:
            raise _theirs(self.h, EOFError("the stream ended in the middle of a body"))
        self.left -= len(data)
        return data

    @coro
    def _chunk(self):
        # RFC 9112, 7.1
        h = self.h
        end = self.end
        if end is None:
            # A body may be of any length, but not what is no part of it.
            end = port.ticks_add(port.ticks_ms(), int(h.request_timeout * 1000))
        if not self.first and (yield from self._line(end)):
            raise _bad(self.h, 400, "no end of a chunk")
        self.first = False
        size = (yield from self._line(end)).split(b";")[0].rstrip(b" \t")
        if not 0 < len(size) < 8 or [c for c in size.lower() if c not in b"0123456789abcdef"]:
            raise _bad(self.h, 400, "no size of a chunk")
        self.left = int(size, 16)
        if not self.left:
            self.chunked = False
            for _ in range(h.max_headers):
                if not (yield from self._line(end)):
                    return
            raise _bad(self.h, 431, "too many trailers")

    def _hurry(self, end):
        # Wait until that tick and no longer. Raises OSError(ETIMEDOUT) if it has passed.
        left = port.ticks_diff(end, port.ticks_ms())
        if left <= 0:
            raise _theirs(self.h, OSError(errno.ETIMEDOUT, "timed out"))
        if end is self.end:
            self.h.timeout = 1 + left // 1000

    @coro
    def _line(self, end):
        h = self.h
        while True:
            data = h._se_buffer or b""
            at = data.find(b"\n") + 1
            if at > h.max_line or not at and len(data) > h.max_line:
                raise _bad(self.h, 400, "a line of a chunk is too long")
            if at:
                break
            self._hurry(end)
            more = h._se_buffer is not None and (yield _READ)
            if not more:
                h._se_buffer = None
                raise _theirs(h, EOFError("the stream ended in the middle of a body"))
            h._se_buffer = data + more
        line = data[:at]
        h._se_buffer = data[at:]
        if line[-2:] != b"\r\n":
            raise _bad(self.h, 400, "a bare newline")
        line = line[:-2]
        if b"\r" in line:
            raise _bad(self.h, 400, "a bare carriage return")
        return line

    @coro
    def readline(self):
        """Return the next line with its newline, less at the end.

        Raises ValueError if it is longer than the handler's max_line.
        """
        data = b""
        while data[-1:] != b"\n":
            more = yield from self.read(1)
            if not more:
                break
            data += more
            if len(data) > self.h.max_line:
                raise ValueError("line longer than max_line")
        return data

    @coro
    def readexactly(self, n):
        """Return n bytes. Raises EOFError if the body ends before."""
        data = bytearray()
        while len(data) < n:
            more = yield from self.read(n - len(data))
            if not more:
                text = "the body ended after %d of %d bytes" % (len(data), n)
                raise _theirs(self.h, EOFError(text))
            data += more
        return bytes(data)

    @coro
    def readinto(self, buf):
        """Read what is there into buf and return how many bytes that is; 0: the end."""
        data = yield from self.read(len(buf))
        buf[: len(data)] = data
        return len(data)


@coro
def watch(h, co):
    """Await co and return its result; h is told which errors come from its connection."""
    value: Any = None
    error: Any = None
    try:
        while True:
            try:
                want = co.throw(error) if error else co.send(value)
            except StopIteration as e:
                return e.value
            value = error = None
            try:
                value = yield want
            except OSError as e:
                error = _theirs(h, e)
            except Exception as e:
                error = e
    finally:
        co.close()


@coro
def drive(h, result, body=None):
    """Have the coroutine of a do_X of the handler h answer a request."""
    try:
        h._se_async = True
        yield from watch(h, result)
    except Exception as e:
        h._se_fail(e)
        raise
    finally:
        h._se_async = False
    result = _end(h, body)
    if result is not None:
        yield from result


def _end(h, body):
    if body is not None:
        if body.left or body.chunked:
            h.close_connection = True  # nobody knows where the next request begins
        del h.rfile
    return h._se_end()


def run(h, method):
    """Return what is to be awaited until a do_X of the handler h has answered a request.

    The request has a body.
    """
    length = h.headers.get("Content-Length")
    body = Body(h, -1 if length is None else int(length))
    if _is_async(h):
        h.rfile = body
        return drive(h, method(), body)
    if body.left > h.max_body:
        raise _bad(h, 413, "more than max_body bytes")
    return _plain(h, method, body)


@coro
def _plain(h, method, body):
    try:
        try:
            yield from _read(h, body)
        except OSError as e:
            raise _theirs(h, e)
        result = method()
        if result is not None and hasattr(result, "throw"):
            # Something is wrapped around an "async def": it reads what has come.
            data = h.rfile.read()
            h._se_buffer = data + h._se_buffer
            h.rfile = body = Body(h, len(data))
            body.expect = False
            data = b""
            result = drive(h, result, body)
        else:
            result = _end(h, body)
    except Exception as e:
        h._se_fail(e)
        raise
    if result is not None:
        yield from result


@coro
def _read(h, body):
    # Make the whole body, which has to come in time, the handler's rfile.
    timeout = h.timeout
    body.end = port.ticks_add(port.ticks_ms(), int(h.request_timeout * 1000))
    data: Any = b""
    try:
        if body.chunked:
            data = yield from body.read()
        elif body.expect:
            body.expect = False
            _go_on(h)
        while body.left:
            data = h._se_buffer
            if len(data) >= body.left:
                h._se_buffer = bytes(data[body.left :])
                data = bytes(data[: body.left])
                break
            body._hurry(body.end)
            h._se_spare()
            # There it counts as part of a request: such clients are the first to go.
            more = yield _READ
            if not more:
                h._se_buffer = None
                raise _theirs(h, EOFError("the stream ended in the middle of a body"))
            if not isinstance(data, bytearray):
                h._se_buffer = data = bytearray(data)  # it grows without a copy each time
            try:
                data += more
            except MemoryError:
                make_room(h)
                data += more
        body.left = 0
        h.rfile = BytesIO(data)
    finally:
        h.timeout = timeout
        data = b""  # this frame may stay
