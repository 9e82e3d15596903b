"""CPython's half of port.py: not copied to boards.

Everything here has its twin in port.py, with the same name and meaning, or is a
thing that only CPython has.
"""

import _thread
import errno
import gc
import io
import json
import os
import select
import socket
import sys
import threading
import time
import traceback
import types
import weakref
from _thread import get_ident
from typing import Any

__all__ = [
    "poll",
    "Socket",
    "Thread",
    "_thread",
    "accept",
    "accept_native",
    "discard",
    "add_stack",
    "allow_reuse_address",
    "attributes",
    "timeout",
    "bind",
    "collect",
    "const",
    "coro",
    "create",
    "dumps",
    "fsync",
    "get_ident",
    "has_contains",
    "hold",
    "internal",
    "is_users",
    "iscoroutinefunction",
    "makefile",
    "own",
    "parts",
    "pbkdf2_hmac",
    "print_exception",
    "replace",
    "send",
    "shutdown",
    "sleep_ms",
    "ticks_add",
    "ticks_diff",
    "ticks_ms",
    "wait",
]

# Windows' SO_REUSEADDR lets a second server steal a live port.
allow_reuse_address = os.name != "nt"

collect = gc.collect
coro = types.coroutine
# From these it is not far to everything: no remote object.
internal = (
    type,
    types.ModuleType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.CoroutineType,
    types.AsyncGeneratorType,
    types.MappingProxyType,
    types.CellType,
)
Socket = socket.socket


def const(value):
    """Return value; MicroPython's compiler puts it where the name is used."""
    return value


def ticks_ms():
    """Return a steady clock in milliseconds, for ticks_diff and ticks_add only."""
    return int(time.monotonic() * 1000)


def ticks_diff(a, b):
    """Return a - b in milliseconds."""
    return a - b


def ticks_add(a, b):
    """Return the tick b milliseconds after a."""
    return a + b


def sleep_ms(ms):
    """Sleep ms milliseconds."""
    time.sleep(ms / 1000)


class poll:
    """MicroPython's select.poll, over CPython's or, where that is missing, select.select."""

    def __init__(self):
        self._objects = {}  # by descriptor
        self._events = {}
        self._tls = []  # sockets that may have read more than they were asked for
        self._poll = select.poll() if hasattr(select, "poll") else None

    def register(self, obj, events):
        """Watch obj, anything with a fileno(). Raises ValueError if it is closed.

        events  1 for input, 4 for room for output, 5 for both, 0 for neither
        """
        fd = obj.fileno()
        if fd < 0:
            raise ValueError("a closed socket cannot be waited for: %r" % (obj,))
        self._objects[fd] = obj
        self._events[fd] = events
        if hasattr(obj, "pending") and obj not in self._tls:
            self._tls.append(obj)
        if self._poll:
            self._poll.register(fd, events)

    def modify(self, obj, events):
        """Watch obj for other events. Nothing happens if it is closed."""
        if self._objects.get(obj.fileno()) is obj:
            self.register(obj, events)

    def unregister(self, obj):
        """Watch obj no more. It may be closed already."""
        for fd, known in list(self._objects.items()):
            if known is obj:
                del self._objects[fd], self._events[fd]
                if obj in self._tls:
                    self._tls.remove(obj)
                if self._poll:
                    self._poll.unregister(fd)

    def poll(self, ms):
        """Return [(obj, event)] of what has happened, after at most ms; -1: for ever."""
        read = {
            o.fileno() for o in self._tls if self._events.get(o.fileno(), 0) & 1 and o.pending()
        }
        if read:
            ms = 0
        ready = dict(self._poll.poll(ms) if self._poll else self._select(ms))
        for fd in read:
            ready[fd] = ready.get(fd, 0) | 1
        # Another thread may have unregistered some of them meanwhile.
        objects = self._objects.copy()
        return [(objects[fd], event) for fd, event in ready.items() if fd in objects]

    ipoll = poll

    def _select(self, ms):
        readers = [fd for fd, events in self._events.items() if events & 1]
        writers = [fd for fd, events in self._events.items() if events & 4]
        timeout = None if ms < 0 else ms / 1000
        closed = [fd for fd, obj in self._objects.items() if obj.fileno() != fd]
        if closed:
            return [(fd, 32) for fd in closed]  # as poll tells it; select would raise
        if not readers and not writers:
            time.sleep(1 if timeout is None else timeout)  # Windows' select wants something
            return []
        try:
            readers, writers, _ = select.select(readers, writers, [], timeout)
        except ValueError as e:  # Windows: of more than 512
            raise OSError(errno.EMFILE, str(e)) from e
        return [(fd, (fd in readers) + 4 * (fd in writers)) for fd in set(readers + writers)]


def wait(server):
    """Return how many seconds handle_request may wait: of both timeouts the shorter one."""
    limits = [t for t in (server.socket.gettimeout(), server.timeout) if t is not None]
    return min(limits) if limits else None


