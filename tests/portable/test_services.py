"""The standard services, and the clock of boards that count from 2000 and in whole seconds."""

import struct
import time

from socketse import TCPServer, ThreadingTCPServer, UDPServer, port, services
from socketse.services import Clock
from support import MICROPYTHON, Client, ask, free, serving

NTP_1970 = 2208988800
YEAR_2000 = 946684800
YEAR_2040 = 2208988800


class Sock:
    """A datagram socket that keeps what it is given to send."""

    def __init__(self):
        self.sent = []

    def sendto(self, data, address):
        self.sent.append(data)


def test_echo():
    with serving(TCPServer(free(), services.EchoHandler)) as server:
        with Client(server.server_address) as c:
            for data in (b"no newline", b"\n", b"\0\xff" * 3000):
                c.send(data)
                got = b""
                while len(got) < len(data):
                    got += c.recv()
                assert got == data
    with serving(UDPServer(free(), services.EchoHandler)) as server:
        for data in (b"x", b"y" * 1000):
            assert ask(server.server_address, data) == data
        assert ask(server.server_address, b"", timeout=0.2) is None


def test_discard():
    with serving(ThreadingTCPServer(free(), services.DiscardHandler)) as server:
        with Client(server.server_address) as c:
            c.send(b"z" * 100000)
            c._socket.settimeout(0.2)
            try:
                assert not c.recv(), "discard answered"
            except OSError:
                pass  # silence, as it should be
        if MICROPYTHON:
            from support import wait_until

            wait_until(lambda: server.stats["bytes_in"] == 100000)
    with serving(UDPServer(free(), services.DiscardHandler)) as server:
        assert ask(server.server_address, b"x", timeout=0.2) is None
        assert server.stats["accepted"] == 1


def test_chargen():
    with serving(TCPServer(free(), services.ChargenHandler)) as server:
        with Client(server.server_address) as c:
            lines = [c.line() for _ in range(200)]
    printable = bytes(range(32, 127))
    for i, line in enumerate(lines):
        assert len(line) == 74 and line[-2:] == b"\r\n"
        assert line[:72] == (printable * 2)[i % 95 : i % 95 + 72]


def test_chargen_sends_datagrams_only_if_asked_for():
    with serving(UDPServer(free(), services.ChargenHandler)) as server:
        assert ask(server.server_address, b"x", timeout=0.2) is None

    class On(services.ChargenHandler):
        datagrams = True

    with serving(UDPServer(free(), On)) as server:
        for _ in range(5):
            assert 1 <= len(ask(server.server_address, b"x")) <= 512


def test_daytime():
    services.clock.set(YEAR_2040 + 86399)
    with serving(TCPServer(free(), services.DaytimeHandler)) as server:
        with Client(server.server_address) as c:
            text = c.rest()
    assert text[:16] in (b"Sun Jan  1 23:59", b"Mon Jan  2 00:00"), text
    assert text[-6:] == b"2040\r\n"
    with serving(UDPServer(free(), services.DaytimeHandler)) as server:
        assert ask(server.server_address, b"x")[-6:] == b"2040\r\n"


def test_time():
    for now in (YEAR_2000, YEAR_2040, 2085978496 - 5, 1800000000):
        services.clock.set(now)
        with serving(TCPServer(free(), services.TimeHandler)) as server:
            with Client(server.server_address) as c:
                told = struct.unpack(">I", c.rest())[0]
        assert (told - now - NTP_1970) % (1 << 32) in (0, 1), now
        with serving(UDPServer(free(), services.TimeHandler)) as server:
            told = struct.unpack(">I", ask(server.server_address, b"x"))[0]
        assert (told - now - NTP_1970) % (1 << 32) in (0, 1), now


def unset_clock():
    services.clock.now = lambda: (YEAR_2000 + 100, 500, 1000)
    assert not services.clock.is_set()


def test_time_says_nothing_while_the_clock_is_not_set():
    unset_clock()
    with serving(TCPServer(free(), services.TimeHandler)) as server:
        with Client(server.server_address) as c:
            assert c.rest() == b""


def query(first=0x23, transmit=b"\x12\x34\x56\x78\x9a\xbc\xde\xf0"):
    return bytes([first, 0, 6, 0xEC]) + bytes(36) + transmit


def test_sntp():
    services.clock.set(1800000000)
    with serving(UDPServer(free(), services.SNTPHandler)) as server:
        for version in (1, 2, 3, 4):
            answer = ask(server.server_address, query(version << 3 | 3))
            assert len(answer) == 48
            assert answer[0] == version << 3 | 4  # no leap, same version, server
            assert answer[1] == 10 and answer[2] == 6
            assert answer[24:32] == b"\x12\x34\x56\x78\x9a\xbc\xde\xf0"
            received, sent = struct.unpack(">IxxxxI", answer[32:44])
            assert received - NTP_1970 - 1800000000 in (0, 1, 2) and sent - received in (0, 1)


def test_sntp_across_2036():
    # 2036-02-07 06:28:16: the NTP era ends, and the count begins again.
    services.clock.set(2085978496 + 10)
    sock = Sock()
    services.SNTPHandler((query(), sock), ("10.0.0.1", 5000), None)
    assert struct.unpack(">I", sock.sent[0][40:44])[0] in (10, 11)


