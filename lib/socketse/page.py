"""PageHandler: a page that shows in a browser what a Multiplexer serves, and how its heap is.

It knows requests without a body, of two paths, and no others: http.py with what it needs for a
file takes five times the heap.
"""

import gc
import json
import os

from .stream import AsyncStreamRequestHandler  # first: the largest compiles best

# isort: split
from . import port, services
from .port import const
from .shortage import make_room, read_piece

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_HEAD = const(2048)  # bytes of a request
head_ms = 10000  # in which it must have come
_PIECE = const(512)  # bytes of the file in memory
_COLLECT = const(0x40000)  # bytes of a heap that is collected in some ms: PSRAM is slow
_CLOSE = const("Connection: close\r\n")


async def serve(h):
    """Answer the requests of one connection: the handle() of a PageHandler.

    h  an AsyncStreamRequestHandler that has its attributes page and title
    """
    patience = h.timeout
    while True:
        since = None
        while True:
            data = h._se_buffer or b""
            end = data.find(b"\r\n\r\n") + 4
            if end > 3:
                break
            try:
                # In the buffer meanwhile: who has sent but a part of a request may have to leave.
                data = await h.readexactly(len(data) + 1)
            except EOFError:
                return
            h._se_buffer = data + h._se_buffer
            now = port.ticks_ms()
            if since is None:
                since = now
            left = head_ms - port.ticks_diff(now, since)
            if left <= 0:
                _refuse(h, "408 Request Timeout")
                return
            if len(h._se_buffer) > _HEAD:
                _refuse(h, "431 Request Header Fields Too Large")
                return
            h.timeout = 1 + left // 1000
        h.timeout = patience
        while True:
            sent = _sent(h)
            try:
                h._se_buffer = data[end:]
                stays = await _answer(h, data[:end])
                break
            except MemoryError:
                if _sent(h) != sent:
                    raise  # too late to begin once more
                make_room(h)
        if not stays:
            return


def _sent(h):
    # Return a number that grows with each byte written by h.
    return h._se_stats["bytes_out"] + len(h._se_out)


async def _answer(h, head):
    # Answer the request of which this is the head; return True if the connection stays.
    words = head[: head.find(b"\r\n")].split()
    head = head.lower()
    if len(words) != 3 or words[2][:7] != b"HTTP/1." or not words[2][7:].isdigit():
        return _refuse(h, "400 Bad Request")
    whole = words[0] == b"GET"
    if not whole and words[0] != b"HEAD":
        return _refuse(h, "405 Method Not Allowed", "Allow: GET, HEAD\r\n")
    chunks = words[2] != b"HTTP/1.0"
    stays = chunks
    hosts = 0
    # Whoever passes requests on must not see more of them, or fewer, than there are.
    for line in head.split(b"\r\n")[1:-2]:
        name, _, value = line.partition(b":")
        if name == b"content-length" or name == b"transfer-encoding":
            return _refuse(h, "413 Content Too Large")
        if len(name.split()) != 1 or name.strip() != name or name == line or b"\r" in value:
            return _refuse(h, "400 Bad Request")
        if name == b"host":
            hosts += 1
        elif name == b"connection" and b"close" in value:
            stays = False
    if chunks and hosts != 1 or head.count(b"\n") != head.count(b"\r\n"):
        return _refuse(h, "400 Bad Request")
    fields = "" if stays else _CLOSE
    path = words[1].split(b"?")[0]
    if path == b"/stats.json":
        fields += "Cache-Control: no-store\r\nContent-Type: application/json\r\n"
        if chunks:
            fields += "Transfer-Encoding: chunked\r\n"
        _begin(h, "200 OK", fields)
        if whole:
            for text in numbers(h):
                data = text.encode()
                h.write(b"%x\r\n%s\r\n" % (len(data), data) if chunks else data)
                await h.drain()
            if chunks:
                h.write(b"0\r\n\r\n")
        return stays
    f: Any = None
    if path == b"/":
        try:
            stat: Any = os.stat(h.page)
            f = open(h.page, "rb")
        except OSError:
            f = None  # nobody has put it there
    if f is None:
        return _refuse(h, "404 Not Found", "", whole)
    with f:
        tag = '"%x-%x"' % (stat[8], stat[6])  # when it was written, its length
        # A browser may keep it, but asks each time whether it has changed.
        fields += "Cache-Control: no-cache\r\nETag: %s\r\n" % tag
        if tag.encode() in head:
            _begin(h, "304 Not Modified", fields)
            return stays
        fields += "Content-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n" % stat[6]
        _begin(h, "200 OK", fields)
        piece = _PIECE
        while whole:
            data = read_piece(h, f, piece)
            if not data:
                break
            piece = len(data)  # what there was room for
            h.write(data)
            await h.drain()
    return stays


def _refuse(h, status, fields="", whole=True):
    # Answer with the status as text, and return False.
    fields += "%sContent-Type: text/plain\r\nContent-Length: %d\r\n" % (_CLOSE, len(status))
    _begin(h, status, fields)
    if whole:
        h.write(status.encode())
    return False


def _begin(h, status, fields):
    h.write(
        ("HTTP/1.1 %s\r\n%sX-Content-Type-Options: nosniff\r\n\r\n" % (status, fields)).encode()
    )


def numbers(h):
    """Yield /stats.json in pieces of text: one for what is told of all, and one for each server.

    h  as in serve
    """
    hub: Any = getattr(h.server, "_se_hub", None)
    hub = hub.server if hub else h.server  # a Multiplexer, or a server of its own
    clock = services.clock
    about = {
        "name": h.title,
        "time": clock.now()[0] if clock.is_set() else None,
        "uptime": getattr(hub, "uptime", None),
        "free": None,  # CPython has no heap of a size
        "used": None,
    }
    if port.platform:
        memory: Any = gc
        if memory.mem_free() + memory.mem_alloc() <= _COLLECT:
            port.collect()  # or it would tell of garbage
        about["free"] = memory.mem_free()
        about["used"] = memory.mem_alloc()
    text = json.dumps(about)[:-1] + ', "services": ['
    for server in getattr(hub, "servers", (h.server,)):
        address = server.server_address
        about = {
            "name": getattr(server, "name", None) or type(server).__name__,
            "port": address[1] if isinstance(address, tuple) else None,  # a Unix socket
        }
        about.update(server.stats)
        yield text + json.dumps(about)
        text = ","
    yield "]}"


class PageHandler(AsyncStreamRequestHandler):
    """Answers GET and HEAD of / with a file, of /stats.json with numbers, and of nothing else.

    Set here, or in a class of yours:
    page   the path of the file, HTML in UTF-8
    title  the name that stands in /stats.json
    If the multiplexer has an attribute uptime, in seconds, that stands there too.
    """

    page = "page.html"
    title = "socketse"
    timeout = 30  # seconds from one request of a connection to the next
    handle = serve
