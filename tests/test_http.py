"""HTTP as people meet it: curl, CPython's http.client, and its server beside ours; fuzzing."""

import contextlib
import http.client
import os
import random
import re
import socket
import subprocess

import clients
import hypothesis
import pytest
from conftest import ROOT, connect, find_target, free_port, scale
from hypothesis import strategies as st

PROGRAMS = ROOT / "tests" / "http"
BIG = bytes(range(256)) * 500
SECONDS = 20


@pytest.fixture
def curl():
    """curl(*arguments): what it prints."""
    try:
        argv = clients.client("curl", report=lambda line: None)
    except clients.Unavailable as e:
        pytest.skip(str(e))

    def run(*arguments, status=0, stdin=None):
        command = [*argv, "-sS", "--max-time", str(SECONDS), *[str(one) for one in arguments]]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=2 * SECONDS)
        assert done.returncode == status, done.stderr
        return done.stdout

    return run


class Site:
    def __init__(self, start, target, folder):
        self.port, self.secret = free_port(), free_port()
        folder.joinpath("sub").mkdir()
        folder.joinpath("big.bin").write_bytes(BIG)
        folder.joinpath("sub", "index.html").write_bytes(b"<p>sub")
        self.program = start(target, PROGRAMS / "site.py", self.port, self.secret, folder)
        self.program.wait_for("ready")
        self.url = "http://127.0.0.1:%d" % self.port


@pytest.fixture
def site(start, target, tmp_path):
    """tests/http/site.py on each interpreter."""
    return Site(start, target, tmp_path)


def code(curl, *arguments):
    """Return the status that curl gets."""
    return int(curl("-o", os.devnull, "-w", "%{http_code}", *arguments))


def test_curl(curl, site, tmp_path):
    url = site.url
    assert curl(url + "/hello") == b"hello\n"
    assert curl("--http1.0", url + "/hello") == b"hello\n"
    # One connection for both.
    two = (url + "/hello", url + "/sub/", "-w", "%{num_connects}")
    assert curl(*two) == b"hello\n1<p>sub0"
    head = curl("-I", url + "/big.bin").decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n") and "Content-Length: 128000\r\n" in head
    assert curl(url + "/big.bin") == BIG
    assert curl("-L", url + "/sub") == b"<p>sub"
    modified = curl("-I", url + "/big.bin").decode().split("Last-Modified: ")[1].split("\r\n")[0]
    assert code(curl, "-z", modified, url + "/big.bin") == 304
    assert code(curl, "-z", "Tue, 01 Jan 1980 00:00:00 GMT", url + "/big.bin") == 200
    lines = b"".join(b"%d\n" % i for i in range(1000))
    for version in ("--http1.1", "--http1.0"):
        assert curl(version, url + "/stream") == lines
    assert b"Transfer-Encoding: chunked" in curl("-i", url + "/stream")
    assert curl("-d", "a=b&c=d", url + "/") == b"a=b&c=d"
    assert curl("-d", "@-", "-H", "Transfer-Encoding: chunked", url, stdin=b"chunks") == b"chunks"
    assert curl("-d", "late", "-H", "Expect: 100-continue", url + "/") == b"late"
    assert code(curl, "-d", "x" * 5000, url + "/") == 413
    upload = tmp_path / "upload"
    upload.write_bytes(BIG * 10)  # so much that curl asks before it sends
    told = b"%d %d\n" % (10 * len(BIG), 10 * sum(BIG))
    for more in ((), ("-H", "Transfer-Encoding: chunked")):
        answer = curl("-T", upload, *more, url + "/x")
        assert answer.endswith(told) and answer.count(b"so far") == 12
    assert curl("-H", "X-One:  1 ", url + "/header/x-one") == b"'1'"
    assert code(curl, url + "/nothing") == 404
    curl("-f", url + "/nothing", status=22)
    assert code(curl, "--path-as-is", url + "/../site.py") == 404
    assert code(curl, "-X", "PATCH", url + "/") == 405
    assert code(curl, "-X", "BREW", url + "/") == 501
    assert code(curl, url + "/fail") == 500
    assert code(curl, url + "/" + "x" * 1100) == 414
    assert code(curl, "-H", "X: " + "y" * 1100, url + "/") == 431
    secret = "http://127.0.0.1:%d/" % site.secret
    assert code(curl, secret) == 401
    assert code(curl, "-u", "me:wrong", secret) == 401
    assert curl("-u", "me:s3cret:", secret) == b"the secret\n"
    assert curl("--parallel", *[url + "/hello"] * 20) == b"hello\n" * 20
    assert site.program.process.poll() is None


