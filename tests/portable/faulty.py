"""Stand-ins for socket, select, _thread, time and ssl whose n-th call can be made to fail.

install() puts them where socketse finds them, before socketse is imported. What they stand in
for does the work, also where that plays a board. Tests' own sockets do not go through them:
support.socket is the real one.

plan says which call fails and how; KINDS, how each call can, as the ports' sources have it. A call
without kinds is not counted: it cannot fail, or what it raises is the caller's mistake:

    release, get_ident elsewhere, ticks_add, ticks_diff, fileno   look at what is there
    stack_size       MicroPython sets a number. CPython raises for one that it does not know
    _thread.exit, interrupt_main, select.epoll and its like       nobody calls them
    select.select    MicroPython has none; on CPython see without_poll()
    TLS: cipher, getpeercert, version                             handlers call them, we do not
    TLS: do_handshake on MicroPython                              its read does that
    TLS: recv_into, sendall on CPython                            they come to read and send
    allocate_lock    but for a client's it is called while a room is loaded: it has its own test

A lock's acquire waits until it is there: no port's fails. Ctrl-C reaches it on CPython, in the
main thread; MicroPython's is deaf to it (fact 39).
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
_NO_CONTEXT = (MemoryError,) if MICROPYTHON else (MemoryError, OSError(0, "failed to allocate"))
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
    "setblocking": (errno.EBADF, errno.EINVAL) + CTRL_C,
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
    # Windows: ValueError for more than 512
    "select": (errno.ENOMEM, ValueError("too many file descriptors in select()")) + CTRL_C,
    "get_ident": (MemoryError,),  # an address, on a 32-bit port
    "start_new_thread": (
        OSError("can't create thread"),
        OSError("core1 in use"),
        RuntimeError("can't start new thread"),
        errno.EAGAIN,
        MemoryError,
    ),
    "allocate_lock": (MemoryError,),
    "join": CTRL_C,
    "hash_thread": (RuntimeError("can't start new thread"), MemoryError),  # CPython: of passwords
    "sleep_ms": CTRL_C,
    "sleep": CTRL_C,
    # TLS; what Mbed TLS and OpenSSL find wrong themselves is not to be told apart from these
    "wrap_socket": _NO_TLS + (MemoryError,) + CTRL_C,
    "tls_handshake": _TLS,
    "tls_do_handshake": _TLS,
    "tls_pending": CTRL_C,
    "tls_shutdown": _GONE + CTRL_C,
    "tls_unwrap": _GONE + (ValueError("No SSL wrapper around"),) + CTRL_C,
    "tls_close": (Swallow(KeyboardInterrupt), Swallow(Interrupt)),
    "SSLContext": _NO_CONTEXT,
    "load_cert_chain": _NO_CONTEXT + (ValueError("invalid cert"),) + CTRL_C,
    "load_verify_locations": _NO_CONTEXT + (ValueError("invalid cert"),) + CTRL_C,
    "tls_read": _TLS,
    "tls_write": _TLS,
}
if not MICROPYTHON:
    KINDS["acquire"] = CTRL_C
else:
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
    seen      names of calls that were made, when they could be made to fail
    spared    the thread whose calls do not count, a client's; None: all do
    poisoned  who used a poller whose register had failed
    """

    def __init__(self):
        self.on = False
        self.seen = {name: False for name in KINDS}
        self.begin("", 0, None, 1)

    def begin(self, name, at, kind, width):
        self.name, self.at, self.kind, self.left = name, at, kind, width
        self.call = at
        self.error = None
        self.handlers = self.accepted = self.received = self.sent = 0
        self.poisoned = None
        self.spared = None
        self.ident = None  # the thread whose calls count; None: all

    def __str__(self):
        return "%s, call %d, %r" % (self.name, self.call, self.error)

    def enter(self, name):
        """Count a call. Raise what is planned for it, or return what it is to do instead."""
        if not self.on:
            return None
        if self.ident is not None and self.ident != _real["_thread"].get_ident():
            return None
        if self.spared is not None and self.spared == _real["_thread"].get_ident():
            return None
        self.seen[name] = True
        if name != self.name:
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


_ENDS = {"recv": b"", "readinto": 0}


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
        if self.gone and name in _ENDS:
            return _ENDS[name]  # the peer cannot be there after an error that says it is gone
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
            """A socket, over one of the port's; not its `native`, or TLS would go past it."""

            gone = False

            def __init__(self, *args, below=None):
                if below is None:
                    plan.enter("socket")
                self.below = below or socket(*args)

            def __getattr__(self, name):
                if name == "below":
                    raise OSError(errno.EBADF)
                return getattr(self.below, name)

            def real(self, name):
                return getattr(self.below, name)

            def adopt(self, below):
                return Socket(below=below)

            def ioctl(self, request, arg):
                return self.below.fileno() if UNIX else self.below.ioctl(request, arg)

            def close(self):
                what = plan.enter("close")
                self.below.close()
                if what is not None:
                    plan.fail(what.error)

        names = "setsockopt bind listen connect settimeout setblocking recv recvfrom read"
        names += " readinto readline send sendall write sendto"
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


class Lock:
    """A lock."""

    def __init__(self):
        plan.enter("allocate_lock")
        self.below = _real["_thread"].allocate_lock()
        self.release = self.below.release

    def acquire(self, *args):
        if not MICROPYTHON and get_ident() == _real["main"]:
            plan.enter("acquire")
        return self.below.acquire(*args)

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *args):
        self.release()


