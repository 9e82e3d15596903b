"""Clients that mean no good, many of them in one thread: for tools/soak and tools/bench/faults.py.

Each attack is a generator of one connection: it yields the seconds until it goes on. What the
server does to it ends it, as OSError.
"""

import heapq
import itertools
import random
import socket
import struct
import threading
import time

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset
_SMALL = 4096  # bytes of a client's buffer that reads nothing
_MOST = 300000  # bytes that one attacker sends at most
_LONG = bytes(1400)
# The beginning of a ClientHello of TLS 1.2, and then nothing that belongs there.
_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

_numbers = itertools.count()
_numbering = threading.Lock()


def source():
    """Return an address of the loopback net, another one each time, and a port for the system.

    So no port is used twice within its minute of TIME-WAIT, and each client is a stranger.
    """
    with _numbering:
        n = next(_numbers)
    return "127.%d.%d.%d" % (20 + n // 62500 % 200, n // 250 % 250, 1 + n % 250), 0


class Target:
    """A service that is attacked.

    name     what it is called in the results
    address  (host, port)
    request  bytes of a whole request
    drip     seconds between two bytes of a slow one: if each byte is a request of its own, more
             than the second in which a client counts as at work, and may stay
    udp      True: for datagrams
    """

    def __init__(self, name, address, request, drip=0.3, udp=False):
        self.name = name
        self.address = address
        self.request = request
        self.drip = drip
        self.udp = udp


def _connect(target, small=False):
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind(source())
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL)
    sock.connect_ex(target.address)
    return sock


def _send(sock, data):
    # Return how many bytes there was room for.
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0


def _noise(rnd, n):
    return rnd.getrandbits(8 * n + 8).to_bytes(n + 1, "little")[:n]


def _half(target):
    return target.request[: (len(target.request) + 1) // 2]


def silent(target, rnd, hold):
    """Say nothing."""
    with _connect(target):
        yield hold


def half_request(target, rnd, hold):
    """Send half a request, and wait."""
    with _connect(target) as sock:
        yield 0.02
        _send(sock, _half(target))
        yield hold


def half_close(target, rnd, hold):
    """Send half a request, say that nothing more comes, and wait."""
    with _connect(target) as sock:
        yield 0.02
        _send(sock, _half(target))
        sock.shutdown(socket.SHUT_WR)
        yield hold


def vanish(target, rnd, hold):
    """Connect and be gone."""
    with _connect(target):
        yield 0.001


def reset(target, rnd, hold):
    """Reset the connection: at once, after half a request, or when the answer has come."""
    stage = rnd.randrange(3)
    with _connect(target) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        yield 0.02
        if stage:
            _send(sock, _half(target) if stage == 1 else target.request)
            yield 0.1


def slow(target, rnd, hold):
    """Send a byte of a request now and then."""
    with _connect(target) as sock:
        yield 0.02
        end = time.monotonic() + hold
        for i in itertools.count():
            if time.monotonic() > end:
                return
            at = i % max(1, len(target.request) - 2)  # the end never comes
            _send(sock, target.request[at : at + 1])
            yield target.drip


def endless_line(target, rnd, hold):
    """Send a line without an end."""
    with _connect(target) as sock:
        yield 0.02
        sent = 0
        end = time.monotonic() + hold
        while sent < _MOST and time.monotonic() < end:
            sent += _send(sock, b"x" * 1000)
            yield 0.005


def never_reads(target, rnd, hold):
    """Send requests and read no answer."""
    with _connect(target, small=True) as sock:
        yield 0.02
        end = time.monotonic() + hold
        sent = 0
        while sent < _MOST and time.monotonic() < end:
            n = _send(sock, target.request * (1 + 1000 // len(target.request)))
            sent += n
            yield 0.01 if n else 0.2


def random_bytes(target, rnd, hold):
    """Send noise, and wait."""
    with _connect(target) as sock:
        yield 0.02
        _send(sock, _noise(rnd, rnd.randrange(1, 3000)))
        yield hold


def tls_garbage(target, rnd, hold):
    """Begin a handshake of TLS, and go on with noise."""
    with _connect(target) as sock:
        yield 0.02
        _send(sock, _HELLO + _noise(rnd, rnd.randrange(600)))
        yield hold


def datagrams(target, rnd, hold):
    """Send datagrams of all sizes, as many as the queue of a small device takes and some more."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(source())
        sock.connect(target.address)
        for _ in range(20):
            size = rnd.choice((0, 1, 47, 48, 511, 1472, 2000, rnd.randrange(1473)))
            _send(sock, _noise(rnd, size))
        yield 0.5


STREAMS = (
    silent,
    half_request,
    half_close,
    vanish,
    reset,
    slow,
    endless_line,
    never_reads,
    random_bytes,
    tls_garbage,
)


class Horde:
    """Attackers at work, from `with` to the end of its block.

    targets  list of Target; each attacker takes one at random
    attacks  what it does with one for streams, at random too
    size     how many at once
    rate     how many new ones in a second
    hold     seconds that one stays, at most
    count    {target's name: attackers so far}
    """

    def __init__(self, targets, attacks=STREAMS, size=40, rate=40.0, hold=10.0, seed=1):
        self.count = {target.name: 0 for target in targets}
        self._targets = targets
        self._attacks = attacks
        self._size = size
        self._rate = rate
        self._hold = hold
        self._random = random.Random(seed)
        self._due = []  # (when, number, generator)
        self._number = itertools.count()
        self._at_work = threading.Event()
        self._at_work.set()
        self._calm = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._over = True
        self._at_work.set()
        self._thread.join()

    def pause(self):
        """Have all attackers go away; returns when they are gone."""
        self._calm.clear()
        self._at_work.clear()
        self._calm.wait()

    def resume(self):
        """Let them come again."""
        self._at_work.set()

    @property
    def size(self):
        """How many are there."""
        return len(self._due)

    def _run(self):
        start = time.monotonic()
        while not self._over:
            if not self._at_work.is_set():
                self._leave()
                self._calm.set()
                self._at_work.wait()
                start = time.monotonic()
            now = time.monotonic()
            while start <= now and len(self._due) < self._size:
                start += 1 / self._rate
                self._begin(now)
            start = max(start, now - 1)
            while self._due and self._due[0][0] <= now:
                self._step(heapq.heappop(self._due)[2])
            wait = self._due[0][0] - now if self._due else 0.01
            time.sleep(min(0.01, max(0.001, wait)))
        self._leave()

    def _begin(self, now):
        target = self._random.choice(self._targets)
        attack = datagrams if target.udp else self._random.choice(self._attacks)
        self.count[target.name] += 1
        hold = self._random.uniform(0.1, 1) * self._hold
        heapq.heappush(self._due, (now, next(self._number), attack(target, self._random, hold)))

    def _step(self, attacker):
        try:
            wait = next(attacker)
        except (StopIteration, OSError):
            attacker.close()
            return
        heapq.heappush(self._due, (time.monotonic() + wait, next(self._number), attacker))

    def _leave(self):
        for _, _, attacker in self._due:
            attacker.close()
        self._due = []
