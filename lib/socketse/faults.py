"""Exceptions in messages, and the log of messages: loaded when the first one comes."""

import io
import sys

from . import message, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_STACK = 1500  # characters of a traceback that are sent


class RemoteError(Exception):
    """An exception of a class that is not known here: args are its name and arguments."""


def dump(exc, limit):
    """Return the frame of an exception: its type, arguments and traceback. It raises nothing."""
    text: Any = io.StringIO()
    try:
        if port.platform:
            sys.print_exception(exc, text)
        else:
            port.print_exception(exc, text)
    except Exception as e:
        text.write("(its __str__ raises %s)" % type(e).__name__)
    stack = text.getvalue()
    args: Any = []
    for arg in exc.args:
        try:
            args.append(message.encode(arg, message.max_depth, None))
        except Exception:
            args.append(_safe(arg))
    name = type(exc).__name__
    room = min(_STACK, limit // 2)
    body = _encode([name, args, stack[-room:]])
    if len(body) > limit:
        text = [(exc.args and _safe(exc.args[0]) or "")[: limit // 16]]
        body = _encode([name[:32], text, stack[-limit // 16 :]])
    return b"%08dE" % len(body) + body


def _encode(obj):
    text = message._dumps(obj)
    # Text may have surrogates, from JSON.
    return text.encode() if port.platform else text.encode("utf-8", "replace")


def _safe(arg):
    # Text for what cannot travel.
    try:
        return str(arg)[:200].encode("utf-8").decode()
    except Exception:
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
        print(repr(obj), file=file)
    if hasattr(file, "flush"):
        file.flush()


def logged(stream, head, body, unwrap):
    """Return what message.loads returns of a frame, after it was logged; raise what it raises."""
    try:
        obj: Any = message.loads(head[8:], body, stream, unwrap)
    except Exception as e:
        log(stream, "RECV", head + body, "FROM", e)
        raise
    log(stream, "RECV", head + body, "FROM", obj)
    return obj
