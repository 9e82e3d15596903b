"""TLS as people meet it: openssl, curl, CPython's clients, and those who hang half-way."""

import contextlib
import http.client
import os
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import time
import xmlrpc.client

import clients
import pytest
from conftest import ROOT, certificates, connect, find_target, free_port

PROGRAMS = ROOT / "tests" / "tls"
HOST = "127.0.0.1"
SECONDS = 20


class Site:
    def __init__(self, start, target):
        self.ports = [free_port() for _ in range(5)]
        self.echo, self.https, self.objects, self.calls, self.plain = self.ports
        self.program = start(
            target, PROGRAMS / "site.py", certificates() / "server.pem", *self.ports
        )
        self.program.wait_for("ready")


@pytest.fixture
def site(start, target):
    """tests/tls/site.py on each interpreter."""
    return Site(start, target)


def context():
    found = ssl.create_default_context(cafile=str(certificates() / "cert.pem"))
    found.verify_flags |= ssl.VERIFY_X509_STRICT  # as CPython 3.13 and newer do by themselves
    return found


def tls(port):
    return context().wrap_socket(connect(port), server_hostname=HOST)


def command(name, *arguments):
    """Return what starts a client; skip the test if there is none."""
    try:
        argv = clients.client(name, report=lambda line: None)
    except clients.Unavailable as e:
        pytest.skip(str(e))
    return [*argv, *[str(one) for one in arguments]]


def run(*words, stdin=b""):
    """Run a client to its end; return subprocess's CompletedProcess."""
    return subprocess.run(command(*words), input=stdin, capture_output=True, timeout=2 * SECONDS)


@contextlib.contextmanager
def talking(*words):
    """A client at work, ended at the end."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command(*words), **pipes) as client:
        try:
            yield client
        finally:
            client.kill()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl(site, version):
    trust = ["-CAfile", certificates() / "cert.pem", "-verify_return_error"]
    trust += ["-verify_hostname", "localhost", "-servername", "localhost"]
    address = ["-connect", "%s:%d" % (HOST, site.echo)]
    with talking("openssl", "s_client", *address, *trust, version, "-quiet") as client:
        client.stdin.write(b"hello\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"hello\n"
    done = run("openssl", "s_client", *address, *trust, version, stdin=b"Q\n")
    assert b"Verify return code: 0 (ok)" in done.stdout
    assert b"prime256v1" in done.stdout or b"256 bit" in done.stdout


def test_curl(site):
    trust = ["-sS", "--max-time", SECONDS, "--cacert", certificates() / "cert.pem"]
    url = "https://localhost:%d" % site.https
    assert run("curl", *trust, url + "/hello").stdout == b"hello\n"
    two = run("curl", *trust, url + "/hello", url + "/hello", "-w", "%{num_connects} ")
    assert two.stdout == b"hello\n1 hello\n0 "  # one handshake for both
    assert run("curl", *trust, url + "/big").stdout == bytes(range(256)) * 200
    body = b"x" * 3000
    assert run("curl", *trust, "--data-binary", "@-", url, stdin=body).stdout == body
    stranger = run("curl", "-sS", "--max-time", SECONDS, url)
    assert stranger.returncode == 60, stranger.stderr  # it does not trust the certificate
    plain = run("curl", "-sS", "--max-time", SECONDS, "http://localhost:%d/" % site.https)
    assert plain.returncode in (52, 56), plain.stderr
    assert run("curl", *trust, url + "/hello").stdout == b"hello\n"


def test_standard_library(site):
    connection = http.client.HTTPSConnection(HOST, site.https, context=context(), timeout=SECONDS)
    for _ in range(3):
        connection.request("POST", "/", b"body")
        assert connection.getresponse().read() == b"body"
    connection.close()
    url = "https://%s:%d/" % (HOST, site.calls)
    with xmlrpc.client.ServerProxy(url, context=context()) as proxy:
        assert proxy.pow(2, 10) == 1024


OBJECTS = """
from socketse import Client, client_context
context = client_context(%r)
with Client("localhost", %d, timeout=20, ssl_context=context).new() as c:
    c["b"] = b"x" * 1000
    print(len(c["b"]), len(c))
try:
    Client("localhost", %d, timeout=20).new()
except OSError:
    print("not without TLS")
