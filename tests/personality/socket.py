"""Sockets as on a board, with all that sets lwIP apart from a system with much memory.

What a virtual board has too, addresses and options, is from tools/virtual_board/device/socket.py,
which stands beside this file as device_socket.py when the tests run.

A connection that a test makes itself, from or to its own process, stands for another machine:
it takes none of the board's sockets.
"""

from _thread import allocate_lock as _allocate_lock
from errno import number as _number
from gc import collect as _collect

import cores
import device_socket
import ffi
import personality
import uselect as _select
import usocket as _unix
from device_socket import (  # noqa: F401
    AF_INET,
    AF_INET6,
    IP_ADD_MEMBERSHIP,
    IPPROTO_TCP,
    SO_BROADCAST,
    SO_REUSEADDR,
    SOCK_DGRAM,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
    _pack,
    _unpack,
    getaddrinfo,
)
from micropython import const
from personality import ESP32, RP2, forbid, trip
from uos import stat as _stat
from ustruct import pack as _pack_struct
from ustruct import unpack as _unpack_struct
from utime import sleep_ms as _sleep_ms
from utime import ticks_add, ticks_diff, ticks_ms

_EAGAIN = const(11)
_ENOMEM = const(12)
_ENFILE = const(23)
_ENOBUFS = const(105)
_EADDRINUSE = const(98)  # as Linux numbers it
_ECONNABORTED = const(103)
_ETIMEDOUT = const(110)
_DONTWAIT = const(0x40)
_FIONREAD = const(0x541B)
_SIOCOUTQ = const(0x5411)

_IN = const(1)
_OUT = const(4)
_ERR = const(8)
_HUP = const(16)
_NVAL = const(32)

# What a socket counts as.
_TCP, _LISTENING, _UDP = 1, 2, 3
# Facts 10, 11 and 63: what lwIP has memory for, and sockets in all.
_MOST = {_TCP: 12, _LISTENING: 16, _UDP: 16} if ESP32 else {_TCP: 5, _LISTENING: 8, _UDP: 2}
_SOCKETS = 10 if ESP32 else 99
_SEND_BUFFER = 5744 if ESP32 else 6400  # bytes of one connection on their way out (fact 25)
_MAILBOX = 6  # esp32: connections that wait to be accepted, whatever the backlog (fact 19)
_DATAGRAMS = 6 if ESP32 else 4  # that wait for one socket (fact 27)

_ioctl = ffi.open(None).func("i", "ioctl", "iip")
_number_of = bytearray(4)

# Held while one of the following is changed: the host has no GIL, and esp32 has one.
_guard = _allocate_lock()
_open = {}  # by descriptor: what it counts as
_reusing = {}  # by descriptor: the port that it would share
_queued = []  # listeners at which somebody waits
_closing = []  # (when it was closed, how /proc/net/tcp calls it) of connections
_next_look = ticks_ms()  # when that is looked at again


def _ask(fd, what):
    # Return how many bytes wait in a socket, to be read or to be sent.
    return _unpack_struct("<i", _number_of)[0] if _ioctl(fd, what, _number_of) == 0 else 0


def _exists(fd):
    try:
        _stat("/proc/self/fd/%d" % fd)
        return True
    except OSError:
        return False


def _counts_as(fd, kind):
    # Say what a descriptor counts as from now on, None: nothing, and return what it was.
    with _guard:
        old = _open.pop(fd, None)
        if kind:
            _open[fd] = kind
    return old


def _all_of(kind):
    # Return the descriptors of a kind, None: of all.
    with _guard:
        return [fd for fd in _open if kind is None or _open[fd] == kind]


def _count(kind):
    # How many there are of a kind, None: of all.
    n = len(_all_of(kind))
    if kind == _TCP:
        n += len(_closing)
        for listener in _queued:
            n += len(listener._queue)
    return n


def _is_full(kind, at_once=False):
    # Whether there can be no more of a kind (None: no more sockets). at_once: what was closed
    # a moment ago is seen too; who asks again and again sees it soon.
    most = _SOCKETS if kind is None else _MOST[kind]
    if _count(kind) < most:
        return False
    for fd in _all_of(None):
        if not _exists(fd):  # it was forgotten, and its finaliser has closed it
            _counts_as(fd, None)
    if kind == _TCP and _closing:
        _forget_closed(at_once)
    return _count(kind) >= most


