"""What a remote session needs less often than calls: the other requests, operators, refusals."""

from . import message, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_WIDE = 0x10000  # items or bits that a multiplication or a power may give
# What takes all that is in its argument.
_TAKES = (
    "extend update union intersection difference symmetric_difference intersection_update "
    "difference_update symmetric_difference_update issubset issuperset isdisjoint fromkeys "
    "__iadd__"
).split()
# What looks into containers in containers.
_WALKS = (
    "__str__ __repr__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __contains__ __hash__ "
    "index count remove sort"
).split()


async def accept(session):
    """Return True if the client of a session has proven that it knows a secret."""
    from . import auth

    user = await auth.accept(session, session.server.secret, b"remote")
    if user is None:
        return False
    if user is False:
        error = PermissionError if not port.platform else OSError
        refusal = error(13, "this server wants a secret")
        session.write(message._first(session, message.dumps(refusal, session.max_message)))
        return False
    session.user = user
    return True


def refuse(server, request, client_address):
    """Tell the client that its address may not connect."""
    text = "Connect from %s to %s port %s locked" % (
        client_address[0],
        server.server_address[0],
        server.server_address[1],
    )
    kind = PermissionError if not port.platform else OSError
    try:
        request.send(b"00000001V1" + message.dumps(kind(13, text), server.max_message))
    except OSError:
        server._se_count("errors")  # it is gone already


def shape(request):
    """Raise ValueError for a request, a list, whose items are not what remote.py says.

    An object of the server's in the place of a list of arguments may be one without an end.
    """
    size = len(request)
    verb = request[0]
    if type(verb) is not str:
        raise ValueError("unknown request %s" % _plain(verb))
    if size > 2 and request[2] is not None and type(request[2]) is not str:
        raise ValueError("a name is text, not %s" % _plain(request[2]))
    if size > 3 and type(request[3]) is not list and verb != "SET":
        raise ValueError("arguments are a list, not %s" % _plain(request[3]))
    if size > 4:
        if type(request[4]) is not dict:
            raise ValueError("keyword arguments are a dict, not %s" % _plain(request[4]))
        for name in request[4]:
            if type(name) is not str:
                raise ValueError("a keyword is text, not %s" % _plain(name))
    if size > 5:
        pairs = request[5]
        if type(pairs) is not list or len(pairs) & 1:
            raise ValueError("dropped objects are a list: id, times, ...")
        for x in pairs:
            if type(x) is not int or x < 0:
                raise ValueError("no dropped object: %s" % _plain(x))


def _plain(x):
    # Return text for x, if that cannot be long; else for its type.
    if x is None or type(x) in (bool, float) or type(x) is int and abs(x) < _WIDE:
        return repr(x)
    return "an object of " + type(x).__name__


def operate(session, verb, request):
    """Return the frame that answers a request other than RUN; raise what it raises."""
    server = session.server
    limit = session.max_message
    name: Any = request[2] if len(request) > 2 else None
    args = request[3] if len(request) > 3 else ()
    if verb == "NEW":
        if session.se_objects[0] is not None:
            raise ValueError("NEW comes once in a session")
        kwargs = request[4] if len(request) > 4 else {}
        make: Any = server.user_class or Functions
        obj: Any = make(*args, **kwargs)
        session.se_objects[0] = obj
        return _object(0, obj, type(obj).__name__, getattr(type(obj), "__module__", ""))
    obj = session.unwrap("o", request[1]) if len(request) > 1 else None
    found: Any = None
    if verb == "DIR":
        found = tuple(_names(session, obj))
    elif verb == "ALL":
        return _copy(session, obj, limit)
    elif verb == "OPS":
        if server.expose is not None and name not in server.expose:
            raise AttributeError("%r is not for clients" % (name,))
        if name == "__call__":
            found = obj(*args, **(request[4] if len(request) > 4 else {}))
        else:
            bound(session, obj, name, args)
            found = _operator(obj, name, args, limit)
    elif verb == "GET":
        own = obj is session.se_objects[0] and server.functions.get(name)
        if own:
            return _object(-2, own, "method", name)
        found = session.getattr(obj, name)
        if session.is_function(found) and not isinstance(found, type):
            own = name in getattr(obj, "__dict__", ())
            return _object(-2 if own else -1, found, "method", name)
    elif verb == "SET":
        session.check(obj, name)
        setattr(obj, name, args)
    elif verb == "DEL":
        session.getattr(obj, name)  # it is there
        delattr(obj, name)
    elif verb == "RUN":
        raise ValueError("RUN without a name")
    elif verb != "DROP":
        raise ValueError("unknown request %r" % (verb,))
    return message.dumps(found, limit, session.wrap)


def bound(session, obj, name, args):
    """Raise if what a client wants of one of Python's own objects may have no end.

    A list that gets its own iterator grows for ever, one that gets itself doubles, and lists
    in lists in lists may be the same few, shown or compared over and over.
    """
    if name == "__contains__" and not hasattr(obj, name) and _iter(obj) is obj:
        raise TypeError("'in' is not for what may have no end")
    builtin = session.builtin
    if not isinstance(obj, builtin):
        return
    limit = session.max_message
    takes = name in _TAKES or name == "__setitem__" and type(args[0]) is slice
    for x in args:
        if isinstance(x, builtin[1:]):
            if _length(x, 1) > limit:
                raise MemoryError("an argument of more items than max_message")
        elif takes and _iter(x):
            raise TypeError("%r of what may have no end" % name)
    if name in _WALKS:  # two are compared as deep as both of them are: obj is enough
        _walk(obj, session.containers, limit, message.max_depth)


