"""Clients that are silent, strange, broken or hostile: the others are served all the same."""

import contextlib
import os
import random
import re
import select
import socket
import struct
import time

import mpy
import pytest
from conftest import ROOT, find_target, free_port, scale
from siege import LIMIT, RESET, ROUNDS, SLOW, Marks, Protocol, Siege

PROGRAMS = ROOT / "tests" / "attacks"
PLACES = ["28k-i386", "32k-i386", "48k-i386", "64k-i386", "cpython"]
WRAP = 2  # seconds after which ticks have wrapped in tests/attacks/stand_in.py


class Echo(Siege):
    """The echo under attack; the staying client asks for the server's figures, too."""

    pause = 0.1  # in the smallest heaps there is no room for more

    def __init__(self, port):
        self.random = random.Random(4711)
        Siege.__init__(self, Protocol(), port)

    def tell(self, line):
        """Send a line on the staying connection and return the answer."""
        with self._asking:
            self.staying.sendall(line)
            answer = b""
            while not answer.endswith(b"\n"):
                data = self.staying.recv(4096)
                assert data, "closed after %r" % answer
                answer += data
            return answer.decode()

    def stats(self):
        words = self.tell(b"stats\n").split()
        return dict(zip(words[::2], map(int, words[1::2])))


# The attacks.


def silent(siege):
    """300 clients say nothing."""
    for _ in range(3):
        for _ in range(100):  # not more than the listener's queue takes
            siege.client()
        siege.served()


def half_lines(siege):
    """100 clients send half a line."""
    for _ in range(100):
        siege.client().sendall(b"half a li")
    siege.served()


def strange(siege):
    """200 clients send random bytes, half of them without a newline."""
    for i in range(200):
        n = siege.random.randrange(1, 3000)
        data = siege.random.getrandbits(8 * n).to_bytes(n, "little")
        with contextlib.suppress(OSError):  # thrown out, for a line that is too long
            siege.client().sendall(data.replace(b"\n", b"\r") if i % 2 else data)
        if i % 100 == 99:
            siege.served()


def resets(siege):
    """500 clients reset the connection at different moments."""
    for i in range(500):
        client = siege.client()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with contextlib.suppress(OSError):
            if i % 4 == 1:
                client.sendall(b"half a li")
            elif i % 4 > 1:
                client.sendall(b"a line\n")
            if i % 4 == 3:  # the reply is there, and is not read
                assert select.select([client], [], [], LIMIT)[0]
        client.close()
    siege.served()


def vanish(siege):
    """500 clients connect and are gone."""
    for i in range(500):
        siege.client(b"half a li" if i % 4 == 3 else b"").close()
    siege.served()


def endless_line(siege):
    """One client sends 1 MB without a newline."""
    client = siege.client()
    with pytest.raises(ConnectionError):  # it is thrown out
        client.sendall(b"x" * 1000000)
        while client.recv(4096):
            continue
        raise ConnectionResetError("closed")
    siege.served()


def sends_on(siege):
    """One client sends on and on after the server has said goodbye."""
    client = siege.client()
    client.sendall(b"bye\n")
    end = time.monotonic() + LIMIT
    with pytest.raises(ConnectionError):  # it is heard for a second, so that it gets its reply
        while time.monotonic() < end:
            client.sendall(b"a short line\n" * 100)
    siege.served()


def dripping(siege, n=100):
    """So many clients send a byte of a line every 100 ms."""
    clients = [siege.client() for _ in range(n)]

    def drip():
        for client in clients:
            with contextlib.suppress(OSError):  # evicted
                client.send(b"x")
        time.sleep(0.1)

    siege.at_work(drip)
    siege.served(2)


def few_dripping(siege):
    """30 clients send a byte of a line every 100 ms."""
    dripping(siege, 30)


def never_reads(siege):
    """One client sends lines for ever and reads no echo."""
    client = siege.client(tiny=True)

    def send():
        if select.select([], [client], [], 0.1)[1]:
            client.send(lines)

    lines = b"%0999d\n" % 0
    client.settimeout(0)
    siege.at_work(send)
    siege.stuck()
    siege.served(2)


def flood(siege):
    """One client sends and reads as fast as it can."""
    client = siege.client()
    lines = b"a short line\n" * 1000

    def send_and_receive():
        readable, writable, _ = select.select([client], [client], [], 0.1)
        if readable and not client.recv(65536):
            raise OSError("closed")
        if writable:
            client.send(lines)  # a part of a line, at times: the rest is another line

    client.settimeout(0)
    siege.at_work(send_and_receive)
    siege.served(3)


