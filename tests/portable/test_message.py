"""Messages over a stream: what travels, what does not, and what is no message."""

import io

import support
from socketse import AsyncStreamRequestHandler, MultiplexingTCPServer, message
from support import Client, free, raises, serving, thread, wait_until

VALUES = [
    None,
    True,
    False,
    0,
    -1,
    2**53 - 1,
    2**53,
    -(2**80),
    0.0,
    -0.0,
    1.5,
    21.3,
    0.1 + 0.2,
    1e300,
    5e-324,
    float("inf"),
    float("-inf"),
    "",
    "text",
    '\u00e9\u20ac\U0001f600 "\\\n\0!',
    b"",
    b"\x00\xff!",
    bytearray(b"ab\xff"),
    1.5 - 2j,
    (),
    (1, (2, ("x",))),
    [],
    [1, [2, [b"x"]]],
    {},
    {"a": {"b": (1,)}},
    {"!b": 1},
    {"!": 1, "x": 2},
    {1: 2, (3, "4"): [5], None: None, False: 1.5},
    set(),
    {1, "x"},
    frozenset((1, b"x")),
    -complex(-1.0, 0.0),  # MicroPython makes a -0.0 only like this
    -complex(0.0, 0.0),
    complex(-0.0, float("inf")),
]


def same(a, b):
    """Return True if a and b are alike, types included."""
    if type(a) is not type(b):
        return False
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if type(a) is dict:
        return len(a) == len(b) and all(key in b and same(a[key], b[key]) for key in a)
    if type(a) is complex:
        return same(a.real, b.real) and same(a.imag, b.imag)
    return repr(a) == repr(b) if type(a) is float else a == b


class Pipe:
    """A stream that gives back what is written, or what it is made of."""

    def __init__(self, data=b"", met=0):
        self.data = data
        self.se_met = met

    def write(self, data):
        self.data += data

    def readexactly(self, n):
        data, self.data = self.data[:n], self.data[n:]
        if len(data) < n:
            raise EOFError
        return data


def test_values_come_back_with_their_types():
    for value in VALUES:
        pipe = Pipe()
        message.send(pipe, value)
        message.send(pipe, [value])
        found = message.recv(pipe)
        assert same(found, value), (value, found)
        found = message.recv(pipe)
        assert same(found, [value]), (value, found)


def test_nan_and_slices():
    pipe = Pipe()
    message.send(pipe, [float("nan"), slice_of(1, None, -2)])
    nan, found = message.recv(pipe)
    assert nan != nan
    assert (found.start, found.stop, found.step) == (1, None, -2)


def slice_of(*args):
    class Slicer:
        def __getitem__(self, key):
            return key

    return Slicer()[args[0] : args[1] : args[2]]


def test_frames_are_as_documented():
    pipe = Pipe()
    message.send(pipe, "h\u00e9")
    message.send(pipe, b"\x01")
    assert pipe.data == b"00000001V1" + b"00000003Sh\xc3\xa9" + b"00000001B\x01"
    pipe = Pipe(met=3)
    message.send(pipe, {"a": (1,)})
    assert pipe.data.replace(b" ", b"")[9:] == b'{"a":{"!t":[1]}}'
    assert pipe.data[8:9] == b"P"
    pipe = Pipe(met=3)
    message.send(pipe, [2**53 - 1, 2**53, -(2**53)])
    assert pipe.data[9:] == (
        b'[9007199254740991,{"!i":"20000000000000"},{"!i":"-20000000000000"}]'
    )
    pipe = Pipe(met=3)
    message.send(pipe, ValueError("no"))
    assert pipe.data[8:9] == b"E"


def test_what_cannot_travel_raises_before_a_byte_is_sent():
    class Own:
        pass

    circle = []
    circle.append(circle)
    deep = 1
    for _ in range(message.max_depth + 1):
        deep = (deep,)
    for kind, what in (
        (TypeError, len),
        (TypeError, lambda: 1),
        (TypeError, Own()),
        (TypeError, Own),
        (TypeError, io),
        (TypeError, [1, (2, {"a": Own()})]),
        (TypeError, {len: 1}),
        (ValueError, circle),
        (ValueError, deep),
        (message.MessageError, "x" * (message.max_message + 1)),
        (message.MessageError, b"x" * (message.max_message + 1)),
        (message.MessageError, ["x" * message.max_message]),
    ):
        pipe = Pipe()
        raises(kind, message.send, pipe, what)
        assert pipe.data == b"" and pipe.se_met == 0
        message.send(pipe, 1)
        assert pipe.data[:10] == b"00000001V1"
    if not support.MICROPYTHON:  # which has no room for a length of nine digits
        raises(message.MessageError, message.dumps, bytes(10**8), 10**9)


