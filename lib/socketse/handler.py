"""Request handlers, and MicroPython's own files over a connection."""

import io

from .server import BaseRequestHandler  # first: the largest compiles best into a whole heap

# isort: split
from . import port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_CHUNK = const(256)  # bytes asked of a socket at once: recv allocates them beforehand
_INLINE_SECONDS = const(10)  # how long one wait of a handler may hold up the serving thread


class StreamRequestHandler(BaseRequestHandler):
    """A connection with files: read from self.rfile, write to self.wfile."""

    # Comments: a docstring as long as they are needs a piece of heap as long to be compiled.
    timeout: "float | None" = None  # seconds that a read or write may wait; None: for ever
    rbufsize = -1  # bytes of rfile's buffer; 0: none, -1: the default
    wbufsize = 0  # bytes of wfile's buffer; 0: every write is sent at once, -1: the default
    max_line = 1024  # bytes of a line that readline() returns without a size (MicroPython)
    disable_nagle_algorithm = False  # True: small pieces are sent without delay
    rfile: "Reader | Any"
    wfile: "Writer | Any"

    def setup(self):
        """Make the files."""
        self.connection = self.request
        timeout = self.timeout
        if getattr(self.server, "_se_inline", None) is self.request:
            timeout = min(timeout or _INLINE_SECONDS, _INLINE_SECONDS)
        if timeout is not None:
            self.connection.settimeout(timeout)
        if self.disable_nagle_algorithm:
            from .options import setsockopt

            setsockopt(self.connection, (("IPPROTO_TCP", "TCP_NODELAY", 1),))
        if port.platform:
            self.rfile = Reader(self.connection, self.rbufsize, self.max_line)
            self.wfile = Writer(self.connection, self.wbufsize)
        else:
            self.rfile, self.wfile = port.makefile(self.connection, self.rbufsize, self.wbufsize)

    def finish(self):
        """Send what is buffered and close the files."""
        if not self.wfile.closed:
            try:
                self.wfile.flush()
            except OSError:
                pass  # the client is gone: nobody is left to tell
        self.wfile.close()
        self.rfile.close()
        if port.platform:
            # A user may have put files of his own in their place.
            self._se_count("bytes_in", getattr(self.rfile, "count", 0))
            self._se_count("bytes_out", getattr(self.wfile, "count", 0))


class Reader(io.IOBase):
    """A file for reading from a connection: MicroPython's rfile.

    socket    what to read from; it is not closed
    size      bytes asked of it at once; 0: never more than needed, -1: the default
    max_line  longest line in bytes that readline() without a size returns
    A timeout raises OSError(ETIMEDOUT) and loses nothing: what was read by
    then is there for the next call.
    """

    closed = False

    def __init__(self, socket, size, max_line):
        self.recv = socket.recv
        self.size = _CHUNK if size < 0 else size
        self.max_line = max_line
        self.buffer = b""
        self.count = 0  # bytes received

    def fill(self, n):
        """Add to the buffer: at most n bytes if unbuffered. Return False at the end."""
        if self.closed:
            raise ValueError("closed file")
        discard: Any = port.discard
        while True:
            size = max(n, self.size)
            try:
                data = self.recv(size)
                break
            except OSError as e:
                raise port.timeout(e) or e
            except MemoryError as e:
                if size == n or size < 64 or discard and discard(e, size):
                    raise
                self.size >>= 1  # a smaller piece of heap may do
        self.count += len(data)
        self.buffer += data
        return len(data) > 0

    def pop(self, n):
        buffer = self.buffer
        self.buffer = buffer[n:]
        return buffer[:n] if self.buffer else buffer

    def readline(self, size=-1):
        """Return the next line with its newline, less at the end of the stream or at size bytes.

        Without a size, a line longer than max_line raises ValueError.
        """
        bounded = size is not None and size >= 0
        limit = size if bounded else self.max_line
        seen = 0
        while True:
            end = self.buffer.find(b"\n", seen, limit) + 1
            if end:
                return self.pop(end)
            seen = len(self.buffer)
            if seen >= limit:
                if bounded:
                    return self.pop(limit)
                raise ValueError("line longer than max_line")
            if not self.fill(1):
                return self.pop(seen)

    def read(self, size=-1):
        """Return size bytes, fewer only at the end of the stream; without a size all of it."""
        all_of_it = size is None or size < 0
        if all_of_it:
            size = 0x1FFFFFFF
        got = len(self.buffer)
        # Unbuffered, one piece is enough, as on CPython. Else twice as much each time: a long
        # body is not copied for each of its pieces.
        while got < size and (self.size or all_of_it or not got):
            if not self.fill(min(size - got, max(got, _CHUNK))):
                break
            got = len(self.buffer)
        return self.pop(size)

    def read1(self, size=-1):
        """Return what is there, at most size bytes, after at most one wait; b"" at the end."""
        if size < 0:
            size = _CHUNK
        if size and not self.buffer:
            self.fill(size)
        return self.pop(size)

    def readinto(self, buf):
        """Fill buf and return how many bytes that took: fewer only at the end of the stream."""
        data = self.read(len(buf))
        buf[: len(data)] = data
        return len(data)

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def close(self):
        """Close the file, not the connection."""
        self.buffer = b""
        self.closed = True


class Writer(io.IOBase):
    """A file for writing to a connection: MicroPython's wfile.

    socket  what to write to; it is not closed
    size    bytes of the buffer; 0: every write is sent at once, -1: the default
    """

    closed = False

    def __init__(self, socket, size):
        self.send = socket.send
        self.size = _CHUNK if size < 0 else size
        self.buffer = b""
        self.count = 0  # bytes sent

    def write(self, data):
        """Write all of data, bytes or a buffer, and return its length in bytes.

        Raises OSError(ETIMEDOUT) if the client takes nothing in time.
        """
        if not isinstance(data, (bytes, bytearray)) and len(bytes(data[:1])) > 1:
            data = bytes(data)  # an array of larger items; for text bytes() raises TypeError
        if len(self.buffer) + len(data) < self.size:
            self.buffer += data
        else:
            self.flush()
            self.put(data)
        return len(data)

    def writelines(self, iterable):
        """Write each line of iterable."""
        for line in iterable:
            self.write(line)

    def flush(self):
        """Send what is buffered."""
        if self.closed:
            raise ValueError("closed file")
        data = self.buffer
        self.buffer = b""
        self.put(data)

    def put(self, data):
        done = 0
        try:
            while done < len(data):  # never without data: esp32 raises then
                done += self.send(memoryview(data)[done:] if done else data)
        except OSError as e:
            raise port.timeout(e) or e
        finally:
            self.count += done

    def close(self):
        """Send what is buffered and close the file, not the connection."""
        if not self.closed:
            try:
                self.flush()
            finally:
                self.closed = True
                self.size = 0  # nothing is taken into the buffer any more
