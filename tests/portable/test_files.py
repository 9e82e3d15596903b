"""rfile and wfile: files on every Python, and on MicroPython files that lose nothing."""

import errno
import json

from socketse import StreamRequestHandler, TCPServer
from socketse.handler import Reader, Writer
from support import MICROPYTHON, UNIX, Client, free, no_room, raises, serving


class Chunks:
    """A connection whose recv gives what the test wrote down; an exception is raised."""

    def __init__(self, *chunks):
        self.chunks = list(chunks)
        self.asked = []

    def recv(self, n):
        self.asked.append(n)
        chunk = self.chunks.pop(0) if self.chunks else b""
        if chunk is no_room:
            raise no_room(n)
        if isinstance(chunk, Exception):
            raise chunk
        if len(chunk) > n:
            self.chunks.insert(0, chunk[n:])
        return chunk[:n]


def reader(*chunks, size=-1, max_line=1024):
    return Reader(Chunks(*chunks), size, max_line)


def timeout():
    return OSError(errno.EAGAIN) if MICROPYTHON else TimeoutError()


def test_readline():
    f = reader(b"one\ntw", b"o\n\n", b"thr", b"ee")
    assert f.readline() == b"one\n"
    assert f.readline() == b"two\n"
    assert f.readline() == b"\n"
    assert f.readline() == b"three"
    assert f.readline() == b""
    assert f.readline() == b""
    assert f.count == 14


def test_reads_smaller_pieces_when_there_is_no_room_for_a_large_one():
    f = reader(no_room, no_room, b"one\n", b"two\n")
    assert f.readline() == b"one\n" and f.readline() == b"two\n"
    f = reader(*[no_room] * 9)
    raises(MemoryError, f.readline)
    raises(MemoryError, reader(no_room, b"x", size=0).read, 10)


def test_what_recv_took_and_found_no_room_for_is_no_hole():
    for error in (no_room(16), MemoryError()):
        f = reader(error, b"what came after it\n")
        if UNIX:
            assert raises(MemoryError, f.readline) is error
        else:
            assert f.readline() == b"what came after it\n"  # nothing was taken there


def test_readline_with_a_size():
    f = reader(b"abcdef\ngh\n")
    assert f.readline(0) == b""
    assert f.readline(4) == b"abcd"
    assert f.readline(4) == b"ef\n"
    assert f.readline(-1) == b"gh\n"
    assert reader(b"x" * 3000).readline(2000) == b"x" * 2000
    assert reader(b"ab\n").readline(None) == b"ab\n"


def test_max_line():
    assert reader(b"x" * 9 + b"\n", max_line=10).readline() == b"x" * 9 + b"\n"
    e = raises(ValueError, reader(b"x" * 10 + b"\n", max_line=10).readline)
    assert "max_line" in str(e)
    raises(ValueError, reader(*[b"x" * 100] * 30).readline)
    assert reader(b"x" * 20 + b"\n", max_line=10).readline(30) == b"x" * 20 + b"\n"


def test_timeout_in_the_middle_of_a_line_loses_nothing():
    f = reader(b"hal", timeout(), b"f\nre", timeout(), timeout(), b"st")
    assert raises(OSError, f.readline).errno == errno.ETIMEDOUT
    assert f.readline() == b"half\n"
    raises(OSError, f.read, 4)
    raises(OSError, f.read, 4)
    assert f.read(4) == b"rest"


def test_reset_in_the_middle_is_raised_as_it_is():
    f = reader(b"half", OSError(errno.ECONNRESET, "reset"))
    assert raises(OSError, f.readline).errno == errno.ECONNRESET


def test_read():
    f = reader(b"abc", b"defg", b"hi")
    assert f.read(0) == b""
    assert f.read(2) == b"ab"
    assert f.read(4) == b"cdef"
    assert f.read() == b"ghi"
    assert f.read() == b"" and f.read(3) == b""
    assert reader(b"abc").read(10) == b"abc"
    assert reader(*[b"z" * 100] * 50).read(None) == b"z" * 5000
    assert reader(*[b"z" * 100] * 50).read(4321) == b"z" * 4321


def test_read1():
    f = reader(b"abcdef", b"gh")
    assert f.read1(2) == b"ab"
    assert f.read1() == b"cdef"
    assert f.read1(0) == b""
    assert f.read1(100) == b"gh"
    assert f.read1() == b""


def test_readinto():
    f = reader(b"abc", b"defg")
    buf = bytearray(5)
    assert f.readinto(buf) == 5 and buf == b"abcde"
    assert f.readinto(buf) == 2 and buf == b"fgcde"
    assert f.readinto(buf) == 0
    raises(OSError, reader(b"ab", timeout(), b"cd").readinto, bytearray(4))


def test_iteration():
    assert list(reader(b"a\nb\n", b"c")) == [b"a\n", b"b\n", b"c"]


def test_unbuffered_takes_no_more_than_it_needs():
    f = reader(b"line\nbody and more", size=0)
    assert f.readline() == b"line\n"
    assert f.read(4) == b"body"
    assert f.recv(100) == b" and more"  # the rest is for recv


def test_buffer_size():
    f = reader(b"x" * 100, size=16)
    f.readline(3)
    assert f.recv.__self__.asked == [16] if not MICROPYTHON else True


def test_closed_reader():
    f = reader(b"abc\ndef")
    assert not f.closed
    f.readline()
    f.close()
    f.close()
    assert f.closed
    for call in (f.readline, f.read, f.read1):
        raises(ValueError, call)


