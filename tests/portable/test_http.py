"""HTTP: what requests get, what wrong ones get, on every kind of server."""

import errno
import gc
import os
import sys
import time

from socketse import Multiplexer, MultiplexingTCPServer, TCPServer, ThreadingTCPServer
from socketse.http import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from support import (
    BOARD,
    HOST,
    MICROPYTHON,
    Client,
    TLSClient,
    certificate,
    free,
    quiet,
    raises,
    thread,
    wait_until,
)

LINE = b"a line of thirty-one characters\n"


class Handler(BaseHTTPRequestHandler):
    """What most tests ask."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):
        self.server.log.append(format % args)

    def answer(self, body, code=200, length=True):
        self.send_response(code)
        if length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path == "/fail":
            raise ValueError("do_GET fails")
        if self.path == "/late":
            self.answer(b"x" * 10)
            raise ValueError("do_GET fails late")
        if self.path == "/nothing":
            return
        if self.path in ("/204", "/304"):
            self.send_response(int(self.path[1:]))
            self.end_headers()
            self.wfile.write(LINE)  # it cannot have one
            self.wfile.write(LINE)
            return
        if self.path == "/stream":
            self.send_response(200)
            self.end_headers()
            for i in range(20):
                self.wfile.write(b"%d\n" % i)
            return
        if self.path == "/big":
            self.answer(bytes(range(256)) * 400)
            return
        if self.path[:7] == "/header":
            self.send_response(200)
            end = {"/header-r": "\r", "/header-n": "\n"}.get(self.path, "\r\n")
            self.send_header("X", "a%sSet-Cookie: b" % end)
            self.end_headers()
            return
        if self.path == "/205":
            self.send_error(205)
            return
        if self.path == "/forgotten":
            self.send_response(200)
            return
        if self.path == "/careless":  # whether it is HEAD or not
            self.send_response(200)
            self.send_header("Content-Length", 2 * len(LINE))
            self.end_headers()
            self.wfile.write(LINE)
            self.wfile.flush()
            self.wfile.write(LINE)
            return
        self.answer(LINE)

    do_HEAD = do_GET

    def do_POST(self):
        length = self.headers["Content-Length"]
        body = self.rfile.read() if length is None else self.rfile.read(int(length))
        self.answer(b"%s %s" % (self.headers.get("content-type", "-").encode(), body), 201)

    do_BREW2 = do_GET

    async def do_PUT(self):
        if self.path == "/unread":
            self.answer(b"I do not care")
            return
        if self.path == "/lines":
            found = []
            while True:
                line = await self.rfile.readline()
                if not line:
                    break
                found.append(line)
            self.answer(b"|".join(found))
            return
        if self.path == "/exactly":
            a = await self.rfile.readexactly(3)
            buf = bytearray(2)
            n = await self.rfile.readinto(buf)
            self.answer(a + b"," + bytes(buf[:n]) + b"," + (await self.rfile.read()))
            return
        n = 0
        if self.path == "/early":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"well, ")
        while True:
            data = await self.rfile.read(1000)
            if not data:
                break
            n += len(data)
        if self.path != "/early":
            self.send_response(200)
            self.end_headers()
        self.wfile.write(b"%d bytes\n" % n)
        await self.wfile.drain()
        await self.sleep(0.01)
        self.wfile.write(b"that is all\n")


class HTTP10(Handler):
    protocol_version = "HTTP/1.0"


def make(kind, handler=Handler, **attributes):
    """Return a server of that kind; server.loop is what serves."""
    base = {"threading": ThreadingTCPServer, "mixin": MultiplexingTCPServer}.get(kind, HTTPServer)
    attributes["handle_error"] = tell
    attributes["log"] = attributes["told"] = None
    server = type("Server", (base,), attributes)(free(), handler)
    server.log, server.told = [], []
    if handler is Writes:
        native = getattr(server.socket, "_native", server.socket)
        native.setsockopt(1, 7, 4608)  # SO_SNDBUF, on Linux
    server.loop = server
    if kind == "multiplexer":
        server.loop = Multiplexer()
        server.loop.add(server)
    return server


def tell(server, request, client_address):
    server.told.append(server.last_error)


class Serving:
    def __init__(self, *args, **kwargs):
        self.server = make(*args, **kwargs)
        self.record = thread(self.server.loop.serve_forever, 0.02)

    def __enter__(self):
        return self.server

    def __exit__(self, *args):
        self.server.loop.shutdown()
        wait_until(lambda: self.record["done"], what="serve_forever to end")
        self.server.server_close()


class Browser(Client):
    """A client that understands what comes back."""

    def get(self, path="/", *fields, command="GET", version="HTTP/1.1", body=b""):
        """Send a request; return (status, {field: value}, body)."""
        head = ["%s %s %s" % (command, path, version), "Host: x"] + list(fields)
        self.send("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        return self.answer(command)

    def answer(self, command="GET"):
        status = 100
        while status == 100:
            line = self.line()
            assert line[:7] == b"HTTP/1." and line[-2:] == b"\r\n", line
            status = int(line.split(b" ")[1])
            self.message = line[13:-2]
            fields = {}
            while True:
                line = self.line()
                assert line[-2:] == b"\r\n", line
                if line == b"\r\n":
                    break
                name, value = line.decode().split(":", 1)
                assert name.lower() not in fields, name
                fields[name.lower()] = value.strip()
        if command == "HEAD" or status in (204, 304):
            return status, fields, b""
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size = int(self.line(), 16)
                chunk = self.exactly(size + 2)
                assert chunk[-2:] == b"\r\n"
                if not size:
                    return status, fields, body
                body += chunk[:-2]
        if "content-length" in fields:
            return status, fields, self.exactly(int(fields["content-length"]))
        body, self._buffer = self.rest(), b""
        return status, fields, body

    def exactly(self, n):
        data = bytearray(n)  # once: heaps do not grow
        at = min(n, len(self._buffer))
        data[:at] = self._buffer[:at]
        self._buffer = self._buffer[at:]
        while at < n:
            more = self.recv(min(n - at, 4096))
            assert more, "the end after %d of %d bytes" % (at, n)
            data[at : at + len(more)] = more
            at += len(more)
        return bytes(data) if n < 4096 else data

    def closed(self):
        """Return True if the server closes now."""
        return self.rest() == b""


KINDS = ("plain", "threading", "mixin", "multiplexer")


def each(test, *kinds, **attributes):
    for kind in kinds or ("plain", "multiplexer"):
        with Serving(kind, **attributes) as server:
            test(server)
            assert not server.told, server.told


def test_get_and_keep_alive():
    def test(server):
        with Browser(server.server_address) as c:
            for path in ("/", "/a?b=c", "//evil/x"):
                status, fields, body = c.get(path)
                assert (status, body) == (200, LINE) and c.message == b"OK"
                assert fields["server"] == "socketse" and fields["date"][-4:] == " GMT"
            c.send(b"GET / HTTP/1.1\nHost: x\n\n")  # as people type it
            assert c.answer()[0] == 200
            assert c.get("/", "Connection: close")[0] == 200 and c.closed()
        assert server.log == [
            '"GET / HTTP/1.1" 200 -',
            '"GET /a?b=c HTTP/1.1" 200 -',
            '"GET //evil/x HTTP/1.1" 200 -',
            '"GET / HTTP/1.1" 200 -',
            '"GET / HTTP/1.1" 200 -',
        ], server.log

    each(test, *KINDS)


def test_http_1_0():
    def test(server):
        with Browser(server.server_address) as c:
            c.send(b"GET / HTTP/1.0\r\n\r\n")
            assert c.answer()[2] == LINE and c.closed()
        with Browser(server.server_address) as c:
            c.send(b"GET /stream HTTP/1.0\r\n\r\n")
            status, fields, body = c.answer()
            assert "transfer-encoding" not in fields
            assert body == b"".join([b"%d\n" % i for i in range(20)])

    each(test)
    each(test, "plain", "multiplexer", handler=HTTP10)

    class Stays(HTTP10):
        def end_headers(self):
            self.send_header("Connection", "Keep-Alive")
            HTTP10.end_headers(self)

    with Serving("multiplexer", Stays) as server, Browser(server.server_address) as c:
        for _ in range(2):
            assert c.get("/", version="HTTP/1.0")[2] == LINE
    with Serving("multiplexer", HTTP10) as server, Browser(server.server_address) as c:
        status, fields, body = c.get("/stream")
        assert "transfer-encoding" not in fields and len(body) == 50


def test_keep_alive_of_http_1_0():
    with Serving("multiplexer") as server, Browser(server.server_address) as c:
        for _ in range(2):
            assert c.get("/", "Connection: Keep-Alive", version="HTTP/1.0")[2] == LINE
        assert c.get("/stream", "Connection: keep-alive", version="HTTP/1.0")[2][:2] == b"0\n"
        assert c.closed()


def test_head_and_no_content():
    def test(server):
        with Browser(server.server_address) as c:
            status, fields, body = c.get("/", command="HEAD")
            assert status == 200 and fields["content-length"] == "32"
            for code in (204, 304):
                status, fields, body = c.get("/%d" % code)
                assert status == code and "transfer-encoding" not in fields
            assert c.get("/careless")[2] == 2 * LINE
            status, fields, body = c.get("/careless", command="HEAD")
            assert status == 200 and fields["content-length"] == "64"
            status, fields, body = c.get("/stream", command="HEAD")
            assert status == 200
            assert c.get("/forgotten")[2] == b""  # end_headers()
            status, fields, body = c.get("/205")
            assert status == 205 and body == b""

    class NoBody(Handler):
        def do_HEAD(self):
            if self.path == "/careless":
                self.do_GET()
            else:
                self.answer(LINE)

    each(test, "multiplexer", handler=NoBody)


def test_chunked_answer():
    def test(server):
        with Browser(server.server_address) as c:
            for _ in range(2):
                status, fields, body = c.get("/stream")
                assert fields["transfer-encoding"] == "chunked"
                assert body == b"".join([b"%d\n" % i for i in range(20)])

    each(test)


def test_big_answer():
    def test(server):
        with Browser(server.server_address) as c:
            for _ in range(2):
                assert c.get("/big")[2] == bytes(range(256)) * 400

    each(test, *KINDS)


class Slow(Browser):
    """A client whose system takes little in advance, as the server's does."""

    rcvbuf = 4096

    def exactly(self, n):
        time.sleep(0.002)
        return Browser.exactly(self, n)


