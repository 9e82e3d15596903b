"""Answers that are longer than a page: what is in chunks, what waits to be sent, files."""

import errno

from . import port
from .port import const, coro
from .shortage import read_piece
from .stream import AsyncStreamRequestHandler

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_WRITE = const(4)  # as in stream.py
_TURN = const(0)
_HUP = const(16)  # esp32: who does not ask for it is not told that a client is gone
_PIECE = const(512)  # bytes of a file in memory
_SMALL = const(1024)  # bytes that are copied, so that they are sent with others
_HANDLER_SECONDS = const(10)  # that a plain do_X may wait for its client in a multiplexer
_STALL_MS = const(1000)  # of them in which the client takes nothing


@coro
def send_file(h):
    """Send the rest of an answer, a file, in pieces, and close the file."""
    f = h._se_file
    h._se_file = None  # or it would be sent before its first piece
    # So much and no more, or the rest would be taken for the next answer: the file may have grown.
    left = _length(h._se_head)
    piece = _PIECE
    try:
        while True:
            data = read_piece(h, f, piece if left is None else min(left, piece))
            if not data:
                break
            piece = len(data)  # what there was room for: nobody has to go for each piece
            if left is not None:
                left -= len(data)
            h.write(data)
            try:
                if h._se_out:
                    h._se_spare()  # a slow client
                    yield _WRITE
                else:
                    yield _TURN
            except OSError as e:
                h._se_error = e
                raise
    except Exception as e:
        h._se_fail(e)
        raise
    finally:
        f.close()
    if left:
        h.close_connection = True
    return h._se_end()


def _length(head):
    # Return the length that an answer's head tells; None: none.
    at = head.find(b"\r\nContent-Length: ") + 18 if isinstance(head, bytes) else 17
    return None if at < 18 else int(head[at : head.find(b"\r", at)])


def frame(h, head, data):
    """Send data with what has to stand around it: the head, in a chunked answer its length too.

    Long data is not copied. A file that was to be sent later goes before it.
    """
    f = h._se_file
    if f is not None:
        h._se_file = None
        try:
            more = read_piece(h, f, _PIECE)
            while more:
                h.write(more)
                more = read_piece(h, f, len(more))  # what there was room for
        finally:
            f.close()
        h.write(data)
        return
    chunked = h._se_framed is None
    size = len(data)
    if chunked and not size:
        return  # that would be the last one
    if not chunked and not h._se_framed:
        h.flush()
        return
    _room(h)
    if chunked:
        head += b"%x\r\n" % size
    h._se_head = b"" if chunked else None
    if size > _SMALL:
        pend(h, head, None, True)
        pend(h, data, None, True)
        head = data = b""
    if chunked:
        pend(h, head + data + b"\r\n", None, True)


def pend(h, data, n, free=False):
    """Send data, but for the first n bytes, which were sent; what waits is kept by reference.

    n     None: nobody has tried
    free  True: it does not matter how much waits
    """
    if n is None:
        # Nor does it for the head, and for the end of the last chunk.
        if not free and (h._se_head is not None or h._se_framed is not None):
            _room(h)
        try:
            if h._se_out:
                n = 0
            elif port.platform:
                n = h.request.write(data)
            else:
                n = port.send(h.request, data)
        except OSError as e:
            raise lost(h, e)
    n = n or 0
    if n:
        h._se_stats["bytes_out"] += n
    if n == len(data):
        return
    rest: Any = memoryview(data)[n:]  # of bytes, each rest of it would be a copy
    if not isinstance(data, bytes):
        rest = memoryview(bytes(rest))  # it will change
    more = h._se_more
    if not h._se_out:
        h._se_out = rest
    elif not more:
        h._se_more = [rest]
        setattr(h, "_se_flush", lambda: _flush(h))  # noqa: B010  # few need that
    elif len(rest) <= _SMALL and len(more[-1]) <= _SMALL:
        more[-1] = memoryview(bytes(more[-1]) + bytes(rest))
    else:
        more.append(rest)
    hub = getattr(h.server, "_se_hub", None)
    if hub is None:
        _wait(h, 0, None)  # nobody else is held up by that
    elif h._se_since is not None:
        hub.modify(h)


def _flush(h):
    # As AsyncStreamRequestHandler's, and go on with what waits behind that.
    more = h._se_more
    if AsyncStreamRequestHandler._se_flush(h) and more:
        h._se_out = more.pop(0)
    if not more:
        h._se_more = None
        del h._se_flush
    return not h._se_out


def _waiting(h):
    return len(h._se_out) + sum([len(data) for data in h._se_more or ()])


def _room(h):
    # Wait until no more than max_pending bytes wait. That holds up all others: not for ever.
    if _waiting(h) <= h.max_pending:
        return
    if h._se_async:
        raise OSError(errno.ENOBUFS, "more than max_pending bytes wait: await drain()")
    end = getattr(h.headers, "end", None)  # a request's headers go with it
    if end is None:
        seconds = min(h.timeout or _HANDLER_SECONDS, _HANDLER_SECONDS)
        end = port.ticks_add(port.ticks_ms(), int(seconds * 1000))
        if h.headers is not None:
            h.headers.end = end
    _wait(h, h.max_pending, end)


def _wait(h, most, end):
    # Send until at most so many bytes wait, until the tick end; None: as long as h.timeout says,
    # each time.
    sock = getattr(h.request, "_sock", h.request)
    poller = port.poll()
    poller.register(sock, _WRITE | _HUP)
    try:
        while _waiting(h) > most:
            if end is None:
                ms = -1 if h.timeout is None else int(h.timeout * 1000)
            else:
                ms = min(max(port.ticks_diff(end, port.ticks_ms()), 0), _STALL_MS)
            if not poller.poll(ms):
                raise OSError(errno.ETIMEDOUT, "timed out")
            h._se_flush()
    except (OSError, MemoryError) as e:  # without memory it is not known what has been sent
        raise lost(h, e)
    finally:
        poller.unregister(sock)


def lost(h, exc):
    """Return exc, with which the connection of h has failed: what it still writes fails too."""
    h._se_error = exc
    h._se_out = b""
    h._se_more = None
    h.close_connection = True

    def write(data):
        raise exc

    setattr(h, "write", write)  # noqa: B010  # or it could seem to be whole
    return exc
