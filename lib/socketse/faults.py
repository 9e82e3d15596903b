"""Exceptions in messages, and the log of messages: loaded when the first one comes."""

import io
import sys

from . import message, port
from .weight import fits

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_STACK = 1500  # characters of a traceback that are sent
_TEXT = 65536  # characters of an exception's text, of which the end is sent
_LARGE = "(too large to be shown)"


class RemoteError(Exception):
    """An exception of a class that is not known here: args are its name and arguments."""


def dump(exc, limit):
    """Return the frame of an exception: its type, arguments and traceback. It raises nothing.

    What would be too much of the arguments is left out, so that it takes no longer, and is not
    longer, than limit bytes: 10 at least.
    """
    given: Any = None
    try:
        given = exc.args
    except KeyboardInterrupt:
        raise
    except BaseException as e:
        given = ("its args raise %s" % type(e).__name__,)
    if type(given) is not tuple:
        given = ()  # a class of the user's has its own idea of them
    args: Any = []
    for arg in given:
        try:
            if not fits(arg, limit):
                raise ValueError
            args.append(message.encode(arg, message.max_depth - 2, None))  # two are around it
        except Exception:
            args.append(_safe(arg, limit))
    stack = _trace(exc, given, limit)
    name = type(exc).__name__
    first = args[0] if args and type(args[0]) is str else given and _safe(given[0], limit) or ""
    # Less and less of it, until it is short enough.
    for parts in (
        [name, args, stack[-min(_STACK, limit // 2) :]],
        [name[:32], [first[: limit // 16]], stack[-limit // 16 :]],
        [name[: limit // 8], [], ""],
        ["", [], ""],
    ):
        body = _encode(parts)
        if len(body) <= limit and _light(body, limit):
            break
    return b"%08dE" % len(body) + body


def _light(body, limit):
    # Return False if a board that gets this would refuse it.
    try:
        if port.platform:
            message._check(body, limit)
        return True
    except message.MessageError:
        return False


def _trace(exc, given, limit):
    # Return the traceback of an exception and its text, if that has an end.
    text: Any = io.StringIO()
    try:
        if not port.platform:
            port.print_exception(exc, text, lambda one: fits(one, max(limit, _TEXT)))
        elif fits(given, limit, False):
            sys.print_exception(exc, text)
        else:
            text.write("%s: %s" % (type(exc).__name__, _LARGE))
    except KeyboardInterrupt:
        raise
    except BaseException as e:
        text.write("(its __str__ raises %s)" % type(e).__name__)
    return text.getvalue()


def _encode(obj):
    text = message._dumps(obj)
    # Text may have surrogates, from JSON.
    return text.encode() if port.platform else text.encode("utf-8", "replace")


def _safe(arg, limit):
    # Text for what cannot travel.
    try:
        if isinstance(arg, str):
            arg = arg[:200]
        elif not fits(arg, limit):
            return _LARGE
        return str(arg)[:200].encode("utf-8").decode()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return "?"


def load(obj, stream):
    """Return the exception that obj, the data of a frame of kind E, tells of.

    The stream gets the traceback as server_stack.
    """
    name, args, stack = obj
    if type(name) is not str or type(args) is not list or type(stack) is not str:
        raise message.MessageError("no exception in a message of kind E")
    stream.server_stack = stack
    import builtins

    known: Any = getattr(stream, "exceptions", None) or {}
    kind = known.get(name) or builtins.__dict__.get(name)
    exc: Any = None
    # Not SystemExit and its like: the peer is not to end this program.
    if isinstance(kind, type) and issubclass(kind, Exception) and name[0] != "_":
        try:
            exc = kind(*args)
        except Exception:
            exc = None  # its constructor wants something else
    if exc is None:
        exc = RemoteError(name, *args)
    if not port.platform:
        port.add_stack(exc, stack)
    return exc


def weigh(body):
    """Return how many bytes of heap JSON and what it says take at most, on a 32-bit board."""
    size = 2 * len(body)
    text = escaped = False
    for c in body:
        if text:
            if escaped:
                escaped = False
            elif c == 0x5C:
                escaped = True
            elif c == 0x22:
                text = False
        elif c == 0x22:
            text = True
            size += 48  # an object, what is rounded up, and its place in a list or dict
        elif c in b"[{":
            size += 64
        elif c in b".e":
            size += 16  # a float
        else:
            size += 4 if 0x30 <= c <= 0x39 else 12
    return size


def log(stream, verb, data, preposition, obj):
    """Write what the stream's log_level asks for: 1 lengths, 2 contents too, 3 what they mean."""
    file: Any = getattr(stream, "log_file", None) or sys.stderr
    peer: Any = getattr(stream, "peer", None) or getattr(stream, "client_address", "peer")
    if type(peer) is tuple:
        peer = "%s:%s" % peer[:2]
    print("%s %d BYTES %s %s" % (verb, len(data), preposition, peer), file=file)
    if stream.log_level >= 2:
        print(bytes(data), file=file)
    if stream.log_level >= 3:
        try:
            text = repr(obj)
        except Exception as e:
            text = "(its __repr__ raises %s)" % type(e).__name__
        print(text, file=file)
    if hasattr(file, "flush"):
        file.flush()


def log_frame(stream, verb, data, preposition):
    """Do what log() does, for a frame with objects of remote.py: these are not asked for."""
    log(stream, verb, data, preposition, _meaning(data) if stream.log_level >= 3 else None)


class _Remote:
    """What stands in the log for an object."""

    def __init__(self, number):
        self._number = number

    def __repr__(self):
        return "<object %s>" % (self._number,)


def _meaning(data):
    # Return what a frame says.
    body = bytes(data[9:])
    try:
        if data[8:9] == b"B":
            return body
        text = str(body, "utf-8")
        if data[8:9] == b"S":
            return text
        obj = message.json.loads(text)
        if data[8:9] == b"W":
            return _Remote(obj[0])
        if type(obj) is list or type(obj) is dict:
            return message.decode(obj, message.max_depth, _stand_in)
        return obj
    except Exception:
        return body


def _stand_in(tag, x):
    return _Remote(x if tag == "o" else x[0]) if tag in "ow" else None


def logged(stream, head, body, unwrap):
    """Return what message.loads returns of a frame, after it was logged; raise what it raises."""
    if unwrap and stream.log_level >= 3:
        log_frame(stream, "RECV", head + body, "FROM")
        return message.loads(head[8:], body, stream, unwrap)
    try:
        obj: Any = message.loads(head[8:], body, stream, unwrap)
    except Exception as e:
        log(stream, "RECV", head + body, "FROM", e)
        raise
    log(stream, "RECV", head + body, "FROM", obj)
    return obj