class Poller:
    """A poller that tells whether one is used that crashes the interpreter."""

    def __init__(self):
        plan.enter("poll()")
        self._poll = _real["select"].poll()
        self._bad = None  # what a register has failed for

    def register(self, obj, *events):
        if not MICROPYTHON or self._bad is None or self._bad is obj:
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


def _start(self, name="start_new_thread"):
    # threading.Thread.start's
    plan.enter(name)
    self.run = _counted_thread(self.run, ())
    _real["start"](self)


class Select:
    """CPython's select where that has no poll, as on Windows."""

    @staticmethod
    def select(*args):
        plan.enter("select")
        return _real["select"].select(*args)


def without_poll():
    """Let CPython's library do without select.poll from now on."""
    import socketse.host as host

    host.select = Select


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
    try:
        tls = "ssl"
        _real[tls] = __import__(tls)
    except ImportError:
        tls = "tls"
        _real[tls] = __import__(tls)
    _real["_thread"] = __import__(threads_from)
    _real["start_client"] = __import__("_thread").start_new_thread
    _real["main"] = get_ident()
    lock = _real["_thread"].allocate_lock()
    socket = _real["socket"]
    found = {"socket": Module(socket, socket=_sockets())}
    for name in ("getaddrinfo", "sockaddr", "inet_ntop"):
        if hasattr(socket, name):
            setattr(found["socket"], name, _counted(name, getattr(socket, name)))
    found["select"] = Module(_real["select"], poll=Poller)
    found["time"] = Module(_real["time"], sleep=_sleep)
    found["_thread"] = Module(
        _real["_thread"],
        get_ident=_counted("get_ident", _real["_thread"].get_ident),
        allocate_lock=Lock,
    )
    found[tls] = Module(_real[tls], SSLContext=_ssl_context(_real[tls].SSLContext))
    if MICROPYTHON:
        found["time"].sleep_ms = _sleep_ms
        found["time"].ticks_ms = _counted("ticks_ms", _real["time"].ticks_ms)
        found["_thread"].start_new_thread = _start_new_thread
        found[threads_from] = found.pop("_thread")
        sys.modules.update(found)
        return
    # The library alone gets them: the standard library lives on.
    import socketse.host as host

    for name in ("socket", "select", "time", "_thread"):
        setattr(host, name, found[name])
    host.Socket = found["socket"].socket
    host.get_ident = found["_thread"].get_ident
    thread = host.threading.Thread
    _real["start"] = thread.start

    class Thread(thread):
        def start(self):
            _start(self, "hash_thread")

    host.threading = Module(host.threading, Thread=Thread)
    host.Thread.start = _start
    host.Thread.join = _counted("join", thread.join)
    # Not before: they ask host.py for all of this.
    import socketse.certificates as certificates
    import socketse.proxy as proxy

    proxy.socket = found["socket"]
    certificates.ssl = found[tls]


def _ssl_context(base):
    # Return what stands for ssl.SSLContext.
    if MICROPYTHON:

        class SSLContext:
            """A context, over one of the port's, which may have been made in C."""

            def __init__(self, protocol):
                self.below = base(protocol)
                self.wrap_socket = self.below.wrap_socket

            @property
            def verify_mode(self):
                return self.below.verify_mode

            @verify_mode.setter
            def verify_mode(self, mode):
                self.below.verify_mode = mode

    else:

        class SSLContext(base):
            """A context, for OpenSSL to take."""

            @property
            def below(self):
                return super()

    def load_cert_chain(self, *args):
        plan.enter("load_cert_chain")
        self.below.load_cert_chain(*args)

    def load_verify_locations(self, *args, **kwargs):
        plan.enter("load_verify_locations")
        self.below.load_verify_locations(*args, **kwargs)

    SSLContext.load_cert_chain = load_cert_chain
    SSLContext.load_verify_locations = load_verify_locations
    return _counted("SSLContext", SSLContext)


class TLS:
    """MicroPython's TLS socket, as a Context gives it."""

    def __init__(self, native):
        self.native = native
        self.cipher = native.cipher

    def read(self, n):
        plan.enter("tls_read")
        return (getattr(self.native, "recv", None) or self.native.read)(n)

    def write(self, data):
        plan.enter("tls_write")
        return self.native.write(data)

    def close(self):
        what = plan.enter("tls_close")
        self.native.close()
        if what is not None:
            plan.fail(what.error)


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
    for name in "handshake do_handshake read send pending shutdown unwrap".split():
        told = "tls_" + {"send": "write"}.get(name, name)
        setattr(TLSSocket, name, _counted(told, getattr(TLSSocket, name)))
    close = TLSSocket.close

    def closed(self):
        what = plan.enter("tls_close")
        close(self)
        if what is not None:
            plan.fail(what.error)

    TLSSocket.close = closed
    return context


def with_real_modules(name):
    """Import a module that is not the library's, and return it."""
    ours = {}
    for other in _real:
        if MICROPYTHON and other in sys.modules:
            ours[other] = sys.modules[other]
            sys.modules[other] = _real[other]
    try:
        return __import__(name)
    finally:
        sys.modules.update(ours)


def start_client(function):
    """Run function in a thread that does not count."""
    _real["start_client"](function, ())


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
