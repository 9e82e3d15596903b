"""Stand-ins for socket, select, _thread, time and TLS whose n-th call can be made to fail.

install() puts them where socketse finds them, before socketse is imported. What they stand in
for does the work, also where that plays a board. Tests' own sockets do not go through them:
support.socket is the real one.

plan says which call fails and how; KINDS, how each call can, as the ports' sources have it. A call
without kinds is not counted: it cannot fail, or what it raises is the caller's mistake.
"""

import errno
import io
import sys

from support import BOARD, MICROPYTHON, UNIX, no_room

EPIPE = 32
EMFILE = 24
ENFILE = 23


class Swallow:
    """An accept or a recv that takes what is there, or a thread that runs, before it fails."""

    def __init__(self, error):
        self.error = error


class Interrupt(KeyboardInterrupt):
    """Ctrl-C, after which the program makes a new server. The other: the same one goes on."""


class Meanwhile:
    """Something that happens during a call, which goes on: do() is called."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


NOTHING = "would block"  # a non-blocking write returns None
SHORT = "takes one byte"
LATE = "runs although it could not be started"

_FULL = (errno.ENOMEM, errno.ENOBUFS, MemoryError)
_GONE = (errno.ECONNRESET, errno.ENOTCONN, errno.ECONNABORTED)
CTRL_C = (KeyboardInterrupt, Interrupt)
_IN = (errno.EAGAIN, errno.ETIMEDOUT) + _GONE + _FULL + CTRL_C
_OUT = (errno.EAGAIN, errno.ETIMEDOUT, EPIPE) + _GONE + _FULL + CTRL_C
_NO_TLS = (errno.ENOMEM, OSError(-0x7F00, "MBEDTLS_ERR_SSL_ALLOC_FAILED")) if MICROPYTHON else ()
_TLS = _GONE + (OSError(-0x7200, "MBEDTLS_ERR_SSL_INVALID_RECORD"), MemoryError) + CTRL_C
KINDS = {
    "getaddrinfo": (OSError("[addrinfo error -2]"), MemoryError),
    "sockaddr": (MemoryError,),
    "inet_ntop": (MemoryError,),
    "socket": (ENFILE, EMFILE) + _FULL,
    "setsockopt": (errno.EINVAL, errno.ENOMEM, errno.EBADF) + CTRL_C,
    "bind": (errno.EADDRINUSE, errno.EINVAL, errno.EACCES) + _FULL,
    "getsockname": (errno.ENOBUFS,),
    "listen": (errno.EADDRINUSE, errno.EBADF, errno.ENOMEM),
    "connect": (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ETIMEDOUT) + _FULL + CTRL_C,
    "accept": (errno.EAGAIN, errno.ETIMEDOUT, errno.ECONNABORTED, ENFILE, EMFILE)
    + _FULL
    + CTRL_C
    # esp32: the client that finds no socket is deleted; both boards lose one to a MemoryError
    + (Swallow(ENFILE), Swallow(MemoryError)),
    # settimeout tells the system too, and a float needs memory.
    "settimeout": (errno.EBADF, errno.EINVAL, MemoryError) + CTRL_C,
    "recv": _IN + ((Swallow(MemoryError),) if UNIX else ()),
    "recv_into": _IN,
    "recvfrom": _IN + (errno.ECONNREFUSED,),
    "read": _IN,
    "readinto": _IN,
    "readline": _IN,
    "send": _OUT + (SHORT,),
    "sendall": _OUT,
    "write": (NOTHING, SHORT) + _OUT[1:],
    "sendto": _OUT + (errno.EHOSTUNREACH,),
    "shutdown": _GONE,
    "makefile": (MemoryError,),
    "poll()": (MemoryError,),
    "register": (MemoryError,) + CTRL_C,
    "modify": CTRL_C,
    "unregister": CTRL_C,
    "ticks_ms": CTRL_C,
    "close": (Swallow(errno.EIO), Swallow(KeyboardInterrupt), Swallow(Interrupt)),
    # esp32: EIO where IDF's heap has nothing for a select
    "poll": (errno.EIO, errno.ENOMEM, MemoryError) + CTRL_C,
    "ipoll": (errno.EIO, errno.ENOMEM, MemoryError) + CTRL_C,
    "get_ident": (MemoryError,),  # an address, on a 32-bit port
    "start_new_thread": (
        OSError("can't create thread"),
        OSError("core1 in use"),
        RuntimeError("can't start new thread"),
        errno.EAGAIN,
        MemoryError,
    ),
    "sleep_ms": CTRL_C,
    "sleep": CTRL_C,
    # TLS; what Mbed TLS and OpenSSL find wrong themselves is not to be told apart from these
    "wrap_socket": _NO_TLS + (MemoryError,) + CTRL_C,
    "tls_handshake": _TLS,
    "tls_read": _TLS,
    "tls_write": _TLS,
}
if MICROPYTHON:
    # Its number is an address, and has no room: it runs first, or last.
    KINDS["start_new_thread"] += (Swallow(MemoryError), LATE)


class Plan:
    """Which calls fail: those of name from the at-th on, width of them, in the way kind.

    left      how many are still to fail
    error     what the last one raised, or did instead; None: none has failed yet
    handlers  that were called: for who counts them
    accepted  connections that were handed out
    received  bytes, and
    sent      bytes, both of streams and of datagrams
    poisoned  who used a poller whose register had failed
    """

    def __init__(self):
        self.on = False
        self.begin("", 0, None, 1)

    def begin(self, name, at, kind, width):
        self.name, self.at, self.kind, self.left = name, at, kind, width
        self.call = at
        self.error = None
        self.handlers = self.accepted = self.received = self.sent = 0
        self.poisoned = None
        self.ident = None  # the thread whose calls count; None: all

    def __str__(self):
        return "%s, call %d, %r" % (self.name, self.call, self.error)

    def enter(self, name):
        """Count a call. Raise what is planned for it, or return what it is to do instead."""
        if name != self.name or not self.on:
            return None
        if self.ident is not None and self.ident != _real["_thread"].get_ident():
            return None
        with lock:
            self.at -= 1
            if self.at > 0 or not self.left:
                return None
            self.left -= 1
        kind = self.kind
        if isinstance(kind, Swallow) or kind in (NOTHING, SHORT, LATE):
            self.error = kind
            return kind
        if isinstance(kind, Meanwhile):
            self.error = kind
            return kind.do()
        self.fail(kind)

    def fail(self, kind):
        if isinstance(kind, int):
            kind = OSError(kind, "on purpose")
        elif isinstance(kind, Exception):
            kind = type(kind)(*kind.args)  # each time a new one
        else:
            kind = kind()
        self.error = kind
        raise kind


_real = {}
lock = None
plan = Plan()
threads = [0]  # that run


class Module:
    """A module some of whose names are other things."""

    def __init__(self, real, **names):
        self._real = real
        for name in names:
            setattr(self, name, names[name])

    def __getattr__(self, name):
        return getattr(self._real, name)


def _counted(name, function):
    def call(*args, **kwargs):
        plan.enter(name)
        return function(*args, **kwargs)

    return call


def _method(name):
    # A method of a socket, by name, of what self has in its place.
    def call(self, *args):
        try:
            what = plan.enter(name)
        except OSError as e:
            if e.errno in _GONE or e.errno == EPIPE:
                self.gone = True
            raise
        except MemoryError:
            raise no_room(args[0]) if name == "recv" else MemoryError()
        if what is NOTHING:
            return None
        if what is SHORT:
            args = (bytes(memoryview(args[0])[:1]),) + args[1:]
        if self.gone and name == "recv":
            return b""  # the peer cannot be there after an error that says it is gone
        found = self.real(name)(*args)
        if isinstance(what, Swallow):
            plan.fail(what.error)
        with lock:
            if name in ("recv", "recvfrom"):
                plan.received += len(found if name == "recv" else found[0])
            elif name in ("send", "write", "sendto"):
                plan.sent += found or 0
            elif name == "sendall":
                plan.sent += len(args[0])
        return found

    return call


def _accept(self):
    what = plan.enter("accept")
    found, address = self.real("accept")()
    if what is not None:
        found.close()
        plan.fail(what.error)
    plan.accepted += 1
    return self.adopt(found), address


def _sockets():
    # Return the class that stands for socket.socket.
    socket = _real["socket"].socket
    if MICROPYTHON:

        class Socket(io.IOBase):
            """A socket, over one of the port's."""

            gone = False

            def __init__(self, *args, native=None):
                if native is None:
                    plan.enter("socket")
                self.native = native or socket(*args)

            def __getattr__(self, name):
                if name == "native":
                    raise OSError(errno.EBADF)
                return getattr(self.native, name)

            def real(self, name):
                return getattr(self.native, name)

            def adopt(self, native):
                return Socket(native=native)

            def ioctl(self, request, arg):
                return self.native.fileno() if UNIX else self.native.ioctl(request, arg)

            def close(self):
                what = plan.enter("close")
                self.native.close()
                if what is not None:
                    plan.fail(what.error)

        names = "setsockopt bind listen connect settimeout recv recvfrom read readinto readline"
        names += " send sendall write sendto"
    else:

        class Socket(socket):
            """A socket whose methods count."""

            gone = False

            def __init__(self, *args, **kwargs):
                if kwargs.get("fileno") is None:
                    plan.enter("socket")
                socket.__init__(self, *args, **kwargs)

            def close(self):
                what = plan.enter("close")
                socket.close(self)
                if what is not None:
                    plan.fail(what.error)

            def real(self, name):
                return lambda *args: getattr(socket, name)(self, *args)

            def adopt(self, found):
                timeout = found.gettimeout()
                adopted = Socket(found.family, found.type, found.proto, fileno=found.detach())
                adopted.real("settimeout")(timeout)
                return adopted

        names = "setsockopt bind listen connect settimeout recv recvfrom recv_into"
        names += " getsockname send sendall sendto shutdown makefile"
    for name in names.split():
        if hasattr(socket, name):
            setattr(Socket, name, _method(name))
    Socket.accept = _accept
    return Socket