def endless_answer(siege):
    """The server writes without end to a client that reads as fast as it can."""
    client = siege.client()
    client.sendall(b"write\n")
    assert client.recv(40)
    siege.at_work(client.recv, 65536)
    siege.served(3)


def endless_answer_unread(siege):
    """The server writes without end to a client that reads nothing."""
    siege.client(tiny=True).sendall(b"write\n")
    siege.stuck()
    siege.served(2)


ATTACKS = [
    silent,
    half_lines,
    strange,
    resets,
    vanish,
    endless_line,
    sends_on,
    dripping,
    never_reads,
    flood,
    endless_answer,
    endless_answer_unread,
]


@pytest.fixture(scope="module")
def compiled():
    # The program too, as small heaps want it. A relative path: it ends up on the heap.
    into = ROOT / "build" / "attacks"
    mpy.compile_lib(into)
    for name in ("echo", "stand_in", "jumping"):
        mpy.compile_file(PROGRAMS / (name + ".py"), into / (name + ".mpy"), name)
    return os.path.relpath(into)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_attack(start, compiled, attack, place):
    survives(start, compiled, attack, place, "echo")


@pytest.mark.parametrize("place", [PLACES[0], "cpython"])
@pytest.mark.parametrize("attack", [silent, few_dripping], ids=lambda attack: attack.__name__)
def test_attack_while_the_clock_jumps_and_ticks_wrap(start, compiled, attack, place):
    """In the smallest heap of all: it has room for the stand-in for time, too."""
    survives(start, compiled, attack, place, "jumping", WRAP)


def survives(start, compiled, attack, place, name, seconds=0):
    """Attack a program, for so many seconds in the first round, and see what that leaves."""
    port = free_port()
    if place == "cpython":
        program = start(find_target("cpython"), PROGRAMS / (name + ".py"), port)
    else:
        heap, target = place.split("-")
        program = start(find_target(target), "-m", name, port, heap=heap, lib=compiled)
    program.wait_for("ready")
    end = time.monotonic() + seconds
    siege = Echo(port)
    try:
        marks = Marks(program.process.pid)
        for _ in range(ROUNDS):
            siege.begin()
            try:
                attack(siege)
                while time.monotonic() < end:
                    siege.release()
                    attack(siege)
            finally:
                siege.end()
            assert not siege.failures, siege.failures
            stats = siege.calm()
            marks.add(int(siege.tell(b"heap\n")))
            if marks.steady(scale()):
                break
        print(
            "FIGURES %-21s %-8s worst new %.3f staying %.3f, over %d s: %d of %d; "
            "turned away %d, evicted %d, out_of_memory %d, errors %d, (heap, fds) %s"
            % (
                attack.__name__,
                place,
                siege.worst["new"],
                siege.worst["staying"],
                SLOW,
                siege.slow,
                siege.answers,
                siege.turned_away,
                stats["evicted"],
                stats["out_of_memory"],
                stats["errors"],
                marks.marks,
            )
        )
        # One that found no memory at all is in the other counter.
        lost = siege.made - stats["accepted"]
        assert 0 <= lost <= stats["out_of_memory"], stats
        marks.check()
        assert program.process.poll() is None
    except BaseException:
        print(program.output[-3000:])
        raise
    finally:
        siege.close()


# Much at once, everywhere.


@pytest.fixture
def echo(target, start):
    """A connection to the echo of each interpreter."""
    port = free_port()
    start(target, PROGRAMS / "echo.py", port).wait_for("ready")
    with socket.socket() as client:
        client.settimeout(20)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            client.setsockopt(socket.SOL_SOCKET, option, 16384)
        client.connect(("127.0.0.1", port))
        yield client


def exchange(client, data, rnd):
    """Send data and return what comes back, both in random pieces."""
    client.settimeout(0)
    came = bytearray()
    sent = 0
    deaf = False  # it does not read, until the server cannot go on
    while len(came) < len(data):
        writers = [client] if sent < len(data) else []
        deaf = bool(writers) and (deaf or rnd.random() < 0.01)
        readers = [] if deaf else [client]
        readable, writable, _ = select.select(readers, writers, [], 0.02 if deaf else 20)
        assert deaf or readable or writable, "%d of %d bytes came" % (len(came), len(data))
        if writable:
            sent += client.send(data[sent : sent + rnd.randrange(1, 5000)])
        if readable:
            got = client.recv(rnd.randrange(1, 5000))
            assert got, "closed after %d of %d bytes" % (len(came), len(data))
            came += got
        deaf = deaf and bool(writable)
    return bytes(came)


def test_thousand_lines_at_once(echo):
    lines = [b"line %d\n" % i for i in range(1000)]
    data = b"".join(lines)
    assert echo.send(data) == len(data)  # before the first answer is read
    came = b""
    while len(came) < len(data):
        got = echo.recv(65536)
        assert got, "closed after %r" % came[-40:]
        came += got
    assert came.splitlines(True) == lines


