"""How much Python itself would look at: lists in lists in lists may be the same few again.

A few requests make a list whose text, comparison or hash takes longer than anybody waits. What a
class of the user's does for itself, such as its __repr__, is the user's to look after.
"""

from . import message, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_pairs: "Any" = {}
containers = (list, dict, set, tuple, frozenset, type(_pairs.values()), type(_pairs.items()))
platform = port.platform
_EACH = 0 if platform else 3  # what a container counts besides: a PC's are larger, and take longer


def _parts(x):
    # Return containers of what Python looks at for the text, comparison or hash of x.
    if not platform:
        return port.parts(x)
    if isinstance(x, dict):
        return x, x.values()
    if isinstance(x, containers):
        return (x,)
    return (x.args,) if isinstance(x, BaseException) else ()


def walk(x, left, text=False, depth=message.max_depth):
    """Return left without the items in x, each counted as often as Python would look at it.

    text  True: without the lengths of texts, too
    Raises MemoryError if these are more, ValueError for what is too deep.
    """
    parts = _parts(x)
    if parts:
        left -= _EACH
        if not depth:
            raise ValueError("deeper than %d containers" % message.max_depth)
    for part in parts:
        for y in part:
            left -= 1
            if isinstance(y, (str, bytes, bytearray)):
                if text:
                    left -= len(y)
            elif type(y) is not int:
                if y is not None:
                    left = walk(y, left, text, depth - 1)
            elif not platform:
                left -= y.bit_length() >> 3
            if left < 0:
                raise MemoryError("more items in containers than max_message")
    return left


def fits(x, limit, text=True):
    """Return True if walk(x, limit, text) has an end: if x is not too deep or too large."""
    try:
        return walk((x,), limit, text) >= 0
    except (MemoryError, ValueError):
        return False
