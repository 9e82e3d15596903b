"""Client and connect(): the objects of a RemoteServer, used as if they were here.

What a server's object gives is a value, or a Proxy for an object that stays there. Whatever is
done with a proxy is asked of the server, one request at a time.
"""

import socket
from errno import ECONNABORTED, ECONNRESET, ENOTCONN, ETIMEDOUT

from . import message, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_PAUSE_MS = 100  # before the second attempt to connect; then twice as long each time,
_LONGEST_MS = 5000  # and at most so long
# What tells that the server has closed the connection; 32: EPIPE.
_GONE = (ECONNRESET, ECONNABORTED, ENOTCONN, 32)
_LONGEST = 0x20000  # seconds of a timeout that are counted: ticks wrap
# Dropped objects told of with a request, and the bytes of one that has room for that: the server
# may be a board.
_DROPS = 32
_ROOM = 256

# Python asks for these by their names, and so does a request. With __r: where a value is on the
# left and the proxy on the right.
_OPERATORS = (
    "len str repr bool neg pos invert abs int float reversed "
    "setitem getitem delitem contains lt le gt ge iadd add sub mul truediv floordiv mod pow "
    "and or xor lshift rshift radd rsub rmul rtruediv rfloordiv rmod rpow rand ror rxor "
    "rlshift rrshift"
)


class ConnectionLost(OSError):
    """The connection to the server is gone, and with it the session and its objects."""


