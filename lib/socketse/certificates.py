"""Contexts for TLS from certificates and keys, on every port alike."""

import binascii

from . import port

try:
    import ssl
except ImportError:  # builds of MicroPython without the frozen one have what it is made of
    ssl = __import__("tls")

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any


_BEGIN = b"-----BEGIN "


def server_context(cert, key=None, cafile=None):
    """Return an SSLContext for a server's ssl_context.

    cert    the certificate, after it those of who has signed it: a path, or bytes; PEM or DER
    key     its private key; None: it stands in cert too
    cafile  the certificates of who may sign the clients': without one of these no client is
            served; None: clients need none
    Raises OSError for a file that cannot be read, ValueError for what is no certificate or no
    key, or an encrypted one. https://docs.python.org/3/library/ssl.html#ssl.SSLContext
    """
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _load(context, cert, key)
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
        _load(context, cert, key)
    return context


def _load(context, cert, key):
    certs, keys = _read(cert)
    if key is not None:
        keys = _read(key)[1]
    if not certs or not keys:
        raise ValueError("no certificate" if not certs else "no private key")
    if not port.platform:
        from .hosttls import load_cert_chain

        load_cert_chain(context, certs, keys[0])
    elif len(certs) == 1:
        context.load_cert_chain(certs[0], keys[0])
    else:
        # Mbed TLS takes several in PEM form only, and some builds of it do not know that.
        chain = b""
        for one in certs:
            chain += _BEGIN + b"CERTIFICATE-----\n" + binascii.b2a_base64(one)
            chain += b"-----END CERTIFICATE-----\n"
        try:
            context.load_cert_chain(chain, keys[0])
        except ValueError as e:
            raise ValueError("%s; one certificate may do, this port may know no chains" % e)


def _trust(context, cafile):
    certs = _read(cafile)[0]
    if not certs:
        raise ValueError("no certificate")
    for cert in certs:
        try:
            try:
                context.load_verify_locations(cadata=cert)
            except TypeError:
                context.load_verify_locations(cert)  # tls has no names for arguments
        except OSError as e:  # CPython's
            raise ValueError("no certificate: %s" % e)
    context.verify_mode = ssl.CERT_REQUIRED


def _read(source):
    # Return the certificates and the keys, both as lists of bytes in DER form: that is what all
    # builds of Mbed TLS know, and CPython does not ask for a password then.
    if isinstance(source, (bytes, bytearray)):
        data = bytes(source)
    else:
        with open(source, "rb") as f:
            data = f.read()
    certs: Any = []
    keys: Any = []
    if _BEGIN not in data:
        while data:
            end = _end(data)
            begin = 2 + (data[1] & 0x7F if data[1] & 0x80 else 0)
            # A key begins with its version, a number.
            (keys if data[begin] == 2 else certs).append(data[:end])
            data = data[end:]
    for part in data.split(_BEGIN)[1:]:
        kind, _, part = part.partition(b"-----")
        part = part.partition(b"-----END")[0]
        if kind == b"CERTIFICATE":
            certs.append(_decode(part))
        elif kind[-11:] == b"PRIVATE KEY":
            if b"ENCRYPTED" in kind + part:
                raise ValueError(
                    "the private key is encrypted; openssl pkey -in ... makes it plain"
                )
            keys.append(_decode(part))
    return certs, keys


def _decode(text):
    data = binascii.a2b_base64(text)
    _end(data)
    return data


def _end(data):
    # Return where the first of several things in DER form ends.
    end = n = 0
    if len(data) > 4 and data[0] == 0x30:
        n = data[1]
        end = 2 + n
        if n & 0x80:
            n &= 0x7F
            end = 2 + n + int.from_bytes(data[2 : 2 + n], "big")
    if not n or end > len(data):
        raise ValueError("neither PEM nor DER")
    return end
