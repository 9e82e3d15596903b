"""What a remote session needs less often than calls: the other requests, refusals."""

from . import message, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


_PCS = ("", "linux", "darwin")  # of those that have room for one more handshake
# A TLS record (RFC 8446, 6): the alert access_denied. Any client understands it.
_ALERT = b"\x15\x03\x03\x00\x02\x02\x31"


async def accept(session):
    """Return True if the client of a session may come in: if it has proven to know a secret.

    With TLS on a PC the address is looked at again: see refuse().
    """
    server = session.server
    refusal: Any = None
    if server.ssl_context is not None and port.platform in _PCS:
        from .server import TCPServer

        if not TCPServer.verify_request(server, session.request, session.client_address):
            server._se_count("refused")
            refusal = _locked(server, session.client_address)
    if server.secret is not None and not refusal:
        from . import auth

        user = await auth.accept(session, server.secret, b"remote")
        if user is None:
            return False
        if user is False:
            refusal = _denied("this server wants a secret")
        else:
            session.user = user
    if refusal:
        session.write(message._first(session, message.dumps(refusal, session.max_message)))
    return not refusal


def refuse(server, request, client_address):
    """Tell the client that its address may not connect. Return True if that is for accept().

    With TLS it cannot be told before the handshake. A PC does that one; a board, for which it
    would cost the place of another client, sends TLS's own alert.
    """
    data = _ALERT
    if server.ssl_context is None:
        refusal = _locked(server, client_address)
        data = b"00000001V1" + message.dumps(refusal, server.max_message)
    elif port.platform not in _PCS:
        request = request.socket  # past TLS, which has not begun
    else:
        return True
    try:
        request.send(data)
    except OSError:
        server._se_count("errors")  # it is gone already
    return False


def _locked(server, client_address):
    return _denied(
        "Connect from %s to %s port %s locked"
        % (client_address[0], server.server_address[0], server.server_address[1])
    )


def _denied(text):
    return (PermissionError if not port.platform else OSError)(13, text)


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
        found = tuple(_names(session, obj))
    elif verb == "ALL":
        return _copy(session, obj, limit)
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


def _attributes(obj):
    # Return a dict of an instance's attributes; None: it is none that could have any.
    if port.platform:
        return getattr(obj, "__dict__", None)
    return port.attributes(obj)


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
        for name in _names(session, obj):
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
