"""TLSSocket: one end of a TLS connection on MicroPython.

MicroPython's own has no timeouts, gives None where others raise EAGAIN, loses data if a write is
tried again with more than before, and cipher() crashes it before the handshake is done.
"""

import io
from errno import EAGAIN, EBADF, ECONNABORTED, ENOBUFS, ENOMEM, ETIMEDOUT

from . import port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_READ = const(1)
_WRITE = const(4)
_POLL = const(3)  # what select.poll asks by ioctl
_CLOSED = const(32)  # its answer for a closed socket
# Records of TLS, RFC 8446 5.1: after this one the client encrypts; one of the handshake; data, or
# in TLS 1.3 what looks like it.
_CHANGE_CIPHER_SPEC = const(20)
_HANDSHAKE = const(22)
_DATA = const(23)
HANDSHAKE_SECONDS = 5  # for the handshake, in hosttls.py too
_AGAIN_MS = const(100)  # after which a thread looks again whether there is room
_CERT_REQUIRED = const(2)
# Bytes given to Mbed TLS at once: boards have room for a record of that size.
_PIECE = const(4096)
# Bytes that a connection needs: buffers of 17 and 4 kB, 2 kB of state, and 10 kB in the handshake.
_EACH = const(36000)

# unix and rp2 have no GIL, and connections share their context's random numbers.
_lock: "Any"
if port._thread:
    _lock = port._thread.allocate_lock()
else:
    from .workers import new_lock

    _lock = new_lock()


class Wire(io.IOBase):
    """What Mbed TLS reads from and writes to: sees what that does not tell."""

    def __init__(self, socket, client):
        self.socket = socket
        self.client = client
        # All attributes now: what has been read must not be lost for want of memory.
        self.eof = False  # True: the connection has ended, with or without TLS's own end
        self.full = False  # True: the socket has not taken all
        self.stage = 0  # 1: the other end encrypts from now on, 2: its Finished has come
        self.kind = 0  # a record's
        self.head = 0  # bytes of its head that have come, all 5 while its body comes
        self.body = 0  # bytes of its body that are to come

    def readinto(self, buf):
        try:
            n = self.socket.readinto(buf)
        except OSError as e:
            return -(e.errno or ECONNABORTED)
        if n:
            if self.stage < 2 or self.head:
                self._look(buf, n)
        elif n == 0:
            self.eof = True
        return n

    def _look(self, buf, n):
        i = 0
        while i < n and self.head < 5:
            if not self.head:
                self.kind = buf[i]
            self.body = (self.body << 8 | buf[i]) & 0xFFFF
            self.head += 1
            i += 1
        if self.head < 5:
            return
        self.body -= n - i
        if self.body:
            return
        self.head = 0
        if self.kind == _CHANGE_CIPHER_SPEC:
            self.stage = 1
        elif self.kind == _DATA or self.client and self.stage and self.kind == _HANDSHAKE:
            self.stage = 2

    def write(self, buf):
        if self.stage == 1 and not self.client:
            # TLS 1.2: the server's own, after the client's Finished. Else it is TLS 1.3 with
            # the answer to a second ClientHello.
            self.stage = 2 if buf[0] == _CHANGE_CIPHER_SPEC else 0
        try:
            n = self.socket.write(buf)
        except OSError as e:
            return -(e.errno or ECONNABORTED)
        self.full = n is None or n < len(buf)
        return n

    def ioctl(self, request, arg):
        return 0  # closing is for who has opened it