def timeout(exc):
    """Return a TimeoutError if exc says that a socket's time ran out, else None."""
    if isinstance(exc, (BlockingIOError, TimeoutError, socket.timeout)):
        return TimeoutError(errno.ETIMEDOUT, "timed out")
    return None


def bind(sock, address, family, type):
    """Bind sock and return the address it got, as getsockname gives it.

    Raises what socket.bind raises; an OSError names the address.
    """
    try:
        sock.bind(address)
    except OSError as e:
        raise e.__class__(e.errno, "%s: %r" % (e.strerror or e, address)) from None
    return sock.getsockname()


def accept(sock):
    """Return (connection, address) of the next connection, in blocking mode."""
    return sock.accept()


accept_native = accept
discard = None


def iscoroutinefunction(function):
    """Return True if function is a generator or 'async def': awaited, it does its work."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return code is not None and bool(code.co_flags & 0x1A0)  # CO_COROUTINE, and of generators


def send(sock, data):
    """Return how many bytes of data a non-blocking socket has taken; None: none now."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return None


def shutdown(sock):
    """Tell the peer that nothing more will be written. Raises OSError if it is gone."""
    sock.shutdown(socket.SHUT_WR)


def print_exception(exc, file, fits=None):
    """Print exc, None: the one that is being handled, and its traceback to file.

    fits  a function that tells whether an exception has a text of some length; None: it has.
          If one in the chain has none, only the lines that led to exc are printed
    """
    if exc is None:
        traceback.print_exc(file=file)
        return
    one = exc
    left = _CHAIN if fits else 0
    while one is not None and left and fits(one):
        one = one.__cause__ or one.__context__
        left -= 1
    if fits and one is not None:
        print("Traceback (most recent call last):", file=file)
        traceback.print_tb(exc.__traceback__, file=file)
        print("%s: (too large to be shown)" % type(exc).__name__, file=file)
    else:
        traceback.print_exception(type(exc), exc, exc.__traceback__, file=file)


def dumps(obj):
    """Return obj as JSON without spaces, as short as MicroPython's is."""
    return json.dumps(obj, ensure_ascii=False, separators=(",", ":"))


# Remote objects: which of what is asked of one is the user's own code.

_STDLIB = os.path.dirname(os.__file__) + os.sep
_SITE = os.path.join(_STDLIB, "site-packages")
_deep: Any = weakref.WeakKeyDictionary()  # class: whether Python looks into its instances
_LOOKS = ("__repr__", "__str__", "__eq__", "__lt__", "__hash__")
# What has no text, comparison or hash but by its identity, and from which it is far to an end.
_LEAVES: Any = (int, float, str, bytes, bytearray, types.FunctionType)
_LEAVES = _LEAVES + (types.BuiltinFunctionType, types.MethodType, types.GeneratorType) + internal


def is_users(function):
    """Return True if a method or function is written in Python, and not in a room of Python's."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    if code is None:
        return False
    name = code.co_filename
    return not name.startswith("<frozen ") and (
        not name.startswith(_STDLIB) or name.startswith(_SITE)
    )


def own(obj, name):
    """Return False if Python itself does what an operator, as "__eq__", asks of obj."""
    kind = type(obj)
    # What object has of these asks for the other one.
    for a, b in (("__str__", "__repr__"), ("__ne__", "__eq__")):
        if name == a and getattr(kind, a) is getattr(object, a):
            name = b
    function = getattr(kind, name, None)
    if function is None or function is getattr(object, name, None):
        return True  # it has none, or goes by the identity
    # A dataclass has functions in Python that nobody wrote.
    generated = hasattr(kind, "__dataclass_fields__") and (
        getattr(getattr(function, "__code__", None), "co_filename", "")[:1] == "<"
    )
    return is_users(function) and not generated


def parts(x):
    """Return containers of what Python looks at for the text, comparison or hash of x."""
    kind = type(x)
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return (x,)
    if kind is dict:
        return (x, x.values())
    if isinstance(x, _LEAVES):
        return ()
    deep = _deep.get(kind)
    if deep is None:
        deep = _deep[kind] = not all(own(x, name) for name in _LOOKS)
    if not deep:
        return ()
    if isinstance(x, BaseException):
        return (_texts(x),)
    return ([y for y in gc.get_referents(x) if not isinstance(y, internal)],)


def _texts(exc):
    # Return what is in the text of an exception, whatever its class says of its args.
    found = [BaseException.__dict__["args"].__get__(exc), getattr(exc, "__notes__", None)]
    if isinstance(exc, OSError):
        found += [OSError.__dict__[name].__get__(exc) for name in ("filename", "filename2")]
    return found


def attributes(obj):
    """Return {name: value} of an instance's attributes, in __slots__ too; None: it has none."""
    found = dict(getattr(obj, "__dict__", ()))
    slots = hasattr(obj, "__dict__")
    for kind in type(obj).__mro__:
        names: Any = kind.__dict__.get("__slots__") or ()
        for name in (names,) if isinstance(names, str) else names:
            slots = True
            try:
                if isinstance(kind.__dict__.get(name), types.MemberDescriptorType):
                    found[name] = getattr(obj, name)
            except AttributeError:
                continue  # nothing is in it
    return found if slots else None