def test_sntp_says_so_while_the_clock_is_not_set():
    unset_clock()
    with serving(UDPServer(free(), services.SNTPHandler)) as server:
        answer = ask(server.server_address, query())
    assert answer[0] >> 6 == 3 and answer[1] == 0 and answer[12:16] == b"INIT"


def test_sntp_answers_clients_only():
    with serving(UDPServer(free(), services.SNTPHandler)) as server:
        for data in (b"", b"x", query()[:47], query(0x24), query(0x21), query(0x03), b"\0" * 48):
            assert ask(server.server_address, data, timeout=0.1) is None, data
        assert len(ask(server.server_address, query() + b"more")) == 48


def test_services_do_not_answer_each_other():
    class Server:
        server_address = ("10.0.0.2", 4007)

    def answers(handler, number, data=b"x"):
        sock = Sock()
        handler((data, sock), ("10.0.0.1", number), Server)
        return len(sock.sent)

    for number in (7, 9, 13, 17, 19, 37, 123, 4007):
        assert answers(services.EchoHandler, number) == 0, number
        assert answers(services.SNTPHandler, number) == 0, number
        # NTP servers ask from port 123, and an answer of ours is no question.
        assert answers(services.SNTPHandler, number, query()) == 1
        assert answers(services.SNTPHandler, number, query(0x24)) == 0
    assert answers(services.EchoHandler, 50000) == 1
    services.QUIET_PORTS.add(50000)
    assert answers(services.EchoHandler, 50000) == 0


def test_silent_client_is_closed_and_counted():
    class Hasty(services.EchoHandler):
        timeout = 0.1

    with serving(TCPServer(free(), Hasty)) as server:
        with Client(server.server_address) as c:
            assert c.rest() == b""
    assert server.stats["timed_out"] == 1


def test_ctime():
    assert services.ctime(0) == "Thu Jan  1 00:00:00 1970" or time.localtime(0)[3] != 0
    if not MICROPYTHON:
        for t in (0, 1, YEAR_2000, 1582934400, 1800000000, YEAR_2040, 3000000000):
            assert services.ctime(t) == time.ctime(t), t
    for t, year, day in (
        (YEAR_2040 + 60 * 86400, "2040", "Thu Mar  1"),
        (3155760000, "2070", "Wed"),
    ):
        text = services.ctime(t)
        assert text[-4:] == year and text[: len(day)] == day, text


class Board:
    """A board's time module: whole seconds, from 2000 or 1970, and ticks that wrap."""

    def __init__(self, start_ms, ticks):
        self.ms = start_ms
        self.ticks = ticks
        self.real = time.time, port.ticks_ms, port.ticks_diff

    def install(self):
        services.time = self
        services.port.ticks_ms = lambda: (self.ticks + self.ms) % (1 << 30)
        services.port.ticks_diff = lambda a, b: (a - b + (1 << 29)) % (1 << 30) - (1 << 29)

    def real_ticks(self):
        _, services.port.ticks_ms, services.port.ticks_diff = self.real

    def time(self):
        return self.ms // 1000

    def gmtime(self, t):
        return (2000,) + time.gmtime(t)[1:]


def test_clock_counts_from_1970_where_the_port_counts_from_2000():
    board = Board(5000, 0)
    board.install()
    assert Clock().now()[0] == YEAR_2000 + 5


def test_clock_learns_the_milliseconds():
    board = Board(700000300, (1 << 30) - 3000)  # the ticks wrap on the way
    board.install()
    clock = Clock()
    width = 1000
    for step in (137, 411, 733, 59, 997, 203, 661, 89, 307, 541) * 5:
        board.ms += step
        seconds, ms, width = clock.now()
        assert seconds - YEAR_2000 == board.ms // 1000
        assert abs(ms - board.ms % 1000) <= (width + 1) // 2 + 1, (ms, board.ms, width)
    assert width < 150, width
    board.ms += 86400000 * 30 + 400  # a month without a question
    seconds, ms, width = clock.now()
    assert seconds - YEAR_2000 == board.ms // 1000 and width == 1000


def test_clock_allows_for_drift():
    # The ticks and the clock of a board come from two crystals.
    for ppm in (100, -100):
        board = Board(1000000, 0)
        board.install()
        start = board.ms
        services.port.ticks_ms = lambda board=board, start=start, ppm=ppm: (
            board.ms + (board.ms - start) * ppm // 1000000
        )
        clock = Clock()
        for step in (137, 411, 733, 59, 997, 203, 661, 89, 307, 541) * 5:
            board.ms += step
            clock.now()
        for _ in range(20):
            board.ms += 300123
            seconds, ms, width = clock.now()
            assert seconds - YEAR_2000 == board.ms // 1000
            assert abs(ms - board.ms % 1000) <= width // 2 + 1, (ppm, ms, board.ms, width)
        board.real_ticks()


def test_clock_notices_that_it_was_set():
    board = Board(1000000, 0)
    board.install()
    clock = Clock()
    for _ in range(50):
        board.ms += 333
        clock.now()
    board.ms -= 500000 - 400  # somebody has set it back
    assert clock.now()[2] == 1000
