"""HTTPServer and BaseHTTPRequestHandler: http.server for many clients in one thread.

https://docs.python.org/3/library/http.server.html, RFC 9110 and RFC 9112. What few requests need
is in rooms of its own: httperror.py, httpdate.py, httpbody.py, httpsend.py, httpauth.py,
httpfiles.py.
"""

import time

from .server import TCPServer  # first: the largest compiles best into a whole heap
from .stream import AsyncStreamRequestHandler

# isort: split
from . import port
from .port import const, coro

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ = const(1)  # as in stream.py
_WRITE = const(4)
_TURN = const(0)
_SPARE = const(2048)  # bytes of heap in one piece
_METHODS = const("do_GET do_HEAD do_POST do_PUT do_DELETE do_OPTIONS do_PATCH")
_SMALL = const(1024)  # bytes of an answer that are sent together with its head

stamp: "Any" = (None, "")  # (second, the same as text), of the last answer


class HTTPServer(TCPServer):
    """A TCPServer that knows its name: server_name and server_port."""

    def server_bind(self):
        """Bind the socket."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]


class Headers:
    """The fields of a request by name, in whatever case: headers.get("Host"), headers["Host"]."""

    def __init__(self, head):
        self.head = head  # as it came: that takes least

    def items(self):
        """Yield (name, value) of each field, as it was sent."""
        head = self.head
        at = head.find(b"\n") + 1
        while True:
            end = head.find(b"\n", at)
            colon = head.find(b":", at, end)
            if colon < 0:
                return
            yield _text(head[at:colon]), _text(_value(head, colon, end))
            at = end + 1

    def get(self, name, default=None):
        """Return the value of the first field of that name; default: there is none."""
        name = name.lower()
        for key, value in self.items():
            if key.lower() == name:
                return value
        return default

    __getitem__ = get

    def keys(self):
        """Yield the name of each field, as it was sent."""
        for item in self.items():
            yield item[0]

    __iter__ = keys

    def __str__(self):
        return "".join(["%s: %s\n" % item for item in self.items()]) + "\n"

    def __contains__(self, name):
        return self.get(name) is not None


class BaseHTTPRequestHandler(AsyncStreamRequestHandler):
    """A connection whose requests are answered by the methods do_GET, do_POST and so on.

    A plain do_X gets the body, which has come before it is called, from
    self.rfile; an ``async def do_X`` awaits self.rfile.read(n) and so on, of a body of any length.
    Both write to self.wfile; the latter awaits self.wfile.drain().
    """

    protocol_version = "HTTP/1.0"  # "HTTP/1.1": connections stay
    server_version = "socketse"
    sys_version = ""
    error_content_type = "text/html;charset=utf-8"
    error_message_format = "<title>%(code)d</title><h1>%(message)s</h1><p>%(explain)s\n"
    request_timeout = 10  # seconds in which the head, and the body for a plain do_X, must come
    max_headers = 32
    max_head = 4096  # bytes of all of them
    max_body = 4096  # bytes, for a plain do_X
    # A Users: who is in it may come in, by HTTP Basic. Or check_password: a method
    # (self, user, password), async or not, that returns True for who may. Neither: everybody.
    users: "Any" = None
    check_password: "Any" = None
    allow_plain = False  # True: take passwords from other machines without TLS too
    command: "Any" = None  # None: no request is being answered
    path: "Any" = None
    requestline: "Any" = ""
    request_version: "Any" = "HTTP/1.0"
    headers: "Any" = None
    close_connection = True
    _se_code: "Any" = None  # of the answer; None: it has not begun
    # What has to be sent of the answer's head: a list of lines, then bytes. None: nothing; b"" if
    # what is written does not go out as it is.
    _se_head: "Any" = None
    # True: the answer says how long it is, or its connection ends; None: it is in chunks;
    # "": it has no body, whatever is written
    _se_framed: "Any" = False
    _se_file: "Any" = None  # what is to be sent after do_X
    _se_more: "Any" = None  # a list of what is to be sent after _se_out; None: nothing
    _se_async = False  # True: do_X can wait for its client
    _se_error: "Any" = None  # with what the connection has failed; all else is the handler's own

    def __getattr__(self, name):
        if name == "rfile":  # that is what a request without a body has
            from .httpbody import empty

            return empty(self)
        from .httperror import seldom

        return seldom(self, name)

    @coro
    def handle(self):
        """Answer the requests of one connection."""
        # Its frame stays on the heap while the connection does: few locals, nothing else awaited.
        del self.rfile
        timeout = self.timeout
        while True:
            data = self._se_buffer
            end = find(data)
            start = None
            while not end:
                more = yield _READ
                if not more:
                    self._se_buffer = None
                    return
                data += more
                self._se_buffer = data
                end = find(data)
                if not end:
                    if start is None:
                        start = port.ticks_ms()
                    if self._se_late(data, start):
                        return
            if start is not None:
                self.timeout = timeout
            start = self._se_answer(data, end)
            data = more = None  # a request is not kept until the next one
            if start is not None:
                yield from start
                start = None
            if self.close_connection:
                return
            self.command = self.path = self.headers = self.requestline = None
            if self._se_out:
                yield _WRITE
            elif self._se_buffer:
                yield _TURN  # one request after the other, but the others have their turn

    def _se_late(self, data, start):
        # Refuse a head that is too long, or too long in coming, and return True.
        left = self.request_timeout * 1000 - port.ticks_diff(port.ticks_ms(), start)
        if left <= 0:
            self.send_error(408)
        elif len(data) > self.max_line and b"\n" not in data:
            self.send_error(414)
        elif len(data) > self.max_head:
            self.send_error(431)
        else:
            self.timeout = 1 + left // 1000
            self._se_spare()
            return False
        return True

    def _se_spare(self):
        # Who has sent a part of something waits only if there is room for others to be answered.
        hub = getattr(self.server, "_se_hub", None)
        while hub and port.platform and hub.count > 1:
            try:
                return bytearray(_SPARE)
            except MemoryError:
                hub.collect()

    def _se_answer(self, data, end):
        # Take a request of which end bytes of data are the head: as _se_begin, but somebody else
        # has to go if there is no memory for it.
        while True:
            try:
                self._se_buffer = data[end:] or b""  # an empty slice takes 32 bytes
                return self._se_begin(data[:end])
            except Exception as e:
                if not isinstance(e, MemoryError) or not self._se_again():
                    self._se_fail(e)
                    raise

    def _se_again(self):
        # Make room, and return True if the request may be begun once more.
        hub = getattr(self.server, "_se_hub", None)
        if hub is None or hub.count < 2 or self.command not in (None, "GET", "HEAD"):
            return False
        if self._se_code is not None and not self._se_head:
            return False
        self._se_head = self.command = None
        if self._se_file is not None:
            self._se_file.close()
            self._se_file = None
        return hub.collect()

    def _se_begin(self, head):
        # Begin to answer a request. Return what is to be awaited until that is done, or None.
        self.close_connection = True
        self._se_code = None
        status: Any
        try:
            status = self._se_parse(head)
        except ValueError:
            status = 400  # a number that is none, a letter that is none
        if status > 0:
            self.send_error(status)
            return None
        if self.users is not None or self.check_password is not None:
            from .httpauth import begin

            return begin(self, status)
        return self._se_call(status)

    def _se_call(self, status):
        name = "do_" + self.command
        method = None
        # What getattr is asked for, MicroPython keeps for ever.
        if name in _METHODS or name in dir(type(self)):
            method = getattr(self, name, None)
        if method is None:
            self._se_refuse()
            return None
        if status < 0:
            from .httpbody import run

            return run(self, method)
        result = method()
        if result is not None and hasattr(result, "throw"):
            from .httpbody import drive

            return drive(self, result)
        return self._se_end()

    def _se_parse(self, head):
        # Take a request's head to pieces. Return the status with which it is to be refused;
        # 0: it is all right; -1: so it is, and a body follows.
        if head.count(b"\r") != head.count(b"\r\n") or b"\0" in head:
            return 400
        if head[:2] == b"\r\n":  # some clients send one after a body
            head = head[2:]
        at = head.find(b"\n")
        if at > self.max_line:
            return 414
        if len(head) > self.max_head:
            return 431
        self.requestline = line = _ascii(head[:at].rstrip())
        words = line.split()
        if len(words) != 3:
            return 400
        self.command, path, version = words
        if version != "HTTP/1.1":
            if version[:5] != "HTTP/" or version[6:7] != ".":
                return 400
            if not version[5].isdigit() or not version[7:].isdigit():
                return 400
            if version[5] != "1":
                return 505
        self.request_version = version
        if path[:2] == "//":  # a browser that is sent there would look for a host
            path = "/" + path.lstrip("/")
        self.path = path
        stays = self.protocol_version >= "HTTP/1.1"
        keep = stays and version != "HTTP/1.0"
        hosts = count = 0
        length = coding = None
        while True:
            at += 1
            end = head.find(b"\n", at)
            colon = head.find(b":", at, end)
            if colon < 0:
                if head[at:end].strip():
                    return 400
                break
            count += 1
            if end - at > self.max_line or count > self.max_headers:
                return 431
            name = head[at:colon].lower()
            if not name or name.strip() != name or b" " in name or b"\t" in name:
                return 400
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                if length is not None:
                    return 400
                length = _value(head, colon, end)
                if not length.isdigit():
                    return 400
            elif name == b"transfer-encoding":
                if coding is not None:
                    return 400
                coding = _value(head, colon, end).lower()
            elif name == b"connection":
                name = head[colon + 1 : end].lower()
                if b"close" in name:
                    stays = keep = False
                elif b"keep-alive" in name:
                    keep = stays
            at = end
        if version != "HTTP/1.0" and hosts != 1:
            return 400
        if coding is not None:
            if length is not None or version == "HTTP/1.0":
                return 400
            if coding != b"chunked":
                return 501
        elif length is None:
            if version == "HTTP/1.0" and self.command in ("POST", "PUT"):
                return 411
        elif len(length) > 15:
            return 413
        self.close_connection = not keep
        self.headers = Headers(head)
        return -1 if coding is not None or length is not None and int(length) else 0

    def _se_end(self):
        # End an answer. Return what is to be awaited for that, if anything.
        if self._se_code is None:
            self.close_connection = True  # no answer, but the client need not wait for one
        if self._se_file is not None:
            from .httpsend import send_file

            return send_file(self)
        if type(self._se_head) is list:
            self.end_headers()  # do_X has forgotten it
        head = self._se_head
        if head is not None:
            self._se_head = None
            if self._se_framed is None:
                head += b"0\r\n\r\n"
            if head:
                self.write(head)
        return None

    def _se_fail(self, exc):
        self.rfile = None
        self._se_buffer = self._se_buffer and b""  # room for the answer
        from .httperror import fail

        fail(self, exc)

    @staticmethod
    def _se_load(handler):
        # For threads: a room that several of them load at once, they would see half made.
        from .httperror import load

        load(handler)

    def _se_refuse(self):
        from .httperror import refuse

        refuse(self)

    def _se_blame(self, exc):
        if self.command is not None:
            if exc is not self._se_error:
                return False
        elif self._se_buffer and not self._se_out and port.timeout(exc):
            self.send_error(408)
        return AsyncStreamRequestHandler._se_blame(self, exc)

    # wfile

    def write(self, data):
        """Send data, bytes or a buffer of bytes, or what the socket does not take now, later.

        One write may be of any length; returns it. While more than max_pending bytes wait, a
        plain do_X waits for the client, at most 10 s in all; an async one gets OSError(ENOBUFS).
        """
        size = len(data)
        if isinstance(data, str):
            raise TypeError("bytes can be sent, and no str")
        head = self._se_head
        if head is not None:
            if size > _SMALL or not self._se_framed or self._se_file is not None:
                from .httpsend import frame

                frame(self, head, data)
                return size
            self._se_head = None
        try:
            if head:
                try:
                    data = head + data
                except MemoryError:  # so much in one piece: one after the other
                    AsyncStreamRequestHandler.write(self, head)
            AsyncStreamRequestHandler.write(self, data)
        except OSError as e:
            self._se_error = e
            raise
        return size

    def flush(self):
        """Send the head, if nothing has been written yet."""
        head = self._se_head
        if head:
            self._se_head = None
            self.write(head)
            if not self._se_framed:
                self._se_head = b""

    def _se_pend(self, data, n):
        from .httpsend import pend

        pend(self, data, n)

    # The answer's head.

    def send_response(self, code, message=None):
        """Begin an answer: status line, Server, Date; log it."""
        self.log_request(code)
        self.send_response_only(code, message)
        head = self._se_head
        head.append("Server: %s\r\n" % self.version_string())
        date = self.date_time_string()
        if date:
            head.append("Date: %s\r\n" % date)

    def send_response_only(self, code, message=None):
        """Begin an answer with its status line; None: the message that belongs to the code."""
        if message is None:
            if code == 200:
                message = "OK"
            else:
                from .httperror import phrase

                message = phrase(code)
        self._se_code = code
        self._se_framed = False
        self._se_head = ["%s %d %s\r\n" % (self.protocol_version, code, message)]

    def send_header(self, keyword, value):
        """Add a field to the head."""
        self._se_head.append("%s: %s\r\n" % (keyword, value))
        n = len(keyword)
        if n == 14 or n == 17:
            keyword = keyword.lower()
            if keyword == "content-length" or keyword == "transfer-encoding":
                self._se_framed = True
        elif n == 10 and keyword.lower() == "connection":
            value = value.lower()
            if value == "close":
                self.close_connection = True
            elif value == "keep-alive":
                self.close_connection = False

    def end_headers(self):
        """End the head, which is sent with what is written first, or at the end of do_X.

        Raises ValueError if a field has a line's end in it.
        """
        code = self._se_code
        if code == 101:
            self._se_framed = True  # what follows is another protocol's, until the end
        elif code < 200 or code == 204 or code == 304 or self.command == "HEAD":
            self._se_framed = ""
        elif not self._se_framed:
            if self.request_version == "HTTP/1.0":
                self.close_connection = True  # nothing else tells this client where the end is
            self._se_framed = True
            if not self.close_connection:
                self.send_header("Transfer-Encoding", "chunked")
                self._se_framed = None
        lines = self._se_head
        lines.append("\r\n")
        head = "".join(lines)
        if head.count("\n") != len(lines) or head.count("\r") != len(lines):
            raise ValueError("a line's end in a field: %r" % head)
        self._se_head = head.encode("latin-1")
        if code < 200:
            self.flush()
            self._se_code = None

    def send_error(self, code, message=None, explain=None):
        """Answer with an error, and log it; message and explain: text, of which HTML is made."""
        from .httperror import send_error

        send_error(self, code, message, explain)

    def version_string(self):
        """Return what stands in the field Server."""
        if not self.sys_version:
            return self.server_version
        return self.server_version + " " + self.sys_version

    def date_time_string(self, timestamp=None):
        """Return seconds as time.time() has them, None: now, as "Sun, 06 Nov 1994 08:49:37 GMT".

        Now is "" while a board's clock is not set.
        """
        global stamp
        if timestamp is not None:
            from .httpdate import date

            return date(timestamp)
        now = int(time.time())
        if now != stamp[0]:
            from .httpdate import date

            stamp = (now, date(now, 2022))
        return stamp[1]

    def log_request(self, code="-", size="-"):
        """Log an answer, on MicroPython only if log_message is not the one here: that is slow."""
        if not port.platform or type(self).log_message is not BaseHTTPRequestHandler.log_message:
            self.log_message('"%s" %s %s', self.requestline, str(code), str(size))

    def log_error(self, format, *args):
        """Log an error: as log_request."""
        if not port.platform or type(self).log_message is not BaseHTTPRequestHandler.log_message:
            self.log_message(format, *args)

    def log_message(self, format, *args):
        """Write a line to stderr: the client's address, the time and the message."""
        from .httperror import log

        log(self, format % args)