def test_what_the_receiver_would_refuse_is_not_sent():
    # What is as deep as may be: scalars that are told by objects are no containers.
    for x in (1.5, b"x", 2**60, 1j, float("nan"), bytearray(b"x"), (), [], {}, set()):
        deep = x
        leaf = type(x) in (tuple, list, dict, set, bytearray)
        for _ in range(message.max_depth - (1 if leaf else 0)):
            deep = [deep]
        pipe = Pipe()
        message.send(pipe, deep)
        found = message.recv(pipe)
        for _ in range(message.max_depth - (1 if leaf else 0)):
            (found,) = found
        assert x != x or found == x
    for n in range(10, 20):
        deep = 1
        for _ in range(n):
            deep = [deep]
        pipe = Pipe()
        message.send(pipe, ValueError(deep, n))
        error = raises(ValueError, message.recv, pipe)
        assert not isinstance(error, message.MessageError) and error.args[1] == n
        assert error.args[0] == deep or n > 14
    # What is short as text, and takes more heap than a board may spend on it.
    limit = 2048
    for item in (0, 100, 1.5, "ab", [], ()):
        for n in (50, 100, 200, 300, 500, 680):
            pipe = Pipe()
            pipe.max_message = limit
            try:
                message.send(pipe, [item] * n)
            except message.MessageError:
                # Text is all that counts on a PC.
                assert (support.MICROPYTHON or n > 250) and pipe.data == b""
            else:
                assert message.recv(pipe) == [item] * n


def test_data_that_are_too_much_leave_the_stream_as_it_was():
    if not support.MICROPYTHON:
        raise support.Skip("a small heap")
    data = b"[" + b"0," * 900 + b"0]"
    pipe = Pipe(b"%08dP" % len(data) + data, 3)
    message.send(pipe, "next")
    error = raises(message.MessageError, message.recv, pipe)
    assert error.whole and message.recv(pipe) == "next"
    error = raises(message.MessageError, message.recv, Pipe(b"00000003P[[[", 3))
    assert not error.whole


def test_an_exception_is_raised_at_the_other_end():
    class Own(Exception):
        pass

    def sent(error):
        pipe = Pipe()
        try:
            raise error
        except Exception as e:
            message.send(pipe, e)
        return pipe

    pipe = sent(ValueError("no", 1, (2,)))
    error = raises(ValueError, message.recv, pipe)
    assert error.args == ("no", 1, (2,))
    assert "Traceback" in pipe.server_stack and "test_message.py" in pipe.server_stack
    from socketse import RemoteError

    error = raises(RemoteError, message.recv, sent(Own(1, len)))
    assert error.args[:2] == ("Own", 1) and isinstance(error.args[2], str)
    pipe = sent(Own("known"))
    pipe.exceptions = {"Own": Own}
    assert raises(Own, message.recv, pipe).args == ("known",)
    # Neither what would end a program, nor what is no exception, nor what is none of Python's.
    for name in ("SystemExit", "KeyboardInterrupt", "int", "__import__", "nothing"):
        text = b'["%s",["x"],""]' % name.encode()
        error = raises(RemoteError, message.recv, Pipe(b"%08dE" % len(text) + text, 3))
        assert error.args == (name, "x")


def test_an_exception_with_strange_args_travels():
    class Five(Exception):
        args = 5

    class Raising(Exception):
        @property
        def args(self):
            raise KeyError("no args")

    class Ending(Exception):
        @property
        def args(self):
            raise SystemExit

        def __str__(self):
            raise SystemExit

    class Endless(Exception):
        @property
        def args(self):
            while True:
                yield 1

    from socketse import RemoteError

    for kind in (Five, Raising, Ending, Endless):
        data = message.dumps(kind("x"), 2000)
        error = raises(RemoteError, message.recv, Pipe(data, 3))
        assert error.args[0] == kind.__name__
    for limit in range(10, 300):
        for error in (ValueError(1), ValueError("x" * 500, 2), Five("x"), OSError(2, "€" * 9)):
            data = message.dumps(error, limit)
            assert len(data) <= limit + 9 and data[8:9] == b"E", (limit, data)
            raises(Exception, message.recv, Pipe(data, 3))


def bomb():
    """Return ten lists in each other, of which each has twenty times the next."""
    x = [1]
    for _ in range(10):
        x = [x] * 20
    return x


def test_an_exception_of_endless_arguments_travels():
    class Own(Exception):
        pass

    def chained():
        try:
            raise ValueError(bomb())
        except ValueError:
            raise KeyError("last")

    own = Own()
    own.big = bomb()
    errors = [ValueError("failed", bomb()), KeyError(bomb()), Own({"a": (bomb(),)}), own]
    errors += [ValueError(ValueError(bomb())), OSError(2, "x", bomb())]
    errors.append(raises(KeyError, chained))
    for error in errors:
        data = message.dumps(error, 2000)
        assert len(data) < 2009
        found = raises(Exception, message.recv, Pipe(data, 3))
        assert type(error).__name__ in (type(found).__name__, found.args[0])
    pipe = Pipe(message.dumps(errors[-1], 2000), 3)
    raises(KeyError, message.recv, pipe)
    assert "last" in pipe.server_stack or "chained" in pipe.server_stack, pipe.server_stack


