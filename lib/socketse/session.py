"""Session: one client of a RemoteServer, its requests and its objects; see remote.py.

What clients reach is decided here: check() says which names, wrap() which objects.
"""

from .stream import AsyncStreamRequestHandler  # first: the largest compiles best

# isort: split
import collections
import sys

from . import message, port
from .names import has, remembered
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_GENERATOR = type((lambda: (yield))())
_FUNCTION = type(lambda: 0)
# What nobody is to reach: from there it is not far to everything.
_INTERNAL: "Any" = (type, type(sys))
if not port.platform:
    _INTERNAL = port.internal
# Of text, bytes and ints: what gives more than it gets.
_WIDE = "format format_map center ljust rjust zfill expandtabs replace translate join to_bytes"
# Python's own types, of which bounds.bound() looks at what is asked.
_pairs: "Any" = {}
_BUILTIN: "Any" = (
    _GENERATOR,
    list,
    dict,
    set,
    tuple,
    frozenset,
    bytearray,
    bytes,
    str,
    int,
    range,
)
_BUILTIN += (type(_pairs.keys()), type(_pairs.values()), type(_pairs.items()))
_BUILTIN += (getattr(collections, "deque", list),)
platform = port.platform
_PIECE = const(256)  # bytes asked for at once, as in message.py
_free = message._Slicer()  # in the place of an object that was dropped


def is_function(obj):
    """Return True if obj can be called and is no instance of a class with a __call__ in Python."""
    return callable(obj) and type(getattr(type(obj), "__call__", None)) is not _FUNCTION  # noqa: B004


class Session(AsyncStreamRequestHandler):
    """The connection of one client, and its objects."""

    timeout: "float | None" = 600  # seconds that a client may be silent
    log_level = 0
    se_met = 0
    se_kinds = b"PV"  # no exception of a client's is to be raised here
    se_quick = False  # True: the version is told, and nobody keeps a log
    server: "Any"
    is_function = staticmethod(is_function)
    internal = _INTERNAL
    builtin = _BUILTIN
    user = ""  # who has proven to know a secret

    def setup(self):
        """Take the server's limits."""
        server = self.server
        self.max_message = server.max_message
        # An answer in full, and the beginning of the next.
        self.max_pending = 2 * server.max_message + 64
        self.timeout = server.session_timeout
        self.se_objects: Any = [None]  # by id
        self.se_counts: Any = [1]  # how often the client was told of each
        self.se_known: Any = set()  # names that MicroPython has to remember anyway
        self.se_told: Any = []  # ids in the answer that is being made
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
        if self.server.secret is not None or self.server.ssl_context is not None:
            from .entry import accept

            if not await accept(self):
                return
        while self.se_objects is not None:
            try:
                # Most requests come whole, and alone: then this is quick.
                data = await self.read(_PIECE)
                n = len(data) - 9
                if data[:9] == b"%08dP" % n and self.se_quick and n <= self.max_message:
                    data = self.answer(message.loads(b"P", data[9:], self, self.unwrap))
                else:
                    if data:
                        self._se_buffer = data + (self._se_buffer or b"")
                    data = self.answer(await message.arecv(self, self.unwrap))
                    self.se_quick = not self.log_level
            except message.MessageError as e:
                data = message.dumps(e, self.max_message)
                if not e.whole:
                    self.se_objects = None
            if self.log_level:
                from .faults import log_frame

                log_frame(self, "SEND", data, "TO")
            if not self.se_met & 1:
                data = message._first(self, data)
            self.write(data)
            await self.drain()
            self.se_calls -= 1
            if self.se_calls < 0:
                passed = port.ticks_diff(port.ticks_ms(), self.se_tick)
                if 0 <= passed < 1000:
                    await self.sleep((1000 - passed) / 1000)
                self.se_calls = self.server.max_calls
                self.se_tick = port.ticks_ms()

    def answer(self, request):
        # Return the frame that answers a request.
        if type(request) is not list or not request:
            raise message.MessageError("a request is a list")
        verb = request[0]
        if self.se_told:
            self.se_told.clear()
        try:
            server = self.server
            size = len(request)
            if (
                type(verb) is not str
                or size > 2
                and type(request[2]) is not str
                or size > 3
                and type(request[3]) is not list
                or size > 4
            ):
                from .bounds import shape

                shape(request)
            if server.on_request:
                server.on_request(self, request)
            if verb == "BYE":
                self.se_objects = None
                return message.dumps(None, self.max_message)
            if self.se_objects[0] is None and verb != "NEW":
                raise ValueError("the first request is NEW, not %r" % (verb,))
            if size > 5:
                self.drop(request[5])
            if verb == "RUN" and size > 2:
                obj = self.unwrap("o", request[1])
                name = request[2]
                method: Any = None
                if server.functions and obj is self.se_objects[0]:
                    method = server.functions.get(name)
                if method is None:
                    own = self.check(obj, name)
                    method = self.find(obj, name)
                    if isinstance(method, _INTERNAL):
                        raise AttributeError("%r is not for clients" % name)
                    if own or not platform and not port.is_users(method):
                        from .bounds import bound

                        bound(self, obj, name, *request[3:5])
                if size > 4:
                    if platform:
                        from .bounds import admit

                        admit(self, request[4])
                    found = method(*request[3], **request[4])
                elif size > 3:
                    found = method(*request[3])
                else:
                    found = method()
            else:
                from .operate import operate

                return operate(self, verb, request)
            return message.dumps(found, self.max_message, self.wrap)
        except KeyboardInterrupt:
            raise
        except BaseException as e:  # no client is to end the server
            found = e
        if isinstance(found, MemoryError):
            port.collect()
        if verb == "BYE":  # nobody is kept from going
            self.se_objects = found = None
        else:
            for i in self.se_told:  # the client does not hear of these
                self.drop((i, 1))
        return message.dumps(found, self.max_message)

    def getattr(self, obj, name):
        # Return an attribute, if clients may have it.
        self.check(obj, name)
        return self.find(obj, name)

    def find(self, obj, name):
        # Return an attribute that clients may have.
        if platform and name not in self.se_known:
            if not has(obj, name):
                raise AttributeError("%r has no attribute %r" % (type(obj).__name__, name))
            if not remembered(name):  # a class with __getattr__ may have any
                from .bounds import admit

                admit(self, (name,))
            self.se_known.add(name)
        return getattr(obj, name)

    def check(self, obj, name):
        # Raise AttributeError if clients may not know this attribute. Return whether obj is one
        # of Python's own.
        expose = self.server.expose
        own = isinstance(obj, _BUILTIN)
        if (
            type(name) is not str
            or name[:1] in "_"
            or expose is not None
            and name not in expose
            or own
            and (name in _WIDE.split() or type(obj) is _GENERATOR and name != "close")
        ):
            raise AttributeError("%r is not for clients" % (name,))
        return own

    # The table of objects.

    def unwrap(self, tag, x):
        # Return the object with the id x; else see bounds.unwrap().
        if tag == "o" and type(x) is int and 0 <= x < len(self.se_objects):
            obj = self.se_objects[x]
            if obj is not _free:
                return obj
        from .bounds import unwrap

        return unwrap(self, tag, x)

    def wrap(self, obj):
        # Return what stands for obj, which stays here. Raises TypeError if it must not be known.
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
                if i & 3 == 0 and port.platform:
                    # Else what stays would lie among garbage, all over the heap, and leave no
                    # large piece of it.
                    port.collect()
                # In this order: for want of memory there may be a count too many, but none less.
                self.se_counts.append(0)
                self.se_objects.append(obj)
        self.se_told.append(i)
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