"""


def test_remote_objects(site, target):
    code = OBJECTS % (str(certificates() / "cert.pem"), site.objects, site.objects)
    for client in (find_target("cpython"), target):
        done = client.run("-c", code)
        assert done.stderr == "" and done.stdout == "1000 1\nnot without TLS\n", done.stderr


def test_how_a_stream_has_ended(site):
    with tls(site.echo) as client:
        client.sendall(b"one\n")
        assert client.recv(100) == b"one\n"
        with contextlib.suppress(OSError):  # MicroPython's server cannot say good-bye
            client.unwrap()
    site.program.wait_for("complete")
    client = tls(site.echo)
    client.sendall(b"two\n")
    assert client.recv(100) == b"two\n"
    client.close()  # which says no good-bye
    site.program.wait_for("truncated")
    assert site.program.output.count("complete") == 1


def half_handshake(port):
    """Return a connection on which a client has said hello, got its answer, and waits."""
    outgoing = ssl.MemoryBIO()
    half = context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        half.do_handshake()
    connection = connect(port)
    connection.sendall(outgoing.read())
    assert connection.recv(1)
    return connection


def attacked(site, port, ask):
    """Return the seconds that two clients' handshakes and answers took, and another's answers."""
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(connect(site.plain))
        other.settimeout(SECONDS)
        times, others = [], []

        def look():
            began = time.monotonic()
            other.sendall(b"x\n")
            assert other.recv(10) == b"x\n"
            others.append(time.monotonic() - began)

        look()
        for _ in range(10):
            stack.enter_context(connect(port))
        for _ in range(5):
            stack.enter_context(half_handshake(port))
            look()
        for _ in range(2):
            began = time.monotonic()
            ask(stack)
            times.append(time.monotonic() - began)
            look()
        for _ in range(50):
            look()
            time.sleep(0.01)
    return times, others


def test_half_handshakes_hold_up_nobody(start, target):
    site = Site(start, target)

    def ask(stack):
        client = stack.enter_context(tls(site.echo))
        client.sendall(b"hello\n")
        assert client.recv(10) == b"hello\n"

    times, others = attacked(site, site.echo, ask)
    print("answered in", times, "others in", statistics.median(others), max(others))
    assert max(times) < 5  # 1 s; on a busy machine
    assert statistics.median(others) < 0.1 and max(others) < 2


def test_the_tool_makes_certificates(tmp_path):
    tool = [sys.executable, ROOT / "tools" / "cert.py", "--into", tmp_path]

    def make(*arguments):
        return subprocess.run([*tool, *arguments], capture_output=True, text=True)

    done = make("board.local", "192.168.1.7", "--days", "30")
    assert done.returncode == 0, done.stderr
    both, alone = tmp_path / "tls.pem", tmp_path / "cert.pem"
    assert both.stat().st_mode & 0o777 == 0o600
    assert both.read_bytes().endswith(alone.read_bytes())
    shown = run("openssl", "x509", "-noout", "-text", "-in", alone).stdout.decode()
    assert "DNS:board.local, IP Address:192.168.1.7" in shown
    assert "ASN1 OID: prime256v1" in shown and "CN = board.local" in shown.replace("CN=", "CN = ")
    assert run("openssl", "verify", "-CAfile", alone, alone).returncode == 0
    assert run("openssl", "verify", "-x509_strict", "-CAfile", alone, alone).returncode == 0
    done = make("fd00::7", "*.local", "b" * 60 + "." + "c" * 60 + ".local")
    assert done.returncode == 0, done.stderr
    shown = run("openssl", "x509", "-noout", "-text", "-in", alone).stdout.decode()
    assert "IP Address:FD00:0:0:0:0:0:0:7, DNS:*.local, DNS:bbbb" in shown
    make("b" * 60 + ".local")
    assert run("openssl", "verify", "-CAfile", alone, alone).returncode == 0
    before = both.read_bytes()
    for wrong, sentence in (
        ([], "name the board"),
        (["a b"], "'a b' is neither"),
        ([""], "''"),
        (["b\xfccher.local"], "A-label"),
        (["[fd00::7]"], "'[fd00::7]' is neither"),
        (["a", "--days", "0"], "--days"),
        (["a", "--days", "99999999"], "--days"),
        (["a", "--into", both], str(both)),
    ):
        done = make(*wrong)
        assert "Traceback" not in done.stderr
        assert done.returncode != 0 and sentence in done.stderr, done
    assert both.read_bytes() == before
    make("again")
    assert both.read_bytes() != before and sorted(os.listdir(tmp_path)) == ["cert.pem", "tls.pem"]


def test_the_tool_is_a_make_target():
    done = subprocess.run(["make", "-n", "cert", "HOST=a.local"], cwd=ROOT, capture_output=True)
    assert b"tools/cert.py a.local" in done.stdout


class Phases:
    """tests/tls/phases.py, and clients that are slow, or leave, wherever one wants."""

    def __init__(self, start, target, seconds):
        self.ports = [free_port() for _ in range(5)]
        files = certificates() / "server.pem", certificates() / "clients.pem"
        program = PROGRAMS / "phases.py"
        self.program = start(target, program, seconds, *files, *self.ports)
        self.program.wait_for("ready")

    def numbers(self):
        """Return descriptors, TLS connections, connections and accepted ones."""
        with connect(self.ports[-1]) as client:
            return [int(word) for word in client.makefile().readline().split()]

    def rest(self, before=None):
        """Wait until nobody is there but who asks; return how many descriptors are open.

        before  so many are to be open then
        """
        for _ in range(SECONDS * 20):
            files, tls, active, _ = self.numbers()
            if tls == 0 and active == 1 and before in (None, files):
                return files
            time.sleep(0.05)
        raise AssertionError("connections are left: %r" % (self.numbers(),))


class Slow:
    """A TLS client that sends as few bytes at once as one wants, and no more than `limit`."""

    def __init__(self, port, version, size=1 << 20, limit=1 << 20, certificate=None):
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        settings = context()
        settings.minimum_version = settings.maximum_version = version
        if certificate:
            settings.load_cert_chain(certificate)
        self.tls = settings.wrap_bio(self.incoming, self.outgoing, server_hostname=HOST)
        self.connection = connect(port)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.size = size
        self.limit = limit

    def send(self):
        data = self.outgoing.read()
        while data and self.limit > 0:
            n = min(self.size, self.limit, len(data))
            self.connection.sendall(data[:n])
            self.limit -= n
            data = data[n:]
        return self.limit > 0

    def do(self, function, *arguments):
        """Call a function of the TLS object; return None if the limit is reached."""
        while True:
            try:
                found = function(*arguments)
                self.send()
                return found
            except ssl.SSLWantReadError:
                if not self.send():
                    return None
                data = self.connection.recv(5000)
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_single_bytes_and_a_half_closed_connection(start, target, version):
    site = Phases(start, target, 20)
    for port in site.ports[:-2]:
        client = Slow(port, version, 1)
        client.do(client.tls.do_handshake)
        client.do(client.tls.write, b"hello\n")
        assert client.do(client.tls.read, 100) == b"hello\n"
        # It has nothing more to say, and waits for what the server has.
        with contextlib.suppress(ssl.SSLWantReadError):
            client.tls.unwrap()
        client.send()
        data = client.connection.recv(5000)
        assert data
        client.connection.close()
    site.rest()


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_clients_that_leave_in_the_middle(start, target, version):
    site = Phases(start, target, 20)
    before = site.rest()
    for port in site.ports[:-2]:
        whole = Slow(port, version)
        whole.do(whole.tls.do_handshake)
        whole.do(whole.tls.write, b"x\n")
        assert whole.do(whole.tls.read, 10) == b"x\n"
        total = (1 << 20) - whole.limit
        whole.connection.close()
        for limit in (3, 60, total // 2, total - 60, total - 30, total):
            for reset in (True, False):
                client = Slow(port, version, limit=limit)
                with contextlib.suppress(OSError):
                    if client.do(client.tls.do_handshake) is None:
                        client.do(client.tls.write, b"x\n")
                if reset:
                    linger = struct.pack("ii", 1, 0)
                    client.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.connection.close()
    site.rest(before)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_certificate_without_its_end(start, target, version):
    site = Phases(start, target, 1)
    name = certificates() / "client.pem"
    whole = Slow(site.ports[3], version, certificate=name)
    whole.do(whole.tls.do_handshake)
    whole.do(whole.tls.write, b"x\n")
    assert whole.do(whole.tls.read, 10) == b"x\n"
    site.program.wait_for("begun")
    total = (1 << 20) - whole.limit
    whole.connection.close()
    # The last record is data; before it stands the Finished of 36 to 74 bytes.
    slow = [
        Slow(site.ports[3], version, limit=total - missing, certificate=name)
        for missing in (40, 100, 150, 300)
    ]
    for client in slow:
        with contextlib.suppress(OSError):
            client.do(client.tls.do_handshake)
            client.do(client.tls.write, b"x\n")
    for client in slow:
        with contextlib.suppress(OSError):
            while client.connection.recv(1000):
                pass  # until the server has waited long enough
        client.connection.close()
    site.rest()
    assert site.program.output.count("begun") == 1


def test_a_second_hello_is_not_the_end(start, target):
    # The server cannot use what the client offers, and asks for another hello. The client sends
    # what in TLS 1.2 stands before its last record, then that hello, then nothing.
    site = Phases(start, target, 1)
    client = Slow(site.ports[0], ssl.TLSVersion.TLSv1_3)
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    hello = client.outgoing.read()
    unknown = b"\x63\x99"  # instead of X25519, in the list and in the offer
    for after in (b"\x00\x17", b"\x00\x20"):
        assert hello.count(b"\x00\x1d" + after) == 1
        hello = hello.replace(b"\x00\x1d" + after, unknown + after)
    client.connection.sendall(hello)
    client.incoming.write(client.connection.recv(5000))
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.do_handshake()
    second = client.outgoing.read()
    assert second[:1] == b"\x14" and second[6:7] == b"\x16"
    client.connection.sendall(second)
    with contextlib.suppress(OSError):
        while client.connection.recv(5000):
            pass  # until the server has waited long enough
    client.connection.close()
    site.rest()
    assert "begun" not in site.program.output


def test_cpython_says_good_bye(start):
    site = Phases(start, find_target("cpython"), 20)
    for port in site.ports[:3]:
        client = Slow(port, ssl.TLSVersion.TLSv1_3)
        client.do(client.tls.do_handshake)
        client.do(client.tls.write, b"x\n")
        assert client.do(client.tls.read, 10) == b"x\n"
        with contextlib.suppress(ssl.SSLWantReadError):
            client.tls.unwrap()
        client.send()
        data = client.connection.makefile("rb").read()
        client.incoming.write(data)
        assert client.tls.read(10) == b"bye"
        with pytest.raises(ssl.SSLZeroReturnError):
            client.tls.read(10)
        client.connection.close()
    site.rest()