class Session(message.Stream):
    """A connection to a RemoteServer. It is for any number of threads: one after the other.

    server_stack is the server's traceback of the last exception that came from there.
    """

    socket: "Any"

    def __init__(self, client):
        self.socket = None
        self._client = client
        self._drops: Any = []  # ids that have no proxy any more
        self.methods: Any = {}  # (module, class, name) of what is known for a method
        self._lock = port._thread.allocate_lock() if port._thread else None
        self._late(client.timeout)
        sock: Any = self._connect(client)
        try:
            if client.ssl_context is not None:
                if port.platform:
                    from .tlssocket import TLSSocket

                    sock = TLSSocket(sock, client.ssl_context, client.host)
                    sock.settimeout(client.timeout)
                else:
                    sock = client.ssl_context.wrap_socket(sock, server_hostname=client.host)
            message.Stream.__init__(self, sock, client.max_message)
            self._take = self._recv
            del self._recv  # to have the class's, without a circle of references
            self.log_level = client.log_level
            self.log_file = client.log_file
            self.peer = "%s:%d" % (client.host, client.port)
            self.exceptions = client.exceptions
            if client.secret is not None:
                from .login import login

                login(self, self, client.secret, client.user, b"remote")
        except BaseException:
            sock.close()
            raise

    def _connect(self, client):
        # Return a socket that is connected to the first of the host's addresses that answers.
        error: Any = OSError(113, "no address of %s" % client.host)  # EHOSTUNREACH
        for found in socket.getaddrinfo(client.host, client.port):
            if found[1] in (0, socket.SOCK_STREAM):
                sock: Any = socket.socket(found[0], socket.SOCK_STREAM)
                try:
                    sock.settimeout(client.timeout)
                    sock.connect(found[-1])
                    return sock
                except OSError as e:
                    sock.close()
                    error = e
                except BaseException:
                    sock.close()
                    raise
        raise error

    def _late(self, seconds):
        # From now on an answer may take so many seconds, in however many pieces it comes.
        self._due = None
        if seconds is not None:
            ms = int(min(seconds, _LONGEST) * 1000)
            self._due = port.ticks_add(port.ticks_ms(), ms)

    def _recv(self, n):
        data = self._take(n)
        if self._due is not None and port.ticks_diff(self._due, port.ticks_ms()) < 0:
            raise OSError(ETIMEDOUT, "the answer takes too long")
        return data

    def readline(self, n):
        # For auth.login.
        line = b""
        while len(line) < n and line[-1:] != b"\n":
            data = self._recv(1)
            if not data:
                break
            line += data
            if line == b"00000001V1":  # it says at once why it does not want us
                self.se_met |= 2
                data, line = message.receive(self)
                message.loads(data[8:], line, self)
        return line

    def ask(self, verb, number=0, name=None, args=(), kwargs=None, timeout=None):
        """Send a request, see remote.py, and return what the server gives for it.

        timeout  seconds that the server may take; None: the client's timeout
        Raises the server's exception, ConnectionLost, and if the server takes too long what a
        socket raises for that; then the session is at its end.
        """
        data, body = self._held(self._ask, verb, number, name, args, kwargs, timeout)
        # Not while the session is held: to put a proxy into a set or dict is to ask for its hash.
        try:
            return message.loads(data[8:], body, self, self._unwrap)
        except message.MessageError:
            if self.socket is None:
                raise ConnectionLost(107, "the connection is lost")  # ENOTCONN; meanwhile
            self._held(self._lose)  # whatever comes next cannot be trusted
            raise

    def _held(self, function, *args):
        # Call a function while no other thread has this session.
        if self._lock:
            self._lock.acquire()
        try:
            return function(*args)
        finally:
            if self._lock:
                self._lock.release()

    def alone(self, function, *args):
        """Call a function of a list or dict of this session's while no other thread does."""
        # With a GIL that is so, and a finalizer may come in the middle of a request.
        return self._held(function, *args) if port.platform else function(*args)

    def _ask(self, verb, number, name, args, kwargs, timeout):
        # Send a request; return the answer's first bytes and body.
        if self.socket is None:
            raise ConnectionLost(107, "the session is closed or its connection lost")  # ENOTCONN
        request = [verb, number, name, args if verb == "SET" else list(args), kwargs or {}]
        # What is not needed is left out.
        while not request[-1] and len(request) > 2 and not (verb == "SET" and len(request) == 4):
            request.pop()
        data = message.dumps(request, self.max_message, self._wrap)
        while self._drops and verb != "BYE":  # they come by a finalizer, at any moment
            if len(self._drops) <= _DROPS and len(data) < _ROOM:
                request += [None, [], {}][len(request) - 2 :]
                request.append(self._dropped())
                data = message.dumps(request, self.max_message, self._wrap)
                break
            drop = ["DROP", 0, None, [], {}, self._dropped()]
            self._exchange(message.dumps(drop, self.max_message), timeout)
        return self._exchange(data, timeout)

    def _dropped(self):
        # Return some of the objects that have no proxy any more: [id, times, ...].
        found: Any = []
        while self._drops and len(found) < 2 * _DROPS:
            found.append(self._drops.pop())
            found.append(1)
        return found

    def _exchange(self, data, timeout):
        # Send a frame and return the answer's first bytes and body.
        if self.log_level:
            from .faults import log_frame

            # Not the request itself: to show a proxy is to ask for it, in the middle of this.
            log_frame(self, "SEND", data, "TO")
        try:
            if timeout is not None:
                self.socket.settimeout(timeout)
            self._late(self._client.timeout if timeout is None else timeout)
            data = message._first(self, data)
            try:
                self.write(data)
            except OSError as e:
                if e.errno not in _GONE:
                    raise
                # It may have said why it closes; else the end is found there again.
            data, body = message.receive(self)
            if timeout is not None:
                self.socket.settimeout(self._client.timeout)
        except BaseException as e:
            self._lose()
            if isinstance(e, OSError):
                late = port.timeout(e)
                if late:
                    raise late
            elif not isinstance(e, (message.SocketClosed, message.MessageError)):
                raise
            raise ConnectionLost(104, "the connection is lost: %s" % (e,))  # ECONNRESET
        if self.log_level:
            from .faults import log_frame

            log_frame(self, "RECV", data + body, "FROM")
        return data, body

    def _lose(self):
        self._client.lost = True
        self._end()

    def _end(self):
        sock = self.socket
        self.socket = None
        if sock is not None:
            sock.close()

    def close(self):
        """End the session; again: nothing happens."""
        if self.socket is not None:
            lost = self._client.lost
            try:
                self.ask("BYE")
            except (OSError, message.MessageError):
                self._client.lost = lost  # it was to end anyway
            finally:
                self._end()

    def __del__(self):
        self._end()

    def _wrap(self, x):
        if isinstance(x, Proxy):
            if x._session is not self:
                raise TypeError("an object of another session cannot be used in this one")
            return {"!o": x._id}
        return None

    def _unwrap(self, tag, x):
        if tag == "k":
            return None  # what is a key at the server can be one here
        if tag != "w":
            raise message.MessageError("an object of the client's comes back")
        number, text, kind, module = x
        if type(number) is not int or type(kind) is not str or type(module) is not str:
            raise message.MessageError("no object: %r" % (x,))
        return Proxy(self, number, text, kind, module)


