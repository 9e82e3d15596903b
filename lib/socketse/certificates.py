"""Contexts for TLS from certificates and keys, on every port alike."""

from . import port

try:
    import ssl
except ImportError:  # builds of MicroPython without the frozen one have what it is made of
    ssl = __import__("tls")

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


def server_context(cert, key=None, cafile=None):
    """Return an SSLContext for a server's ssl_context.

    cert    the certificate, after it those of who has signed it: a path, or bytes; PEM or DER
    key     its private key; None: it stands in cert too, in DER form right behind the certificate
    cafile  the certificates of who may sign the clients': without one of these no client is
            served; None: clients need none
    Raises OSError for a file that cannot be read, ValueError for what is no certificate or no
    key. https://docs.python.org/3/library/ssl.html#ssl.SSLContext
    """
    data = _read(cert)
    if key is not None:
        key = _read(key)
    elif _is_pem(data):
        key = data
    else:
        end = _end(data)
        data, key = data[:end], data[end:]
    if not key:
        raise ValueError("no private key: neither key nor cert has one")
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, data, key)
    if cafile is not None:
        _trust(context, cafile)
    return context


def client_context(cafile, cert=None, key=None):
    """Return an SSLContext for a client that trusts only what cafile has signed, or is.

    cert, key  for a server that asks for them, as in server_context
    Raises as server_context does.
    """
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, cafile)
    if cert is not None:
        data = _read(cert)
        _load(context, data, _read(key) if key is not None else data)
    return context


def _load(context, cert, key):
    if port.platform:
        context.load_cert_chain(cert, key)
    else:
        from .hosttls import load_cert_chain

        load_cert_chain(context, cert, key)


def _trust(context, cafile):
    data = _read(cafile)
    if not port.platform and _is_pem(data):
        data = data.decode()  # CPython takes bytes for DER
    try:
        context.load_verify_locations(cadata=data)
    except TypeError:
        context.load_verify_locations(data)  # tls has no names for arguments
    context.verify_mode = ssl.CERT_REQUIRED


def _read(source):
    if isinstance(source, (bytes, bytearray)):
        return bytes(source)
    with open(source, "rb") as f:
        return f.read()


def _is_pem(data):
    return b"-----BEGIN " in data


def _end(data):
    # Return where the first of several things in DER form ends.
    if len(data) < 4 or data[0] != 0x30:
        raise ValueError("neither PEM nor DER")
    n = data[1]
    if n < 0x80:
        return 2 + n
    end = 2 + (n & 0x7F)
    return end + int.from_bytes(data[2:end], "big")
