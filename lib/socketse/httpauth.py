"""Basic authentication (RFC 7617) for a BaseHTTPRequestHandler that has check_password."""

from binascii import a2b_base64


def refuse(h):
    """Return False for who may come in; else answer and return True.

    A password is taken from this machine, over TLS, or if the handler's
    plain_passwords is True: others would have sent it for everybody to read.
    """
    host = h.client_address[0]
    safe = host[:4] == "127." or host == "::1" or h.plain_passwords
    if not safe and getattr(h.server, "ssl_context", None) is None:
        h.send_error(403, None, "Passwords only over TLS")
        return True
    scheme, _, text = h.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, colon, password = str(a2b_base64(text.strip()), "utf-8").partition(":")
        except ValueError:
            colon = ""
        if colon and h.check_password(user, password) is True:
            return False
    h.send_error(401)
    return True