class Method:
    """A method of an object at the server: to be called."""

    def __init__(self, proxy, name, text):
        self._proxy = proxy
        self.__name__ = name
        self.__doc__ = text

    def __call__(self, *args, **kwargs):
        return self._proxy._call(self.__name__, *args, **kwargs)


class Proxy:
    """An object at the server.

    Attributes, methods, operators, len(), iteration and dir() are the object's, but for names
    that begin with an underscore and for close(). Use close() or "with" where nobody else tells
    the server that an object is not needed any more: MicroPython calls no __del__.
    """

    _session: "Any"
    _id: int = -3  # of none
    _kind: str
    _timeout: "Any" = None

    def __init__(self, session, number, text, kind, module):
        for name, value in (
            ("_session", session),
            ("_id", number),
            ("_kind", kind),
            ("_module", module),
            ("__doc__", text),
        ):
            object.__setattr__(self, name, value)

    def _ask(self, verb, name=None, args=(), kwargs=None):
        return self._session.ask(verb, self._id, name, args, kwargs, self._timeout)

    def _call(self, name, *args, **kwargs):
        """Call a method, also one whose name is hidden here, such as close."""
        return self._ask("RUN", name, args, kwargs)

    def _all(self):
        """Return a copy: of an instance a dict of its public attributes."""
        return self._ask("ALL")

    def _timed(self, seconds):
        """Return the object with another timeout: seconds that each of its answers may take."""
        found = Proxy(self._session, self._id, self.__doc__, self._kind, self._module)
        object.__setattr__(found, "_timeout", seconds)
        object.__setattr__(found, "_owner", self)  # whose it is to drop the object
        return found

    def __getattr__(self, name):
        if name[:1] == "_":
            raise AttributeError(name)
        session = self._session
        key = self._module, self._kind, name
        text = session.alone(session.methods.get, key, session)
        if text is session:
            found = self._ask("GET", name)
            if type(found) is not Proxy or found._id >= 0:
                return found
            text = found.__doc__
            if found._id == -1:
                session.alone(session.methods.setdefault, key, text)
        return Method(self, name, text)

    def __setattr__(self, name, value):
        if name[:1] == "_":
            object.__setattr__(self, name, value)
        else:
            # From now on it need not be the class's method.
            session = self._session
            key = self._module, self._kind, name
            session.alone(session.methods.update, {key: session})
            self._ask("SET", name, value)

    def __delattr__(self, name):
        self._ask("DEL", name)

    def __dir__(self):
        return list(self._ask("DIR"))

    def __call__(self, *args, **kwargs):
        return self._ask("OPS", "__call__", args, kwargs)

    def __iter__(self):
        found = self._ask("OPS", "__iter__")
        try:
            while True:
                try:
                    item = found._ask("OPS", "__next__")
                except StopIteration:
                    return
                yield item
        finally:
            found.close()

    def __next__(self):
        return self._ask("OPS", "__next__")

    def close(self):
        """Tell the server that this object is not needed; of an instance: end its session."""
        if self._id == 0:
            self._session.close()
        else:
            self.__del__()

    def __del__(self):
        # In the middle of anything: only noted.
        if self._id > 0 and not hasattr(self, "_owner"):
            session = self._session
            session.alone(session._drops.append, self._id)
            object.__setattr__(self, "_id", -3)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()

    def __hash__(self):
        """Return the object's hash, as == compares objects; of its identity if that is hidden."""
        try:
            return self._ask("OPS", "__hash__")
        except AttributeError:  # the server's expose
            return hash(id(self._session) ^ self._id)

    def __eq__(self, other):
        return self._same("__eq__", other)

    def __ne__(self, other):
        return self._same("__ne__", other)

    def _same(self, name, other):
        # Return how the object compares; what the server cannot know of is another one.
        try:
            message.encode(other, message.max_depth - 2, self._session._wrap)
        except (TypeError, ValueError):
            return name == "__ne__"
        try:
            return self._ask("OPS", name, (other,))
        except AttributeError:  # the server's expose
            same = isinstance(other, Proxy) and self._id == other._id
            return same == (name == "__eq__")


