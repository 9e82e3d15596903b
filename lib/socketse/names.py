"""Whether a thing has an attribute, asked so that MicroPython need not remember the name.

Each name that getattr, hasattr and their like are asked for stays in the heap, for ever.
"""


def remembered(name):
    """Return True if MicroPython remembers the name: what it costs is paid.

    Text that is made anew is the one text that is remembered, or else another one.
    """
    return str(name.encode(), "utf-8") is name


def has(thing, name):
    """Return True if thing has an attribute of that name, or makes some as they are asked for."""
    own = False  # True: of a class in Python, whose properties dir() would call
    todo = [thing, type(thing)]
    while todo:
        one = todo.pop()
        names = getattr(one, "__dict__", ())
        if name in names or "__getattr__" in names:
            return True
        own = own or "__qualname__" in names
        todo += getattr(one, "__bases__", ())
    return (not own or isinstance(thing, BaseException)) and name in dir(thing)
