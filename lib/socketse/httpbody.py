"""Bodies: of requests, with their length or in chunks, and of answers that wait to be sent."""

import errno
from io import BytesIO

from . import port
from .port import const, coro
from .stream import AsyncStreamRequestHandler

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ = const(1)  # as in stream.py
_WRITE = const(4)
_TURN = const(0)
_PIECE = const(512)  # bytes of a file in memory


class BadRequest(OSError):
    """The client's mistake: the request is answered with status, if it still can be."""

    status = 400


def _bad(status, text):
    error = BadRequest(errno.ECONNABORTED, text)
    error.status = status
    return error


def _go_on(h):
    # RFC 9110, 10.1.1; not in the middle of an answer
    if h.protocol_version >= "HTTP/1.1" and (h._se_head or h._se_code is None):
        AsyncStreamRequestHandler.write(h, b"HTTP/1.1 100 Continue\r\n\r\n")


def _is_async(h):
    # Is do_X an "async def", or a generator?
    method = getattr(type(h), "do_" + h.command)
    if port.platform:
        return type(method) is type(_read)
    return port.iscoroutinefunction(method)


def empty(h):
    """Return the rfile of a request without a body."""
    return Body(h, 0) if _is_async(h) else BytesIO()


class Body:
    """What an ``async def do_X`` reads the body of its request from: self.rfile."""

    def __init__(self, h, length):
        self.h = h
        self.left = length  # bytes of it, or of this chunk, that have not been read
        self.chunked = length < 0  # True: another chunk follows
        if self.chunked:
            self.left = 0
        self.first = True  # no chunk has come
        expect = h.headers.get("Expect")
        self.expect = expect is not None and h.request_version != "HTTP/1.0"
        if self.expect and expect.lower() != "100-continue":
            raise _bad(417, "nothing else can be expected")

    @coro
    def read(self, n=-1):
        """Return what is there, at most n bytes, after at most one wait; b"" at the end.

        Without n return all. Raises OSError if that is more than the handler's
        max_body, or if the client is gone, silent for too long, or wrong.
        """
        if n < 0:
            data = b""
            while True:
                more = yield from self.read(256)
                if not more:
                    return data
                data += more
                if len(data) > self.h.max_body:
                    raise _bad(413, "more than max_body bytes")
        if self.expect:
            self.expect = False
            _go_on(self.h)
        if not self.left and self.chunked:
            yield from self._chunk()
        if not self.left or not n:
            return b""
        self.h._se_spare()
        data = yield from AsyncStreamRequestHandler.read(self.h, min(n, self.left))
        if not data:
            raise EOFError("the stream ended in the middle of a body")
        self.left -= len(data)
        return data

    @coro
    def _chunk(self):
        # RFC 9112, 7.1
        h = self.h
        if not self.first and (yield from self._line()):
            raise _bad(400, "no end of a chunk")
        self.first = False
        size = (yield from self._line()).split(b";")[0].rstrip(b" \t")
        if not 0 < len(size) < 8 or [c for c in size.lower() if c not in b"0123456789abcdef"]:
            raise _bad(400, "no size of a chunk")
        self.left = int(size, 16)
        if not self.left:
            self.chunked = False
            for _ in range(h.max_headers):
                if not (yield from self._line()):
                    return
            raise _bad(431, "too many trailers")

    @coro
    def _line(self):
        try:
            line = yield from AsyncStreamRequestHandler._se_line(self.h)
        except ValueError:
            raise _bad(400, "a line of a chunk is too long")
        if line[-2:] != b"\r\n":
            raise _bad(400, "a bare newline")
        line = line[:-2]
        if b"\r" in line:
            raise _bad(400, "a bare carriage return")
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
        data = b""
        while len(data) < n:
            more = yield from self.read(n - len(data))
            if not more:
                raise EOFError("the body ended after %d of %d bytes" % (len(data), n))
            data += more
        return data

    @coro
    def readinto(self, buf):
        """Read what is there into buf and return how many bytes that is; 0: the end."""
        data = yield from self.read(len(buf))
        buf[: len(data)] = data
        return len(data)