class Poller:
    """A poller that tells whether one is used that crashes the interpreter."""

    def __init__(self):
        plan.enter("poll()")
        self._poll = _real["select"].poll()
        self._bad = None  # what a register has failed for

    def register(self, obj, *events):
        if self._bad is None or self._bad is obj:
            self._bad = obj
            try:
                plan.enter("register")
            except KeyboardInterrupt:
                self._bad = None  # before it has done anything
                raise
            self._bad = None
        else:
            plan.poisoned = "register"
        self._poll.register(obj, *events)

    def _usable(self, what, obj=None):
        if MICROPYTHON and self._bad is not None and (obj is None or obj is self._bad):
            plan.poisoned = what
            raise AssertionError("a poller whose register failed is used: " + what)

    def modify(self, obj, events):
        self._usable("modify", obj)
        plan.enter("modify")
        self._poll.modify(obj, events)

    def unregister(self, obj):
        self._usable("unregister", obj)
        plan.enter("unregister")
        self._poll.unregister(obj)

    def poll(self, *args):
        self._usable("poll")
        plan.enter("poll")
        return self._poll.poll(*args)

    def ipoll(self, *args):
        self._usable("ipoll")
        plan.enter("ipoll")
        return self._poll.ipoll(*args)


def _counted_thread(function, args, ms=0):
    # Return what a thread is to call instead of function(*args), which is counted from now on.
    def run():
        try:
            if ms:
                _real["time"].sleep_ms(ms)
            function(*args)
        finally:
            with lock:
                threads[0] -= 1

    with lock:
        threads[0] += 1
    return run


