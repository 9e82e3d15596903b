"""Sockets as MicroPython has them on esp32 and rp2, made of the unix port's.

$BOARD is the board's sys.platform. What differs between the ports is written down here as
MicroPython's sources have it. Two use it:

tests/conftest.py puts this in front of the unix port's own module, and gives the library a
port.py that takes $BOARD for sys.platform: so the boards' half of it runs in the tests.

On a virtual board there is $BOARD_ADDRESS besides, an address of loopback of its own. What it
binds gets that address and a port $BOARD_PORT_OFFSET higher; it reaches loopback only; sockets
are as few as on a board; and without Wi-Fi they are deaf and dumb.
"""

import io

import usocket as _unix
from micropython import const
from uos import getenv as _getenv

BOARD = _getenv("BOARD")
ESP32 = BOARD != "rp2"  # esp8266: lwIP's numbers and ways are near enough
_ADDRESS = _getenv("BOARD_ADDRESS")
_OFFSET = int(_getenv("BOARD_PORT_OFFSET") or 0)

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

_EAGAIN = const(11)
_ETIMEDOUT = const(110)
_EHOSTUNREACH = const(113)

# Ours: (unix level, unix number)
_OPTIONS = {
    SO_REUSEADDR: (_unix.SOL_SOCKET, _unix.SO_REUSEADDR),
    SO_BROADCAST: (_unix.SOL_SOCKET, _unix.SO_BROADCAST),
    TCP_NODELAY: (6, 1),
    IP_ADD_MEMBERSHIP: (0, 35),
}

if _ADDRESS:
    import _radio
else:
    _radio = None


def getaddrinfo(host, port, *more):
    """Return one entry with a (host, port) tuple."""
    if more and not ESP32:
        raise AssertionError("rp2: getaddrinfo prints a warning when it is told more")
    if host == "" or (_radio and not _radio.resolves(host)):
        raise OSError(-2)
    buf = _unix.getaddrinfo(host, port, 2, 1)[0][-1]
    return [(AF_INET, SOCK_STREAM, 0, "", _unpack(buf))]


def _unpack(buf):
    return _unix.inet_ntop(2, buf[4:8]), buf[2] << 8 | buf[3]


def _pack(address):
    if not isinstance(address, (tuple, list)) or len(address) != 2:
        raise OSError(22, "an address of a board is (host, port)")
    host = address[0] or "0.0.0.0"
    if _radio and not _radio.resolves(host):
        raise OSError(-2)
    return _unix.getaddrinfo(host, address[1], 2, 1)[0][-1]


