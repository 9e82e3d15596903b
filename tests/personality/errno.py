"""errno as on a board: esp32 has newlib's numbers (fact 14), rp2 those of Linux."""

import uerrno
from personality import ESP32

# Linux's number: newlib's. What is not here agrees.
_NEWLIB = {
    98: 112,  # EADDRINUSE
    99: 125,  # EADDRNOTAVAIL, which has no name
    101: 114,  # ENETUNREACH, which has none either
    103: 113,  # ECONNABORTED
    106: 127,  # EISCONN, nor has this
    107: 128,  # ENOTCONN
    110: 116,  # ETIMEDOUT
    113: 118,  # EHOSTUNREACH
    114: 120,  # EALREADY
    115: 119,  # EINPROGRESS
}

errorcode = {}


def number(linux):
    """Return what a number of Linux's is on this board."""
    return _NEWLIB.get(linux, linux) if ESP32 else linux


for _name in dir(uerrno):
    if _name[0] == "E":
        _n = number(getattr(uerrno, _name))
        globals()[_name] = _n
        errorcode[_n] = _name
