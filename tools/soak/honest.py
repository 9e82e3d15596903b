"""Honest clients, a thread for each: they work as people's programs do, and note what they get.

What counts as an error of the server:
- a wrong answer, or none in 10 s;
- a connection that ends while its client is at work: that has had an answer, and was never silent
  for 0.9 s before it asked again;
- a newcomer that was not served at the fifth try: over TLS there is room for few at a time.
What does not, because the README promises no more:
- a connection that was silent for 0.9 s or more (the limit is 1 s by the server's clock) and that
  the server has closed: it is counted as evicted, and the client connects anew;
- a newcomer whose connection ends before its first answer: nobody is at work who has not been
  read, and when memory is short a newcomer is dropped. It is counted as turned away, and tries
  again;
- an answer 503 from HTTP, when memory is short: it is counted as turned away, and asked again;
- a datagram that is lost: it is sent at most three times.
"""

import contextlib
import http.client
import json
import random
import socket
import ssl
import struct
import sys
import threading
import time
import xmlrpc.client

import hostile
import places

sys.path.insert(0, str(places.ROOT / "lib"))

import socketse

LATE = 10  # seconds
AT_WORK = 0.9  # seconds
TRIES = 5
SENT = 3  # times that a datagram is sent at most
_1970 = 2208988800


class Wrong(Exception):
    """An answer that is not the right one."""


class Busy(Exception):
    """The server has no memory to spare, and says so."""


class Row:
    """What the clients of one service have met with."""

    def __init__(self, name):
        self.name = name
        self.times = []  # seconds
        self.errors = []  # texts
        self.turned_away = 0
        self.evicted = 0


class Honest(threading.Thread):
    """One client.

    place    a Place
    service  a name in its ports
    visit    a function of this module: visit(client) makes one connection, and works on it
    """

    def __init__(self, place, service, visit, seed):
        threading.Thread.__init__(self, daemon=True)
        self.place = place
        self.service = service
        self.address = place.host, place.ports[service]
        self.row = Row(service)
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.at_work = threading.Event()
        self.resting = threading.Event()
        self._visit = visit

    def pause(self):
        """Have it close its connection; returns when that is done."""
        self.resting.clear()
        self.at_work.clear()
        self.resting.wait()

    def run(self):
        """Visit, again and again."""
        while not self.over.is_set():
            if not self.at_work.is_set():
                self.resting.set()
                self.at_work.wait(0.1)
                continue
            try:
                self._try()
            except Exception as e:
                self.row.errors.append(repr(e))
            self.think(*self.place.between)
        self.resting.set()

    def think(self, least=0.05, most=0.3):
        """Wait a little."""
        self.over.wait(self.random.uniform(least, most))

    def more(self, n):
        """Yield n times, unless it is to pause or to end."""
        for i in range(n):
            if self.over.is_set() or not self.at_work.is_set():
                return
            yield i

    @contextlib.contextmanager
    def answer(self):
        """Measure how long the answer takes for which the block asks."""
        begin = time.monotonic()
        if self._heard is not None and begin - self._heard >= AT_WORK:
            self._silent = True
        yield
        self._heard = time.monotonic()
        self._silent = False
        self.row.times.append(self._heard - begin)

    def connect(self, kind=socket.SOCK_STREAM):
        """Return a socket that is connected to the service."""
        sock = socket.socket(socket.AF_INET, kind)
        try:
            sock.settimeout(LATE)
            sock.bind(hostile.source())
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        return sock

    def _try(self):
        for left in range(TRIES - 1, -1, -1):
            self._heard = None  # when the last answer had come; None: there was none
            self._silent = False
            begin = time.monotonic()
            try:
                return self._visit(self)
            except TimeoutError as e:
                trouble = e
                break
            except (OSError, EOFError, http.client.HTTPException) as e:
                trouble = e
            except Busy as e:
                trouble = e
                self._heard = None
            if self._heard is not None:
                if self._silent:
                    self.row.evicted += 1
                    return None
                break
            self.row.turned_away += left > 0
            self.over.wait(0.1)
        how = "a newcomer" if self._heard is None else "at work"
        now = time.monotonic()
        text = "%s, after %.2f s: %r" % (how, now - (self._heard or begin), trouble)
        self.row.errors.append(text)
        return None


def _check(found, right):
    if not right:
        raise Wrong(repr(found)[:200])