class socket(io.IOBase):
    _type = SOCK_STREAM
    _port = None  # bound to, our number; 0: to any
    _dead = False
    # recvfrom's last address, and the same as the unix port has it: most are answered, perhaps by
    # a thread.
    _heard_of = None, None

    def __init__(self, family=AF_INET, type=SOCK_STREAM, proto=0, native=None):
        # The guard's finaliser closes the socket if everybody forgets it, as on boards.
        self._native = native or _unix.socket(family, type)
        self._guard = open(self._native.fileno(), "r+b")
        if type != SOCK_STREAM:
            self._type = type
        if _radio:
            try:
                _radio.limit(self._native, native, type)
            except OSError:
                self._guard.close()
                raise
        self.settimeout(None)

    def ioctl(self, *args):
        return self._native.fileno() if self._native else -1

    def _open(self):
        if not self._native:
            raise OSError(9)
        return self._native

    def _failed(self, e):
        # What the unix port calls EAGAIN when a time ran out is ETIMEDOUT on boards.
        if e.errno == _EAGAIN and self._timeout:
            return OSError(_ETIMEDOUT)
        return e

    def settimeout(self, seconds):
        native = self._open()
        if ESP32 and seconds and seconds < 0.1:
            seconds = 0  # it waits in steps of 0.1 s
        self._timeout = seconds
        native.settimeout(seconds)

    def setblocking(self, flag):
        self.settimeout(None if flag else 0)

    def setsockopt(self, level, number, value):
        native = self._open()
        if number not in _OPTIONS:
            print("Warning: lwip.setsockopt() option not implemented")
            return
        if _radio and number == IP_ADD_MEMBERSHIP:
            _radio.join(value)  # the host half listens to the group and passes on what comes
            return
        level, number = _OPTIONS[number]
        native.setsockopt(level, number, value)

    def bind(self, address):
        native = self._open()
        if _radio:
            if self._type == SOCK_STREAM:
                # A board that was reset does not remember its connections; the host does.
                native.setsockopt(_unix.SOL_SOCKET, _unix.SO_REUSEADDR, 1)
            native.bind(_radio.own_address(_pack(address)))
            self._port = address[1]
            if self._type == SOCK_DGRAM:
                _radio.bound(address[1])
        else:
            native.bind(_pack(address))

    def connect(self, address):
        native = self._open()
        packed = _pack(address)
        if _radio:
            packed = self._outward(packed)
        try:
            native.connect(packed)
        except OSError as e:
            raise self._failed(e)

    def _outward(self, packed):
        # Returns where something goes that is to go there; from an address of ours.
        packed = _radio.reach(packed)
        if self._port is None:
            self._native.bind(_radio.any_port)
            self._port = 0
        return packed

    def listen(self, backlog=2):
        if backlog < 2 and not ESP32:
            raise AssertionError("rp2: a backlog of 1 loses connections")
        self._open().listen(backlog)
        if _radio:
            _radio.listens(self._native)

    def accept(self):
        try:
            native, buf = self._open().accept()
        except OSError as e:
            raise self._failed(e)
        accepted = socket(AF_INET, SOCK_STREAM, 0, native)
        if not ESP32:
            accepted.settimeout(self._timeout)  # rp2: inherited
        return accepted, _unpack(buf)

    def recv(self, n, flags=0):
        try:
            return self._open().recv(n, flags)
        except OSError as e:
            raise self._failed(e)

    def recvfrom(self, n, flags=0):
        if self._dead and self._native:
            return b"", ("0.0.0.0", 0)
        try:
            data, buf = self._open().recvfrom(n, flags)
        except OSError as e:
            raise self._failed(e)
        if ESP32 and not data:
            self._dead = True  # taken for the end of a stream; from now on nothing else comes
        if buf != self._heard_of[1]:
            self._heard(buf)
        return data, self._heard_of[0]

    def _heard(self, buf):
        peer = _unpack(buf)
        if _radio and peer[0] == _radio.gateway:
            buf = None
            peer = _radio.sender(peer)
        self._heard_of = peer, buf

    def send(self, data):
        if ESP32 and not len(data):
            raise OSError(_EAGAIN if self._timeout == 0 else _ETIMEDOUT)
        try:
            return self._open().send(data)
        except OSError as e:
            raise self._failed(e)

    def sendall(self, data):
        if ESP32 and not len(data):
            raise OSError(_EAGAIN if self._timeout == 0 else _ETIMEDOUT)
        view = memoryview(data)
        while len(view):
            view = view[self.send(view) :]

    def sendto(self, data, address):
        if ESP32 and not len(data):
            raise AssertionError("esp32: sendto of nothing never returns")
        native = self._open()
        known, packed = self._heard_of
        if address is not known or not packed:
            if _radio and address[0].count(".") != 3:
                raise ValueError("invalid arguments")  # boards resolve nothing here
            packed = _pack(address)
        if _radio:
            packed = self._outward(packed)
        try:
            return native.sendto(data, packed)
        except OSError as e:
            raise self._failed(e)

    def read(self, *args):
        return self._open().read(*args)

    def readline(self, *args):
        return self._open().readline(*args)

    def readinto(self, *args):
        return self._open().readinto(*args)

    def write(self, *args):
        return self._open().write(*args)

    def makefile(self, *args):
        return self

    def close(self):
        guard, self._guard = self._guard, None
        self._native = None
        if guard:
            if _radio:
                _radio.closed(guard.fileno())
            guard.close()


if ESP32:  # rp2's have none
    socket.fileno = lambda self: self._native.fileno()
