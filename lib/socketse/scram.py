"""The mathematics of SCRAM-SHA-256 (RFC 5802, RFC 7677), out of hashlib.sha256 alone.

Boards have neither hmac nor hashlib.pbkdf2_hmac; on CPython host.py uses those, with the same
results. Hashing a password takes long on purpose: it is done in slices.
"""

from binascii import unhexlify
from hashlib import sha256

from . import port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_TURN = const(0)  # as in stream.py
_SLICE_MS = const(4)  # how long the others wait for a slice
_LOOK = const(8)  # rounds between two looks at the clock


LINE = 256  # bytes of a line of auth.py's, more than any needs


def encode(text):
    """Return text, a str or bytes of UTF-8, as bytes."""
    return text.encode() if isinstance(text, str) else bytes(text)


def _pads(key):
    # Return HMAC's two pads (RFC 2104), each with room for a digest behind it.
    if len(key) > 64:
        key = sha256(key).digest()
    inner = bytearray(b"\x36" * 96)
    outer = bytearray(b"\x5c" * 96)
    for i in range(len(key)):
        inner[i] ^= key[i]
        outer[i] ^= key[i]
    return inner, outer


def hmac(key, data):
    """Return HMAC-SHA256 of data: 32 bytes."""
    inner, outer = _pads(key)
    h = sha256(memoryview(inner)[:64])
    h.update(data)
    outer[64:] = h.digest()
    return sha256(outer).digest()


def same(a, b):
    """Return whether a and b, bytes, are equal; how long that takes tells only their lengths."""
    different = len(a) ^ len(b)
    for x, y in zip(a, b):
        different |= x ^ y
    return not different


@port.coro
def salted(password, salt, n, h=None):
    """Return PBKDF2-HMAC-SHA256 (RFC 8018) of password, bytes: 32 bytes. A coroutine.

    n  iterations
    h  the AsyncStreamRequestHandler for which others get their turn; None: in one go
    """
    if not port.platform:
        return (yield from port.pbkdf2_hmac(password, salt, n, h))
    inner, outer = _pads(password)
    number: Any = int
    outer[64:] = sha256(bytes(memoryview(inner)[:64]) + salt + b"\0\0\0\1").digest()
    key = sha256(outer).digest()
    total = number.from_bytes(key, "big")
    since: Any = port.ticks_ms()
    while n > 1:
        for _ in range(min(_LOOK, n - 1)):
            inner[64:] = key
            outer[64:] = sha256(inner).digest()
            key = sha256(outer).digest()
            total ^= number.from_bytes(key, "big")
        n -= _LOOK
        if h and port.ticks_diff(port.ticks_ms(), since) >= _SLICE_MS:
            yield _TURN
            since = port.ticks_ms()
            if h._se_since is not None:
                h._se_since = since | 1  # it is at work: not the one to be evicted
    return total.to_bytes(32, "big")


def finish(co):
    """Run a coroutine that waits for nobody to its end, and return what it returns."""
    try:
        while True:
            co.send(None)
    except StopIteration as e:
        return e.value


def keys(key):
    """Return (StoredKey, ServerKey) of a salted password."""
    return sha256(hmac(key, b"Client Key")).digest(), hmac(key, b"Server Key")


def unhex(text, n):
    """Return n bytes, 0: up to 64, from hexadecimal text; None if it stands for something else."""
    if len(text) != 2 * n and (n or len(text) > 128):
        return None
    try:
        return unhexlify(text)
    except ValueError:
        return None


def xor(a, b):
    """Return a xor b, of which the shorter one counts."""
    return bytes([x ^ y for x, y in zip(a, b)])
