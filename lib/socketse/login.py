"""The client's half of auth.py: without that, because few programs need both."""

import os
from binascii import hexlify
from errno import EACCES, ECONNRESET

from .port import const
from .scram import LINE, encode, finish, hmac, keys, salted, same, unhex, xor

_LEAST = const(1000)  # iterations for a person's password, or it could be found out from the proof
_MOST = const(1000000)  # or a false server could keep its clients busy for ever


class AuthError(OSError):
    """The other end does not know the secret, or says that we do not; errno is EACCES."""


class Login:
    """A client's part, without input and output: see login().

    secret, user, purpose  as there
    least                  iterations that a server must ask for; None: 1,000, without a user 1
    """

    def __init__(self, secret, user="", purpose=b"", least=None):
        self._secret = encode(secret)
        self._least = least or (_LEAST if user else 1)
        self._text = encode(purpose) + b"\n"
        self._nonce = hexlify(os.urandom(16))
        self._user = hexlify(encode(user)) or b"-"
        self._server_key = b""

    def first(self):
        """Return the first line to be sent."""
        line = b"AUTH 1 " + self._nonce + b" " + self._user + b"\n"
        self._text += line
        return line

    def second(self, line):
        """Return what to send for the server's first line. Raises AuthError if it is none."""
        words = line.split()
        if line[:3] == b"NO " or len(words) != 3 or line[-1:] != b"\n":
            raise _refusal(line)
        nonce = unhex(words[0], 16)
        salt = unhex(words[1], 16)
        try:
            n = int(words[2])
        except ValueError:
            n = 0
        if not nonce or not salt or words[0] == self._nonce:
            raise _refusal(line)
        if not self._least <= n <= _MOST:
            raise AuthError(
                EACCES, "the server asks for %d iterations: %d or more" % (n, self._least)
            )
        self._text += b" ".join(words) + b"\n"
        key = finish(salted(self._secret, salt, n))
        stored, self._server_key = keys(key)
        return hexlify(xor(hmac(key, b"Client Key"), hmac(stored, self._text))) + b"\n"

    def last(self, line):
        """Take the server's last line. Raises AuthError if it does not know the secret."""
        if line[:3] != b"OK ":
            raise _refusal(line)
        signature = unhex(line[3:].strip(), 32) or b""
        if not self._server_key or not same(signature, hmac(self._server_key, self._text)):
            raise AuthError(EACCES, "the server does not know the secret")


def login(rfile, wfile, secret, user="", purpose=b"", least=None):
    """Prove to a server that this client knows the secret, and let it prove the same.

    rfile, wfile  files over the connection: readline(n), write(data), and flush() if need be
    secret, user  str or bytes; user "": the server has one Secret for all
    purpose       bytes on which both ends agree: what the proof is good for
    least         see Login
    Raises AuthError if one of the two does not know it, another OSError if the server is gone.
    """
    p = Login(secret, user, purpose, least)
    # A file has `closed`. The unix port's sockets have none, and a flush() that fails.
    flush = getattr(wfile, "flush", None) if hasattr(wfile, "closed") else None
    data = p.first()
    for take in (p.second, p.last):
        wfile.write(data)
        if flush:
            flush()
        data = take(rfile.readline(LINE))


def _refusal(line):
    # Return the exception for a line that is not what it should be.
    if not line:
        return OSError(ECONNRESET, "the server has closed the connection")
    if line[:3] == b"NO ":
        return AuthError(EACCES, "the server refuses: %r" % line[3:].strip()[:80])
    return AuthError(EACCES, "the server does not do this: it sent %r" % line[:40])