def _iter(x):
    # Return an iterator of x, or None.
    try:
        return iter(x)
    except TypeError:
        return None


def _walk(x, containers, left, depth):
    # Return left without the items of containers in x. Raises MemoryError if these are more.
    if not isinstance(x, containers):
        return left
    if not depth:
        raise ValueError("deeper than %d containers" % message.max_depth)
    if isinstance(x, dict):
        x = x.values()
    for y in x:
        if isinstance(y, containers):
            left = _walk(y, containers, left - len(y), depth - 1)
            if left < 0:
                raise MemoryError("more items in containers than max_message")
    return left


class Functions:
    """What stands for the instance where there is no class: functions alone."""


def _object(number, obj, kind, module):
    text = getattr(obj, "__doc__", None)
    text = text[:200] if type(text) is str else None
    body = message._dumps([number, text, kind, module]).encode()
    return b"%08dW" % len(body) + body


def _names(session, obj):
    # Return the names of what clients may know of obj.
    found = set()
    for name in dir(obj):
        try:
            session.check(obj, name)
        except AttributeError:
            continue
        found.add(name)
    if obj is session.se_objects[0]:
        found.update(session.server.functions)
    return sorted(found)


def _copy(session, obj, limit):
    # Return the frame of a copy of obj; what is in it and no value stays here.
    expose = session.server.expose
    base: Any = None
    for kind in (list, dict, set, bytearray):
        if isinstance(obj, kind):
            base = kind
    if base:
        if expose is not None and "__iter__" not in expose:
            raise AttributeError("'__iter__' is not for clients")
        found = obj
        if type(obj) is not base:  # what is derived from it
            found = base(obj.items() if base is dict else obj)
    elif type(obj) not in (tuple, frozenset) and hasattr(obj, "__dict__"):
        found = {}
        for name in _names(session, obj):
            value = obj.__dict__.get(name, len)
            if not session.is_function(value) and not isinstance(value, session.internal):
                found[name] = value
    else:
        if expose is not None and "__iter__" not in expose:
            raise AttributeError("'__iter__' is not for clients")
        found = []
        for x in obj:
            found.append(x)
            if len(found) > limit:  # it may have no end
                raise message.MessageError("a copy of more items than max_message")
    # Its own list or dict is to be read, those in it are to stay.
    data = message.encode(
        found, message.max_depth, lambda x: None if x is found else session.wrap(x)
    )
    body = message._dumps(data).encode()
    if len(body) > limit:
        raise message.MessageError("a copy of %d bytes, more than max_message" % len(body))
    return b"%08dP" % len(body) + body


def _operator(a, name, args, limit):
    # Few could be asked for by their name: MicroPython's own types have no such attributes.
    n = len(args)
    if n == 0:
        if name == "__len__":
            return len(a)
        if name == "__iter__":
            return iter(a)
        if name == "__next__":
            return next(a)
        if name == "__str__":
            return str(a)
        if name == "__repr__":
            return repr(a)
        if name == "__bool__":
            return bool(a)
        if name == "__hash__":
            return hash(a)
        if name == "__neg__":
            return -a
        if name == "__pos__":
            return +a
        if name == "__invert__":
            return ~a
        if name == "__abs__":
            return abs(a)
        if name == "__int__":
            return int(a)
        if name == "__float__":
            return float(a)
        if name == "__reversed__":
            return reversed(a)
    elif n == 2:
        if name == "__setitem__":
            a[args[0]] = args[1]
            return None
    elif n == 1:
        b = args[0]
        if name == "__getitem__":
            return a[b]
        if name == "__delitem__":
            del a[b]
            return None
        if name == "__contains__":
            return b in a
        if name == "__eq__":
            return a == b
        if name == "__ne__":
            return a != b
        if name == "__lt__":
            return a < b
        if name == "__le__":
            return a <= b
        if name == "__gt__":
            return a > b
        if name == "__ge__":
            return a >= b
        return _binary(a, b, name, limit)
    raise ValueError("unknown operator %r of %d arguments" % (name, n))


def _binary(a, b, name, limit):
    if name[:3] == "__r" and name != "__rshift__":
        a, b = b, a
        name = "__" + name[3:]
    if name == "__add__":
        return a + b
    if name == "__iadd__":
        a += b
        return a
    if name == "__sub__":
        return a - b
    if name == "__mul__":
        # On 32 bits MicroPython itself would crash: it multiplies the sizes without looking.
        if _length(a, b) > limit or _length(b, a) > limit:
            raise MemoryError("a result of more items than max_message")
        return a * b
    if name == "__truediv__":
        return a / b
    if name == "__floordiv__":
        return a // b
    if name == "__mod__":
        if not isinstance(a, (str, bytes, bytearray)):  # "%999999999d"
            return a % b
    if name == "__pow__":
        bits = _bits(a) if isinstance(a, int) else 1
        if abs(b) * bits < _WIDE if isinstance(b, int) else not isinstance(a, int):
            return a**b
    if name == "__and__":
        return a & b
    if name == "__or__":
        return a | b
    if name == "__xor__":
        return a ^ b
    if name == "__lshift__":
        if not isinstance(a, int) or b < _WIDE:
            return a << b
    if name == "__rshift__":
        return a >> b
    raise ValueError("unknown operator %r, or too large a result" % name)


def _length(items, n):
    # Return how many items there are in items * n.
    if not isinstance(n, int):
        return 0
    try:
        return len(items) * n
    except TypeError:
        return 0  # it has none


def _bits(a):
    # Return how many bits a has, but for a few.
    return len("%x" % a) * 4