def has_contains(kind):
    """Return False if `in` goes through all that an __iter__ of the user's gives."""
    if is_users(getattr(kind, "__contains__", None)):
        return True
    return hasattr(kind, "__contains__") and not is_users(getattr(kind, "__iter__", None))


_CHAIN = 100  # exceptions, each in the handling of the one before

_hook: Any = None  # what sys.excepthook was before add_stack


def add_stack(exc, text):
    """Let text, the server's traceback, be shown below exc's own if nobody catches it."""
    global _hook
    text = "At the server:\n" + text.rstrip("\n")
    if sys.version_info >= (3, 11):
        exc.add_note(text)
        return
    exc._se_stack = text
    if _hook is None:
        _hook = sys.excepthook
        sys.excepthook = _excepthook


def _excepthook(kind, exc, trace):
    _hook(kind, exc, trace)
    text = getattr(exc, "_se_stack", None)
    if text:
        print(text, file=sys.stderr)


class Thread(threading.Thread):
    """A started thread that runs target(*args).

    stack_size  bytes; 0: the system's default
    Raises RuntimeError if the system cannot start one more.
    """

    def __init__(self, target, args, stack_size, daemon):
        threading.Thread.__init__(self, target=target, args=args, daemon=daemon)
        old = threading.stack_size(stack_size) if stack_size else 0
        try:
            self.start()
        finally:
            if stack_size:
                threading.stack_size(old)


class _SocketWriter(io.BufferedIOBase):
    """An unbuffered file for writing: every write goes out whole."""

    def __init__(self, sock):
        self._sock = sock

    def writable(self):
        return True

    def write(self, data):
        self._sock.sendall(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self):
        return self._sock.fileno()


def makefile(sock, rbufsize, wbufsize):
    """Return (rfile, wfile) over sock as the standard library's socketserver makes them."""
    rfile = sock.makefile("rb", rbufsize)
    return rfile, sock.makefile("wb", wbufsize) if wbufsize else _SocketWriter(sock)


# Passwords: what scram.py and users.py do for themselves on boards.

_hashing = threading.Semaphore(2)  # one leaves a core to the others where there are few


@coro
def pbkdf2_hmac(password, salt, n, h):
    """Return hashlib.pbkdf2_hmac's SHA-256 of password: in a thread, while the handler h sleeps.

    h  None: in one go
    """
    from hashlib import pbkdf2_hmac

    if h is None:
        return pbkdf2_hmac("sha256", password, salt, n)
    # No thread before its turn: who comes and goes at once would leave any number of them.
    while not _hashing.acquire(blocking=False):
        yield from h.sleep(0.005)
    done: Any = []

    def work():
        try:
            done.append(pbkdf2_hmac("sha256", password, salt, n))
        except BaseException as e:
            done.append(e)  # or the handler would wait for ever
        finally:
            _hashing.release()

    try:
        threading.Thread(target=work, daemon=True).start()
    except BaseException:
        _hashing.release()
        raise
    while not done:
        yield from h.sleep(0.005)
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0]


def create(path, like):
    """Open a new file for writing that nobody else may read, or who may read the file `like`."""
    try:
        found = os.stat(like)
    except FileNotFoundError:
        found = None
    if os.path.exists(path):
        os.unlink(path)  # what a crash has left
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    number = os.open(path, flags, 0o600)
    file = os.fdopen(number, "wb")
    if found and os.name != "nt":
        try:
            # root's change of a server's file leaves it the server's.
            os.fchown(number, found.st_uid, found.st_gid)
        except PermissionError:
            pass  # only root may give files away
        os.fchmod(number, found.st_mode & 0o777)
    return file


_HOLD_MS = 10000  # a change takes a few


def hold(path):
    """Let no other process that asks for this change files in the folder of path.

    Returns a descriptor: to close it ends that. None: this system cannot. Raises OSError if
    another process holds it for seconds: nobody may stop a server with that.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    number = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        for left in range(_HOLD_MS // 10, -1, -1):
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return number
            except BlockingIOError:
                if not left:
                    raise
                time.sleep(0.01)
    except BaseException:
        os.close(number)
        raise


def fsync(file):
    """Wait until what was written to file is on the disk."""
    os.fsync(file.fileno())


def replace(path, to):
    """Rename a file to one that may be there, and wait until that is on the disk."""
    os.replace(path, to)
    if os.name != "nt":  # Windows opens no directories
        number = os.open(os.path.dirname(os.path.abspath(to)), os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