def _start_new_thread(function, args):
    what = plan.enter("start_new_thread")
    late = what is LATE
    start = _real["_thread"].start_new_thread
    try:
        found = start(_counted_thread(function, args, 5 if late else 0), ())
    except OSError:  # the board has no more
        with lock:
            threads[0] -= 1
        raise
    if what is not None:
        _real["time"].sleep_ms(0 if late else 2)
        plan.fail(MemoryError)
    return found


def _start(self):
    # threading.Thread.start's
    plan.enter("start_new_thread")
    self.run = _counted_thread(self.run, ())
    _real["start"](self)


def _sleep_ms(ms):
    plan.enter("sleep_ms")
    _real["time"].sleep_ms(min(ms, 2))  # nothing here is worth a wait


def _sleep(seconds):
    plan.enter("sleep")
    _real["time"].sleep(min(seconds, 0.002))


def install():
    """Put the stand-ins into sys.modules. To be called before socketse is imported."""
    global lock
    # Played boards have their threads from cores: _thread is always MicroPython's own.
    threads_from = "cores" if BOARD else "_thread"
    for name in ("socket", "select", "time"):
        _real[name] = __import__(name)
    _real["_thread"] = __import__(threads_from)
    lock = _real["_thread"].allocate_lock()
    socket = _real["socket"]
    found = {"socket": Module(socket, socket=_sockets())}
    for name in ("getaddrinfo", "sockaddr", "inet_ntop"):
        if hasattr(socket, name):
            setattr(found["socket"], name, _counted(name, getattr(socket, name)))
    found["select"] = Module(_real["select"], poll=Poller)
    found["time"] = Module(_real["time"], sleep=_sleep)
    found["_thread"] = Module(
        _real["_thread"], get_ident=_counted("get_ident", _real["_thread"].get_ident)
    )
    if MICROPYTHON:
        found["time"].sleep_ms = _sleep_ms
        found["time"].ticks_ms = _counted("ticks_ms", _real["time"].ticks_ms)
        found["_thread"].start_new_thread = _start_new_thread
        found[threads_from] = found.pop("_thread")
        sys.modules.update(found)
        return
    # The library alone gets them: the standard library lives on.
    import socketse.host as host

    for name in ("socket", "select", "time"):
        setattr(host, name, found[name])
    host.Socket = found["socket"].socket
    host.get_ident = found["_thread"].get_ident
    _real["start"] = host.threading.Thread.start
    host.Thread.start = _start
    import socketse.proxy as proxy  # not before: it asks host.py for all of this

    proxy.socket = found["socket"]


