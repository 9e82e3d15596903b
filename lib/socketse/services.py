"""The small standard services: echo, discard, chargen, daytime, time, and SNTP.

One handler class serves TCP and UDP: give it to a TCPServer, a UDPServer, their
threading and multiplexing kin, or add such servers to a Multiplexer. A stream
that its client resets, or leaves silent for ``timeout`` seconds, is closed and
counted without a traceback.
"""

import struct
import time

from .stream import AsyncStreamRequestHandler  # first: the largest compiles best

# isort: split
from . import port
from .port import const

# Datagrams from these source ports get no answer: two services would answer each other for ever
# if somebody forged the first datagram. Add the ports on which you run such services elsewhere.
QUIET_PORTS = {7, 9, 13, 17, 19, 37, 123}

_UNIX_2000 = const(946684800)  # 2000-01-01 00:00:00 UTC in seconds from 1970
_UNIX_2022 = const(1640995200)
_NTP_1970 = const(2208988800)  # 1970-01-01 in seconds from 1900
_CYCLE = const(883612800)  # 28 years: from 1901 to 2099 the calendar repeats after that
_DAYS = const("MonTueWedThuFriSatSun")
_MONTHS = const("JanFebMarAprMayJunJulAugSepOctNovDec")


class Clock:
    """The time from 1970 on every port, with fractions of a second where time.time() has none.

    Those come from comparing time.time() with the ticks: each reading narrows down
    where between two ticks the second begins.
    """

    def __init__(self):
        self._epoch = _UNIX_2000 if time.gmtime(0)[0] == 2000 else 0  # esp32: 2000
        self._shift = None  # what set() adds to the system's clock
        self._seen = None  # (second, tick, x at least, x at most), x: milliseconds into the second

    def now(self):
        """Return (seconds from 1970, milliseconds of the second, uncertainty in milliseconds)."""
        t = time.time()
        seconds = int(t)
        if isinstance(t, float):
            ms, width = int((t - seconds) * 1000), 1
        else:
            ms, width = self._milliseconds(seconds, port.ticks_ms())
        return seconds + self._epoch + (self._shift or 0), ms, width

    def _milliseconds(self, second, tick):
        low, high = 0, 999
        if self._seen and 0 <= second - self._seen[0] < 86400:  # ticks wrap after six days
            passed = port.ticks_diff(tick, self._seen[1])
            drift = 1 + (passed >> 13)  # 122 ppm, for two clocks from two crystals
            step = passed - (second - self._seen[0]) * 1000
            low = max(low, self._seen[2] + step - drift)
            high = min(high, self._seen[3] + step + drift)
            if low > high:  # somebody has set the clock
                low, high = 0, 999
        self._seen = second, tick, low, high
        return (low + high) // 2, high - low + 1

    def set(self, seconds):
        """Let this clock, not the system's, show seconds from 1970 now."""
        self._shift = int(seconds) - int(time.time()) - self._epoch

    def is_set(self):
        """Return False if nobody has set the clock: boards begin in 2000 (esp32) or 2021 (rp2)."""
        return self._shift is not None or self.now()[0] >= _UNIX_2022


clock = Clock()


def ctime(seconds=None):
    """Return local time as "Thu Jan  1 00:00:00 1970", like time.ctime, which boards lack.

    seconds  from 1970; None: now, by the clock
    """
    if seconds is None:
        seconds = clock.now()[0]
    seconds -= clock._epoch
    years = 0
    while seconds >= 0x7FFFFFFF - _CYCLE:  # ports of 32 bits know no time after 2038
        seconds -= _CYCLE
        years += 28
    t = time.localtime(seconds)
    return "%s %s %2d %02d:%02d:%02d %d" % (
        _DAYS[3 * t[6] : 3 * t[6] + 3],
        _MONTHS[3 * t[1] - 3 : 3 * t[1]],
        t[2],
        t[3],
        t[4],
        t[5],
        t[0] + years,
    )