def _line(file):
    line = file.readline(5000)
    if line[-1:] != b"\n":
        raise EOFError("closed after %r" % line)
    return line


def _exactly(file, n):
    data = file.read(n)
    if len(data) < n:
        raise EOFError("closed after %d bytes" % len(data))
    return data


def _echo(client, sock):
    file = sock.makefile("rb")
    for i in client.more(client.random.randrange(5, 20)):
        line = b"an honest line %d\n" % i
        with client.answer():
            sock.sendall(line)
            found = _line(file)
        _check(found, found == line)
        if client.random.random() < 0.03:
            client.think(1.2, 2)  # it may lose its place
        else:
            client.think()


def echo(client):
    """Lines, and now and then a rest."""
    with contextlib.closing(client.connect()) as sock:
        _echo(client, sock)


def tls(client):
    """The same over TLS."""
    context = ssl.create_default_context(cafile=str(client.place.certificate))
    with client.connect() as sock, context.wrap_socket(sock, server_hostname="127.0.0.1") as safe:
        _echo(client, safe)


def app(client):
    """Read the board's sensor."""
    with client.connect() as sock:
        file = sock.makefile("rb")
        for _ in client.more(5):
            with client.answer():
                sock.sendall(b"read\n")
                found = _line(file)
            _check(found, found.strip().isdigit())
            client.think()


def _is_now(data):
    return abs(struct.unpack(">I", data)[0] - _1970 - time.time()) < 5


def time_tcp(client):
    """Ask for the time."""
    with client.answer(), client.connect() as sock:
        found = _exactly(sock.makefile("rb"), 4)
    _check(found, _is_now(found))


def daytime_tcp(client):
    """Ask for the time as text."""
    with client.answer(), client.connect() as sock:
        found = _line(sock.makefile("rb"))
    _check(found, _is_daytime(found))


def _is_daytime(found):
    with contextlib.suppress(ValueError):
        then = time.strptime(found.decode().strip() + " UTC", "%a %b %d %H:%M:%S %Y %Z")
        return abs(time.mktime(then) - time.timezone - time.time()) < 5
    return False


def discard(client):
    """Send something, and see that it is taken."""
    with client.answer(), client.connect() as sock:
        sock.sendall(b"x" * 1000)
        sock.shutdown(socket.SHUT_WR)
        found = sock.recv(10)
    _check(found, found == b"")


def chargen(client):
    """Read some lines of those that never end."""
    with client.connect() as sock:
        file = sock.makefile("rb")
        for _ in client.more(10):
            with client.answer():
                found = _exactly(file, 740)
            _check(found, found[74:75] == found[:1].translate(_NEXT) and found[72:74] == b"\r\n")
            client.think(0.01, 0.05)


_NEXT = bytes(range(1, 127)) + b" " + bytes(129)  # after "~" comes " "


def page(client):
    """Look at the page, and at its numbers."""
    with contextlib.closing(_http(client)) as connection:
        if client.place.page == "http/tcp":
            with client.answer():
                found = _get(connection, "/")
            _check(found, found == _PAGE)
        for _ in client.more(3):
            with client.answer():
                found = json.loads(_get(connection, "/stats.json"))
            _check(found, found["free"] > 0 and len(found["services"]) > 5)
            client.think()


_PAGE = (places.ROOT / "board/node/page.html").read_bytes()


def _http(client):
    return http.client.HTTPConnection(
        *client.address, timeout=LATE, source_address=hostile.source()
    )


def _get(connection, path, method="GET", body=None, headers=None):
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    found = answer.read()
    if answer.status == 503:
        raise Busy(found)
    _check(found, answer.status == 200)
    return found


def pages(client):
    """Pages and bodies, over one connection."""
    with contextlib.closing(_http(client)) as connection:
        for i in client.more(6):
            body = b"%d" % i * client.random.randrange(1, 3000) if i % 2 else None
            with client.answer():
                found = _get(connection, "/", "POST" if body else "GET", body)
            _check(found, found == (body or b"an honest page\n" * 200))
            client.think()


def calls(client):
    """A call by XML-RPC: each has a connection of its own, as HTTP/1.0 has it."""
    with contextlib.closing(_http(client)) as connection:
        n = client.random.randrange(30)
        body = xmlrpc.client.dumps((2, n), "pow").encode()
        with client.answer():
            found = _get(connection, "/RPC2", "POST", body)
        found = xmlrpc.client.loads(found)[0][0]
        _check(found, found == 2**n)