class Sink:
    """A connection that takes at most n bytes at a time."""

    def __init__(self, n=1000):
        self.n = n
        self.data = b""
        self.sends = 0

    def send(self, data):
        if isinstance(self.n, Exception):
            raise self.n
        assert len(data), "esp32's send raises for nothing"
        self.sends += 1
        data = bytes(data)[: self.n]
        self.data += data
        return len(data)


def test_write_sends_everything():
    sink = Sink(3)
    f = Writer(sink, 0)
    assert f.write(b"abcdefgh") == 8
    assert sink.data == b"abcdefgh"
    assert f.write(bytearray(b"ij")) == 2
    assert f.write(memoryview(b"klmn")) == 4
    assert sink.data == b"abcdefghijklmn"
    assert f.write(b"") == 0
    f.flush()
    assert f.count == 14


def test_write_counts_bytes():
    from array import array

    for size in (1, 5, 100):
        sink = Sink(size)
        f = Writer(sink, 0)
        data = array("H", range(10))
        assert f.write(data) == 20 and sink.data == bytes(data)
        assert f.write(memoryview(data)[:3]) == 6 and len(sink.data) == 26


def test_writelines():
    sink = Sink()
    Writer(sink, 0).writelines([b"a\n", b"b\n"])
    assert sink.data == b"a\nb\n"


def test_write_refuses_text():
    for wrong in ("text", "", 5, None):
        raises(TypeError, Writer(Sink(), 0).write, wrong)


def test_write_times_out():
    assert raises(OSError, Writer(Sink(timeout()), 0).write, b"x").errno == errno.ETIMEDOUT


def test_buffered_write():
    sink = Sink()
    f = Writer(sink, 10)
    f.write(b"abc")
    f.write(b"def")
    assert sink.data == b""
    f.write(b"ghijk")
    assert sink.data == b"abcdefghijk"
    f.write(b"l")
    f.flush()
    assert sink.data == b"abcdefghijkl"
    f.write(b"m")
    f.close()
    assert sink.data == b"abcdefghijklm" and f.closed
    f.close()
    raises(ValueError, f.write, b"x")
    raises(ValueError, f.flush)


def test_write_after_close_raises():
    f = Writer(Sink(), 0)
    f.close()
    raises(ValueError, f.write, b"x")


def served(handle, sent=b"", **attributes):
    """Return what a client gets that sends `sent` to a handler with this handle."""

    class Handler(StreamRequestHandler):
        pass

    Handler.handle = handle
    for name in attributes:
        setattr(Handler, name, attributes[name])
    address = free()
    with serving(TCPServer(address, Handler)) as server:
        with Client(address) as c:
            c.send(sent)
            got = c.rest()
    return got, server


def test_json_and_print():
    def handle(self):
        class Text:
            """json and print write text on CPython: a handler there wraps wfile."""

            def __init__(self, file):
                self.write = lambda text: file.write(text.encode())

        file = self.wfile if MICROPYTHON else Text(self.wfile)
        json.dump({"a": [1, "two"]}, file)
        print(" and", 3, file=file)

    got, _ = served(handle)
    assert got == b'{"a": [1, "two"]} and 3\n', got


def test_json_load():
    def handle(self):
        value = json.loads(self.rfile.readline())
        self.wfile.write(str(value["n"] + 1).encode())

    assert served(handle, b'{"n": 41}\n')[0] == b"42"


def test_json_load_from_the_file_itself():
    assert json.load(reader(b'{"a": ', b"[1, 2]}")) == {"a": [1, 2]}


def test_buffered_wfile_is_flushed_at_the_end():
    def handle(self):
        for _ in range(10):
            self.wfile.write(b"piece ")

    got, server = served(handle, wbufsize=-1)
    assert got == b"piece " * 10
    if MICROPYTHON:
        assert server.stats["bytes_out"] == 60


def test_bytes_are_counted():
    def handle(self):
        self.wfile.write(self.rfile.readline() * 2)

    got, server = served(handle, b"hello\n")
    assert got == b"hello\nhello\n"
    if MICROPYTHON:
        assert (server.stats["bytes_in"], server.stats["bytes_out"]) == (6, 12)


def test_handlers_timeout():
    caught = []

    def handle(self):
        caught.append(raises(OSError, self.rfile.readline).errno)

    served(handle, b"half a line", timeout=0.1)
    assert caught == [errno.ETIMEDOUT] if MICROPYTHON else len(caught) == 1


def test_unhandled_timeout_is_counted():
    class Server(TCPServer):
        def handle_error(self, request, client_address):
            return

    class Handler(StreamRequestHandler):
        timeout = 0.1

        def handle(self):
            self.rfile.readline()

    address = free()
    with serving(Server(address, Handler)) as server:
        with Client(address) as c:
            assert c.rest() == b""
    assert server.stats["timed_out"] == 1 and server.stats["errors"] == 0


def test_writing_to_a_client_that_does_not_read_times_out():
    caught = []

    def handle(self):
        try:
            while True:
                self.wfile.write(b"z" * 65536)
        except OSError as e:
            caught.append(e)

    class Handler(StreamRequestHandler):
        timeout = 0.2

    Handler.handle = handle
    address = free()
    with serving(TCPServer(address, Handler)) as server:
        c = Client(address)
        from support import wait_until

        wait_until(lambda: caught, what="the write to give up")
        c.close()
    assert server.stats["active"] == 0
    if MICROPYTHON:
        assert caught[0].errno == errno.ETIMEDOUT