class TLS:
    """MicroPython's TLS socket, as a Context gives it."""

    def __init__(self, native):
        self.native = native
        self.cipher = native.cipher
        self.close = native.close

    def read(self, n):
        plan.enter("tls_read")
        return (getattr(self.native, "recv", None) or self.native.read)(n)

    def write(self, data):
        plan.enter("tls_write")
        return self.native.write(data)


class Context:
    """A server's SSLContext for MicroPython, whose calls count."""

    def __init__(self, context):
        self.context = context

    def wrap_socket(self, *args, **kwargs):
        plan.enter("wrap_socket")
        return TLS(self.context.wrap_socket(*args, **kwargs))


def tls(context):
    """Return the server's context, or one in its place, whose calls and sockets' calls count."""
    if MICROPYTHON:
        return Context(context)
    from socketse.hosttls import TLSSocket

    context.wrap_socket = _counted("wrap_socket", context.wrap_socket)
    for name in ("handshake", "read", "send"):
        told = "tls_" + {"send": "write"}.get(name, name)
        setattr(TLSSocket, name, _counted(told, getattr(TLSSocket, name)))
    return context


def forget():
    """Let a played board forget the connections that it has closed."""
    _real["socket"].forget()


def get_ident():
    """Return the number of the thread that asks."""
    return _real["_thread"].get_ident()


def fds():
    """Return the numbers of the open descriptors."""
    import os

    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return set()
    return set(int(name) for name in names)