def _forget_closed(at_once):
    # Fact 12: who was closed first keeps its place until its client closes, too; what is
    # in TIME-WAIT is given up when it is in the way.
    global _next_look
    now = ticks_ms()
    with _guard:
        _closing[:] = [e for e in _closing if ticks_diff(now, e[0]) < personality.abort_ms]
        left = list(_closing)
    if not left or ticks_diff(_next_look, now) > 0 and not at_once:
        return
    looked = list(left)
    there = []  # those whose client has not closed yet
    with open("/proc/net/tcp", "rb") as table:  # line by line it would be read byte by byte
        text = b""
        while left:
            more = table.read(16384)
            if not more:
                break
            text = text[-40:] + more
            for entry in list(left):
                at = text.find(entry[1])
                if 0 <= at < len(text) - 40:
                    left.remove(entry)
                    if text[at + 20 : at + 22] in (b"04", b"05"):  # FIN-WAIT-1 and 2
                        there.append(entry)
    with _guard:
        _closing[:] = [e for e in _closing if e in there or e not in looked]
    _next_look = ticks_add(ticks_ms(), 50)  # after it: with many connections it takes long


def forget():
    """Forget the connections that were closed, as time does: for tests that look at the heap."""
    with _guard:
        _closing.clear()


def _abort(native):
    # Close with a reset.
    native.setsockopt(_unix.SOL_SOCKET, _unix.SO_LINGER, _pack_struct("ii", 1, 0))
    native.close()


def _is_listener(port):
    # Whether a socket that would share it listens at a port.
    for fd in _reusing:
        if _reusing[fd] == port and _open.get(fd) == _LISTENING:
            return True
    return False


def _is_reset(native):
    poller = _select.poll()
    poller.register(native.fileno(), 0)
    return bool(poller.poll(0))


def _on_second_core(what):
    if RP2 and cores.second_core is not None and cores.second_core == cores.get_ident():
        forbid("rp2: %s is not for the second core (fact 35)" % what)


