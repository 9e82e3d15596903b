"""Basic authentication (RFC 7617) for a BaseHTTPRequestHandler with users or check_password."""

from binascii import a2b_base64

from . import guard
from .port import coro


def begin(h, status):
    """Answer a request whose client says who it is; else, or if that is wrong, refuse it.

    Returns what is to be awaited until the answer is done, or None. A password is taken from
    this machine, over TLS, or if the handler's allow_plain is True: others would have sent it
    for everybody to read.
    """
    if not guard.plain_text(h):
        h.send_error(403, None, "Passwords only over TLS")
        return None
    scheme, _, text = h.headers.get("Authorization", "").partition(" ")
    colon = ""
    if scheme.lower() == "basic":
        try:
            user, colon, password = str(a2b_base64(text.strip()), "utf-8").partition(":")
        except ValueError:
            colon = ""
    if not colon:
        h.send_error(401)
        return None
    if h.users is not None:
        right = guard.check(h, h.users, user, password)
    else:
        right = h.check_password(user, password)
    if hasattr(right, "close"):
        return _wait(h, status, right)
    return _answer(h, status, right)


def _answer(h, status, right):
    if right is True:
        return h._se_call(status)
    h.send_error(429 if right is None else 401)  # None: too many failures
    return None


@coro
def _wait(h, status, right):
    try:
        from .httpbody import watch

        right = _answer(h, status, (yield from watch(h, right)))
    except Exception as e:
        h._se_fail(e)
        raise
    if right is not None:
        yield from right