class Service(AsyncStreamRequestHandler):
    """What these services share: one class for streams and for datagrams.

    Override answer(data), the datagram to send back or None, and the coroutine
    serve(), which talks to a client through rfile and wfile.
    """

    def __init__(self, request, client_address, server):
        if not isinstance(request, tuple):
            AsyncStreamRequestHandler.__init__(self, request, client_address, server)
            return
        self.request = request
        self.client_address = client_address
        self.server = server
        data, sock = request
        if self.quiet():
            self._se_count("refused")
            return
        answer = self.answer(data)
        if answer:  # esp32: sendto(b"") never returns
            sock.sendto(answer, client_address)

    async def handle(self):
        """Serve one stream."""
        await self.serve()

    def quiet(self):
        """Return True if the datagram's sender must get no answer."""
        if not isinstance(self.client_address, tuple):
            return False
        own = getattr(self.server, "server_address", (None, None))[1]
        return self.client_address[1] == own or self.client_address[1] in QUIET_PORTS

    def answer(self, data):
        """Return the answer to the datagram data, None for none."""

    async def serve(self):
        """Send the answer that a datagram would get."""
        answer = self.answer(b"")
        if answer:
            self.wfile.write(answer)


class EchoHandler(Service):
    """Sends back what it gets (RFC 862)."""

    def answer(self, data):
        """Return data."""
        return data

    async def serve(self):
        """Send back what comes, as it comes."""
        while True:
            data = await self.rfile.read(1024)
            if not data:
                return
            self.wfile.write(data)
            await self.wfile.drain()


class DiscardHandler(Service):
    """Throws away what it gets (RFC 863)."""

    async def serve(self):
        """Read until the client closes."""
        while await self.rfile.read(1024):
            continue


class ChargenHandler(Service):
    """Sends lines of characters without end (RFC 864).

    datagrams  True: answer datagrams too; a forged sender then floods a third party
    """

    datagrams = False

    _RING = bytes(range(32, 127)) * 2

    def _line(self, n):
        return self._RING[n % 95 : n % 95 + 72] + b"\r\n"

    def answer(self, data):
        """Return 1 to 512 characters if datagrams is True."""
        if self.datagrams:
            n = port.ticks_diff(port.ticks_ms(), 0)  # an int; ticks are for ticks_diff only
            return b"".join([self._line(n + i) for i in range(7)])[: 1 + n % 512]

    async def serve(self):
        """Send lines until the client closes."""
        n = 0
        while True:
            self.wfile.write(self._line(n) + self._line(n + 1) + self._line(n + 2))
            await self.wfile.drain()
            n += 3


class DaytimeHandler(Service):
    """Sends the local time as text (RFC 867)."""

    def answer(self, data):
        """Return the time as ctime() gives it, and the end of a line."""
        return ctime().encode() + b"\r\n"


class TimeHandler(Service):
    """Sends the seconds since 1900 as four bytes (RFC 868); nothing while the clock is not set.

    The number begins again at 0 in 2036: clients take the time that is nearest to theirs.
    """

    def answer(self, data):
        """Return the seconds, modulo 2**32."""
        if clock.is_set():
            return struct.pack(">I", (clock.now()[0] + _NTP_1970) & 0xFFFFFFFF)


class SNTPHandler(Service):
    """Answers the clients of SNTP and NTP (RFC 4330, RFC 5905) over UDP.

    stratum       how far from a reference clock this one is, 1 to 15
    reference_id  four bytes: of a reference clock its name, else its server's IPv4 address
    While the clock is not set, the answer says so: leap indicator 3, stratum 0.
    """

    stratum = 10  # worse than any real server, as chrony has it for a local clock
    reference_id = b"\x7f\x7f\x01\x01"  # 127.127.1.1: "my own clock"

    def quiet(self):
        """Return False: what is no client's question is dropped anyway, as an answer is."""
        return False

    def answer(self, data):
        """Return the answer to a client's request of mode 3, None to anything else."""
        seconds, ms, width = clock.now()
        if len(data) < 48 or data[0] & 7 != 3 or not data[0] & 0x38:
            return None
        is_set = clock.is_set()
        # Leap indicator, the client's version, mode 4: server.
        first = (0 if is_set else 0xC0) | data[0] & 0x38 | 4
        stamp = _ntp(seconds, ms)
        return (
            struct.pack(
                ">BBBbII",
                first,
                self.stratum if is_set else 0,
                data[2],  # the client's poll interval
                -10,  # precision: 2**-10 seconds
                0,  # root delay
                (width << 16) // 1000 + 1,  # root dispersion, in seconds with 16 bits of fraction
            )
            + (self.reference_id if is_set else b"INIT")
            + _ntp(seconds, 0)  # reference timestamp
            + data[40:48]  # originate timestamp: the client's transmit timestamp
            + stamp  # receive timestamp
            + stamp  # transmit timestamp
        )


def _ntp(seconds, ms):
    # Return an NTP timestamp, whose seconds count modulo 2**32 from 1900.
    return struct.pack(">II", (seconds + _NTP_1970) & 0xFFFFFFFF, (ms << 32) // 1000)
