"""What a remote session needs less often than calls: the other requests."""

from . import message, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


def operate(session, verb, request):
    """Return the frame that answers a request other than RUN; raise what it raises."""
    server = session.server
    limit = session.max_message
    name: Any = request[2] if len(request) > 2 else None
    args = request[3] if len(request) > 3 else ()
    kwargs = request[4] if len(request) > 4 else {}
    if kwargs and port.platform:
        from .bounds import admit

        admit(session, kwargs)
    if verb == "NEW":
        if session.se_objects[0] is not None:
            raise ValueError("NEW comes once in a session")
        make: Any = server.user_class or Functions
        obj: Any = make(*args, **kwargs)
        session.se_objects[0] = obj
        return _object(0, obj, type(obj).__name__, getattr(type(obj), "__module__", ""))
    obj = session.unwrap("o", request[1]) if len(request) > 1 else None
    found: Any = None
    if verb == "DIR":
        from .looks import names

        found = tuple(names(session, obj))
    elif verb == "ALL":
        from .looks import copy

        return copy(session, obj, limit)
    elif verb == "OPS":
        if server.expose is not None and name not in server.expose:
            raise AttributeError("%r is not for clients" % (name,))
        if name is None:
            raise ValueError("OPS without an operator")
        if name == "__call__":
            found = obj(*args, **kwargs)
        else:
            from .bounds import bound
            from .operators import operator

            if isinstance(obj, session.builtin) or not port.platform and not port.own(obj, name):
                bound(session, obj, name, args)
            found = operator(session, obj, name, args)
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
        if port.platform:
            if not hasattr(obj, "__dict__"):
                raise AttributeError("%r has no attributes to set" % type(obj).__name__)
            from .bounds import admit

            admit(session, (name,))
        setattr(obj, name, args)
    elif verb == "DEL":
        session.getattr(obj, name)  # it is there
        delattr(obj, name)
    elif verb == "RUN":
        raise ValueError("RUN without a name")
    elif verb != "DROP":
        raise ValueError("unknown request %r" % (verb,))
    return message.dumps(found, limit, session.wrap)


class Functions:
    """What stands for the instance where there is no class: functions alone."""


def _object(number, obj, kind, module):
    text = getattr(obj, "__doc__", None)
    text = text[:200] if type(text) is str else None
    body = message._dumps([number, text, kind, module]).encode()
    return b"%08dW" % len(body) + body
