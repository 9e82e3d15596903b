"""Dates as HTTP has them (RFC 9110, 5.6.7)."""

import time

from .port import const

_DAYS = const("MonTueWedThuFriSatSun")
_MONTHS = const("JanFebMarAprMayJunJulAugSepOctNovDec")


def _month(t):
    return _MONTHS[3 * t[1] - 3 : 3 * t[1]]


def date(seconds, first=0):
    """Return seconds, as time.time() has them, as "Sun, 06 Nov 1994 08:49:37 GMT".

    first  the year before which the result is ""
    """
    t = time.gmtime(int(seconds))
    if t[0] < first:
        return ""
    day = _DAYS[3 * t[6] : 3 * t[6] + 3]
    return "%s, %02d %s %04d %02d:%02d:%02d GMT" % (day, t[2], _month(t), t[0], t[3], t[4], t[5])


def local():
    """Return the local time as log files have it: "06/Nov/1994 08:49:37"."""
    t = time.localtime()
    return "%02d/%s/%04d %02d:%02d:%02d" % (t[2], _month(t), t[0], t[3], t[4], t[5])


def since(text, seconds):
    """Return True if seconds, as time.time() has them, are not after a date in HTTP's form."""
    try:
        _, day, month, year, clock, zone = text.split(" ")
        hour, minute, second = clock.split(":")
        month = 1 + _MONTHS.index(month) // 3
        then = (int(year), month, int(day), int(hour), int(minute), int(second))
    except ValueError:
        return False  # another form: as if it had not been asked
    return zone == "GMT" and tuple(time.gmtime(int(seconds)))[:6] <= then