def _operator(name):
    def operator(self, *args):
        return self._ask("OPS", name, args)

    return operator


for _name in _OPERATORS.split():
    _name = "__" + _name + "__"
    setattr(Proxy, _name, _operator(_name))


class Client:
    """What makes instances at a RemoteServer, each in a session of its own.

    timeout      seconds to wait for the server; None: for ever
    secret       what the server wants to be proven, and user, if the secret is that user's
    ssl_context  for a server with TLS
    exceptions   classes that the server's exceptions of these names are to have here
    reconnect    True: after a connection was lost new() makes another one, trying for timeout
                 seconds; False: it raises ConnectionLost
    max_message  bytes of a message
    log_level    see message.py; log_file: where to
    """

    def __init__(
        self,
        host,
        port,
        timeout=60,
        user="",
        secret=None,
        ssl_context=None,
        exceptions=(),
        reconnect=False,
        max_message=message.max_message,
        log_level=0,
        log_file=None,
    ):
        self.host = host
        self.port = port
        self.timeout = timeout
        self.user = user
        self.secret = secret
        self.ssl_context = ssl_context
        self.exceptions: Any = {}
        for kind in exceptions:
            self.exceptions[kind.__name__] = kind
        self.reconnect = reconnect
        self.max_message = max_message
        self.log_level = log_level
        self.log_file = log_file
        self.lost = False  # a session has lost its connection

    def new(self, *args, **kwargs):
        """Return a proxy of a new instance, which the server makes with these arguments.

        Raises the constructor's exception, OSError if the server cannot be reached or does not
        want this client, and ConnectionLost.
        """
        if self.lost and not self.reconnect:
            raise ConnectionLost(107, "the connection was lost; reconnect=True makes new ones")
        session = self._connect()
        try:
            found = session.ask("NEW", 0, None, args, kwargs)
        except BaseException:
            session._end()
            raise
        self.lost = False
        return found

    def _connect(self):
        begin = port.ticks_ms()
        pause = _PAUSE_MS
        while True:
            try:
                return Session(self)
            except OSError as e:
                passed = port.ticks_diff(port.ticks_ms(), begin)
                refused = e.args and e.args[0] in (1, 13)  # EPERM, EACCES: it will not do better
                if not self.reconnect or refused:
                    raise
                if self.timeout is not None and passed + pause > self.timeout * 1000:
                    raise ConnectionLost(104, "no connection: %s" % (e,))
            port.sleep_ms(pause)
            pause = min(2 * pause, _LONGEST_MS)


def connect(host, port, *args, **kwargs):
    """Return a proxy of a new instance at a RemoteServer: Client(host, port).new(...)."""
    return Client(host, port).new(*args, **kwargs)