def test_an_exception_that_cannot_be_shown_travels():
    class Dumb(Exception):
        def __str__(self):
            raise KeyError("no text")

        __repr__ = __str__

    for error in (Dumb(1), Dumb(Dumb()), ValueError(Dumb(), "\ud800"), ValueError("\ud800")):
        data = message.dumps(error, 2000)
        assert data[8:9] == b"E" and type(error).__name__.encode() in data
        if not support.MICROPYTHON or "\ud800" not in error.args:
            found = raises(Exception, message.recv, Pipe(data, 3))
            assert type(error).__name__ in (type(found).__name__, found.args[0])
    for limit in (200, 2000):
        for error in (ValueError("x" * 10000), ValueError(*("\u20ac" * 1000,) * 20)):
            data = message.dumps(error, limit)
            assert len(data) <= limit + 9 and data[8:9] == b"E"
            raises(ValueError, message.recv, Pipe(data, 3))


def spoilt():
    yield b"", message.SocketClosed
    yield b"00000001", message.SocketClosed
    yield b"00000005Sabc", message.SocketClosed
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"0000001xSa",
        b"+0000001Sa",
        b"0000_001Sa",
        b"-0000001Sa",
        b"00000001Xa",
        b"00000001V1",
        b"99999999B",
        b"%08dS" % (message.max_message + 1),
    ):
        yield data, message.MessageError
    for data in (
        b"S\xff",
        b"P",
        b"Pabc",
        b'P"',
        b'P{"!q":1}',
        b'P{"!o":1}',
        b'P{"!w":[1]}',
        b'P{"!t":1}',
        b'P{"!f":1}',
        b'P{"!f":"x"}',
        b'P{"!i":"x"}',
        b'P{"!s":[[]]}',
        b'P{"!c":[1]}',
        b'P{"!d":[1]}',
        b'P{"!d":[[[],1]]}',
        b'P{"!d":["ab"]}',
        b'P{"!t":[],"a":1}',
        b"E[]",
        b"E[1,[],1]",
        b"W[]",
        b"P" + b"[" * 20 + b"]" * 20,
        b'P{"a":' * 20 + b"1" + b"}" * 20,
        b"P" + b"[" * 500,
    ):
        yield b"%08d" % (len(data) - 1) + data, message.MessageError


def test_what_is_no_message():
    for data, kind in spoilt():
        error = raises(kind, message.recv, Pipe(data, 3))
        assert str(error), data


def test_the_first_frame_tells_the_version():
    for data in (b"00000001S1", b"00000001V2", b"00000002V11", b"00000001B\0"):
        raises(message.MessageError, message.recv, Pipe(data))
    assert message.recv(Pipe(b"00000001V1" + b"00000001Sx")) == "x"


def test_data_that_would_fill_the_heap_are_refused():
    for pattern in (b"[],", b"{},", b'"a",', b"1,", b"[ ", b'""', b"[]"):
        n = (message.max_message - 4) // len(pattern)
        data = b"[" + pattern * n + b"1]"
        if len(data) * 4 > message.max_message and support.MICROPYTHON:
            raises(message.MessageError, message.recv, Pipe(b"%08dP" % len(data) + data, 3))


class Doubling(AsyncStreamRequestHandler):
    async def handle(self):
        while True:
            try:
                value = await message.arecv(self)
                await message.asend(self, value + value)
            except message.SocketClosed:
                return
            except message.MessageError as e:
                self.server.told.append(str(e))
                await message.asend(self, e)
                return
            except TypeError as e:
                await message.asend(self, e)


def test_doubling_over_async_messages():
    server = MultiplexingTCPServer(free(), Doubling)
    server.told = []
    with serving(server):
        with Client(server.server_address) as client:
            stream = message.Stream(client._socket)
            for value in ("qwerty", b"\0", 3, (1, 2), [1], 1.5, "x" * 700, b"y" * 1000):
                message.send(stream, value)
                assert same(message.recv(stream), value + value)
            message.send(stream, {})
            raises(TypeError, message.recv, stream)
            assert "test_message.py" in stream.server_stack
            message.send(stream, "still")
            assert message.recv(stream) == "stillstill"
            client.send(b"nonsense and more")
            raises(Exception, message.recv, stream)  # RemoteError: it is none of Python's
            raises(message.SocketClosed, message.recv, stream)
        assert len(server.told) == 1 and "no message begins with" in server.told[0]


