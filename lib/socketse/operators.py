"""The operators of a remote session: few could be asked for by their name.

MicroPython's own types have no such attributes.
"""

from . import port
from .bounds import contains, length
from .weight import walk

_WIDE = 0x10000  # items or bits that a multiplication or a power may give


def _has_contains(a):
    # Return True if a has a way to tell what is in it, but to go through all of it.
    if not port.platform:
        return port.has_contains(type(a))
    return hasattr(a, "__contains__")


def operator(session, a, name, args):
    """Return what an operator gives; raise what it raises, and ValueError for an unknown one."""
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
            if isinstance(a, session.builtin[1:]) or _has_contains(a):
                return b in a
            return contains(session, a, b)
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
        return _binary(a, b, name, session.max_message)
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
        if length(a, b) > limit or length(b, a) > limit:
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
        if not isinstance(b, int) or abs(b) * _bits(a) < _WIDE:
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


def _bits(a):
    # Return how many bits a has, but for a few; of another number than an int those of its parts.
    if isinstance(a, int):
        return len("%x" % a) * 4
    return 8 * (_WIDE - walk(a, _WIDE)) + 1
