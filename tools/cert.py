"""A key and a self-signed certificate for TLS servers: make cert HOST="board.local 192.168.1.7"

Writes tls.pem, the P-256 key and the certificate in one file, for socketse.server_context and for
`make flash`, and cert.pem, the certificate alone, for clients: curl --cacert cert.pem ...
A P-256 key, because with it a board needs a second for a handshake, and with RSA up to twenty.
"""

import argparse
import datetime
import ipaddress
import os
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 3650  # nobody comes by to renew it
_MOST_DAYS = 100000  # the clocks of certificates end with the year 9999
_SKEW = datetime.timedelta(days=1)  # clocks may be slow
_LONGEST = 64  # characters of a common name, X.520


def make(hosts, days=_DAYS, issuer=None, client=False):
    """Return (key, certificate), both as bytes in PEM form.

    hosts   names and addresses that the server is called by; of a client, its name
    days    how long it is valid
    issuer  (key, certificate) of who signs it; None: it signs itself
    client  True: it is a client's
    Raises ValueError for a host that can be none.
    """
    names = [_name(host) for host in hosts]
    if not names:
        raise ValueError("a certificate is for one host at least, by name or address")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:_LONGEST])])
    signer, signed_by = key, name
    if issuer is not None:
        signer = serialization.load_pem_private_key(issuer[0], None)
        signed_by = x509.load_pem_x509_certificate(issuer[1]).subject
    now = datetime.datetime.now(datetime.timezone.utc)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signed_by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    if not client:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    return (
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
    )


def _name(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not host or " " in host or ":" in host or "/" in host:
            raise ValueError("%r is neither a host's name nor its address" % host) from None
        return x509.DNSName(host)


def write(folder, key, certificate):
    """Write tls.pem, for nobody else to read, and cert.pem into a folder; return both paths."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    both, alone = folder / "tls.pem", folder / "cert.pem"
    new = folder / "tls.pem.new"
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(key + certificate)
    os.replace(new, both)
    alone.write_bytes(certificate)
    return both, alone


def main(argv=None):
    """Do what the command line, argv, says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("hosts", nargs="*", metavar="HOST", help="name or address of the server")
    parser.add_argument("--into", default="board", metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--days", type=int, default=_DAYS, help="valid so long: %(default)s")
    args = parser.parse_args(argv)
    if not args.hosts:
        parser.error('name the board, as clients will: make cert HOST="board.local 192.168.1.7"')
    if not 0 < args.days <= _MOST_DAYS:
        parser.error("--days is from 1 to %d" % _MOST_DAYS)
    try:
        paths = write(args.into, *make(args.hosts, args.days))
    except (OSError, ValueError) as e:
        print(e, file=sys.stderr)
        return 1
    print("%s  key and certificate, for the server: nobody else may read it" % paths[0])
    print("%s  the certificate, for clients" % paths[1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
