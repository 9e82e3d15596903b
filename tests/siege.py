"""A server under attack, and the honest clients that it has to serve all the while.

Attacks stand in tests/test_attacks.py (any protocol, and the echo in the smallest heaps) and
tests/test_http_attacks.py (HTTP's own).
"""

import contextlib
import itertools
import os
import re
import socket
import ssl
import struct
import threading
import time

from conftest import certificates

SLOW = 1  # seconds in which everybody is to be answered: those who wait longer are counted
LIMIT = 5  # the same for a busy machine: the test fails
PAUSE = 0.02  # seconds between two honest clients
TOLERANCE = 64  # bytes of heap
ROUNDS = 6  # at most: what is lost is lost in each, but tables and rooms are there once
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends a reset

addresses = (
    "127.%d.%d.%d" % (a, b, c)
    for a in itertools.count(1)
    for b in range(1, 255)
    for c in range(1, 255)
)


class Wrong(Exception):
    """An honest client got something else than its answer."""


class Protocol:
    """How to speak a protocol, honestly and half-way.

    request     what asks for an answer; sent again and again it is an honest pipelined series
    answer      the end of it, or its length; None: what was sent
    starts      beginnings, raw, after which the server waits for more
    endless     what can be sent for ever after the beginning `start`
    stays       a client may ask again and again
    series      how many answers there are if it asks often at once
    files       its answer needs a file
    crowd       attackers of each kind; few where each has a thread, or all wait for each
    background  slow clients stay during all of it
    """

    request = b"an honest line\n"
    answer: "bytes | int | None" = None
    starts: tuple = ()
    start = b""
    endless = b"x" * 500
    stays = True
    series = 20
    files = False
    crowd = 40
    background = True
    reference = None  # what was answered in peace, and
    length = 0  # how many bytes that was

    def open(self, connection):
        """Do what comes before the first request."""

    def ask(self, connection):
        """Ask for an answer and look at it. Raises Wrong, or OSError."""
        connection.sendall(self.request)
        self.look(self.read(connection))

    def look(self, came):
        """Raise Wrong if that is not what was answered in peace."""
        self.length = self.length or len(came)
        came = self.mask(came)
        if self.reference is None:
            self.reference = came
        if came != self.reference:
            raise Wrong("%r instead of %r" % (came, self.reference))

    def read(self, connection):
        """Return one answer."""
        end = self.request if self.answer is None else self.answer
        came = b""
        while not came.endswith(end) if isinstance(end, bytes) else len(came) < end:
            data = connection.recv(4096 if isinstance(end, bytes) else end - len(came))
            if not data:
                raise Wrong("closed after %r" % came)
            came += data
        return came

    def mask(self, data):
        """Return data without what differs each time."""
        return re.sub(rb"Date: [^\n]*\n", b"", data)

    def stages(self):
        """Return the names of the points at which a client can leave."""
        found = ["connected"] + ["start %d" % i for i in range(len(self.starts))]
        if self.request:
            found += ["half", "asked", "answered"]
        return found

    def reach(self, connection, stage):
        """Bring a new connection to a stage."""
        if stage[:6] == "start ":
            connection.sendall(self.starts[int(stage[6:])])
        elif stage in ("half", "asked", "answered"):
            self.open(connection)
            half = len(self.request) // 2
            connection.sendall(self.request[:half] if stage == "half" else self.request)
            if stage == "answered":
                connection.recv(1)


