"""What one request of a client may ask for: nothing without an end, few names, known codecs."""

from . import message, port
from .names import remembered
from .weight import walk

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_NAME = 32  # characters of a name that clients bring in
_SHARE = 4  # how many sessions it takes to bring in as many names as the server takes
_SMALL = 0x10000  # an int whose text is short
# What takes all that is in its argument.
_TAKES = (
    "extend extendleft update union intersection difference symmetric_difference "
    "intersection_update difference_update symmetric_difference_update issubset issuperset "
    "isdisjoint fromkeys __iadd__"
).split()
# What looks into containers in containers.
_WALKS = (
    "__str__ __repr__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __contains__ __hash__ "
    "index count remove sort"
).split()
_KEEPS = ("append", "appendleft", "insert")  # what does not look into its arguments
# Those that take no longer for a byte of a long text than for one of a short text.
_CODECS = "utf-8 utf8 ascii us-ascii latin-1 latin1 iso-8859-1 utf-16 utf-16-le utf-16-be utf-32"


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
    if x is None or type(x) in (bool, float) or type(x) is int and abs(x) < _SMALL:
        return repr(x)
    if type(x) is str:
        return repr(x[:40])
    return "an object of " + type(x).__name__


def admit(session, names):
    """Raise ValueError if MicroPython is asked to remember more names than it may.

    It never forgets the name of an attribute or of a keyword argument. A name that is in the
    program, or in the server's `names`, costs nothing more.
    """
    server = session.server
    come = getattr(server, "se_named", 0)
    own = getattr(session, "se_named", 0)
    for name in names:
        if name in server.names or remembered(name):
            continue
        most = server.max_names
        if len(name) > _NAME or come >= most or own * _SHARE >= most:
            raise ValueError(
                "%r is a new name, and a board never forgets one: it takes %d from clients, %d "
                "from one, of %d characters each; the server's option names declares more"
                % (name[:_NAME], most, most // _SHARE, _NAME)
            )
        server.se_named = come = come + 1
        session.se_named = own = own + 1


def bound(session, obj, name, args=(), kwargs=()):
    """Raise if what a client wants Python itself to do with an object may have no end.

    name  of a method or an operator that is none of the user's, as port.own() tells
    A list that gets its own iterator grows for ever, one that gets itself doubles, and lists
    in lists in lists may be the same few, shown or compared over and over.
    """
    limit = session.max_message
    builtin = session.builtin
    given: Any = list(args)
    for key in kwargs:
        given.append(kwargs[key])
    takes = name in _TAKES or name == "__setitem__" and type(args[0]) is slice
    for x in given:
        if isinstance(x, builtin[1:]):
            if length(x, 1) > limit:
                raise MemoryError("an argument of more items than max_message")
        elif takes and iterate(x):
            raise TypeError("%r of what may have no end" % name)
    if name == "__setitem__":
        given = given[:1]  # the value is only kept
    if name not in _KEEPS:
        walk(given, limit)
    if name in _WALKS:
        text = name in ("__str__", "__repr__")
        if isinstance(obj, range):
            # MicroPython looks at each number of it, CPython only for what is no int.
            if given and (port.platform or type(given[0]) is not int) and length(obj, 1) > limit:
                raise MemoryError("a range of more items than max_message")
        else:
            walk(obj, limit, text)  # two are compared as deep as both of them are
    if name in ("decode", "encode") and isinstance(obj, (str, bytes, bytearray)):
        code = args[0] if args else kwargs["encoding"] if "encoding" in kwargs else "utf-8"
        if type(code) is not str or code.lower().replace("_", "-") not in _CODECS.split():
            raise ValueError("no codec for clients: %s" % _plain(code))


def unwrap(session, tag, x):
    """Raise MessageError for an object that is not there, or cannot be what it is to be.

    tag  "k": x is a key of a dict, or the list of a set's members; else what names no object
    """
    if tag != "k":
        raise message.MessageError("no object has the id %s" % _plain(x))
    try:
        walk(x, session.max_message)
        for y in x if type(x) is list else (x,):
            hash(y)
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # of a class of the user's
        raise message.MessageError("no key or member of a set: %s" % type(e).__name__)


def contains(session, a, b):
    """Return whether b is in a, an object with an __iter__ and no __contains__ of the user's."""
    if iterate(a) is a:
        raise TypeError("'in' is not for what may have no end")
    left = session.max_message
    for x in a:
        if x is b or x == b:
            return True
        left -= 1
        if left < 0:
            raise MemoryError("'in' of more items than max_message")
    return False


def iterate(x):
    """Return an iterator of x, or None."""
    try:
        return iter(x)
    except TypeError:
        return None


def length(items, n):
    """Return how many items there are in items * n, or one more; 0: it has none."""
    if not isinstance(n, int):
        return 0
    if isinstance(items, range):  # on 32 bits MicroPython's len() of a long one is any number
        return max((items.stop - items.start) // items.step + 1, 0) * n
    try:
        return len(items) * n
    except TypeError:
        return 0
