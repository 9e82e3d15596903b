"""Messages over a stream: text, bytes, structured data and exceptions, in frames of known length.

A frame is eight ASCII digits, the length of its body in bytes; a letter, its kind; the body:

    V  the version of this protocol, 1: the first frame of each side
    S  text in UTF-8
    B  bytes
    P  data: JSON (RFC 8259) in UTF-8; what JSON lacks is an object of one key that begins with
       "!": see _TAGS
    E  an exception: JSON, [name of its type, arguments, traceback]
    W  an object that stays where it is: JSON, [id, documentation, class, module], see remote.py

Nothing is ever evaluated: data are data. What cannot travel raises in the sender, before a byte
is sent.
"""

import json
from binascii import a2b_base64, b2a_base64
from errno import ETIMEDOUT
from struct import pack, unpack

from . import port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

# Bytes of a message's body at most, if the stream has no max_message of its own.
max_message = 2048 if port.platform else 1 << 20
max_depth = 16  # of containers in each other: a board's thread has little stack

platform = port.platform
_HEAD = const(9)
_LONGEST = const(99999999)  # what eight digits can tell
_EXACT = 1 << 53  # ints up to here are the same in every JSON
# Bytes of a body that are asked for at once; a longer one gets its room before it comes.
_PIECE = const(256)
_SPARE = const(3500)  # bytes of heap that a message may take beyond max_message
_SMALL = const(160)  # bytes of JSON that cannot become more than _SPARE

# i: int, f: float, c: complex, b: bytes, a: bytearray, t: tuple, l: slice, s: set, z: frozenset,
# d: dict with keys that are no strings or begin with "!"; w, o: objects of remote.py
_TAGS = "ifcbatlszdwo"

_dumps: "Any" = None  # json.dumps without spaces
if not port.platform:
    _dumps = port.dumps
else:

    def _dumps(obj):
        return json.dumps(obj, separators=(",", ":"))


class MessageError(ValueError):
    """What came is no message, or too large: the stream is of no use any more.

    whole  True: it was only too much for a board's heap, and came whole: the stream can go on
    """

    whole = False


class SocketClosed(EOFError):
    """The peer has closed the connection."""


class _Slicer:
    """MicroPython can make a slice only like this."""

    def __getitem__(self, key):
        return key


def encode(x, depth, wrap):
    """Return x as JSON knows it.

    depth  of containers in each other at most
    wrap   None, or a function that is asked for what is no value: it returns what stands for it
           or None
    Raises TypeError for what cannot travel and ValueError if it is too deep.
    """
    kind = type(x)
    if x is None or kind is str or kind is bool:
        return x
    if kind is int:
        return x if -_EXACT < x < _EXACT else {"!i": "%x" % x}
    if kind is float:
        # Short ones are the same everywhere; MicroPython prints and reads the others wrong.
        text = repr(x)
        if "." in text and "e" not in text and len(text) < 17 and float(text) == x:
            return x
        return {"!f": _text(pack(">d", x))}
    if kind is bytes:
        return {"!b": _text(x)}
    if kind is complex:
        return {"!c": [encode(x.real, 0, None), encode(x.imag, 0, None)]}
    if not depth:
        raise ValueError("deeper than %d containers, or one contains itself" % max_depth)
    if kind is tuple:
        return {"!t": _items(x, depth, wrap)}
    if kind is frozenset:
        return {"!z": _items(x, depth, wrap)}
    if kind is slice:
        return {"!l": _items((x.start, x.stop, x.step), depth, wrap)}
    if wrap:
        found = wrap(x)
        if found is not None:
            return found
    if kind is list:
        return _items(x, depth, wrap)
    if kind is dict:
        return _pairs(x, depth, wrap)
    if kind is set:
        return {"!s": _items(x, depth, wrap)}
    if kind is bytearray:
        return {"!a": _text(x)}
    raise TypeError("an object of %s cannot travel" % kind.__name__)


def _text(data):
    return b2a_base64(data)[:-1].decode()