def find(data):
    """Return how long a head is, with its empty line; 0: its end has not come."""
    end = data.find(b"\n\r\n") + 3
    at = data.find(b"\n\n") + 2
    if at > 1 and (end < 3 or at < end):
        return at
    return end if end > 2 else 0


def _value(head, colon, end):
    # Other white space is none to whoever passes requests on (RFC 9110, 5.6.3).
    return head[colon + 1 : end].strip(b" \t\r")


def _ascii(data):
    # Raises ValueError for what is not.
    text = str(data, "ascii")
    if len(text) != len(data):  # MicroPython takes UTF-8
        raise ValueError
    return text


def _text(data):
    try:
        return _ascii(data)
    except ValueError:
        return "".join([chr(c) for c in data])  # ISO 8859-1, as http.server


def __getattr__(name):
    found: Any
    if name == "SimpleHTTPRequestHandler":
        from .httpfiles import SimpleHTTPRequestHandler

        found = SimpleHTTPRequestHandler
    elif name == "ThreadingHTTPServer":
        from .threads import ThreadingMixIn

        found = type(name, (ThreadingMixIn, HTTPServer), {"daemon_threads": True})
    elif name == "MultiplexingHTTPServer":
        from .multiplex import MultiplexingMixIn

        found = type(name, (MultiplexingMixIn, HTTPServer), {})
    else:
        raise AttributeError("module 'socketse.http' has no attribute '%s'" % name)
    globals()[name] = found
    return found
