"""The small standard services: echo, time, and SNTP; discard, chargen and daytime on first use.

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


class Clock:
    """The time from 1970 on every port, with fractions of a second where time.time() has none.

    Those come from comparing time.time() with the ticks: each reading narrows down
    where between two ticks the second begins.

    offset  seconds that local time is ahead of time.localtime(): boards know no time zones
    """

    offset = 0

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

    def begins(self):
        """Be told that a second of the system's clock begins now, within some milliseconds."""
        self._seen = int(time.time()), port.ticks_ms(), 0, 20

    def set(self, seconds):
        """Let this clock, not the system's, show seconds from 1970 now."""
        self._shift = int(seconds) - int(time.time()) - self._epoch

    def is_set(self):
        """Return False if nobody has set the clock: boards begin in 2000 (esp32) or 2021 (rp2)."""
        return self._shift is not None or self.now()[0] >= _UNIX_2022


clock = Clock()


def __getattr__(name):
    # What few boards need is in a room of its own.
    if name not in ("DiscardHandler", "ChargenHandler", "DaytimeHandler", "ctime"):
        raise AttributeError("module 'socketse.services' has no attribute '%s'" % name)
    from . import classics

    return getattr(classics, name)


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