def _items(items, depth, wrap):
    found = []
    for x in items:
        found.append(encode(x, depth - 1, wrap))
    return found


def _pairs(x, depth, wrap):
    for key in x:
        if type(key) is not str or key[:1] == "!":
            found: Any = []
            for key, value in x.items():  # x[key] would ask for the hash of a remote key
                key = encode(key, depth - 1, wrap)
                found.append([key, encode(value, depth - 1, wrap)])
            return {"!d": found}
    found = {}
    for key in x:
        found[key] = encode(x[key], depth - 1, wrap)
    return found


def decode(x, depth, unwrap):
    """Return what encode() was given; lists and dicts of x are used again.

    unwrap  None, or a function that is called with "w" or "o" and what stands for an object, and
            with "k" and a key of a dict, or the list of a set's members
    Raises MessageError, or for what is wrong in other ways what Python raises.
    """
    depth -= 1
    if type(x) is list:
        if depth < 0:
            raise MessageError("deeper than %d containers" % max_depth)
        for i in range(len(x)):
            if type(x[i]) is list or type(x[i]) is dict:
                x[i] = decode(x[i], depth, unwrap)
        return x
    for key in x:
        if key[0:1] == "!":
            if len(x) > 1 or len(key) != 2:
                break
            return _tagged(key[1], x[key], depth, unwrap)
        if depth < 0:
            break
        if type(x[key]) is list or type(x[key]) is dict:
            x[key] = decode(x[key], depth, unwrap)
    else:
        return x
    raise MessageError("unknown kind of data: %r" % key)


def _tagged(tag, x, depth, unwrap):
    if tag in "ifba":
        if type(x) is not str:
            raise MessageError("no text in !" + tag)
        if tag == "i":
            return int(x, 16)
        x = a2b_base64(x)
        if tag == "f":
            return unpack(">d", x)[0]
        return bytearray(x) if tag == "a" else x
    if tag == "o" and unwrap:
        return unwrap(tag, x)
    if type(x) is not list or tag not in _TAGS:
        raise MessageError("unknown kind of data: !" + tag)
    if tag == "w":
        if unwrap:
            return unwrap(tag, x)
    elif tag == "c":
        x, imag = decode(x, 1, None)
        if str(imag)[:1] == "-":  # MicroPython adds it to 0, and -0.0 would be lost
            return -complex(-x, -imag)
        return complex(x, imag)
    elif tag == "d":
        found = {}
        for pair in x:
            decode(pair, depth + 1, unwrap)
            key, value = pair
            if unwrap:
                unwrap("k", key)
            found[key] = value
        return found
    else:
        decode(x, depth + 1, unwrap)
        if tag == "t":
            return tuple(x)
        if unwrap and tag in "sz":
            unwrap("k", x)
        if tag == "s":
            return set(x)
        if tag == "z":
            return frozenset(x)
        if tag == "l":
            return _Slicer()[x[0] : x[1] : x[2]]
    raise MessageError("no objects are expected here")


def dumps(obj, limit, wrap=None):
    """Return the frame of obj, as bytes.

    limit  bytes of its body at most
    wrap   see encode(); then exceptions are objects as others
    Raises TypeError or ValueError if it cannot travel, MessageError if it is too long.
    """
    kind: Any = type(obj)
    if kind is str:
        kind = b"%08dS"
        obj = obj.encode()
    elif kind is bytes:
        kind = b"%08dB"
    elif wrap is None and isinstance(obj, BaseException):
        from .faults import dump

        return dump(obj, limit)
    else:
        kind = b"%08dP"
        obj = encode(obj, max_depth, wrap)
        if wrap and type(obj) is dict and "!w" in obj:
            kind = b"%08dW"
            obj = obj["!w"]
        obj = _dumps(obj).encode()
        if platform and len(obj) > _SMALL:
            _check(obj, limit)  # another board like this would refuse it
    if len(obj) > min(limit, _LONGEST):
        raise MessageError("a message of %d bytes, more than max_message: %d" % (len(obj), limit))
    return kind % len(obj) + obj


