"""The services that few boards need: discard, chargen and daytime, and time as text.

``socketse.services`` has their names.
"""

import time

from . import port
from .port import const
from .services import Service, clock

_CYCLE = const(883612800)  # 28 years: from 1901 to 2099 the calendar repeats after that
_DAYS = const("MonTueWedThuFriSatSun")
_MONTHS = const("JanFebMarAprMayJunJulAugSepOctNovDec")


def ctime(seconds=None):
    """Return local time as "Thu Jan  1 00:00:00 1970", like time.ctime, which boards lack.

    seconds  from 1970; None: now, by the clock
    """
    if seconds is None:
        seconds = clock.now()[0] + clock.offset
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
