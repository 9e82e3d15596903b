"""Socket options by name: ports lack some of the constants, and number them differently."""

import socket
import sys

from . import port
from .allow import address_bytes

# The unix port's missing ones, as its systems number them.
_UNIX = {
    "linux": {"IP_ADD_MEMBERSHIP": 35, "SO_REUSEPORT": 15},
    "darwin": {"IP_ADD_MEMBERSHIP": 12, "SO_REUSEPORT": 0x200},
}.get(port.platform, {})
if _UNIX:
    _UNIX.update({"IPPROTO_TCP": 6, "TCP_NODELAY": 1, "IPPROTO_IP": 0})


def setsockopt(sock, options, tell=True):
    """Set (level, name, value) of options, e.g. ("SOL_SOCKET", "SO_KEEPALIVE", 1).

    Returns True. If this port lacks one of them, says so on stderr unless tell is False,
    and returns False at the end. Raises OSError as setsockopt does.
    """
    done = True
    for level, name, value in options:
        number = getattr(socket, name, _UNIX.get(name))
        if number is not None:
            # Boards ignore the level and have no constant for some.
            sock.setsockopt(getattr(socket, level, _UNIX.get(level, 0)), number, value)
        else:
            done = False
            if tell:
                print("socketse: this port has no socket option", name, file=sys.stderr)
    return done


def join_group(sock, group):
    """Let a datagram socket receive what is sent to a multicast group.

    group  an address, "224.0.0.251" or, on CPython, "ff02::fb"
    Raises OSError if the port has no multicast, ValueError if group is no address.
    """
    value = address_bytes(group) + b"\0\0\0\0"  # on any interface
    option = ("IPPROTO_IP", "IP_ADD_MEMBERSHIP", value)
    if ":" in group:
        option = ("IPPROTO_IPV6", "IPV6_JOIN_GROUP", value)
    if not setsockopt(sock, (option,), False):
        raise OSError("this port cannot join the multicast group " + group)