class socket(device_socket.socket):
    _kind = _TCP
    _queue = None  # of a listener: (native socket, address); of UDP: (data, address)
    _backlog = 0
    _bound = ""  # the port, as /proc/net/tcp has it
    _remote = ""
    _fresh = True  # neither bound, connected nor accepted
    _reuse = False  # SO_REUSEADDR is set
    _late = None  # the address of another listener, which bind has let pass
    _ended = False  # the end was read
    _eof = False  # the same on esp32, which reports it once (fact 22)
    _reset = False
    _watch = None
    _ms = -1  # how long it may wait; 0: not at all, -1: for ever
    _error = _EAGAIN  # what it raises then

    def __init__(self, family=AF_INET, type=SOCK_STREAM, proto=0, native=None):
        if native is None:
            trip("socket")
            _on_second_core("socket()")
            if type == SOCK_DGRAM:
                self._kind = _UDP
                self._queue = []
            if not personality.idf_heap:
                raise OSError(_ENOBUFS)  # fact 15
            if _is_full(None):
                _collect()  # esp32 does so once, rp2 does not (fact 68)
                if _is_full(None):
                    raise OSError(_ENFILE)
            if _is_full(self._kind, True):
                raise OSError(_ENOBUFS if ESP32 else _ENOMEM)
        else:
            self._fresh = False
        device_socket.socket.__init__(self, family, type, proto, native)
        self._native.settimeout(None)
        _counts_as(self._native.fileno(), self._kind)

    # What C asks, a poller or TLS over this socket.

    def ioctl(self, request, flags):
        if request == 3:
            return self._look(flags)
        if request == 4:
            self.close()
            return 0
        return -22  # no descriptor: so a poller asks by the above, each millisecond

    def _look(self, flags):
        # Return which events there are. Fact 23.
        native = self._native
        if not native:
            return _NVAL
        if self._queue is not None:
            self._fill()
            if self._kind == _LISTENING:
                return flags & _IN if self._queue else 0
            return flags & (_OUT | _IN if self._queue or self._dead and ESP32 else _OUT)
        if self._fresh:
            return flags & _OUT | _HUP
        found = self._native_events()
        events = found & (_IN | _OUT)
        if self._eof:
            events &= _OUT
        if found & (_ERR | _HUP) and not self._eof:
            if ESP32:
                events |= _IN | (flags & _HUP)
            elif self._reset:
                return _HUP
            else:
                return flags & (_IN | _OUT) | _ERR | _HUP
        elif events & _OUT and _ask(native.fileno(), _SIOCOUTQ) >= _SEND_BUFFER:
            events &= ~_OUT
        return events & flags

    def _native_events(self):
        if self._watch is None:
            self._watch = _select.poll()
            self._watch.register(self._native.fileno(), _IN | _OUT)
        for _, event in self._watch.ipoll(0):
            return event
        return 0

    # Waiting.

    def settimeout(self, seconds):
        self._open()
        self._timeout = seconds
        self._error = _EAGAIN
        if seconds is None:
            self._ms = -1
        elif not ESP32:
            self._ms = int(seconds * 1000)
        else:
            # Steps of 100 ms, and one more; with none of them it is not called a timeout. Fact 16.
            steps = int(seconds * 1000) // 100
            self._ms = steps * 100 + 100 if seconds else 0
            if not steps:
                return
        if self._ms:
            self._error = _number(_ETIMEDOUT)

    def _pause(self, end):
        # Wait a little; return when the time will be up, and raise if it is.
        if self._ms == 0:
            raise OSError(_EAGAIN)
        if self._ms > 0:
            if not end:
                end = ticks_add(ticks_ms(), self._ms)
            elif ticks_diff(end, ticks_ms()) <= 0:
                raise OSError(self._error)
        _sleep_ms(2)
        return end or False

    def _open(self):
        if not self._native:
            raise OSError(9)
        return self._native

    def _failed(self, e):
        return OSError(_number(e.errno)) if isinstance(e.errno, int) else e

    # Connections.

    def setsockopt(self, level, number, value):
        device_socket.socket.setsockopt(self, level, number, value)
        if number == SO_REUSEADDR:
            self._reuse = bool(value)

    def bind(self, address):
        trip("bind")
        _on_second_core("bind()")
        if RP2 and not address[0][-1:].isdigit():
            # Fact 62; "" would be IPv6 too, which is not played.
            raise ValueError("invalid arguments")
        try:
            device_socket.socket.bind(self, address)
        except OSError as e:
            if e.errno != _EADDRINUSE or not self._reuse or not _is_listener(address[1]):
                raise self._failed(e)
            self._late = address  # listen() is told (fact 61)
        self._bound = ":%04X " % address[1]
        if self._reuse and self._kind == _TCP:
            _reusing[self._native.fileno()] = address[1]

    def connect(self, address):
        trip("connect")
        native = self._open()
        _counts_as(native.fileno(), None)
        native.settimeout(self._timeout)
        try:
            native.connect(_pack(address))
        except OSError as e:
            e = self._failed(e)
            raise OSError(_number(_ETIMEDOUT)) if e.errno == _EAGAIN else e
        finally:
            native.settimeout(None)
        self._fresh = False

    def listen(self, backlog=2):
        trip("listen")
        _on_second_core("listen()")
        if backlog < 2 and not ESP32:
            forbid("rp2: with a backlog of 1 closing loses a connection (fact 18)")
        native = self._open()
        try:
            if self._late:
                device_socket.socket.bind(self, self._late)
            native.listen(50)
        except OSError as e:
            raise self._failed(e)
        native.settimeout(0)
        if _is_full(_LISTENING):
            raise OSError(_ENOMEM)
        self._kind = _LISTENING
        _counts_as(native.fileno(), self._kind)
        self._queue = []
        self._backlog = backlog

    def _fill(self):
        # Do what lwIP has done by itself meanwhile.
        if RP2 and self._kind == _LISTENING and self._queue:
            # Who was reset while it waited is gone (fact 17).
            self._queue = [entry for entry in self._queue if not _is_reset(entry[0])]
        while self._kind == _UDP:
            if not self._native_events() & _IN:
                return
            try:
                data, buf = self._native.recvfrom(1500, _DONTWAIT)
            except OSError:
                return
            if len(self._queue) < _DATAGRAMS:
                self._queue.append((data, bytes(buf)))
        waiting = self._queue
        while True:
            if (
                ESP32
                and len(waiting) >= min(self._backlog, _MAILBOX)
                and self._backlog <= _MAILBOX
            ):
                return  # silence (fact 19)
            if not self._native_events() & _IN:
                return
            if _is_full(_TCP):
                return  # silence: no memory for one more connection (fact 11)
            try:
                native, buf = self._native.accept()
            except OSError:
                return
            if len(waiting) >= (_MAILBOX if ESP32 else self._backlog):
                _abort(native)  # it was connected, and is reset (fact 18)
            else:
                waiting.append((native, bytes(buf)))
                if self not in _queued:
                    _queued.append(self)

    def accept(self):
        trip("accept")
        _on_second_core("accept()")
        end = None
        if RP2:
            _sleep_ms(1)  # it always waits a little (fact 17)
        self._fill()
        while not self._queue:
            if self._ms and not self._native and RP2:
                forbid("rp2: accept never ends when another thread closes the socket (fact 38)")
            end = self._pause(end)
            self._open()
            self._fill()
        native, buf = self._queue.pop(0)
        try:
            if not personality.idf_heap:
                raise OSError(_number(_ECONNABORTED))  # fact 15
            if _is_full(None):
                raise OSError(_ENFILE)  # and the connection is lost (fact 10)
        except OSError:
            native.close()
            raise
        try:
            trip("accepted")
        except MemoryError:
            _counts_as(native.fileno(), _TCP)  # nobody has it, and nobody can close it (fact 13)
            raise
        accepted = socket(AF_INET, SOCK_STREAM, 0, native)
        accepted._bound = self._bound
        host = buf[4:8]
        accepted._remote = "%02X%02X%02X%02X:%02X%02X " % (
            host[3],
            host[2],
            host[1],
            host[0],
            buf[2],
            buf[3],
        )
        if RP2:
            accepted.settimeout(self._timeout)  # inherited (fact 4)
        return accepted, _unpack(buf)

    # Bytes in.

    def recv(self, n, flags=0):
        trip("recv")
        end = None
        while True:
            native = self._open()
            if self._eof and ESP32:
                return b""
            try:
                if end is None or self._native_events() & ~_OUT:
                    data = native.recv(n, flags | _DONTWAIT)
                    if not data and n:
                        self._ended = True
                        self._eof = ESP32
                    return data
            except OSError as e:
                if e.errno != _EAGAIN:
                    self._reset = True
                    raise self._failed(e)
            end = self._pause(end)

    def recvfrom(self, n, flags=0):
        trip("recvfrom")
        end = None
        while True:
            self._open()
            if self._dead:
                return b"", ("0.0.0.0", 0)
            bytearray(n)  # it allocates beforehand (fact 46)
            self._fill()
            if self._queue:
                break
            end = self._pause(end)
        data, buf = self._queue.pop(0)
        if ESP32 and not data:
            self._dead = True  # taken for the end of a stream (fact 28)
        if buf != self._heard_of[1]:
            self._heard(buf)
        return data[:n], self._heard_of[0]

    def _gives_up(self, e, some):
        # Of a stream's methods: nothing there is None, another error loses what came. Fact 7.
        if e.errno != _EAGAIN:
            raise e
        return some or None

    def read(self, n=-1):
        found = b""
        while n < 0 or len(found) < n:
            try:
                data = self.recv(256 if n < 0 else n - len(found))
            except OSError as e:
                return self._gives_up(e, found)
            if not data:
                break
            found += data
        return found

    def readinto(self, buf, n=-1):
        if n < 0:
            n = len(buf)
        done = 0
        while done < n:
            try:
                data = self.recv(n - done)
            except OSError as e:
                return self._gives_up(e, done)
            if not data:
                break
            buf[done : done + len(data)] = data
            done += len(data)
        return done

    def readline(self, n=-1):
        found = b""
        while len(found) != n and found[-1:] != b"\n":
            try:
                data = self.recv(1)
            except OSError as e:
                return self._gives_up(e, found)
            if not data:
                break
            found += data
        return found

    # Bytes out.

    def _put(self, data):
        # Send what there is room for, and return how much that is; 0: there is none.
        native = self._open()
        if not personality.idf_heap:
            raise OSError(_ENOMEM)  # fact 15
        fd = native.fileno()
        room = _SEND_BUFFER - _ask(fd, _SIOCOUTQ)
        if room <= 0:
            if not self._native_events() & (_ERR | _HUP):
                return 0
            room = len(data)  # nobody is there any more: that is to be told
        if RP2 and personality.lwip_heap:
            tries = personality.stall_ms // 50
            while self._lwip_is_full(min(len(data), room)):
                tries -= 1
                personality.stalled += 1
                if not tries:
                    raise OSError(_ENOMEM)
                _sleep_ms(50)  # even if it is not to wait (fact 26)
        try:
            return native.send(data if len(data) <= room else memoryview(data)[:room], _DONTWAIT)
        except OSError as e:
            if e.errno == _EAGAIN:
                return 0
            raise self._failed(e)

    def _lwip_is_full(self, n):
        for fd in _all_of(_TCP):
            n += _ask(fd, _SIOCOUTQ)
        return n > personality.lwip_heap

    def send(self, data):
        trip("send")
        if ESP32:
            return self._send_all(data)
        end = None
        while True:
            n = self._put(data)
            if n or not len(data):
                return n
            end = self._pause(end)

    def _send_all(self, data):
        # esp32: it goes on until all is sent or the time is up; nothing to send is an error then
        # (fact 8).
        if not len(data):
            raise OSError(_EAGAIN if self._ms == 0 else _number(_ETIMEDOUT))
        done = 0
        end = None
        while done < len(data):
            n = self._put(memoryview(data)[done:] if done else data)
            done += n
            if n:
                end = None
                continue
            try:
                end = self._pause(end)
            except OSError as e:
                if done:
                    break
                raise e
        return done

    def sendall(self, data):
        trip("sendall")
        if ESP32:
            if self._send_all(data) < len(data):
                raise OSError(_number(_ETIMEDOUT))  # a part of it is on its way (fact 66)
            return
        if self._ms == 0:
            room = _SEND_BUFFER - _ask(self._open().fileno(), _SIOCOUTQ)
            if len(data) > room:
                raise OSError(_EAGAIN)  # before a byte was sent (fact 66)
        view = memoryview(data)
        while len(view):
            view = view[self.send(view) :]

    def write(self, data, *where):
        trip("write")
        view = memoryview(data)
        if len(where) == 1:
            view = view[: where[0]]
        elif where:
            view = view[where[0] : where[0] + where[1]]
        done = 0
        while done < len(view):
            try:
                done += self.send(view[done:])
            except OSError as e:
                return self._gives_up(e, done)
        return done

    def sendto(self, data, address):
        trip("sendto")
        if ESP32 and not len(data):
            if self._ms:
                forbid("esp32: sendto of nothing never returns (fact 9)")
            device_socket.socket.sendto(self, b"", address)
            raise OSError(_number(_ETIMEDOUT))
        if not personality.idf_heap:
            raise OSError(_ENOMEM)  # fact 15
        try:
            return device_socket.socket.sendto(self, data, address)
        except OSError as e:
            if ESP32 and e.errno == _EAGAIN:
                raise OSError(_number(_ETIMEDOUT))  # fact 67
            raise self._failed(e)

    def close(self):
        native = self._native
        if native:
            fd = native.fileno()
            if (
                _counts_as(fd, None) == _TCP
                and self._remote
                and not self._ended
                and not self._reset
                and not _ask(fd, _FIONREAD)
            ):
                with _guard:
                    _closing.append((ticks_ms(), (self._bound + self._remote).encode()))
            if self._kind == _LISTENING:
                for native, _ in self._queue:
                    _abort(native)
                if self in _queued:
                    _queued.remove(self)
        device_socket.socket.close(self)


if ESP32:  # rp2's have none (fact 2)
    socket.fileno = lambda self: self._open().fileno()