def test_a_long_message_over_an_async_handler():
    """Longer than what a handler lets wait, and behind what waits already."""

    class Handler(AsyncStreamRequestHandler):
        max_message = 1 << (20 if not support.MICROPYTHON else 13)

        async def handle(self):
            for n in (1, self.max_pending - 9, self.max_pending, self.max_message):
                self.wfile.write(b"x" * (self.max_pending if n == 1 else 5))
                await message.asend(self, b"y" * n)
            self.server.told.append(self.se_met)
            error = None
            try:
                await message.asend(self, b"y" * (self.max_message + 1))
            except message.MessageError as e:
                error = e
            await message.asend(self, str(error))

    server = MultiplexingTCPServer(free(), Handler)
    server.told = []
    with serving(server), Client(server.server_address) as client:
        stream = message.Stream(client._socket, Handler.max_message)
        for n in (1, Handler.max_pending - 9, Handler.max_pending, Handler.max_message):
            assert stream.readexactly(Handler.max_pending if n == 1 else 5)[:1] == b"x"
            assert len(message.recv(stream)) == n
        assert "more than max_message" in message.recv(stream)
        assert server.told == [1]


def test_a_version_that_was_not_taken_is_told_again():
    class Full(Pipe):
        def write(self, data):
            if self.full:
                raise OSError(105)
            Pipe.write(self, data)

    pipe = Full()
    pipe.full = True
    raises(OSError, message.send, pipe, "lost")
    pipe.full = False
    message.send(pipe, "sent")
    assert message.recv(pipe) == "sent"


def test_a_peer_that_closes_in_the_middle():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            try:
                await message.arecv(self)
            except message.SocketClosed as e:
                self.server.told.append(e)

    server = MultiplexingTCPServer(free(), Handler)
    server.told = []
    with serving(server):
        for data in (b"", b"0000", b"00000001V1", b"00000001V1" + b"00000500Bx"):
            with Client(server.server_address) as client:
                client.send(data)
        wait_until(lambda: len(server.told) == 4)


def test_the_log():
    class Log(io.StringIO):
        pass

    for level, lines in ((1, 2), (2, 4), (3, 6)):
        pipe = Pipe(met=3)
        pipe.log_level = level
        pipe.log_file = Log() if not support.MICROPYTHON else io.StringIO()
        pipe.peer = "them"
        message.send(pipe, [1])
        message.recv(pipe)
        text = pipe.log_file.getvalue().split("\n")[:-1]
        assert text[0] == "SEND 12 BYTES TO them", text
        assert text[lines // 2] == "RECV 12 BYTES FROM them", text
        assert len(text) == lines, text
        if level == 3:
            assert text[2] == text[5] == "[1]"


def test_the_log_goes_to_stderr_and_is_flushed():
    from socketse import faults

    class File:
        def __init__(self):
            self.text = ""
            self.seen = ""  # when it was flushed last

        def write(self, data):
            self.text += data

        def flush(self):
            self.seen = self.text

    class Sys:
        stderr = File()

    known = faults.sys
    faults.sys = Sys
    try:
        pipe = Pipe(met=3)
        pipe.log_level = 1
        if support.MICROPYTHON:  # whose print() wants a file of its own kind
            faults.print = lambda *args, **options: options["file"].write(args[0] + "\n")
        for verb in (lambda: message.send(pipe, "x"), lambda: message.recv(pipe)):
            verb()
            assert Sys.stderr.seen == Sys.stderr.text
        lines = Sys.stderr.seen.split("\n")
        assert [line[:10] for line in lines] == ["SEND 10 BY", "RECV 10 BY", ""], lines
    finally:
        faults.sys = known
        if support.MICROPYTHON:
            del faults.print


def test_the_log_shows_what_cannot_be_shown():
    class Own(Exception):
        def __repr__(self):
            raise ValueError("no text")

    pipe = Pipe(met=3)
    pipe.log_level = 3
    pipe.log_file = io.StringIO()
    message.send(pipe, Own("x"))
    assert "raises ValueError" in pipe.log_file.getvalue() or support.MICROPYTHON


def test_two_ends_talk_at_the_same_time():
    class Handler(AsyncStreamRequestHandler):
        async def handle(self):
            for i in range(50):
                await message.asend(self, (i, "x" * i))
                assert await message.arecv(self) == [i]

    with serving(MultiplexingTCPServer(free(), Handler)) as server:

        def talk():
            with Client(server.server_address) as client:
                stream = message.Stream(client._socket)
                for i in range(50):
                    message.send(stream, [i])
                for i in range(50):
                    assert message.recv(stream) == (i, "x" * i)

        records = [thread(talk) for _ in range(4)]
        wait_until(lambda: all(record["done"] for record in records))