@coro
def run(h, method):
    """Have a do_X of the handler h answer a request with a body."""
    try:
        length = h.headers.get("Content-Length")
        body = Body(h, -1 if length is None else int(length))
        if _is_async(h):
            h.rfile = body
            yield from method()
        else:
            if body.left > h.max_body:
                raise _bad(413, "more than max_body bytes")
            yield from _read(h, body)
            result = method()
            if result is not None and hasattr(result, "close"):
                yield from result
    except Exception as e:
        h._se_fail(e)
        raise
    if body.left or body.chunked:
        h.close_connection = True  # nobody knows where the next request begins
    del h.rfile
    result = h._se_end()
    if result is not None:
        yield from result


@coro
def _read(h, body):
    # Make the whole body, which has to come in time, the handler's rfile.
    timeout = h.timeout
    end = port.ticks_add(port.ticks_ms(), int(h.request_timeout * 1000))
    if body.expect:
        body.expect = False
        _go_on(h)
    data = b""
    try:
        while body.left or body.chunked:
            left = port.ticks_diff(end, port.ticks_ms())
            if left <= 0:
                raise OSError(errno.ETIMEDOUT, "timed out")
            h.timeout = 1 + left // 1000
            h._se_spare()
            if body.chunked:
                more = yield from body.read(256)
                data += more
                if len(data) > h.max_body:
                    raise _bad(413, "more than max_body bytes")
            elif len(h._se_buffer) < body.left:
                # There it counts as part of a request: such clients are the first to go.
                more = yield _READ
                if not more:
                    h._se_buffer = None
                    raise EOFError("the stream ended in the middle of a body")
                try:
                    h._se_buffer += more
                except MemoryError:
                    _make_room(h)
                    h._se_buffer += more
            else:
                data = h._se_buffer
                h._se_buffer = b""
                if len(data) > body.left:
                    h._se_buffer = data[body.left :]
                    data = data[: body.left]
                body.left = 0
        h.rfile = BytesIO(data)
    finally:
        h.timeout = timeout
        data = b""  # this frame may stay


def _make_room(h):
    # Somebody has to go. Raises MemoryError if nobody else is there.
    hub = getattr(h.server, "_se_hub", None)
    if hub is None or hub.count < 2 or not hub.collect():
        raise MemoryError


@coro
def send_file(h):
    """Send the rest of an answer, a file, in pieces, and close the file."""
    f = h._se_file
    # So much and no more, or the rest would be taken for the next answer: the file may have grown.
    left = _length(h._se_head)
    try:
        while True:
            try:
                data = f.read(_PIECE if left is None else min(left, _PIECE))
            except MemoryError:
                _make_room(h)
                continue
            if not data:
                break
            if left is not None:
                left -= len(data)
            h.write(data)
            if h._se_out:
                h._se_spare()  # a slow client
                yield _WRITE
            else:
                yield _TURN
    finally:
        h._se_file = None
        f.close()
    if left:
        h.close_connection = True
    return h._se_end()


def _length(head):
    # Return the length that an answer's head tells; None: none.
    at = head.find(b"\r\nContent-Length: ") + 18 if isinstance(head, bytes) else 17
    return None if at < 18 else int(head[at : head.find(b"\r", at)])


def pend(h, data, n):
    """Send data, but for the first n bytes, which were sent; what waits is kept by reference."""
    if n is None and not h._se_out:
        request = h.request
        if port.platform:
            n = request.write(data)
        else:
            n = port.send(request, data)
    n = n or 0
    if n:
        h._se_stats["bytes_out"] += n
    if n == len(data):
        return
    rest: Any = memoryview(data)[n:]
    if not isinstance(data, bytes):
        rest = bytes(rest)  # it will change
    out = h._se_out
    if out:
        if len(out) + len(rest) > h.max_pending:
            raise OSError(errno.ENOBUFS, "more than max_pending bytes wait: await drain()")
        rest = bytes(out) + bytes(rest)
    h._se_out = rest
    hub = getattr(h.server, "_se_hub", None)
    if hub:
        if h._se_since is not None:
            hub.modify(h)
        return
    # Nobody else is held up by waiting.
    sock = getattr(h.request, "_sock", h.request)
    poller = port.poll()
    poller.register(sock, _WRITE)
    try:
        while h._se_out:
            ms = -1 if h.timeout is None else int(h.timeout * 1000)
            if not poller.poll(ms):
                raise OSError(errno.ETIMEDOUT, "timed out")
            h._se_flush()
    finally:
        poller.unregister(sock)
