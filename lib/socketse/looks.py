"""What an object of a remote session has: its names, and copies."""

from . import message, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


def names(session, obj):
    """Return the names of what clients may know of obj."""
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


def _attributes(obj):
    # Return a dict of an instance's attributes; None: it is none that could have any.
    if port.platform:
        return getattr(obj, "__dict__", None)
    return port.attributes(obj)


def copy(session, obj, limit):
    """Return the frame of a copy of obj; what is in it and no value stays here."""
    expose = session.server.expose
    base: Any = None
    for kind in (list, dict, set, bytearray):
        if isinstance(obj, kind):
            base = kind
    if base:
        if expose is not None and "__iter__" not in expose:
            raise AttributeError("'__iter__' is not for clients")
        found = obj
        if type(obj) is not base:  # what is derived from it, and may give items without an end
            found = []
            for x in obj.items() if base is dict else obj:
                found.append(x)
                if len(found) > limit:
                    raise message.MessageError("a copy of more items than max_message")
            found = base(found)
    elif type(obj) not in (tuple, frozenset) and _attributes(obj) is not None:
        attributes = _attributes(obj)
        found = {}
        for name in names(session, obj):
            value = attributes.get(name, len)
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
