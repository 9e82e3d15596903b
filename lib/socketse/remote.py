"""RemoteServer: the objects of a class of yours, used from clients as if they were theirs.

A client's connection is a session: it makes one instance of the class, and what that leads to.
Values travel: None, numbers, text, bytes, and tuples and frozensets of such; everything else stays
here and is known to the client by a number, which it sends to mean the object.

A request is a message of kind P, a list; what is not needed at its end may be left out:

    [verb, id of an object, name, [arguments], {keyword arguments}, [id, times, ...]]

The last one tells of objects that the client has dropped, and how often it had been given them.

    NEW  make the instance, once; it has the id 0
    DIR  the names of what an object has
    ALL  a copy: containers as they are, of an instance a dict of its public attributes
    GET  an attribute: of a method an object with the id -1, or -2 if the instance has it
    SET  an attribute
    DEL  an attribute
    RUN  call a method
    OPS  use an operator, named as in Python: __getitem__, see operate.py
    BYE  end the session

Each is answered with what it gives: a value, or an object as a message of kind W; or with the
exception that it raises, as a message of kind E.
"""

from .multiplex import MultiplexingTCPServer
from .stream import AsyncStreamRequestHandler

# isort: split
import sys

from . import message, port
from .server import TCPServer

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_GENERATOR = type((lambda: (yield))())
_FUNCTION = type(lambda: 0)
# What nobody is to reach: from there it is not far to everything.
_INTERNAL: "Any" = (type, type(sys)) if port.platform else port.internal
_free = message._Slicer()  # in the place of an object that was dropped


def is_function(obj):
    """Return True if obj can be called and is no instance of a class with a __call__ in Python."""
    return callable(obj) and type(getattr(type(obj), "__call__", None)) is not _FUNCTION  # noqa: B004


class Session(AsyncStreamRequestHandler):
    """The connection of one client, and its objects."""

    timeout: "float | None" = 600  # seconds that a client may be silent
    log_level = 0
    se_met = 0
    server: "Any"
    user = ""  # who has proven to know a secret

    def setup(self):
        """Take the server's limits."""
        server = self.server
        self.max_message = server.max_message
        # An answer in full, and the beginning of the next.
        self.max_pending = 2 * server.max_message
        self.timeout = server.session_timeout
        self.se_objects: Any = [None]  # by id
        self.se_counts = [1]  # how often the client was told of each
        self.se_calls = server.max_calls  # that are left
        self.se_tick: Any = port.ticks_ms()  # when they were counted last
        if server.log_level:
            self.log_level = server.log_level
            self.log_file = server.log_file
        AsyncStreamRequestHandler.setup(self)

    def finish(self):
        """Forget the objects."""
        self.se_objects = self.se_counts = None
        AsyncStreamRequestHandler.finish(self)

    async def handle(self):
        """Answer the requests until BYE, or the end of the stream."""
        if self.server.secret is not None:
            from .operate import accept

            if not await accept(self):
                return
        more = True
        while more:
            try:
                request = await message.arecv(self, self.unwrap)
                data, more = self.answer(request)
            except message.MessageError as e:
                data = message.dumps(e, self.max_message)
                more = False
            if self.log_level:
                from .faults import log

                log(self, "SEND", data, "TO", data[8:])
            self.write(message._first(self, data))
            await self.drain()
            self.se_calls -= 1
            if self.se_calls < 0:
                passed = port.ticks_diff(port.ticks_ms(), self.se_tick)
                if 0 <= passed < 1000:
                    await self.sleep((1000 - passed) / 1000)
                self.se_calls = self.server.max_calls
                self.se_tick = port.ticks_ms()

    def answer(self, request):
        # Return the frame that answers a request, and whether others may follow.
        if type(request) is not list or not request:
            raise message.MessageError("a request is a list")
        verb = request[0]
        if verb == "BYE":
            return message.dumps(None, self.max_message), False
        try:
            if self.se_objects[0] is None and verb != "NEW":
                raise ValueError("the first request is NEW, not %r" % (verb,))
            if len(request) > 5:
                self.drop(request[5])
            if self.server.on_request:
                self.server.on_request(self, request)
            if verb == "RUN" and len(request) > 2:
                obj = self.unwrap("o", request[1])
                name = request[2]
                method: Any = None
                if obj is self.se_objects[0]:
                    method = self.server.functions.get(name)
                if method is None:
                    method = self.getattr(obj, name)
                    if isinstance(method, _INTERNAL):
                        raise AttributeError("%r is not for clients" % name)
                size = len(request)
                if size > 4:
                    found = method(*request[3], **request[4])
                elif size > 3:
                    found = method(*request[3])
                else:
                    found = method()
            else:
                from .operate import operate

                return operate(self, verb, request), True
            return message.dumps(found, self.max_message, self.wrap), True
        except Exception as e:
            found = e
        except SystemExit as e:  # of the class's; it is not to end the server
            found = e
        if isinstance(found, MemoryError):
            port.collect()
        return message.dumps(found, self.max_message), True

    def getattr(self, obj, name):
        # Return an attribute, if clients may have it.
        self.check(obj, name)
        return getattr(obj, name)

    def check(self, obj, name):
        # Raise AttributeError if clients may not know this attribute.
        expose = self.server.expose
        if (
            type(name) is not str
            or name[:1] in "_"
            or expose is not None
            and name not in expose
            or isinstance(obj, str)
            and name.startswith("format")
            or type(obj) is _GENERATOR
            and name != "close"
        ):
            raise AttributeError("%r is not for clients" % (name,))

    # The table of objects.

    def unwrap(self, tag, x):
        # Return the object with the id x.
        if tag == "o" and type(x) is int and 0 <= x < len(self.se_objects):
            obj = self.se_objects[x]
            if obj is not _free:
                return obj
        raise message.MessageError("no object has the id %r" % (x,))

    def wrap(self, obj):
        # Return what stands for obj, which stays here. Raises TypeError if clients may not have it.
        kind: Any = type(obj)
        if isinstance(obj, _INTERNAL) or is_function(obj):
            raise TypeError("an object of %s cannot travel" % kind.__name__)
        i = 0
        place = 0
        for one in self.se_objects:
            if one is obj:
                break
            if one is _free:
                place = i
            i += 1
        else:
            i = place or i
            if i >= self.server.max_objects:
                raise MemoryError("more than max_objects: %d" % self.server.max_objects)
            if place:
                self.se_objects[i] = obj
                self.se_counts[i] = 0
            else:
                self.se_objects.append(obj)
                self.se_counts.append(0)
        self.se_counts[i] += 1
        text = getattr(obj, "__doc__", None)
        text = text[:200] if type(text) is str else None
        return {"!w": [i, text, kind.__name__, getattr(kind, "__module__", "")]}

    def drop(self, pairs):
        # Forget what the client has dropped.
        for i in range(0, len(pairs), 2):
            at = pairs[i]
            if at:  # the instance stays
                self.unwrap("o", at)
                self.se_counts[at] -= pairs[i + 1]
                if self.se_counts[at] <= 0:
                    self.se_objects[at] = _free


