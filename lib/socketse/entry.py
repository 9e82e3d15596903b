"""Who may come in to a RemoteServer, and what the others are told."""

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
