"""Sockets as MicroPython has them on esp32 and rp2, made of the unix port's.

tests/conftest.py puts this in front of the unix port's own module, and gives the library a
port.py that takes $BOARD for sys.platform: so the boards' half of it runs in the tests. What
differs between the ports is written down here as MicroPython's sources have it.
"""

import io
import os

import usocket as _unix

BOARD = os.getenv("BOARD")
ESP32 = BOARD == "esp32"

AF_INET = 2
AF_INET6 = 10
SOCK_STREAM = 1
SOCK_DGRAM = 2
SOCK_RAW = 3
IPPROTO_TCP = 6
SOL_SOCKET = 1
# rp2 numbers them in its own way: nobody may pass literals.
SO_REUSEADDR = 2 if ESP32 else 4
SO_BROADCAST = 6 if ESP32 else 0x20
TCP_NODELAY = 1 if ESP32 else 0x40
IP_ADD_MEMBERSHIP = 3 if ESP32 else 0x400

_EAGAIN = 11
_ETIMEDOUT = 110

# Ours: (unix level, unix number)
_OPTIONS = {
    SO_REUSEADDR: (_unix.SOL_SOCKET, _unix.SO_REUSEADDR),
    SO_BROADCAST: (_unix.SOL_SOCKET, _unix.SO_BROADCAST),
    TCP_NODELAY: (6, 1),
    IP_ADD_MEMBERSHIP: (0, 35),
}


def getaddrinfo(host, port, *more):
    """Return one entry with a (host, port) tuple."""
    if more and not ESP32:
        raise AssertionError("rp2: getaddrinfo prints a warning when it is told more")
    if host == "":
        raise OSError(-2)
    buf = _unix.getaddrinfo(host, port, 2, 1)[0][-1]
    return [(AF_INET, SOCK_STREAM, 0, "", _unpack(buf))]


def _unpack(buf):
    parts = _unix.sockaddr(buf)
    return _unix.inet_ntop(parts[0], parts[1]), parts[2]


def _pack(address):
    if not isinstance(address, (tuple, list)) or len(address) != 2:
        raise OSError(22, "an address of a board is (host, port)")
    return _unix.getaddrinfo(address[0] or "0.0.0.0", address[1], 2, 1)[0][-1]


class socket(io.IOBase):
    def __init__(self, family=AF_INET, type=SOCK_STREAM, proto=0, native=None):
        self._native = native or _unix.socket(family, type)
        self._dead = False
        self.settimeout(None)

    def ioctl(self, *args):
        return self._native.fileno() if self._native else -1

    def settimeout(self, seconds):
        if not self._native:
            raise OSError(9)
        if ESP32 and seconds and seconds < 0.1:
            seconds = 0  # it waits in steps of 0.1 s
        self._timeout = seconds
        self._native.settimeout(seconds)

    def setblocking(self, flag):
        self.settimeout(None if flag else 0)

    def setsockopt(self, level, number, value):
        if number not in _OPTIONS:
            print("Warning: lwip.setsockopt() option not implemented")
            return
        level, number = _OPTIONS[number]
        self._native.setsockopt(level, number, value)

    def _do(self, name, *args):
        if not self._native:
            raise OSError(9)
        try:
            return getattr(self._native, name)(*args)
        except OSError as e:
            if e.errno == _EAGAIN and self._timeout:
                raise OSError(_ETIMEDOUT)
            raise

    def bind(self, address):
        self._do("bind", _pack(address))

    def connect(self, address):
        self._do("connect", _pack(address))

    def listen(self, backlog=2):
        if backlog < 2 and not ESP32:
            raise AssertionError("rp2: a backlog of 1 loses connections")
        self._do("listen", backlog)

    def accept(self):
        native, buf = self._do("accept")
        accepted = socket(native=native)
        if not ESP32:
            accepted.settimeout(self._timeout)  # rp2: inherited
        return accepted, _unpack(buf)

    def recv(self, n):
        return self._do("recv", n)

    def recvfrom(self, n):
        if self._dead and self._native:
            return b"", ("0.0.0.0", 0)
        data, buf = self._do("recvfrom", n)
        if ESP32 and not data:
            self._dead = True  # taken for the end of a stream; from now on nothing else comes
        return data, _unpack(buf)

    def send(self, data):
        if ESP32 and not len(data):
            raise OSError(_EAGAIN if self._timeout == 0 else _ETIMEDOUT)
        return self._do("send", data)

    def sendall(self, data):
        if ESP32 and not len(data):
            raise OSError(_EAGAIN if self._timeout == 0 else _ETIMEDOUT)
        view = memoryview(data)
        while len(view):
            view = view[self._do("send", view) :]

    def sendto(self, data, address):
        if ESP32 and not len(data):
            raise AssertionError("esp32: sendto of nothing never returns")
        return self._do("sendto", data, _pack(address))

    def read(self, *args):
        return self._do("read", *args)

    def readline(self, *args):
        return self._do("readline", *args)

    def readinto(self, *args):
        return self._do("readinto", *args)

    def write(self, *args):
        return self._do("write", *args)

    def close(self):
        native, self._native = self._native, None
        if native:
            native.close()


if ESP32:  # rp2's have none
    socket.fileno = lambda self: self._native.fileno()
