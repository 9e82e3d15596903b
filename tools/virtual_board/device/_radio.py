"""What is between a virtual board's sockets and the host's network: addresses, limits, Wi-Fi."""

import _host
import usocket as _unix
from _host import KIND, files
from micropython import const
from uctypes import addressof
from ustruct import pack

_EHOSTUNREACH = const(113)
_TCP, _LISTENING, _UDP = 1, 2, 3
# How many of each there may be, of all together, and what the next one raises.
if KIND == "rp2":  # lwipopts_common.h and lwIP's own numbers of PCBs, less what DHCP and DNS take
    _MOST, _ALL, _ERROR = {_TCP: 5, _LISTENING: 8, _UDP: 2}, 99, 12
elif KIND == "esp32":  # CONFIG_LWIP_MAX_SOCKETS
    _MOST, _ALL, _ERROR = {}, 10, 23
else:
    _MOST, _ALL, _ERROR = {_TCP: 5, _UDP: 4}, 99, 12

_probe = _unix.socket(2, 1)
_first = _probe.fileno()  # the system gives the lowest that is free: ours are this and the next
_probe.close()
_kinds = bytearray(64)  # by number of the socket, from _first on; 0: it is closed

# A filter that drops all that comes in, and the source route that nobody forwards.
_nothing = pack("<HBBI", 6, 0, 0, 0)
_deaf = pack("@HP", 1, addressof(_nothing))
_dumb = b"\x83\x07\x04\x7f\x00\x00\x01\x00"

_own = bytes(int(part) for part in _host.ADDRESS.split("."))
_gateway = _own[:2] + bytes((_own[2] ^ 1, _own[3]))
gateway = _unix.inet_ntop(2, _gateway)
any_port = pack("<H", 2) + b"\0\0" + _own + bytes(8)


def limit(native, accepted, type):
    """See to it that a new socket is not one too many, and silent if the network is.

    Raises OSError as the port does.
    """
    at = native.fileno() - _first
    kind = _UDP if type == 2 else _TCP
    _kinds[at] = kind
    if at >= _ALL or _count(kind) > _MOST.get(kind, 99):
        _kinds[at] = 0
        raise OSError(_ERROR)
    if not accepted and not _host.get(_host.LINK):
        native.setsockopt(1, 26, _deaf)  # SO_ATTACH_FILTER
        native.setsockopt(0, 4, _dumb)  # IP_OPTIONS


def _count(kind):
    most = _MOST.get(kind, 99)
    found = 0
    for k in _kinds:
        if k == kind:
            found += 1
    if found > most:
        # Those that were forgotten, and whose guard has closed them.
        found = 0
        for at, k in enumerate(_kinds):
            if k == kind:
                try:
                    files.stat("/proc/self/fd/%d" % (at + _first))
                    found += 1
                except OSError:
                    _kinds[at] = 0
    return found


def listens(native):
    """Note that a socket listens; raises OSError if it is one too many."""
    at = native.fileno() - _first
    _kinds[at] = _LISTENING
    if _count(_LISTENING) > _MOST.get(_LISTENING, 99):
        raise OSError(_ERROR)


def closed(number):
    """Note that a socket is closed."""
    _kinds[number - _first] = 0


def resolves(host):
    """Return whether a host's address is known without asking anybody."""
    return host == "localhost" or host.replace(".", "").isdigit()


def own_address(packed):
    """Return where a socket is bound that a board binds to this."""
    if bytes(packed[4:8]) not in (b"\0\0\0\0", _own):
        raise OSError(99)  # EADDRNOTAVAIL
    port = (packed[2] << 8 | packed[3]) + _host.PORT_OFFSET
    if port > 65535:
        raise OSError(22)
    return any_port[:2] + bytes((port >> 8, port & 255)) + any_port[4:]


def reach(packed):
    """Return an address of loopback for one that a board sends to; broadcast is loopback's, too.

    Raises OSError(EHOSTUNREACH) for all others and without a network.
    """
    if _host.get(_host.LINK):
        first = packed[4]
        # The gateway's ports, too, are higher than the board believes.
        if packed[6] == _gateway[2] and bytes(packed[4:8]) == _gateway:
            port = (packed[2] << 8 | packed[3]) + _host.PORT_OFFSET
            return bytes(packed[:2]) + bytes((port >> 8, port & 255)) + bytes(packed[4:])
        if first == 127 or 224 <= first < 240:
            return packed
        if first == 255:
            return bytes(packed[:4]) + b"\x7f\xff\xff\xff" + bytes(8)
    raise OSError(_EHOSTUNREACH)


def sender(peer):
    """Return the gateway's (host, port) as the board knows it."""
    return (gateway, peer[1] - _host.PORT_OFFSET)


def bound(port):
    """Let broadcasts to a port reach the board."""
    _host.tell("udp %d" % port)


def join(value):
    """Let what is sent to a multicast group reach the board."""
    _host.tell("group " + _unix.inet_ntop(2, value[:4]))