def test_megabyte_in_random_pieces(echo):
    rnd = random.Random(1)
    data = bytearray()
    while len(data) < 1000000 * scale():
        n = rnd.randrange(1000)  # a line is shorter than max_line
        data += rnd.getrandbits(8 * n + 8).to_bytes(n + 1, "little").replace(b"\n", b"\r")
        data += b"\n"
    data = bytes(data)
    came = exchange(echo, data, rnd)
    # Not came == data: pytest would compare a megabyte for its message.
    first = next((i for i in range(0, len(data), 64) if came[i : i + 64] != data[i : i + 64]), -1)
    assert first == -1, "other bytes from %d on" % first


# Datagrams.

DAYTIME = re.compile(rb"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\r\n$")


def check_echo(answer, sent):
    return answer in sent


def check_nothing(answer, sent):
    return False


def check_daytime(answer, sent):
    return bool(DAYTIME.match(answer))


def check_time(answer, sent):
    return len(answer) == 4 and abs(struct.unpack(">I", answer)[0] - 2208988800 - time.time()) < 60


def check_sntp(answer, sent):
    # Mode 4, and the originate timestamp is the transmit timestamp of somebody's question.
    if len(answer) != 48 or answer[0] & 7 != 4:
        return False
    return any(asks_the_time(data) and data[40:48] == answer[24:32] for data in sent)


def wait_for_empty_queue(port):
    """Wait until the server has taken all datagrams that have come to its port."""
    end = time.monotonic() + 20
    while True:
        with open("/proc/net/udp") as table:
            rows = [row.split() for row in table if ":%04X 00000000:0000 " % port in row]
        if [row[4].split(":")[1] for row in rows] == ["00000000"]:
            return
        assert time.monotonic() < end, rows
        time.sleep(0.01)


def nothing(data):
    return False


def anything(data):
    return True


def asks_the_time(data):
    """Return True if data is an SNTP client's request."""
    return len(data) >= 48 and data[0] & 7 == 3 and data[0] & 0x38 != 0


QUESTION = b"\x23" + bytes(39) + b"my stamp"  # as an SNTP client asks; the others take anything
# By place in tests/attacks/udp.py: which answers are right, and what gets one.
CHECKS = [check_echo, check_nothing, check_nothing, check_daytime, check_time, check_sntp]
ANSWERED = [bool, nothing, nothing, anything, anything, asks_the_time]


def test_random_datagrams(target, start):
    ports = [free_port() for _ in CHECKS]
    start(target, PROGRAMS / "udp.py", *ports).wait_for("ready")
    rnd = random.Random(2)
    answers = [0] * len(CHECKS)
    with contextlib.ExitStack() as stack:
        clients = []
        for port in ports:
            clients.append(stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
            clients[-1].connect(("127.0.0.1", port))
        sent = [set() for _ in CHECKS]

        def receive(seconds, goal=None):
            """Check what comes: until there are so many, or nothing has come for so long."""
            while sum(answers) != goal:
                readable = select.select(clients, [], [], seconds)[0]
                if not readable:
                    return
                for client in readable:
                    i = clients.index(client)
                    answer = client.recv(4096)
                    assert CHECKS[i](answer, sent[i]), "service %d: %r" % (i, answer)
                    answers[i] += 1

        goal = 0
        for k in range(5000 * scale()):
            i = rnd.randrange(len(CHECKS))
            n = rnd.choice((0, 1, 47, 48, 49, 1471, 1472, rnd.randrange(1473)))
            data = rnd.getrandbits(8 * n + 8).to_bytes(n + 1, "little")[:n]
            sent[i].add(data)
            clients[i].send(data)
            goal += ANSWERED[i](data)
            if k % 20 == 19:  # more would be lost in the servers' queues
                receive(0.1, goal)
                goal = sum(answers)
        receive(0.1)
        print("FIGURES datagrams %s: answers %s" % (target.name, answers))
        # Some may be lost, but not most.
        for i in range(len(CHECKS)):
            most = sum(map(ANSWERED[i], sent[i]))
            assert answers[i] >= most // 2, "service %d: %d of %d" % (i, answers[i], most)
        for i in range(len(CHECKS)):
            if not ANSWERED[i](QUESTION):
                wait_for_empty_queue(ports[i])  # it still takes what comes
                continue
            sent[i].add(QUESTION)
            before = answers[i]
            for _ in range(20):
                clients[i].send(QUESTION)
                receive(0.5, sum(answers) + 1)
                if answers[i] > before:
                    break
            else:
                raise AssertionError("service %d answers no more" % i)
