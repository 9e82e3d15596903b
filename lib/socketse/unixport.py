"""The unix port's part of port.py: not copied to boards.

The sockets of MicroPython's unix port take and give packed addresses and have
no sendall. ``Socket`` closes the gap, so that a handler meets the same socket
as on a board: (host, port) tuples, sendall, a close that may be repeated.
"""

import io
import socket
from errno import EBADF

AF_UNIX = socket.AF_UNIX


def pack(addr, family, type):
    """Return the packed form of (host, port) or of a Unix socket's path.

    Raises OSError if the host's name does not resolve or the path is too long.
    """
    if family == AF_UNIX:
        path = addr.encode()
        if len(path) > 107:  # sun_path has 108 bytes with the closing zero
            raise OSError(36, "AF_UNIX path too long")
        return b"\x01\0" + path + b"\0"
    host = addr[0] or ("0.0.0.0" if family == socket.AF_INET else "::")
    return socket.getaddrinfo(host, addr[1], family, type)[0][-1]


def unpack(buf):
    """Return (host, port), a Unix socket's path, or None for no address."""
    if not buf:
        return None
    parts = socket.sockaddr(buf)
    if parts[0] == AF_UNIX:
        return bytes(parts[1]).split(b"\0")[0].decode()
    return socket.inet_ntop(parts[0], parts[1]), parts[2]


class Socket(io.IOBase):
    """A socket of the unix port with the interface of the boards' sockets."""

    def __init__(self, family=socket.AF_INET, type=socket.SOCK_STREAM, native=None):
        self.native = native or socket.socket(family, type)
        self.family = family
        self.type = type

    def __getattr__(self, name):
        if name == "native":
            raise OSError(EBADF, "the socket is closed")
        return getattr(self.native, name)  # listen, setsockopt, settimeout, read, readline ...

    # By self.native each time: before 1.27 a closed native socket still has its old number,
    # which by then may be a stranger's.

    def recv(self, *args):
        """Return what has come, as the native socket does."""
        return self.native.recv(*args)

    def send(self, data):
        """Send some of data, as the native socket does."""
        return self.native.send(data)

    def ioctl(self, *args):
        """Give select.poll the descriptor, so that it waits in poll(2) and not in a loop."""
        return self.native.fileno()

    def bind(self, addr):
        """Bind to (host, port) or a path."""
        self.native.bind(pack(addr, self.family, self.type))

    def accept(self):
        """Return (Socket, address)."""
        native, addr = accept_native(self)
        try:
            return Socket(self.family, self.type, native), addr
        except BaseException:  # Ctrl-C may hit it
            native.close()
            raise

    def recvfrom(self, *args):
        """Return (data, address)."""
        data, buf = self.native.recvfrom(*args)
        return data, unpack(buf)

    def sendto(self, data, addr):
        """Send a datagram to (host, port) or a path and return its length."""
        return self.native.sendto(data, pack(addr, self.family, self.type))

    def sendall(self, data):
        """Send all of data."""
        done = self.send(data)
        while done < len(data):
            done += self.send(memoryview(data)[done:])

    def close(self):
        """Close the socket; again: nothing happens (before 1.27 the port closes a stranger's)."""
        try:
            native = self.native
            del self.native
        except (OSError, AttributeError):
            return  # closed before, perhaps by another thread a moment ago
        native.close()


accept = Socket.accept


def accept_native(socket):
    """Return (connection, address), the connection as the port has it: 64 bytes less to keep."""
    native, buf = socket.native.accept()
    try:
        return native, unpack(buf)
    except BaseException:
        native.close()  # nothing else would: the port's sockets have no finaliser
        raise


def discard(exc, n):
    """Return True if recv(n) has failed with exc, a MemoryError, after it took what had come.

    First it asks for n bytes, then for what came and one more: n - 1 look like nothing.
    """
    return not (exc.args and exc.args[0].endswith("allocating %d bytes" % n))


def getaddrinfo(addr, family, type):
    """Return addr as bind takes it, with the host looked up."""
    return unpack(pack(addr, family, type))