class RemoteMixIn:
    """Makes a server of streams one of remote objects.

    user_class   called with the arguments of each client's new(); None: only functions
    options      values for the attributes below
    Raises ValueError beyond loopback if neither `allow` nor `secret` says who may come, and
    TypeError for an unknown option.
    """

    expose: "Any" = None  # names that clients may use; None: all that begin with no underscore
    secret: "Any" = None  # what clients have to prove that they know, see auth.py
    on_request: "Any" = None  # called with session and request before each, to see or refuse it
    max_objects = 256  # of one session
    max_message = message.max_message  # bytes of a message
    max_calls = 1000 if port.platform else 10000  # of one session in a second: more have to wait
    session_timeout: "float | None" = 600  # seconds that a client may be silent
    log_level = 0  # see message.py
    log_file: "Any" = None
    allow: "Any"

    def __init__(self: "Any", server_address, user_class=None, **options):
        for name in options:
            if not hasattr(self, name) or name[0] == "_":
                raise TypeError("RemoteServer has no option %r" % name)
            setattr(self, name, options[name])
        if self.allow is None and self.secret is None and not isinstance(server_address, str):
            host = server_address[0]
            if host[:4] != "127." and host not in ("localhost", "::1"):
                raise ValueError(
                    "anybody could use your objects at %r: say who may, with secret= or allow=; "
                    'allow=["*"] for all' % host
                )
        if self.user_class is None or user_class is not None:
            self.user_class = user_class
        self.functions: Any = {}
        TCPServer.__init__(self, server_address, Session)

    user_class: "Any" = None

    def register(self, function, name=None):
        """Let clients call function by its name, or another one, beside the instance's methods.

        Returns function: it may be used as a decorator.
        """
        self.functions[name or function.__name__] = function
        return function

    def verify_request(self: "Any", request, client_address):
        """Return True if the address may connect; tell the client if not."""
        if TCPServer.verify_request(self, request, client_address):
            return True
        from .operate import refuse

        refuse(self, request, client_address)
        return False


class RemoteServer(RemoteMixIn, MultiplexingTCPServer):
    """A server of remote objects: many sessions in one thread."""


def __getattr__(name):
    if name != "ThreadingRemoteServer":
        raise AttributeError("module 'socketse.remote' has no attribute '%s'" % name)
    # Made on first use: few programs need it.
    from .threads import ThreadingTCPServer

    class ThreadingRemoteServer(RemoteMixIn, ThreadingTCPServer):
        """A server of remote objects: each session in a thread."""

        def _se_prepare(self):
            # Now, and not in several threads at once: they would see them half made.
            from . import faults, operate  # noqa: F401

            ThreadingTCPServer._se_prepare(self)

    globals()[name] = ThreadingRemoteServer
    return ThreadingRemoteServer
