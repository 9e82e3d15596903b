"""CPython's part of TLS: what tlssocket.py is for MicroPython. Not copied to boards."""

import errno
import os
import socket
import ssl
import tempfile
import threading

HANDSHAKE_SECONDS = 5  # for the handshake, in tlssocket.py too
_IGNORE_UNEXPECTED_EOF = 0x80  # OpenSSL's SSL_OP_ of that name, since 3.0
_lock = threading.Lock()  # one context may serve many servers


class TLSError(ConnectionAbortedError, ssl.SSLError):
    """What the peer has done wrong after the handshake: both OSError's kind, and ssl's."""


class TLSSocket(ssl.SSLSocket):
    """The standard library's, whose reads tell a truncated stream and never raise SSLWantRead.

    https://docs.python.org/3/library/ssl.html#ssl.SSLSocket
    """

    truncated = False  # True: the stream ended without close_notify, perhaps not by the client
    ready = False  # True: the handshake is over
    open = False  # only boards have to look at their memory
    want = 1  # what to poll for until the handshake can go on

    def handshake(self):
        """Go on with the handshake without waiting. Return True if it is over."""
        self.settimeout(0)
        try:
            ssl.SSLSocket.do_handshake(self)
            self.ready = True
        except ssl.SSLWantReadError:
            self.want = 1
        except ssl.SSLWantWriteError:
            self.want = 4
        return self.ready

    def do_handshake(self, block=False):
        """Wait until the handshake is over, at most 5 s. Raises OSError if it fails."""
        if self.ready:
            return
        timeout = self.gettimeout()
        self.settimeout(HANDSHAKE_SECONDS)
        try:
            ssl.SSLSocket.do_handshake(self)
            self.ready = True
        finally:
            self.settimeout(timeout)

    def read(self, len=1024, buffer=None):
        """Return what has come, as SSLSocket does."""
        try:
            data = ssl.SSLSocket.read(self, len, buffer)
            self.ready = True
            return data
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as e:
            raise BlockingIOError(errno.EAGAIN, "nothing to read now") from e
        except ssl.SSLZeroReturnError:
            pass  # close_notify: a proper end
        except ssl.SSLError as e:
            # Before Python 3.10 it has no class of its own.
            if not isinstance(e, ssl.SSLEOFError) and e.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise self._error(e) from e
            if not self.ready:
                raise  # in the middle of the handshake
            self.truncated = True
        return b"" if buffer is None else 0

    def send(self, data, flags=0):
        """Send some of data and return how many bytes that is."""
        try:
            return ssl.SSLSocket.send(self, data, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as e:
            raise BlockingIOError(errno.EAGAIN, "no room to write now") from e
        except ssl.SSLError as e:
            raise self._error(e) from e

    def _error(self, e):
        return TLSError(errno.ECONNABORTED, e.strerror) if self.ready else e

    def shutdown(self, how):
        """Send close_notify, and tell the peer that nothing more will be written."""
        if how != socket.SHUT_RD:
            self._close_notify()
        socket.socket.shutdown(self, how)

    def close(self):
        """Send close_notify and close the connection; again: nothing happens."""
        try:
            self._close_notify()
        finally:  # Ctrl-C may hit it
            ssl.SSLSocket.close(self)

    def _close_notify(self):
        if not self.ready or self.fileno() < 0:
            return
        self.ready = False  # it is sent once
        timeout = self.gettimeout()
        self.settimeout(0)
        try:
            self.unwrap()
        except (OSError, ValueError):
            pass  # it is sent, and the peer's has not come
        finally:
            self.settimeout(timeout)


def accept(sock, context):
    """Return (TLSSocket, address) of the next connection."""
    connection, address = sock.accept()
    try:
        with _lock:
            kind = context.sslsocket_class
            context.sslsocket_class = TLSSocket
            try:
                tls = context.wrap_socket(
                    connection,
                    server_side=True,
                    do_handshake_on_connect=False,
                    suppress_ragged_eofs=False,
                )
            finally:
                context.sslsocket_class = kind
    except OSError as e:
        connection.close()
        raise BlockingIOError(errno.EAGAIN, "the client was gone") from e
    except BaseException:
        connection.close()
        raise
    return tls, address


def setup(context):
    """Raise TypeError or ValueError if context cannot be a server's."""
    if not isinstance(context, ssl.SSLContext):
        raise TypeError("ssl_context is no SSLContext: %r" % (context,))
    if context.protocol == ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("ssl_context is a client's: a server's is ssl.PROTOCOL_TLS_SERVER's")


def load_cert_chain(context, certs, key):
    """Let context have certificates, the first one its own, and its key, all in DER form.

    Raises ValueError if they are none, or do not fit.
    """
    # The word stands for PKCS 8; of older forms OpenSSL finds out itself what they are.
    key = ssl.DER_cert_to_PEM_cert(key).replace("CERTIFICATE", _kind(key))
    data = "".join([key] + [ssl.DER_cert_to_PEM_cert(cert) for cert in certs]).encode()
    # Before Python 3.10 a stream that ends like that looks complete.
    context.options &= ~_IGNORE_UNEXPECTED_EOF
    # The standard library takes files only. mkstemp's can be read by nobody else.
    number, path = tempfile.mkstemp()
    try:
        with os.fdopen(number, "wb") as f:
            f.write(data)
        context.load_cert_chain(path)
    except ssl.SSLError as e:
        raise ValueError("the certificate or its key cannot be used: %s" % e) from e
    finally:
        os.unlink(path)


def _kind(der):
    # PKCS 8 has an algorithm behind the version, SEC 1 a number of bytes, PKCS 1 an integer.
    start = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0) + 3
    kinds = {b"\x30": "PRIVATE KEY", b"\x04": "EC PRIVATE KEY"}
    return kinds.get(der[start : start + 1], "RSA PRIVATE KEY")
