"""Both ends of a connection prove to each other that they know a secret, before anything else.

Four lines, with the mathematics of SCRAM-SHA-256 (RFC 5802, RFC 7677), all in hexadecimal:

    client: AUTH 1 <its nonce> <user, "-" for none>
    server: <its nonce> <salt> <iterations>
    client: <proof>
    server: OK <signature>      or NO <why>, and the connection is closed

The secret does not travel, nor what would do in its place; proof and signature hold for this
purpose, these two nonces, and one role each. What is sent afterwards is neither hidden nor
protected: who can change what is under way needs TLS to be kept out.
"""

import os
from binascii import hexlify
from errno import ETIMEDOUT

from . import guard, port
from .scram import LINE, encode, finish, hmac, keys, salted, same, sha256, unhex, xor

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

SECONDS = 10  # how long a server waits for each of the two lines


def __getattr__(name):
    # The client's half is in a room of its own.
    if name not in ("login", "Login", "AuthError"):
        raise AttributeError("module 'socketse.auth' has no attribute '%s'" % name)
    from . import login

    return getattr(login, name)


class Secret:
    """A secret that a server shares with all its clients; the user's name is "" then.

    secret      str or bytes, long and random: os.urandom(16) in hexadecimal, say
    iterations  of its hash, for one that is a mere password: it takes as long on both ends
    Raises ValueError for an empty one.
    """

    def __init__(self, secret, iterations=1):
        secret = encode(secret)
        if not secret or iterations < 1:
            raise ValueError("an empty secret is none, and iterations are at least 1")
        salt = os.urandom(16)
        key = finish(salted(secret, salt, iterations))
        self._entry = (iterations, salt) + keys(key)

    def find(self, user):
        """Return (iterations, salt, StoredKey, ServerKey): as Users does."""
        if user:
            return self._entry[:2] + (os.urandom(32), os.urandom(32))
        return self._entry


@port.coro
def accept(h, source, purpose=b""):
    """Let the client of a handler prove that it knows a secret; a coroutine.

    h        an AsyncStreamRequestHandler
    source   a Secret or a Users
    purpose  bytes on which both ends agree
    Returns the user's name, "" with a Secret. None: the client has failed and was told so.
    False: it has not begun as it should, b"AUTH " was not the first that it sent, and it was told
    nothing. Raises OSError or EOFError if the client is gone or silent: nobody need catch them.
    """
    is_async = hasattr(h, "_se_blame")
    timeout = h.timeout
    end = port.ticks_add(port.ticks_ms(), int(SECONDS * 1000))
    data = yield from _line(h, is_async, timeout, end, 5)
    if data != b"AUTH ":
        if not data and is_async:
            raise EOFError("the client is gone")
        guard.count(h)
        return False
    data = yield from _line(h, is_async, timeout, end, LINE)
    words = data.split()
    user = None
    if len(words) == 3 and words[0] == b"1" and unhex(words[1], 16):
        user = b"" if words[2] == b"-" else unhex(words[2], 0)
    if user is None:
        return _refuse(h, "that is no beginning of version 1")
    try:
        n, salt, stored, server_key = source.find(user)
    except ValueError as e:
        n, salt, stored, server_key = guard.damaged(h, e)
    reply = b"%s %s %d\n" % (hexlify(os.urandom(16)), hexlify(salt), n)
    text = encode(purpose) + b"\nAUTH " + b" ".join(words) + b"\n" + reply
    h.wfile.write(reply)
    if not is_async:
        h.wfile.flush()
    end = port.ticks_add(port.ticks_ms(), int(SECONDS * 1000))
    data = yield from _line(h, is_async, timeout, end, LINE)
    proof = unhex(data.strip(), 32)
    key = yield from guard.turn(h)
    if key is None:
        return _refuse(h, "too many failures from your address: later")
    ok = False
    if proof:
        ok = same(sha256(xor(proof, hmac(stored, text))).digest(), stored)
    guard.tell(key, ok)
    if not ok:
        return _refuse(h, "wrong user or secret")
    h.wfile.write(b"OK " + hexlify(hmac(server_key, text)) + b"\n")
    if not is_async:
        h.wfile.flush()
    _set_timeout(h, is_async, timeout)
    return user.decode()


def accept_now(h, source, purpose=b""):
    """Do what accept() does: for plain handlers, such as a StreamRequestHandler.

    Returns None, too, if the client is gone or silent, which is counted.
    """
    try:
        return finish(accept(h, source, purpose))
    except OSError as e:
        guard.count(h, "timed_out" if port.timeout(e) else "errors")
        return None  # no traceback for what any stranger can do


class AuthMixIn:
    """Before a stream handler of any kind: its handle() is called for who knows the secret.

        class Handler(AuthMixIn, AsyncStreamRequestHandler):
            auth = Secret("...")

    auth     a Secret or a Users; purpose as in accept()
    user     the name, while handle() runs
    The others are told NO and counted as refused.
    """

    auth: "Any" = None
    purpose = b""
    user: "Any" = None

    def __init__(self: "Any", request, client_address, server):
        if self.auth is None:
            raise TypeError("%s.auth is None: give it a Secret or a Users" % type(self).__name__)
        if hasattr(self, "_se_blame"):
            from .stream import AsyncStreamRequestHandler

            self.handle = self._se_accept
            AsyncStreamRequestHandler.__init__(self, request, client_address, server)
        else:
            from .server import BaseRequestHandler

            self.handle = self._se_accept_now
            BaseRequestHandler.__init__(self, request, client_address, server)

    @port.coro
    def _se_accept(self: "Any"):
        self.user = yield from accept(self, self.auth, self.purpose)
        if self._se_is_user():
            yield from type(self).handle(self)

    def _se_accept_now(self: "Any"):
        self.user = accept_now(self, self.auth, self.purpose)
        if self._se_is_user():
            type(self).handle(self)

    def _se_is_user(self: "Any"):
        if self.user is False:
            self.wfile.write(b"NO say AUTH first\n")
        return isinstance(self.user, str)


def _refuse(h, why):
    # Tell the client; what it sends from now on is not read.
    h.wfile.write(b"NO " + why.encode() + b"\n")
    if not hasattr(h, "_se_blame"):
        h.wfile.flush()
    guard.count(h)


def _set_timeout(h, is_async, seconds):
    if is_async:
        h.timeout = seconds
    else:
        h.request.settimeout(seconds)


@port.coro
def _line(h, is_async, timeout, end, n):
    # Return the client's next line, or n bytes of it; b"": that is none, or the client is gone.
    # Byte by byte, each in the time that is left until the tick end: a line in many pieces has no
    # longer than in one. Raises OSError when that is over.
    data = b""
    while len(data) < n and data[-1:] != b"\n":
        left = port.ticks_diff(end, port.ticks_ms())
        if left <= 0:
            raise OSError(ETIMEDOUT, "the client takes too long")
        _set_timeout(h, is_async, min(timeout or SECONDS, left / 1000))
        c = h.rfile.read(1)
        if is_async:
            c = yield from c
        if not c:
            return b""
        data += c
    _set_timeout(h, is_async, min(timeout or SECONDS, SECONDS))
    return data if n < LINE or data[-1:] == b"\n" else b""