class Writes(Handler):
    """Writes in all ways that handlers for http.server do; its client is slow."""

    size = 60000
    max_pending = 4096

    def do_GET(self):
        kind, how = self.path[1:].split("-")
        size = 6000 if kind == "small" else self.size
        self.send_response(200)
        if kind == "small" or kind == "length":
            self.send_header("Content-Length", size + 1)
        self.end_headers()
        if how == "flushed":
            self.wfile.flush()
        if how == "pieces":
            for _ in range(size // 500):
                assert self.wfile.write(b"p" * 500) == 500
        else:
            data = memoryview(b"p" * size) if how == "view" else b"p" * size
            assert self.wfile.write(data) == size
        if how == "swallowed":
            try:
                for _ in range(100):
                    self.wfile.write(bytearray(size))
            except OSError:
                self.server.log.append("swallowed")
                return
        self.wfile.write(bytearray(b"\n"))
        self.server.log.append("done")

    async def do_PUT(self):
        self.do_GET()


def test_a_plain_method_may_write_as_it_likes():
    def test(server):
        for kind in ("length", "chunks"):
            for how in ("once", "flushed", "view", "pieces"):
                with Slow(server.server_address) as c:
                    for _ in range(2):
                        status, fields, body = c.get("/%s-%s" % (kind, how))
                        assert len(body) == Writes.size + 1, (kind, how, len(body))
                        assert body[-1:] == b"\n" and set(body[:-1]) == {112}, (kind, how)
        with Slow(server.server_address) as c:
            c.send(b"GET /chunks-pieces HTTP/1.0\r\n\r\n")
            body = c.answer()[2]
            assert len(body) == Writes.size + 1 and c.closed()

    each(test, handler=Writes)


def test_text_is_no_answer():
    class Text(Handler):
        def do_GET(self):
            self.send_response(200)
            if self.path == "/length":
                self.send_header("Content-Length", "6")
            self.end_headers()
            if self.path == "/late":
                self.wfile.write(b"x")
            self.wfile.write("23 \xb0C")

    with quiet(), Serving("multiplexer", Text) as server:
        for path, wanted in (("/length", b" 500 "), ("/chunks", b" 500 "), ("/late", b" 200 ")):
            with Browser(server.server_address) as c:
                c.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
                data = c.rest()
                assert data[8:13] == wanted and b"\xb0" not in data, data
                assert (data[-6:] == b"1\r\nx\r\n") == (path == "/late"), data
        wait_until(lambda: len(server.told) == 3)
        assert [type(e) for e in server.told] == [TypeError] * 3, server.told


def test_pipelined_answers_that_are_longer_than_what_may_wait():
    def test(server):
        with Slow(server.server_address) as c:
            c.send(b"GET /small-once HTTP/1.1\r\nHost: x\r\n\r\n" * 40)
            time.sleep(0.1)
            for _ in range(40):
                assert c.answer()[2] == b"p" * 6000 + b"\n"

    each(test, handler=Writes)


def test_one_write_never_waits():
    """Nobody is held up by a client that reads nothing of a long answer, in chunks or not."""
    with Serving("multiplexer", Writes) as server:

        def lone(self):
            self.send_response(200)
            if self.path == "/length":
                self.send_header("Content-Length", self.size)
            self.end_headers()
            self.wfile.write(b"p" * self.size)
            self.server.log.append("done")

        Lone = type("Lone", (Writes,), {"do_GET": lone})
        server.RequestHandlerClass = Lone
        for path in ("/length", "/chunks"):
            with Slow(server.server_address) as deaf:
                deaf.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
                wait_until(lambda: "done" in server.log)  # it would fail, had it to wait
                server.log.clear()
                assert len(deaf.answer()[2]) == Writes.size


def test_who_takes_nothing_is_not_waited_for():
    with quiet(), Serving("multiplexer", Writes) as server:
        for path, command in (
            ("/chunks-once", "GET"),
            ("/chunks-swallowed", "GET"),
            ("/length-pieces", "GET"),
            ("/chunks-pieces", "PUT"),  # it could wait, but does not: ENOBUFS
        ):
            with Slow(server.server_address) as deaf, Browser(server.server_address) as other:
                request = "%s %s HTTP/1.1\r\nHost: x\r\n\r\n" % (command, path)
                deaf.send(request.encode())
                wait_until(lambda: server.stats["bytes_out"])
                got = other.get("/small-once")
                assert got[2][:6000] == b"p" * 6000
                # It can tell that its answer is not whole.
                data = deaf.rest()
                assert len(data) < Writes.size and b"\r\n0\r\n" not in data[-20:]
        assert server.log.count("swallowed") == 1
        assert server.stats["timed_out"] == 3 and len(server.told) == 1, server.told
        wait_until(lambda: server.stats["active"] == 0)


def test_bodies():
    def test(server):
        with Browser(server.server_address) as c:
            for body in (b"", b"x", b"hello" * 100, bytes(4000)):
                length = "Content-Length: %d" % len(body)
                kind = "Content-TYPE:text/x"
                status, fields, got = c.get("/", length, kind, command="POST", body=body)
                assert (status, got) == (201, b"text/x " + body)
            # In pieces.
            c.send(b"POST / HTTP/1.1\r\nHo")
            time.sleep(0.02)
            c.send(b"st: x\r\nContent-Length: 6\r\n\r\nabc")
            time.sleep(0.02)
            c.send(b"def")
            assert c.answer()[2] == b"- abcdef"
            # No length at all: no body.
            assert c.get("/", command="POST")[2] == b"- "
            for n in (0, 1, 100000):
                length = "Content-Length: %d" % n
                got = c.get("/", length, command="PUT", body=bytes(n))[2]
                assert got == b"%d bytes\nthat is all\n" % n

    each(test, *KINDS)


def test_async_reading():
    with Serving("multiplexer") as server, Browser(server.server_address) as c:
        body = b"one\ntwo\nthree"
        got = c.get("/lines", "Content-Length: 13", command="PUT", body=body)[2]
        assert got == b"one\n|two\n|three"
        got = c.get("/exactly", "Content-Length: 13", command="PUT", body=body)[2]
        assert got == b"one,\nt,wo\nthree"
        assert c.get("/lines", command="PUT")[2] == b""  # no body
        with Browser(server.server_address) as other:
            got = other.get("/exactly", "Content-Length: 5000", command="PUT", body=bytes(5000))
            assert got[0] == 413  # read() without a length
        # What it does not read is not taken for a request.
        got = c.get("/unread", "Content-Length: 13", command="PUT", body=body)[2]
        assert got == b"I do not care" and c.closed()
        assert not server.told


CHUNKS = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n"


def test_chunked_bodies():
    def test(server):
        with Browser(server.server_address) as c:
            chunked = "Transfer-Encoding: chunked"
            for _ in range(2):
                got = c.get("/", chunked, command="POST", body=CHUNKS)
                assert got[2] == b"- hello world"
            got = c.get("/", chunked, command="PUT", body=CHUNKS)
            assert got[2] == b"11 bytes\nthat is all\n"
            trailers = CHUNKS[:-2] + b"A: b\r\nC: d\r\n\r\n"
            assert c.get("/", chunked, command="POST", body=trailers)[2] == b"- hello world"
            big = b"%x\r\n%s\r\n" % (500, bytes(500)) * 50 + b"0\r\n\r\n"
            assert c.get("/", chunked, command="PUT", body=big)[2][:11] == b"25000 bytes"
            assert c.get("/", chunked, command="POST", body=big)[0] == 413

    each(test, "plain", "multiplexer")


def test_a_large_body():
    class Large(Handler):
        max_body = 1 << 18 if not MICROPYTHON else 50000

    with Serving("multiplexer", Large) as server, Browser(server.server_address) as c:
        body = bytes(Large.max_body)
        for command, path in (("POST", "/"), ("PUT", "/exactly")):
            length = "Content-Length: %d" % len(body)
            got = c.get(path, length, command=command, body=body)[2]
            assert len(got) == len(body) + 2, len(got)
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        got = c.get("/", "Transfer-Encoding: chunked", command="POST", body=chunks)[2]
        assert len(got) == len(body) + 2, len(got)
        assert not server.told, server.told


def test_wrong_chunks():
    with Serving("multiplexer") as server:
        for body in (
            b"x\r\n",
            b"-1\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"5 5\r\nhello\r\n0\r\n\r\n",
            b"55\nhello\r\n0\r\n\r\n",
            b"5;a\rb\r\nhello\r\n0\r\n\r\n",
            b"5\x0b\r\nhello\r\n0\r\n\r\n",
            b"5\r\r\nhello\r\n0\r\n\r\n",
            b"123456789\r\n",
            b"\r\n",
            b"5;" + b"x" * 2000 + b"\r\n",
        ):
            for command in ("POST", "PUT"):
                with Browser(server.server_address) as c:
                    got = c.get("/", "Transfer-Encoding: chunked", command=command, body=body)
                    assert got[0] == 400 and c.closed(), (body, got)
        with Browser(server.server_address) as c:
            body = b"0\r\n" + b"A: b\r\n" * 100 + b"\r\n"
            got = c.get("/", "Transfer-Encoding: chunked", command="POST", body=body)
            assert got[0] == 431
        assert not server.told, server.told


def test_expect():
    for command in ("POST", "PUT"):
        with Serving("multiplexer") as server, Browser(server.server_address) as c:
            c.send(
                b"%s / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                b"Expect: 100-continue\r\n\r\n" % command.encode()
            )
            assert c.line() == b"HTTP/1.1 100 Continue\r\n"
            assert c.line() == b"\r\n"
            c.send(b"hello")
            assert c.answer()[0] in (200, 201)
    # It does not come in the middle of an answer.
    with Serving("multiplexer") as server, Browser(server.server_address) as c:
        for path in ("/early", "/"):
            length = "Content-Length: 5"
            got = c.get(path, length, "Expect: 100-continue", command="PUT", body=b"hello")
            early = b"well, " if path == "/early" else b""
            assert got[2] == early + b"5 bytes\nthat is all\n", got
        assert c.get("/", "Expect: 100-continue", command="PUT")[2] == b"0 bytes\nthat is all\n"
    # Who sends too much need not send it.
    with Serving("multiplexer") as server, Browser(server.server_address) as c:
        c.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert c.line().split()[1] == b"413"


def test_pipelined():
    def test(server):
        with Browser(server.server_address) as c:
            one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
            c.send((one + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") * 30)
            for _ in range(30):
                assert c.answer()[2] == b"- abc"
                assert c.answer()[2] == LINE

    each(test)


WRONG = (
    (400, b"GET\r\n\r\n"),
    (400, b"GET /\r\n\r\n"),  # HTTP/0.9
    (400, b"GET / HTTP/1.1 x\r\nHost: x\r\n\r\n"),
    (400, b"GET / HTTQ/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET / HTTP/x.1\r\nHost: x\r\n\r\n"),
    (400, b"GET / HTTP/1.\r\nHost: x\r\n\r\n"),
    (400, b"GET / HTTP/1\r\nHost: x\r\n\r\n"),
    (400, b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET /\xc3\xa4 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"\0 / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\n\r\n"),  # no Host
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nA : c\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded: c\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tfolded\r\n\r\n"),
    (400, b"GET / HTTP/1.1\rHost: x\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n"),
    (400, b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\nx"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x1\r\n\r\nx"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1_0\r\n\r\nx"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\n"),
    # White space that is none to others: who passes it on sees no length there.
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \x0b1\r\n\r\nx"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\x0c\r\n\r\nx"),
    (400, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length\x0b: 1\r\n\r\nx"),
    (501, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (
        400,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        400,
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Transfer-Encoding: identity\r\n\r\n",
    ),
    (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (405, b"PATCH / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (411, b"POST / HTTP/1.0\r\n\r\n"),
    (413, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4097\r\n\r\n"),
    (413, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"),
    (413, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 500 + b"\r\n\r\n"),
    (413, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 16 + b"\r\n\r\n"),
    (414, b"GET /" + b"x" * 1100 + b" HTTP/1.1\r\nHost: x\r\n\r\n"),
    (414, b"x" * 1500),
    (417, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\n"),
    (417, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 1100 + b"\r\n\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 40 + b"\r\n"),
    (431, b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"A: %s\r\n" % (b"x" * 800)) * 9),
    (501, b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (501, b"B%s / HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * 300)),  # no name is that long
    (501, b"GE / HTTP/1.1\r\nHost: x\r\n\r\n"),
    (501, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
    (505, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
    (505, b"GET / HTTP/0.9\r\nHost: x\r\n\r\n"),
)


def test_wrong_requests():
    for kind in ("plain", "multiplexer"):
        with Serving(kind) as server:
            for status, data in WRONG:
                with Browser(server.server_address) as c:
                    c.send(data)
                    got, fields, body = c.answer()
                    assert got == status, "%d, not %d, for %r" % (got, status, data)
                    assert fields["connection"] == "close" and c.closed(), data
                    if got == 405:
                        assert fields["allow"] == "BREW2, GET, HEAD, POST, PUT"
            with Browser(server.server_address) as c:
                assert c.get()[2] == LINE
            assert not server.told, server.told


def test_accepted_shapes():
    with Serving("multiplexer") as server, Browser(server.server_address) as c:
        for data in (
            b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET  /  HTTP/1.1\r\nHost:x\r\n\r\n",
            b"GET / HTTP/1.15\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHOST: x\r\nA:\r\nB: \xff\xfe\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\nConnection: keep-alive, Upgrade\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\nContent-Length: 0\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: x\r\nContent-Length: 2\r\n\r\nxx",
            b"GET / HTTP/1.1\r\nhost: x\r\nContent-Length: \t2 \t\r\n\r\nxx",
            b"BREW2 / HTTP/1.1\r\nhost: x\r\n\r\n",
        ):
            c.send(data)
            assert c.answer()[2] == LINE, data
        # Who says close once means it.
        c.get("/", "Connection: close", "Connection: keep-alive")
        assert c.closed()


class Echo(Handler):
    def do_GET(self):
        h = self.headers
        found = [h["A"], h.get("a"), h.get("b", "none"), "a" in h, "b" in h, h["b"]]
        found.append([item for item in h.items()])
        found += [[name for name in h], list(h.keys()), str(h)]
        found.append(self.connection is self.request)
        self.answer(repr(found).encode())


def test_headers():
    with Serving("multiplexer", Echo) as server, Browser(server.server_address) as c:
        got = c.get("/", "a:  one \t", "A: two", "C: \t")[2]
        items = [("Host", "x"), ("a", "one"), ("A", "two"), ("C", "")]
        wanted = ["one", "one", "none", True, False, None, items]
        names = [item[0] for item in items]
        wanted += [names, names, "Host: x\na: one\nA: two\nC: \n\n", True]
        assert got == repr(wanted).encode(), got


def test_failing_handlers():
    for kind in KINDS:
        with quiet(), Serving(kind) as server:
            with Browser(server.server_address) as c:
                status, fields, body = c.get("/fail")
                assert status == 500 and fields["connection"] == "close" and c.closed()
            with Browser(server.server_address) as c:
                assert c.get("/late")[2] == b"x" * 10 and c.closed()
            with Browser(server.server_address) as c:
                c.send(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
                assert c.closed()
            for path in ("/header", "/header-r", "/header-n"):  # a line's end in one
                with Browser(server.server_address) as c:
                    status, fields, body = c.get(path)
                    assert status == 500 and "x" not in fields
            wait_until(lambda server=server: len(server.told) == 5)
            for e in server.told:
                assert isinstance(e, ValueError), e


class Sensor(Handler):
    """What it asks fails as a client's connection may."""

    errors = {
        "timeout": OSError(errno.ETIMEDOUT, "timed out"),
        "reset": OSError(errno.ECONNRESET, "reset"),
        "aborted": OSError(errno.ECONNABORTED, "aborted"),
        "end": EOFError("the end of a file"),
        "again": OSError(errno.EAGAIN, "again"),
    }

    def do_GET(self):
        if self.path[:6] == "/begun":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x")
        raise self.errors[self.path.split("-")[1]]

    def do_POST(self):
        self.do_GET()

    async def do_PUT(self):
        if self.path[:5] == "/read":
            await self.rfile.read()
        await self.sleep(0.001)
        self.do_GET()


def test_errors_that_are_not_the_clients():
    for kind in ("plain", "multiplexer"):
        with quiet(), Serving(kind, Sensor) as server:
            n = 0
            for command in ("GET", "POST", "PUT"):
                for path in ("/", "/begun", "/read"):
                    for error in Sensor.errors:
                        with Browser(server.server_address) as c:
                            length = "Content-Length: 2\r\n"
                            if command == "GET" or path == "/":
                                length = "Content-Length: 0\r\n"
                            request = "%s %s-%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
                            c.send((request % (command, path, error, length)).encode())
                            if length[-3:-2] == "2":
                                c.send(b"hi")
                            data = c.rest()
                            wanted = b" 200 " if path == "/begun" else b" 500 "
                            assert data[8:13] == wanted and data[-5:] != b"0\r\n\r\n", data
                        n += 1
                        wait_until(lambda n=n, server=server: len(server.told) == n)
                        assert server.told[-1] is Sensor.errors[error]


class Hurt(Handler):
    """Tells what it has seen of its client's end."""

    timeout = 0.5

    async def do_PUT(self):
        try:
            if self.path == "/write":
                self.send_response(200)
                self.end_headers()
                while True:
                    self.wfile.write(b"x")
                    await self.wfile.drain()
                    await self.sleep(0.01)
            elif self.path == "/exactly":
                await self.rfile.readexactly(100)
            elif self.path == "/read":
                while await self.rfile.read(100):
                    pass
        except (OSError, EOFError):
            self.server.log.append("seen")
            if self.headers.get("Answer"):
                self.answer(b"too late")
                return
            raise


def test_errors_that_are_the_clients():
    with Serving("multiplexer", Hurt) as server:
        for path, body, status in (
            ("/write", b"", None),
            ("/read", b"", 408),
            ("/read", b"hi", 408),
            ("/exactly", b"hell", 400),
            ("/read", b"-", None),
        ):
            with Browser(server.server_address) as c:
                head = "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n" % path
                c.send(head.encode())
                c.send(body)
                if status:
                    assert c.answer()[0] == status and c.closed()
            wait_until(lambda server=server: server.stats["active"] == 0)
        # It may answer nevertheless.
        with Browser(server.server_address) as c:
            got = c.get("/read", "Content-Length: 4", "Answer: yes", command="PUT")
            assert got[2] == b"too late" and c.closed()
        assert not server.told, server.told
        assert server.log.count("seen") == 6, server.log


def wrapped(method):
    def wrapper(*args):
        return method(*args)

    return wrapper


def test_an_async_method_in_a_wrapper():
    class Wrapped(Handler):
        do_PUT = wrapped(Handler.do_PUT)

    def test(server):
        with Browser(server.server_address) as c:
            for n in (0, 1, 4000):
                length = "Content-Length: %d" % n
                got = c.get("/", length, command="PUT", body=bytes(n))[2]
                assert got == b"%d bytes\nthat is all\n" % n
            c.send(b"PUT /lines HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na\nb" * 3)
            for _ in range(3):
                assert c.answer()[2] == b"a\n|b"

    each(test, handler=Wrapped)
    if MICROPYTHON:
        return
    import functools

    class Known(Handler):
        @functools.wraps(Handler.do_PUT)
        def do_PUT(self):
            return Handler.do_PUT(self)

    with Serving("multiplexer", Known) as server, Browser(server.server_address) as c:
        got = c.get("/", "Content-Length: 100000", command="PUT", body=bytes(100000))[2]
        assert got == b"100000 bytes\nthat is all\n"


def test_want_of_memory():
    class Full(Handler):
        def do_GET(self):
            if self.path == "/full":
                raise MemoryError
            self.answer(LINE)

    for kind in ("plain", "multiplexer"):
        with quiet(), Serving(kind, Full) as server:
            with Browser(server.server_address) as c:
                assert c.get("/full")[0] == 503 and c.closed()
            with Browser(server.server_address) as c:
                assert c.get()[2] == LINE
            wait_until(lambda server=server: len(server.told) == 1)
            assert isinstance(server.told[0], MemoryError)


def test_an_answer_that_is_nowhere_in_one_piece():
    class Head(bytes):
        def __add__(self, other):
            raise MemoryError

    class Full(Handler):
        def do_GET(self):
            body = b"x" * 600
            self.send_response(200)
            self.send_header("Content-Length", 600)
            self.end_headers()
            if not MICROPYTHON:
                self._se_head = Head(self._se_head)
            hog = None
            size = 65536 if MICROPYTHON else 0
            while size >= 256:
                try:
                    hog = hog, bytearray(size)
                except MemoryError:
                    size >>= 1
            self.wfile.write(body)

    for kind in ("plain", "multiplexer"):
        with Serving(kind, Full) as server, Browser(server.server_address) as c:
            status, _, body = c.get()
            assert status == 200 and body == b"x" * 600


def test_a_file_of_which_only_small_pieces_fit():
    class Pieces:
        def __init__(self):
            self.left = 1500

        def read(self, n):
            asked.append(n)
            if n > 100:
                raise MemoryError
            n = min(n, self.left)
            self.left -= n
            return b"x" * n

        def close(self):
            closed.append(self.left)

    class File(Handler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", 1500)
            self.end_headers()
            self._se_file = Pieces()

    for kind in ("plain", "multiplexer"):
        closed = []
        with Serving(kind, File) as server, Browser(server.server_address) as c:
            for _ in range(2):
                asked = []
                status, _, body = c.get()
                assert status == 200 and body == b"x" * 1500
                # Not for each piece: whoever has come meanwhile would have to go for it.
                assert len([n for n in asked if n > 100]) == 3, asked
        assert closed == [0, 0]


def test_what_is_logged_does_not_steer_terminals():
    from socketse.httperror import log

    class Somebody:
        address_string = str
        log_date_time_string = str

    with quiet() as text:
        log(Somebody(), "a\x1b[31m\x7f\x9b\xe4\n")
    if not MICROPYTHON:  # its stderr cannot be caught
        assert text.getvalue().endswith("a\\x1b[31m\\x7f\\x9b\xe4\\x0a\n"), text.getvalue()


def test_nothing_is_kept_of_unknown_methods():
    def used():
        gc.collect()
        return gc.mem_alloc() if MICROPYTHON else 0

    with Serving("multiplexer") as server:
        marks = []
        for i in range(3):
            for k in range(100):
                with Browser(server.server_address) as c:
                    assert c.get(command="M%d-%d%s" % (i, k, "x" * 200))[0] == 501
            server.log.clear()
            wait_until(lambda: server.stats["active"] == 0)
            marks.append(used())
        assert marks[2] - marks[1] < 8000, marks
        assert not server.told, server.told


class Impatient(Handler):
    timeout = 0.5
    request_timeout = 1


def test_who_is_too_slow():
    for kind in ("multiplexer", "threading"):
        with Serving(kind, Impatient) as server:
            silent = Browser(server.server_address)
            half = Browser(server.server_address)
            half.send(b"GET / HTTP/1.1\r\n")
            body = Browser(server.server_address)
            body.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
            upload = Browser(server.server_address)
            upload.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
            assert silent.closed()
            for c in (half, body, upload):
                assert c.answer()[0] == 408 and c.closed()
            for c in (silent, half, body, upload):
                c.close()
            assert not server.told, server.told


def test_dripping():
    chunked = b" / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    starts = (
        b"GET / HTTP/1.1\r\nX: ",
        b"POST" + chunked,
        b"POST" + chunked + b"5;",
        b"POST" + chunked + b"5\r\nhello\r\n5;",
        b"POST" + chunked + b"0\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        b"PUT" + chunked + b"5;",
        b"PUT" + chunked + b"5\r\nhello\r\n0\r\nX: ",
    )
    for kind, some in (("multiplexer", starts), ("plain", starts[2:3])):
        with Serving(kind, Impatient) as server:
            for start in some:
                with Browser(server.server_address) as c:
                    c.send(start)
                    try:
                        for _ in range(200):
                            c.send(b"1")
                            time.sleep(0.02)
                    except OSError:
                        continue  # it has closed
                    raise AssertionError("it waits for ever: %r" % start)
            assert not server.told, server.told


def test_vanished_clients():
    with Serving("multiplexer") as server:
        for data in (
            b"",
            b"GET / HT",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
            b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel",
            b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            with Browser(server.server_address) as c:
                c.send(data)
        with Browser(server.server_address) as c:
            assert c.get()[2] == LINE
        wait_until(lambda: server.stats["active"] == 0)
        assert not server.told, server.told


class Secret(Handler):
    def check_password(self, user, password):
        return (user, password) == ("Aladdin", "open: sesame")


def test_basic_authentication():
    with Serving("multiplexer", Secret) as server:
        for fields in (
            (),
            ("Authorization: Bearer x",),
            ("Authorization: Basic !",),
            ("Authorization: Basic QWxhZGRpbjp3cm9uZw==",),
        ):
            with Browser(server.server_address) as c:
                status, got, body = c.get("/", *fields)
                assert status == 401
                assert got["www-authenticate"] == 'Basic realm="socketse", charset="UTF-8"'
        with Browser(server.server_address) as c:
            right = "Authorization: basic QWxhZGRpbjpvcGVuOiBzZXNhbWU="
            assert c.get("/", right)[2] == LINE
            post = c.get("/", right, "Content-Length: 2", command="POST", body=b"hi")
            assert post[2] == b"- hi"

    class Sloppy(Handler):
        def check_password(self, user, password):
            return "no"

    with Serving("multiplexer", Sloppy) as server, Browser(server.server_address) as c:
        assert c.get("/", right)[0] == 401

    class Elsewhere(Secret):
        def setup(self):
            Secret.setup(self)
            self.client_address = ("192.0.2.1", 4711)

    class Waits(Handler):
        async def check_password(self, user, password):
            await self.sleep(0.01)
            return password == "open: sesame"

    with Serving("multiplexer", Waits) as server, Browser(server.server_address) as c:
        assert c.get("/", right)[2] == LINE
        assert c.get("/", right, "Content-Length: 9", command="PUT", body=bytes(9))[2][:1] == b"9"
        assert c.get("/", "Authorization: Basic QWxhZGRpbjp3cm9uZw==")[0] == 401

    with Serving("multiplexer", Elsewhere) as server, Browser(server.server_address) as c:
        status, got, body = c.get("/", right)
        assert status == 403 and b"TLS" in body

    class Trusting(Elsewhere):
        allow_plain = True

    with Serving("multiplexer", Trusting) as server, Browser(server.server_address) as c:
        assert c.get("/", right)[2] == LINE
        assert c.get("/")[0] == 401


def test_passwords_from_elsewhere_over_tls():
    from socketse import server_context

    class Elsewhere(Secret):
        def setup(self):
            Secret.setup(self)
            self.client_address = ("192.0.2.1", 4711)

    class Secure(TLSClient, Browser):
        pass

    right = "Authorization: Basic QWxhZGRpbjpvcGVuOiBzZXNhbWU="
    for kind in ("plain", "multiplexer"):
        with Serving(
            kind, Elsewhere, ssl_context=server_context(certificate("server.pem"))
        ) as server:
            with Secure(server.server_address) as c:
                assert c.get("/", right)[2] == LINE
            with Secure(server.server_address) as c:
                assert c.get("/")[0] == 401
            assert not server.told, server.told


def test_users():
    from socketse import guard, port
    from socketse.users import Users

    path = folder()
    users = Users(path + "/users", 10)
    users.set("me", "s3cret:")

    class Mine(Handler):
        pass

    Mine.users = users
    right = "Authorization: Basic bWU6czNjcmV0Og=="
    wrong = "Authorization: Basic bWU6d3Jvbmc="
    try:
        for kind in ("plain", "multiplexer"):
            with Serving(kind, Mine) as server:
                with Browser(server.server_address) as c:
                    assert c.get("/", right)[2] == LINE
                    post = c.get("/", right, "Content-Length: 2", command="POST", body=b"hi")
                    assert post[2] == b"- hi"
                    assert c.get("/", wrong)[0] == 401 and c.closed()
                if kind == "plain":  # others cannot be made to wait
                    guard.table[HOST] = [9, port.ticks_ms(), None]
                    with Browser(server.server_address) as c:
                        assert c.get("/", right)[0] == 429
                assert not server.told, server.told
            guard.table.clear()
    finally:
        remove(path)


def test_interim_answers():
    class Early(Handler):
        def do_GET(self):
            self.send_response_only(103, "Early Hints")
            self.send_header("Link", "</a.css>")
            self.end_headers()
            self.answer(LINE)

    with Serving("multiplexer", Early) as server, Browser(server.server_address) as c:
        c.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.line() == b"HTTP/1.1 103 Early Hints\r\n"
        assert c.line() == b"Link: </a.css>\r\n" and c.line() == b"\r\n"
        assert c.answer()[2] == LINE


class Rare(Handler):
    """Uses what few handlers do."""

    def do_GET(self):
        if self.path == "/error":
            self.send_error(404, "no\r\nInjected: %s" % self.path, "a\nb")
            return
        if self.path == "/teapot":
            self.send_error(418)
            return
        if self.path == "/upgrade":
            self.send_response(101)
            self.send_header("Connection", "Upgrade")
            self.send_header("Upgrade", "lines")
            self.end_headers()
            self.wfile.write(b"what follows\n")
            self.wfile.write(b"is no HTTP\n")
            return
        self.send_response(200)
        self.send_header("X", self.raw_requestline.decode().strip())
        self.end_headers()
        self.flush_headers()
        assert self.wfile.writelines([b"one\n", b"two\n"]) is None
        assert self.wfile.write(memoryview(b"three\n")) == 6


def test_rare_names():
    def test(server):
        with Browser(server.server_address) as c:
            for _ in range(2):
                status, fields, body = c.get("/a")
                assert (fields["x"], body) == ("GET /a HTTP/1.1", b"one\ntwo\nthree\n")
            raises(AttributeError, getattr, Rare, "readlines")
        with Browser(server.server_address) as c:
            status, fields, body = c.get("/error")
            assert status == 404 and "injected" not in fields and b"no" in body
            assert c.message == b"no  Injected: /error"
        with Browser(server.server_address) as c:
            assert c.get("/teapot")[0] == 418 and c.message == b"I'm a Teapot"
        with Browser(server.server_address) as c:
            c.send(b"GET /upgrade HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.line() == b"HTTP/1.1 101 Switching Protocols\r\n"
            assert c.rest()[-28:] == b"\r\n\r\nwhat follows\nis no HTTP\n"

    each(test, handler=Rare)


def test_dates():
    from socketse.httpdate import date, since

    zero = 946684800 if BOARD == "esp32" else 0  # where it counts from
    assert date(784111777 - zero) == "Sun, 06 Nov 1994 08:49:37 GMT" or zero
    assert date(1709164800 - zero) == "Thu, 29 Feb 2024 00:00:00 GMT"
    assert date(1709164800 - zero, 2025) == ""
    assert since("Thu, 29 Feb 2024 00:00:00 GMT", 1709164800 - zero)
    assert since("Thu, 29 Feb 2024 00:00:01 GMT", 1709164800 - zero)
    assert not since("Wed, 28 Feb 2024 23:59:59 GMT", 1709164800 - zero)
    for text in ("", "yesterday", "Thu, 29 Feb 2024 00:00:00 CET", "a b c d e:f:g GMT"):
        assert not since(text, 0)


def test_phrases():
    from socketse.httperror import phrase

    assert phrase(100) == "Continue" and phrase(505) == "HTTP Version Not Supported"
    assert phrase(404) == "Not Found" and phrase(299) == "" and phrase(200) == "OK"


# Files.


def folder():
    """Return the path of a folder with files in it, made once in each process."""
    path = "/tmp/socketse-http-%d" % free()[1]
    os.mkdir(path)
    os.mkdir(path + "/www")
    os.mkdir(path + "/www/sub")
    os.mkdir(path + "/www/a dir")
    os.mkdir(path + "/www/<b>")
    for name, data in (
        ("secret.txt", b"a secret"),
        ("www/index.html", b"<p>index"),
        ("www/big.bin", bytes(range(256)) * 300),
        ("www/style.CSS", b"p {}"),
        ("www/no_type", b"?"),
        ("www/empty.txt", b""),
        ("www/sub/a b.txt", b"space"),
        ("www/sub/5%25.txt", b"percent"),
        ("www/sub/c:drive.txt", b"colon"),
        ("www/sub/\xe4<.json".replace("\xe4", "ae"), b"{}"),
    ):
        with open(path + "/" + name, "wb") as f:
            f.write(data)
    return path


def remove(path):
    for name in os.listdir(path):
        name = path + "/" + name
        if os.stat(name)[0] & 0xF000 == 0x4000:
            remove(name)
        else:
            os.remove(name) if hasattr(os, "remove") else os.unlink(name)
    os.rmdir(path)


def test_files():
    path = folder()

    class Files(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        directory = path + "/www"
        log_message = Handler.log_message

    def test(server):
        with Browser(server.server_address) as c:
            for name, kind, body in (
                ("/", "text/html", b"<p>index"),
                ("/index.html?x", "text/html", b"<p>index"),
                ("/style.CSS", "text/css", b"p {}"),
                ("/no_type", "application/octet-stream", b"?"),
                ("/empty.txt", "text/plain", b""),
                ("/sub/a%20b.txt", "text/plain", b"space"),
                ("/sub/5%2525.txt", "text/plain", b"percent"),
                ("/sub/../sub/./ae%3c.json", "application/json", b"{}"),
                ("/big.bin", "application/octet-stream", bytes(range(256)) * 300),
            ):
                status, fields, got = c.get(name)
                assert status == 200 and got == body, name
                assert fields["content-type"] == kind, fields
                assert fields["last-modified"][-4:] == " GMT"
                again = c.get(name, "If-Modified-Since: " + fields["last-modified"])
                assert again[0] == 304
                modified = "If-Modified-Since: " + fields["last-modified"]
                assert c.get(name, modified, 'If-None-Match: "x"')[0] == 200  # that counts
                status, fields, got = c.get(name, command="HEAD")
                assert status == 200 and fields["content-length"] == str(len(body))
            status, fields, got = c.get("/sub?x=1")
            assert status == 301 and fields["location"] == "/sub/?x=1"
            status, fields, got = c.get("/sub/")
            assert fields["content-type"] == "text/html; charset=utf-8"
            assert b'<a href="./a%20b.txt">a b.txt</a>' in got and b"ae&lt;.json" in got
            assert b'<a href="./5%2525.txt">5%25.txt</a>' in got
            assert b"drive" not in got
            got = c.get("/%3cb%3e/")[2]
            assert got.count(b"&lt;b&gt;") == 2 and b"<b>" not in got
        for name in (
            "/nothing",
            "/../secret.txt",
            "/%2e%2e/secret.txt",
            "/..%2fsecret.txt",
            "/sub/../../secret.txt",
            "/..\\secret.txt",
            "/%00",
            "/%zz",
            "/%",
            "/%ff",
            "/index.html/",
            "/sub/c%3adrive.txt",
            "/../" + path[5:] + "/secret.txt",
        ):
            with Browser(server.server_address) as c:
                status, fields, got = c.get(name)
                assert b"secret" not in got and status == 404, name
        with Browser(server.server_address) as c:
            assert c.get("/", command="POST")[0] == 405

    for name in ("/..\\secret.txt", "/a%5cb", "/c:/x", "/c%3a/x", "/a%00"):  # on any system
        assert SimpleHTTPRequestHandler.translate_path(Files, name) is None, name
    try:
        each(test, handler=Files)
    finally:
        remove(path)


def test_a_file_that_changes():
    """What its length was is sent, and no more; if it is less, the connection ends."""
    path = folder()

    class Files(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        directory = path + "/www"
        log_message = Handler.log_message

        def copyfile(self, source, outputfile):
            with open(path + "/www/big.bin", self.mode) as f:
                f.write(b"and a line")
            SimpleHTTPRequestHandler.copyfile(self, source, outputfile)

    try:
        with Serving("multiplexer", Files) as server, Browser(server.server_address) as c:
            Files.mode = "ab"
            for i in range(2):
                status, fields, got = c.get("/big.bin")
                assert status == 200 and len(got) == 76800 + 10 * i, len(got)
            Files.mode = "wb"
            c.send(b"GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.rest()[-14:] == b"\r\n\r\nand a line"
    finally:
        remove(path)


def test_files_as_handlers_for_http_server_send_them():
    path = folder()

    class Files(SimpleHTTPRequestHandler):
        directory = path + "/www"
        log_message = Handler.log_message

        def do_GET(self):
            if self.path == "/own":  # a file that send_head() does not know
                f = open(path + "/www/big.bin", "rb")
                self.send_response(200)
                self.end_headers()
            elif self.path == "/fail/":
                f = self.send_head()
                self.copyfile(f, self.wfile)
                self.server.files.append(f)
                raise ValueError("after copyfile")
            else:
                f = self.send_head()
            if f:
                self.server.files.append(f)
                try:
                    if self.path[-6:] == "?twice":
                        self.wfile.write(f.read(9))
                    self.copyfile(f, self.wfile)
                    if self.path[-5:] == "?more":
                        self.wfile.write(b"and more")
                finally:
                    f.close()

    class With(Files):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            f = self.send_head()
            if f:
                self.server.files.append(f)
                with f:
                    self.copyfile(f, self.wfile)

    big = bytes(range(256)) * 300
    os.mkdir(path + "/www/fail")
    try:
        for kind in ("plain", "multiplexer"):
            with quiet(), Serving(kind, Files, files=None) as server:
                server.files = []
                for name, wanted in (
                    ("/big.bin", big),
                    ("/own", big),
                    ("/big.bin?more", big + b"and more"),
                    ("/big.bin?twice", big),
                    ("/sub/", b"<!DOCTYPE"),
                ):
                    with Browser(server.server_address) as c:
                        c.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode())
                        data = c.rest()
                        body = data[data.find(b"\r\n\r\n") + 4 :]
                        same = body[:9] == wanted if wanted[:1] == b"<" else body == wanted
                        assert data[8:13] == b" 200 " and same, (name, len(body))
                with Browser(server.server_address) as c:
                    assert c.get("/fail/")[0] == 500
                wait_until(lambda server=server: server.told)
                assert len(server.told) == 1 and len(server.files) == 6, server.told
                for f in server.files[:4]:  # the others are listings
                    raises((ValueError, OSError), f.read, 1)
        with Serving("multiplexer", With, files=None) as server:
            server.files = []
            with Slow(server.server_address) as c:
                for _ in range(3):
                    assert c.get("/big.bin")[2] == big
                    assert c.get("/style.CSS")[2] == b"p {}"
            assert not server.told, server.told
    finally:
        remove(path)


def test_a_handler_of_files_and_more():
    path = folder()

    class Files(SimpleHTTPRequestHandler):
        log_message = Handler.log_message

        def do_GET(self):
            if self.path == "/api":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"api")
            else:
                super().do_GET()

    def handler(*args):
        return Files(*args, directory=path + "/www")

    try:
        for kind in ("plain", "threading"):
            with Serving(kind, handler) as server:
                with Browser(server.server_address) as c:
                    assert c.get("/api")[2] == b"api"
                with Browser(server.server_address) as c:
                    assert c.get("/big.bin")[2] == bytes(range(256)) * 300
    finally:
        remove(path)


def test_many_threads():
    """All rooms are there before the first thread is."""

    class Files(SimpleHTTPRequestHandler, Handler):
        pass

    Files.users = object()
    with Serving("threading", Files):
        for room in "httpauth httpbody httpsend httpdate httperror httplist alone".split():
            assert "socketse." + room in sys.modules, room
    failures = []

    def ask(server):
        for _i in range(10):
            with Browser(server.server_address) as c:
                for command, body in (("GET", b""), ("POST", b"body"), ("PATCH", b"")):
                    status = c.get(
                        "/", "Content-Length: %d" % len(body), command=command, body=body
                    )[0]
                    if status != {"GET": 200, "POST": 201, "PATCH": 405}[command]:
                        failures.append(status)

    with Serving("threading") as server:
        for record in [thread(ask, server) for _ in range(3)]:
            wait_until(lambda record=record: record["done"])
        assert not failures and not server.told, (failures, server.told)


def test_the_time_page():
    from socketse.services import clock
    from socketse.timepage import TimePageHandler

    with quiet(), Serving("multiplexer", TimePageHandler) as server:
        with Browser(server.server_address) as c:
            clock.set(1709164800 + 3661)
            status, fields, body = c.get("/?x")
            assert status == 200 and fields["content-type"] == "text/html; charset=utf-8"
            assert b"<time>2024-02-29 01:01:0" in body and b"</time> UTC" in body, body
            length = fields["content-length"]
            status, fields, body = c.get("/", command="HEAD")
            assert status == 200 and fields["content-length"] == length
            is_set, clock.is_set = clock.is_set, lambda: False
            status, fields, body = c.get("/")
            assert status == 503 and b"The clock is not set." in body and b"<time>" not in body
            clock.is_set = is_set
            assert c.get("/")[0] == 200
            assert c.get("/favicon.ico")[0] == 404
        assert not server.told, server.told


def test_names():
    from socketse import http

    assert http.SimpleHTTPRequestHandler is SimpleHTTPRequestHandler
    assert issubclass(http.ThreadingHTTPServer, HTTPServer)
    assert issubclass(http.MultiplexingHTTPServer, HTTPServer)
    raises(AttributeError, getattr, http, "CGIHTTPRequestHandler")
    with Serving("plain") as server:
        assert (server.server_name, server.server_port) == server.server_address
        assert isinstance(server, TCPServer) and MICROPYTHON in (True, False)
    with http.MultiplexingHTTPServer(free(), Handler) as server:
        server.log = []
        record = thread(server.serve_forever, 0.02)
        with Browser(server.server_address) as c:
            assert c.get()[2] == LINE
        server.shutdown()
        wait_until(lambda: record["done"])