def remote(client):
    """An object on the server."""
    maker = socketse.Client(*client.address, timeout=LATE)
    with client.answer():
        counter = maker.new()
    with counter:
        for i in client.more(8):
            with client.answer():
                found = counter.add(1)
            _check(found, found == i + 1)
            client.think()


def passwords(client):
    """Change a password. Each client has a user of its own."""
    user = places.USERS[0]
    client.password = getattr(client, "password", 0)
    with client.connect() as sock:
        file = sock.makefile("rb")
        with client.answer():
            found = _line(file)
        _check(found, found[:3] == b"200")
        old, new = ["%s %d secret" % (user, client.password + n) for n in (0, 1)]
        for words in ("USER " + user, "PASS " + old):
            with client.answer():
                sock.sendall(words.encode() + b"\r\n")
                found = _line(file)
            _check(found, found[:3] == b"200")
        with client.answer():
            client.password += 1
            sock.sendall(b"NEWPASS " + new.encode() + b"\r\n")
            found = _line(file)
        _check(found, found == b"200 changed\r\n")
        with client.answer():
            sock.sendall(b"QUIT\r\n")
            found = _line(file)
        _check(found, found[:3] == b"200")


def _ask(client, data, check):
    with client.answer(), client.connect(socket.SOCK_DGRAM) as sock:
        for left in range(SENT - 1, -1, -1):
            sock.settimeout(LATE / SENT)
            sock.send(data)
            try:
                found = sock.recv(2000)
                break
            except TimeoutError:
                if not left:
                    raise
                client.row.turned_away += 1
    _check(found, check(found))


def sntp(client):
    """Ask for the time as SNTP's clients do."""
    stamp = b"%08d" % client.random.randrange(10**8)

    def check(found):
        return len(found) == 48 and found[24:32] == stamp and _is_now(found[40:44])

    _ask(client, b"\x23" + bytes(39) + stamp, check)


def discovery(client):
    """Ask who is there."""
    question = b"socketse?".ljust(512)
    _ask(client, question, lambda found: "echo/tcp" in json.loads(found)["services"])


def echo_udp(client):
    """Send a datagram, and get it back."""
    data = b"an honest datagram %d" % client.random.randrange(10**8)
    _ask(client, data, lambda found: found == data)


def daytime_udp(client):
    """Ask for the time as text."""
    _ask(client, b"?", _is_daytime)


def time_udp(client):
    """Ask for the time."""
    _ask(client, b"?", lambda found: len(found) == 4 and _is_now(found))


_POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n" + bytes(500)
_CALL = b"POST /RPC2 HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n" + b"<methodCall>".ljust(90)

# By service: the honest visit, and for the others a request; each byte is one if drip is more
# than a second.
SERVICES = {
    "echo/tcp": (echo, b"a line\n", 1.5),
    "app/tcp": (app, b"read\n", 0.3),
    "time/tcp": (time_tcp, b"x", 1.5),
    "http/tcp": (page, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0.3),
    "sntp/udp": (sntp, None, 0),
    "discovery/udp": (discovery, None, 0),
    "page": (page, b"GET /stats.json HTTP/1.1\r\nHost: x\r\n\r\n", 0.3),
    "http": (pages, _POST, 0.3),
    "xmlrpc": (calls, _CALL, 0.3),
    "remote": (remote, b'00000001V100000007P["NEW"]', 0.3),
    "passwords": (passwords, b"USER otto\r\nPASS wrong\r\nNEWPASS something\r\n", 0.3),
    "tls": (tls, hostile._HELLO + bytes(507), 0.3),
    "chargen/tcp": (chargen, b"x", 1.5),
    "daytime/tcp": (daytime_tcp, b"x", 1.5),
    "discard/tcp": (discard, b"x", 1.5),
    "echo/udp": (echo_udp, None, 0),
    "time/udp": (time_udp, None, 0),
    "daytime/udp": (daytime_udp, None, 0),
}


def clients(place, seed):
    """Return an Honest for each service of a place."""
    return [Honest(place, name, SERVICES[name][0], seed + i) for i, name in enumerate(place.ports)]


def targets(place):
    """Return a hostile.Target for each service of a place."""
    found = []
    for name, port in place.ports.items():
        _, request, drip = SERVICES[name]
        found.append(hostile.Target(name, (place.host, port), request, drip, request is None))
    return found