class TLSSocket(io.IOBase):
    """A connection whose first bytes will be a TLS handshake, with a socket's methods.

    socket           what a server has accepted, or a client has connected; it is closed with this
    context          a server's, with its certificate, or a client's
    server_hostname  for a client: the name that the server's certificate must have
    A server's costs little until the first byte has come, then about 23 kB: in the heap on rp2,
    out of it on esp32 and unix. What Mbed TLS finds wrong raises OSError(ECONNABORTED) with its
    words.
    """

    count = 0  # connections that have their 23 kB
    max_connections: "int | None" = None  # of them; None: as many as there is room for
    truncated = False  # True: the stream ended without close_notify, perhaps not by the client
    want = 1  # what to poll for until the handshake can go on

    def __init__(self, socket, context, server_hostname=None):
        self.context = context
        self.server_hostname = server_hostname
        self.socket: Any = getattr(socket, "native", socket)
        self.native: Any = self.socket
        self.timeout = None
        self.open = False  # True: native is Mbed TLS's
        self.ready = False  # True: the handshake is over, as far as can be seen
        self.known = False  # True: it is over, because data has come or gone
        self.wire: Any = Wire(self.socket, server_hostname is not None)
        self.buffer = b""
        self.ended = False  # True: nothing more comes
        self.retry = 0  # bytes that Mbed TLS wants to be given again
        self.more = False  # True: Mbed TLS may have more of a record, which no socket shows
        self.socket.setblocking(False)
        self.poller: Any = port.poll()
        self.poller.register(self.socket, _READ)
        if server_hostname is not None:
            self.wrap()

    def wrap(self):
        """Give it what TLS needs. Raises MemoryError if there is no room for that."""
        port.collect()  # for one piece of 17 kB
        with _lock:
            if TLSSocket.count and not has_room(self.max_connections):
                raise MemoryError("no room for one more TLS connection")
            try:
                self.native = self.context.wrap_socket(
                    self.wire,
                    server_side=self.server_hostname is None,
                    do_handshake_on_connect=False,
                    server_hostname=self.server_hostname,
                )
            except OSError as e:
                if e.errno in (ENOMEM, ENOBUFS):  # esp32: of IDF's heap
                    raise MemoryError(e)
                raise self._error(e)
            self.open = True
            TLSSocket.count += 1

    def _begun(self):
        # Return True if Mbed TLS has the connection: it gets it with the first byte.
        if self.native is None:
            raise OSError(EBADF, "the connection is closed")
        if not self.open and self.spoken():
            self.wrap()
        return self.open

    def spoken(self):
        """Return True if there is something to read."""
        for _ in self.poller.ipoll(0):
            return True
        return False

    def handshake(self):
        """Take what has come of the handshake. Return True if it is over, as far as can be seen.

        A client's certificate in TLS 1.3 may look like its end, if it is not required or if
        this port does not tell certificates: reading and writing go on with it.
        """
        if self.ready or not self._begun():
            return self.ready
        data = self._read(256)
        if data == b"":
            raise OSError(ECONNABORTED, "TLS: the client is gone")
        self.buffer = data or b""
        wire = self.wire
        if wire.stage > 1 and not wire.head and not wire.full:
            self.ready = self.known or not self._lacks_certificate()
        return self.ready

    def _lacks_certificate(self):
        # Return True if the client's certificate is required, and known to be missing so far.
        required = getattr(self.context, "verify_mode", 0) == _CERT_REQUIRED
        tell = required and getattr(self.native, "getpeercert", None)
        return tell and not tell(True)

    def do_handshake(self):
        """Wait until the handshake is over, at most 5 s. Raises OSError if it fails.

        Raises MemoryError if all the time there was no room.
        """
        timeout = self.timeout
        self.timeout = HANDSHAKE_SECONDS
        end = port.ticks_add(port.ticks_ms(), HANDSHAKE_SECONDS * 1000)
        try:
            while True:
                try:
                    if self.handshake():
                        return
                    self._wait(_READ, end)
                except MemoryError:
                    if port.ticks_diff(end, port.ticks_ms()) <= 0:
                        raise
                    port.sleep_ms(_AGAIN_MS)  # another thread may leave some
        finally:
            self.timeout = timeout

    def _read(self, n):
        # Return what has come, None: nothing now.
        if self.ended or not n:
            return b""  # Mbed TLS would wait for more after the other end's close_notify
        if not self._begun():
            return None
        try:
            with _lock:
                # Without DTLS Mbed TLS's has no recv, and what came right before an error is lost.
                data = (getattr(self.native, "recv", None) or self.native.read)(n)
        except (OSError, ValueError) as e:  # ValueError: the client's certificate
            raise self._error(e)
        if data == b"":
            self.ended = True
            self.truncated = self.wire.eof
        self.more = data is not None and len(data) == n
        if data:
            self.known = self.ready = True
        return data

    def _error(self, e):
        if e.args and isinstance(e.args[0], int) and e.args[0] >= 0:
            return e
        return OSError(ECONNABORTED, "TLS: %s" % (e.args[-1] if e.args else "no memory"))

    def _put(self, data):
        # Return how many bytes of data were taken; 0: none now.
        if not len(data) or not self._begun():
            return 0
        n = self.retry or min(len(data), _PIECE)
        if n > len(data) and self.known:
            raise OSError(ECONNABORTED, "TLS: what could not be sent must be sent again")
        if n < len(data):
            data = memoryview(data)[:n]
        try:
            with _lock:
                done = self.native.write(data) or 0
        except (OSError, ValueError) as e:
            raise self._error(e)
        if done:
            self.known = self.ready = True
        self.retry = n - done
        return done

    def _wait(self, event, end):
        # Wait for an event until the tick end; None: timeout seconds. Return end.
        if self.timeout == 0:
            raise OSError(EAGAIN)
        left = -1
        if self.timeout is not None:
            now = port.ticks_ms()
            if end is None:
                end = port.ticks_add(now, int(self.timeout * 1000))
            left = max(port.ticks_diff(end, now), 0)
        if self.ioctl(_POLL, event, left):
            return end
        raise OSError(ETIMEDOUT, "timed out")

    def recv(self, n):
        """Return what has come, at most n bytes; b"" at the end."""
        end = None
        while True:
            data: Any = self.buffer
            if data:
                found = data[:n]  # first: without memory for it nothing is lost
                self.buffer = data[n:]
                return found
            data = self._read(n)
            if data is not None:
                return data
            end = self._wait(_READ, end)

    def readinto(self, buf):
        """Read what has come into buf and return how many bytes that is; 0 at the end."""
        data = self.recv(len(buf))
        buf[: len(data)] = data
        return len(data)

    read = recv

    def send(self, data):
        """Send some of data and return how many bytes that is."""
        end = None
        while True:
            n = self._put(data)
            if n or not len(data):
                return n
            end = self._wait(_WRITE, end)

    def sendall(self, data):
        """Send all of data."""
        data = memoryview(data)
        while len(data):
            data = data[self.send(data) :]

    def write(self, data):
        """Send data and return its length; with a timeout of 0 what can be sent now, or None."""
        if self.timeout == 0:
            return self._put(data) or None
        self.sendall(data)
        return len(data)

    def ioctl(self, request, arg, ms=0):
        """Tell select.poll what can be done now, or within ms."""
        # Mbed TLS's socket could be asked too: on unix that takes a millisecond each time.
        if request != _POLL:
            return -22  # EINVAL
        if self.native is None:
            return _CLOSED
        found = 0
        if arg & _READ and (self.buffer or self.more or self.ended):
            found = _READ
            ms = 0
        mask = arg
        if arg and not self.known and (self.retry or not self.ready):
            mask = _WRITE if self.wire.full else _READ  # what the handshake waits for
        self.poller.modify(self.socket, mask)
        for event in self.poller.ipoll(ms):
            ready = event[1]
            found |= ready if mask == arg or not ready & mask else ready & ~mask | arg
        return found

    def settimeout(self, seconds):
        """Wait so long for each read or write; None: for ever, 0: not at all."""
        self.timeout = seconds

    def setblocking(self, flag):
        """Wait for ever, or not at all."""
        self.timeout = None if flag else 0

    def setsockopt(self, *args):
        """Set an option of the socket below."""
        self.socket.setsockopt(*args)

    def cipher(self):
        """Return (name, protocol version), None as long as no data has come or gone."""
        return self.native.cipher() if self.known and self.native else None

    def getpeercert(self, binary_form=False):
        """Return the client's certificate in DER form, None if it has sent none.

        Raises NotImplementedError for the other form, or if this port has neither.
        """
        if not self.open or self.native is None:
            return None
        if not hasattr(self.native, "getpeercert"):
            raise NotImplementedError("this port's TLS does not tell certificates")
        return self.native.getpeercert(binary_form)

    def close(self):
        """Close the connection; again: nothing happens. MicroPython cannot send close_notify."""
        native = self.native
        if native is not None:
            socket = self.socket
            self.native = self.poller = self.socket = self.wire = None
            try:
                if self.open:
                    with _lock:
                        TLSSocket.count -= 1
                        native.close()
            finally:  # Ctrl-C may hit it
                socket.close()


def has_room(limit):
    """Return True if there is room for one more TLS connection, at most limit."""
    if limit is not None:
        return TLSSocket.count < limit
    if port.platform == "rp2":
        import gc

        memory: Any = gc
        return memory.mem_free() >= _EACH
    try:
        esp32: Any = __import__("esp32")
    except ImportError:
        return True
    free = 0
    for heap in esp32.idf_heap_info(esp32.HEAP_DATA):
        free += heap[1]
    return free >= _EACH


def accept(socket, context):
    """Return (TLSSocket, address) of the next connection."""
    native, address = port.accept_native(socket)
    try:
        return TLSSocket(native, context), address
    except BaseException:
        native.close()
        raise


def setup(context):
    """Raise TypeError if context cannot be one."""
    if not hasattr(context, "wrap_socket"):
        raise TypeError("ssl_context is no SSLContext: %r" % (context,))