class Siege:
    """A server under attack, and two honest clients: one stays, one comes anew each time.

    protocol  how they speak
    port      where the server is: a number, or the path of a Unix socket
    tls       it is spoken over TLS
    """

    pause = PAUSE  # seconds between two requests of the staying client
    idle = 1  # connections that are left when all have gone: the staying one

    def __init__(self, protocol, port, tls=False):
        self.protocol = protocol
        self.port = port
        self.context = (
            ssl.create_default_context(cafile=str(certificates() / "cert.pem")) if tls else None
        )
        self.made = 0  # connections
        self.worst = {"new": 0.0, "staying": 0.0}
        self.slow = 0  # answers that took longer than SLOW
        self.answers = 0
        self.turned_away = 0
        self.failures = []
        self._attackers = []
        self._working = []
        self._honest = []
        self._over = threading.Event()  # the attack
        self._end = threading.Event()  # of the honest clients' work
        self._changed = threading.Condition()
        self._done = {"new": 0, "staying": 0}
        self._asking = threading.Lock()  # one question at a time on the staying connection
        self.staying = None
        self.begun = False
        if protocol.stays:
            self.staying = self.enter()
            self.ask()  # who has never spoken is the first to be evicted
        else:
            self.idle = 0
            self._ask_anew()

    def close(self):
        self.end()
        if self.staying:
            self.staying.close()

    # For attacks.

    def client(self, data=b"", tiny=False):
        """Return one more connection, from an address of its own, that has sent data.

        tiny  with little buffers
        """
        client = self.connect(tiny)
        self._attackers.append(client)
        with contextlib.suppress(OSError):  # thrown out
            client.sendall(data)
        return client

    def entered(self, stage, tiny=False):
        """Return one more connection that has come to a stage."""
        client = self.connect(tiny)
        try:
            client = self._reach(client, stage)
        except (OSError, Wrong):
            self.turned_away += 1  # evicted by others of its kind
        self._attackers.append(client)
        return client

    def _reach(self, client, stage):
        if stage in ("half hello", "hello"):
            outgoing = ssl.MemoryBIO()
            half = self.context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
            with contextlib.suppress(ssl.SSLWantReadError):
                half.do_handshake()
            hello = outgoing.read()
            client.sendall(hello if stage == "hello" else hello[: len(hello) // 2])
        elif self.context is None:
            self.protocol.reach(client, stage)
        elif stage != "connected":
            client = self._secure(client)
            self.protocol.reach(client, stage)
        return client

    def stages(self):
        """Return the names of all stages."""
        found = self.protocol.stages()
        if self.context:
            found[1:1] = ["half hello", "hello", "secured"]
        return found

    def at_work(self, function, *args):
        """Call function(*args) again and again in a thread until the end of the attack."""

        def work():
            with contextlib.suppress(OSError):  # the server may have thrown it out
                while not self._over.is_set():
                    function(*args)

        self._working.append(threading.Thread(target=work))
        self._working[-1].start()

    def served(self, n=1):
        """Wait until n honest clients that have not asked yet are answered, of each kind."""
        kinds = ["new", "staying"] if self.staying else ["new"]
        with self._changed:
            goal = {kind: self._done[kind] + n + 1 for kind in kinds}
            done = self._changed.wait_for(
                lambda: self.failures or all(self._done[kind] >= goal[kind] for kind in goal),
                2 * (n + 1) * LIMIT,
            )
            assert done and not self.failures, self.failures or "nobody is served"

    def stuck(self):
        """Wait until the server can send no more to an attacker: hardly a byte moves."""
        end = time.monotonic() + LIMIT
        before = 0
        while True:
            stats = self.stats()
            now = stats["bytes_in"] + stats["bytes_out"]
            if 0 < now - before < 3000 < now:  # the honest clients' are some hundred
                return
            assert time.monotonic() < end, "the server works on: %s" % stats
            before = now
            self.served()

    # For the test.

    def begin(self):
        """Let the honest clients ask and ask."""
        self._over.clear()
        self._end.clear()
        for kind, ask in (("new", self._ask_anew), ("staying", self.ask)):
            if kind == "staying" and not self.staying:
                continue
            thread = threading.Thread(target=self._be_honest, args=(kind, ask))
            self._honest.append(thread)
            thread.start()

    def release(self):
        """End the attack, and let the attackers go."""
        self._over.set()
        for thread in self._working:
            thread.join()
        for client in self._attackers:
            client.close()
        self._working, self._attackers = [], []
        self._over.clear()

    def end(self):
        """The same, and let the honest clients rest."""
        self._end.set()
        for thread in self._honest:
            thread.join()
        self._honest = []
        self.release()

    def calm(self, done=lambda stats: True):
        """Return the server's counters once it has seen all of them go, and done(them)."""
        end = time.monotonic() + 2 * LIMIT
        while True:
            stats = self.stats()
            if stats["active"] == self.idle and done(stats):
                return stats
            assert time.monotonic() < end, "somebody stays: %s; made %d" % (stats, self.made)
            time.sleep(0.01)

    def stats(self):
        """Return the server's counters."""
        raise NotImplementedError

    def ask(self):
        """Ask on the staying connection."""
        with self._asking:
            self.protocol.ask(self.staying)

    def connect(self, tiny=False):
        """Return a new connection from an address of its own."""
        unix = isinstance(self.port, str)
        client = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        try:
            client.settimeout(LIMIT)
            if not unix:
                with self._changed:  # a generator is for one thread at a time
                    source = next(addresses)
                client.bind((source, 0))
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tiny:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            client.connect(self.port if unix else ("127.0.0.1", self.port))
        except BaseException:
            client.close()
            raise
        with self._changed:
            self.made += 1
        return client

    def enter(self, tiny=False):
        """Return a new connection that is ready for a request."""
        client = self.connect(tiny)
        try:
            client = self._secure(client)
            self.protocol.open(client)
        except BaseException:
            client.close()
            raise
        return client

    def _secure(self, client):
        if self.context:
            return self.context.wrap_socket(client, server_hostname="localhost")
        return client

    # The honest clients.

    def _ask_anew(self):
        # When the heap is full at the wrong moment a newcomer is turned away: it tries again.
        # While 50 others come in one instant that can happen twice: it has not been read yet.
        for _ in range(2):
            try:
                with self.enter() as client:
                    return self.protocol.ask(client)
            except (OSError, Wrong):
                self.turned_away += 1
        with self.enter() as client:
            self.protocol.ask(client)

    def _be_honest(self, kind, ask):
        pause = self.pause if kind == "staying" else PAUSE
        while not self._end.wait(pause) and not self.failures:
            begin = time.monotonic()
            wrong = ""
            try:
                ask()
            except (OSError, Wrong) as e:
                wrong = repr(e)
            took = time.monotonic() - begin
            with self._changed:
                self._done[kind] += 1
                self.answers += 1
                self.slow += took > SLOW
                self.worst[kind] = max(self.worst[kind], took)
                if wrong or took > LIMIT:
                    self.failures.append("%s: %s after %.2f s" % (kind, wrong, took))
                self._changed.notify_all()


class Marks:
    """What a server has in use, round by round, and whether that grows."""

    def __init__(self, pid):
        self.pid = pid
        self.marks = []

    def add(self, heap):
        """Note the bytes of heap in use, and the descriptors."""
        self.marks.append((heap, len(os.listdir("/proc/%d/fd" % self.pid))))

    def grown(self):
        """Return how much more (heap, descriptors) there are than ever before."""
        last = self.marks[-1]
        return [last[i] - max(mark[i] for mark in self.marks[:-1] or [last]) for i in (0, 1)]

    def steady(self, rounds):
        """Return True if there were enough rounds, and nothing grows."""
        heap, descriptors = self.grown()
        return len(self.marks) > rounds and heap <= TOLERANCE and descriptors <= 0

    def check(self):
        """Fail if something grows."""
        heap, descriptors = self.grown()
        assert heap <= TOLERANCE and descriptors <= 0, "(heap, descriptors): %s" % self.marks