def test_http_client(site):
    rnd = random.Random(6)
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=SECONDS)
    for _ in range(60 * scale()):
        body = rnd.getrandbits(8 * 3000).to_bytes(3000, "little")[: rnd.randrange(3000)]
        kind = rnd.randrange(5)
        if kind == 0:
            connection.request("POST", "/", body)
            answer = connection.getresponse()
            assert (answer.status, answer.read()) == (201, body)
        elif kind == 1:
            pieces = [body[i : i + 700] for i in range(0, len(body), 700)]
            connection.request("POST", "/", iter(pieces), encode_chunked=True, headers=CHUNKED)
            assert connection.getresponse().read() == body
        elif kind == 2:
            connection.request("PUT", "/", body * 5)
            answer = connection.getresponse()
            assert answer.read() == b"%d %d\n" % (5 * len(body), 5 * sum(body))
            assert answer.getheader("Transfer-Encoding") == "chunked"
        elif kind == 3:
            connection.request("HEAD", "/big.bin")
            answer = connection.getresponse()
            assert answer.getheader("Content-Length") == str(len(BIG)) and answer.read() == b""
        else:
            connection.request("GET", "/big.bin")
            assert connection.getresponse().read() == BIG
        if _ == 0:
            first = connection.sock
        assert connection.sock is first  # it stays
    connection.close()


CHUNKED = {"Transfer-Encoding": "chunked"}


# One handler on CPython's http.server and on ours.

REQUESTS = [
    b"GET /page HTTP/1.1\r\nHost: a\r\nAccept: b, c\r\n\r\n",
    b"GET /page?x=%20y HTTP/1.1\r\nhost:a\r\nACCEPT:\tb\r\nConnection: close\r\n\r\n",
    b"GET /page HTTP/1.0\r\nAccept: x\r\n\r\n",
    b"GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET //page//x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /page HTTP/1.1\nHost: a\n\n",
    b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /?query HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /a%20file.txt HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /./sub/../style.css HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /sub?x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /style.css/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /../both.py HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%2e%2e/both.py HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /unknown HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /data.json HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: %s\r\n\r\n",
    b"GET /data.json HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: nonsense\r\n\r\n",
    b"GET /data.json HTTP/1.1\r\nHost: a\r\n"
    b"If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n\r\n",
    b"HEAD /data.json HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /nothing HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /teapot HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /empty HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /moved HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /printed HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nline\nand more",
    b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n%s\r\n" % b"".join(b"X%d: y\r\n" % i for i in range(120)),
]


def exchange(port, request):
    """Return what comes for a request and one that asks to close, without what must differ."""
    last = b"GET /page/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    if re.search(rb" x HTTP|X99", request):
        last = b""  # CPython's would reset the connection, and the answer would be lost
    with connect(port) as client:
        client.sendall(request + last)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while True:
                more = client.recv(65536)
                if not more:
                    break
                data += more
    text = data.decode("latin-1")
    text = re.sub(r"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", "Date: now\r\n", text)
    # The words for a head that no handler sees are each server's own.
    answers = []
    for answer in re.split(r"(?=HTTP/1\.\d \d{3} )", text)[1:]:
        if re.match(r"HTTP/1\.\d (400|431) ", answer):
            lines = answer.split("\r\n\r\n")[0].split("\r\n")
            lines[0] = lines[0][:12]
            lines = [line for line in lines if not line.startswith("Content-Length")]
            answer = "\r\n".join(lines)
        answers.append(answer.split("\r\n"))
    return answers


def fill(folder):
    folder.mkdir()
    (folder / "sub").mkdir()
    for name, text in (
        ("index.html", "<p>index"),
        ("a file.txt", "a text"),
        ("style.css", "p {}"),
        ("data.json", "{}"),
        ("unknown", "?"),
    ):
        (folder / name).write_text(text)
        os.utime(str(folder / name), (1500000000, 1500000000))
    return folder