def loads(kind, body, stream, unwrap=None):
    """Return what the frame of this kind, one letter in bytes, says with its body.

    stream  for a frame of kind E: gets the traceback as server_stack, may have exceptions
    Raises what a frame of kind E tells, and MessageError for what is no message.
    """
    try:
        if kind != b"P":
            if kind == b"B":
                return bytes(body)
            if kind == b"S":
                return str(body, "utf-8")
            if kind not in b"EW":
                raise MessageError("unknown kind of message: %r" % kind)
        if platform and len(body) > _SMALL:
            _check(body, getattr(stream, "max_message", max_message))
        obj = str(body, "utf-8")
        if platform:
            obj = body  # it is UTF-8, and needs no heap a second time
        obj = json.loads(obj)
        if kind == b"W" and unwrap:
            return unwrap("w", obj)
        # To look for tags in what has none would take longer than to read it.
        if b"{" in body or body.count(b"[") > max_depth:
            if type(obj) is list or type(obj) is dict:
                obj = decode(obj, max_depth, unwrap)
        if kind == b"P":
            return obj
        if kind != b"E":
            raise MessageError("no objects are expected here")
        from .faults import load

        body = load(obj, stream)
    except Exception as e:
        if isinstance(e, (MessageError, MemoryError)):
            raise
        raise MessageError("a message of kind %s is spoilt: %r" % (str(kind, "utf-8"), e))
    raise body


def _check(body, limit):
    # Refuse what could take more heap than limit and _SPARE: lists of lists are many times as
    # long as their text. First by a guess that is too high.
    size = len(body) * 5
    for mark in b",: \n\t\r":
        size += 28 * body.count(bytes((mark,)))
    if size + 32 * body.count(b'"') + 64 * (body.count(b"[") + body.count(b"{")) > limit + _SPARE:
        from .faults import weigh

        size = weigh(body)
        if size > limit + _SPARE:
            e = MessageError("data of %d bytes of heap, max_message is %d" % (size, limit))
            e.whole = True
            raise e


def head(data, stream):
    """Return the length of the body of the frame that begins with data, nine bytes.

    Raises MessageError if it is none, or longer than the stream's max_message.
    """
    kind = data[8:]
    if not data[:8].isdigit() or kind not in getattr(stream, "se_kinds", b"SBPEWV"):
        raise MessageError("no message begins with %r" % bytes(data))
    n = int(data[:8])
    met = getattr(stream, "se_met", 0)
    if not met & 2:
        if data != b"00000001V":
            raise MessageError("the first message tells no version: %r" % bytes(data))
        stream.se_met = met | 2
    elif kind == b"V":
        raise MessageError("the version is told twice")
    if n > getattr(stream, "max_message", max_message):
        raise MessageError("a message of %d bytes, more than max_message" % n)
    return n


def _version(body):
    if body != b"1":
        raise MessageError("the peer speaks version %r of the protocol" % bytes(body))


def _first(stream, data):
    # Tell the version before the first message, and tell who listens of it.
    met = getattr(stream, "se_met", 0)
    if not met & 1:
        stream.se_met = met | 1
        data = b"00000001V1" + data
    return data


def send(stream, obj, wrap=None):
    """Send obj over stream, a Stream or what has its write().

    Exceptions are raised at the other end. Raises TypeError or ValueError for what cannot travel,
    MessageError, a ValueError, for what is longer than the stream's max_message, OSError.
    """
    data = _outgoing(stream, obj, wrap)
    stream.write(data)
    _first(stream, b"")  # it is told now, and not if nothing was taken


def _outgoing(stream, obj, wrap):
    # Return the bytes to be sent.
    data = dumps(obj, getattr(stream, "max_message", max_message), wrap)
    if getattr(stream, "log_level", 0):
        from .faults import log

        log(stream, "SEND", data, "TO", obj)
    return data if getattr(stream, "se_met", 0) & 1 else b"00000001V1" + data


