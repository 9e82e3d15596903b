"""Which addresses may connect: the patterns of a server's ``allow``."""

import re

from . import limits


def match(host, patterns):
    """Return True if host, a numeric address, matches one of patterns.

    A pattern is an address, a glob (``192.168.1.*``, ``10.0.0.[12]``, ``*``: all)
    or a network in CIDR notation (``192.168.0.0/16``, RFC 4632).
    Raises ValueError for a pattern that cannot match any address; host "" only checks that.
    An IPv4 address that reaches an IPv6 socket (``::ffff:1.2.3.4``) is matched as IPv4.
    """
    if isinstance(patterns, str):
        raise ValueError("allow is a list of patterns, not the string %r" % patterns)
    host = _plain(host)
    for pattern in patterns:
        matches = _in_network if "/" in pattern else _matches
        if matches(host, _plain(pattern)):
            return True
    return False


def _plain(text):
    text = text.lower().split("%")[0]  # CPython names the interface: fe80::1%eth0
    return text[7:] if text.startswith("::ffff:") and "." in text else text


def _matches(host, pattern):
    expression = "^"
    for c in pattern:
        if c not in "0123456789abcdef.:*?[]!-" or c == "!" and expression[-1] != "[":
            raise ValueError("allow takes numeric addresses and patterns, not %r" % pattern)
        expression += {".": "\\.", "*": ".*", "?": ".", "!": "^"}.get(c, c)
    try:
        if "*" not in pattern and ":" not in pattern and pattern.count(".") != 3:
            raise ValueError
        if "[]" in pattern or "[!]" in pattern or pattern.count("[") != pattern.count("]"):
            raise ValueError
        return re.match(expression + "$", host) is not None
    except Exception:  # CPython's re.error is no ValueError
        raise ValueError("allow: no address matches %r" % pattern)


def _in_network(host, pattern):
    network, bits = pattern.split("/", 1)
    try:
        bits = int(bits)
        wanted = address_bytes(network)
        if not 0 <= bits <= 8 * len(wanted):
            raise ValueError
    except (ValueError, OSError):
        raise ValueError("allow: %r is not a network like 192.168.1.0/24" % pattern)
    if not host or (":" in host) != (":" in network):
        return False
    address = address_bytes(host)
    whole = bits // 8
    if address[:whole] != wanted[:whole]:
        return False
    shift = 8 - bits % 8
    return shift == 8 or address[whole] >> shift == wanted[whole] >> shift


def address_bytes(text):
    """Return the bytes of a numeric address. Raises ValueError or OSError if it is none."""
    if ":" in text and limits.inet_pton:
        return limits.inet_pton(limits.AF_INET6, text)
    packed = bytes([int(part) for part in text.split(".")])
    if len(packed) != 4:
        raise ValueError("not a numeric address: %r" % text)
    return packed