@pytest.mark.parametrize("kind", ["cpython", "unix64", "i386"])
def test_differential_http(start, kind, tmp_path):
    folder = fill(tmp_path / "files")
    said = []
    for name, module in (("cpython", "http.server"), (kind, "socketse.http")):
        port = free_port()
        target = find_target(name)
        program = start(target, PROGRAMS / "both.py", module, port, folder)
        if module == "socketse.http":
            (folder / "www").symlink_to(".")  # MicroPython's default
        program.wait_for("ready")
        found = []
        for request in REQUESTS:
            if b"%s" in request:
                request %= b"Fri, 14 Jul 2017 02:40:00 GMT"
            found.append((request, exchange(port, request)))
        said.append(found)
    differ = []
    for (request, theirs), (_, ours) in zip(*said):
        if ours != theirs:
            differ.append("%r\n  theirs %r\n  ours   %r\n" % (request, theirs, ours))
    assert not differ, "".join(differ)
    assert sum(answers[0][0].startswith("HTTP/1.1 200") for _, answers in said[0]) > 15


# Fuzzing.


class Fuzzed:
    """A server that is sent nonsense, and must go on serving."""

    def __init__(self, site):
        self.site = site
        self.sent = 0

    def send(self, data):
        """Send bytes and the end of the stream; return what comes back."""
        self.sent += 1
        with connect(self.site.port, seconds=SECONDS) as client:
            came = b""
            with contextlib.suppress(ConnectionError):
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
                while True:
                    more = client.recv(65536)  # raises if it hangs
                    if not more:
                        break
                    came += more
        assert came == b"" or came.startswith(b"HTTP/1."), came[:100]
        return came

    def heap(self):
        return int(self.send(b"GET /heap HTTP/1.0\r\n\r\n").split(b"\r\n\r\n")[1])


tokens = st.sampled_from(
    b"GET|HEAD|POST|PUT|BREW|/|/hello|/stream|/../x|/%00|*|http://x/|HTTP/1.1|HTTP/1.0|HTTP/2.0|"
    b"\r\n|\r\n|\r\n|\n|\r| |:|: |\t|\0|Host: x|Host: x|Content-Length: 3|"
    b"Content-Length: 99999999|Content-Length|Transfer-Encoding: chunked|chunked|"
    b"Expect: 100-continue|Connection: close|"
    b"Connection: keep-alive|3\r\nabc\r\n0\r\n\r\n|abc|\r\n\r\n|0\r\n\r\n|ffffff\r\n|;".split(b"|")
)
pieces = st.lists(tokens | st.binary(max_size=40), max_size=30).map(b"".join)
heads = st.builds(
    lambda method, path, version, fields, rest: (
        b"%s %s %s\r\n" % (method, path, version)
        + b"".join(b"%s: %s\r\n" % field for field in fields)
        + b"\r\n"
        + rest
    ),
    st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"X"]),
    st.sampled_from([b"/", b"/hello", b"/stream"]) | st.binary(max_size=10),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]) | st.binary(max_size=10),
    st.lists(
        st.tuples(
            st.sampled_from([b"Host", b"Content-Length", b"Transfer-Encoding", b"Expect", b"X"]),
            st.sampled_from([b"x", b"5", b"0", b"chunked", b"100-continue", b"-1"])
            | st.binary(max_size=20),
        ),
        max_size=6,
    ),
    pieces,
)


def fuzz(examples, strategy, check):
    """Call check with that many examples, the same ones each time."""

    def test(example):
        check(example)

    settings = hypothesis.settings(
        max_examples=examples * scale(),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    settings(hypothesis.given(strategy)(test))()


@pytest.mark.parametrize("name", ["cpython", "i386"])
def test_fuzzed_requests(start, name, tmp_path):
    site = Site(start, find_target(name), tmp_path)
    fuzzed = Fuzzed(site)
    marks = []
    for _ in range(3):  # the same ones: what they leave behind is left in each round
        fuzz(250, heads | pieces, fuzzed.send)
        marks.append(fuzzed.heap())
    assert fuzzed.sent > 700 and marks[2] - marks[1] <= 64, marks
    assert fuzzed.send(b"GET /hello HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nhello\n")
    assert "Traceback" not in site.program.output, site.program.output


def test_the_table_names_tests_that_exist():
    table = (PROGRAMS / "README.md").read_text()
    names = set(re.findall(r"`(test_\w+)`", table))
    sources = [*ROOT.glob("tests/test_*.py"), *ROOT.glob("tests/portable/test_*.py")]
    there = set(re.findall(r"^def (test_\w+)", "".join(p.read_text() for p in sources), re.M))
    assert len(names) > 30 and names <= there, names - there