def recv(stream, unwrap=None):
    """Return the next object from stream, a Stream or what has its readexactly().

    Raises the exception that was sent, SocketClosed if the peer has closed, MessageError for what
    is no message, and OSError, also if the peer is silent for too long.
    """
    data, body = receive(stream)
    if getattr(stream, "log_level", 0):
        from .faults import logged

        return logged(stream, data, body, unwrap)
    return loads(data[8:], body, stream, unwrap)


def receive(stream):
    """Return the next frame from stream: its nine first bytes, and its body."""
    try:
        data = stream.readexactly(_HEAD)
        body = stream.readexactly(head(data, stream))
        if data[8:] == b"V":
            _version(body)
            data = stream.readexactly(_HEAD)
            body = stream.readexactly(head(data, stream))
    except EOFError:
        raise SocketClosed("the peer has closed the connection")
    return data, body


async def asend(stream, obj, wrap=None):
    """send() for a handler with async methods; waits until it is sent.

    What others have written before is sent first, and a long message in pieces of max_pending
    bytes.
    """
    data = _outgoing(stream, obj, wrap)
    n = stream.max_pending
    while stream._se_out or len(data) > n:
        if not stream._se_out:
            stream.write(data[:n])
            _first(stream, b"")
            data = data[n:]
        await stream.drain()
    stream.write(data)
    _first(stream, b"")
    await stream.drain()


async def arecv(stream, unwrap=None):
    """recv() for an AsyncStreamRequestHandler."""
    try:
        data = await stream.readexactly(_HEAD)
        n = head(data, stream)
        if data[8:] == b"V":
            _version(await stream.readexactly(n))
            data = await stream.readexactly(_HEAD)
            n = head(data, stream)
        if n <= _PIECE:
            body = await stream.readexactly(n)
        else:
            body = bytearray(n)
            got = 0
            while got < n:
                piece = await stream.read(min(n - got, _PIECE))
                if not piece:
                    raise EOFError
                end = got + len(piece)
                body[got:end] = piece
                got = end
            # MicroPython keeps what was awaited last: it would lie in the middle of the heap.
            piece = await stream.read(0)
    except EOFError:
        raise SocketClosed("the peer has closed the connection")
    if getattr(stream, "log_level", 0):
        from .faults import logged

        return logged(stream, data, body, unwrap)
    return loads(data[8:], body, stream, unwrap)


class Stream:
    """A connected socket for send() and recv().

    socket       in blocking mode, or with a timeout
    max_message  bytes of a message at most
    """

    log_level = 0  # 1: lengths, 2: contents, 3: what they mean
    log_file: "Any" = None  # where to; None: stderr
    peer: "Any" = None  # how the log calls the other end
    server_stack = ""  # the traceback of the last exception that came
    exceptions: "Any" = None  # classes of exceptions, besides Python's own, by name
    se_met = 0  # 1: our version is told, 2: theirs has come

    def __init__(self, socket, max_message=max_message):
        self.socket = socket
        self.max_message = max_message
        self.write = socket.sendall if hasattr(socket, "sendall") else self._write
        self._recv: Any = socket.recv if hasattr(socket, "recv") else socket.read

    def _write(self, data):
        # For MicroPython's unix port, and for TLS there.
        data = memoryview(data)
        while len(data):
            n = self.socket.write(data)
            if not n:
                raise OSError(ETIMEDOUT, "the peer takes nothing")
            data = data[n:]

    def readexactly(self, n):
        """Return n bytes. Raises EOFError if the stream ends before, and OSError."""
        data = b""
        if n > _PIECE:
            return self._long(n)
        while len(data) < n:
            piece = self._recv(n - len(data))
            if not piece:
                raise EOFError
            data = data + piece if data else piece
        return data

    def _long(self, n):
        data = bytearray(n)
        got = 0
        while got < n:
            piece = self._recv(min(n - got, _PIECE if port.platform else 65536))
            if not piece:
                raise EOFError
            data[got : got + len(piece)] = piece
            got += len(piece)
        return data

    def close(self):
        """Close the socket."""
        self.socket.close()
