"""Setting the clock by NTP (RFC 5905), with a name looked up by DNS (RFC 1035); nothing waits.

MicroPython's getaddrinfo would stop all services until a name server answers.
"""

import os
import struct
from time import gmtime, sleep_ms, ticks_add, ticks_diff, ticks_ms

import machine
from micropython import const
from socketse import services

import node

_PATIENCE_MS = const(2000)
_TRIES = const(3)
_SYNC_MS = const(3600000)  # until it is set again
_RETRY_MS = const(60000)  # after a failure, and twice as long after each further one
_NTP_1970 = const(2208988800)
_2022 = const(1640995200)


class Sync:
    """Sets the clock once.

    asked  (host, port) of the server whose answer is awaited, else None
    """

    asked = None

    def __init__(self, board):
        self.board = board
        self.tries = 0
        self.until = None  # the tick at which patience ends, or at which the second begins
        self.second = None  # that second, from 1970
        self.key = b""
        self.sent_at = 0
        self.address = split(board.settings["ntp"], 123)
        self.numeric = is_numeric(self.address[0])

    def step(self, now):
        """Go on, and return the milliseconds until it, or another one, is to be called again."""
        if self.second is not None:
            left = ticks_diff(self.until, ticks_ms())
            if left > 15:
                return left - 10
            self._set(left)
            return self._end(0, _SYNC_MS)
        if self.until is not None and ticks_diff(self.until, now) > 0:
            return 200
        if self.tries == _TRIES:
            who = "%s:%d" % self.asked if self.asked else self.address[0]
            print("the clock is not set: no answer from %s" % who)
            retry = min(2 * self.board.retry or _RETRY_MS, _SYNC_MS)
            return self._end(retry, retry)
        self.tries += 1
        self._ask()
        return 200

    def _end(self, retry, wait):
        self.board.retry = retry
        self.board.sync = None
        node.forget(__name__)
        return wait

    def _ask(self):
        self.until = ticks_add(ticks_ms(), _PATIENCE_MS)
        self.key = os.urandom(8)
        if self.numeric:
            self.asked = self.address
            question = b"\x23" + bytes(39) + self.key  # version 4, mode 3
        else:
            self.asked = split(self.board.wlan.ifconfig()[3], 53)
            question = self.key[:2] + b"\1\0\0\1\0\0\0\0\0\0"  # one question, please recurse
            for label in self.address[0].split("."):
                question += bytes([len(label)]) + label.encode()
            question += b"\0\0\1\0\1"  # A, IN
        try:
            self.sent_at = ticks_ms()
            self.board.ears.socket.sendto(question, self.asked)
        except (OSError, ValueError, OverflowError) as e:  # ValueError: no address
            print("%s:%d cannot be asked: %s" % (self.asked + (e,)))

    def hear(self, data):
        """Take an answer; what is none is dropped."""
        try:
            if self.numeric:
                self._hear_time(data)
            else:
                self._hear_name(data)
        except (IndexError, ValueError) as e:
            print("%s:%d answers nonsense: %s" % (self.asked + (e,)))

    def _hear_name(self, data):
        if data[:2] != self.key[:2] or not data[2] & 0x80:
            return
        at = _skip_name(data, 12) + 4
        for _ in range(data[7]):
            at = _skip_name(data, at)
            kind, _, _, length = struct.unpack(">HHIH", data[at : at + 10])
            at += 10
            if kind == 1 and length == 4 and at + 4 <= len(data):
                host = ".".join([str(n) for n in data[at : at + 4]])
                if host == self.board.address or not 0 < data[at] < 224:
                    break  # nobody's, or our own: we would set the clock by itself
                self.address = host, self.address[1]
                self.numeric = True
                self.tries = 0
                self.until = None
                self.asked = None
                self.board.due = ticks_ms()
                return
            at += length
        print("the name server %s knows no %s" % (self.asked[0], self.address[0]))

    def _hear_time(self, data):
        if len(data) < 48 or data[0] & 7 != 4 or data[24:32] != self.key or self.second:
            return
        leap, stratum = data[0] >> 6, data[1]
        if leap == 3 or not 0 < stratum < 16:
            print("%s:%d does not know the time itself" % self.asked)
            return
        tick = ticks_ms()
        seconds, fraction = struct.unpack(">II", data[40:48])
        seconds -= _NTP_1970
        if seconds < 0:
            seconds += 1 << 32  # from 2036 on they are counted anew
        if not _2022 <= seconds < 0x7FFFFFFF:  # what all ports' gmtime() can tell
            print("%s:%d answers nonsense: second %d" % (self.asked + (seconds,)))
            return
        # The answer is half of the way old.
        ms = (fraction * 1000 >> 32) + ticks_diff(tick, self.sent_at) // 2
        self.second = seconds + ms // 1000 + 1
        self.until = ticks_add(tick, 1000 - ms % 1000)
        self.board.due = tick
        services.SNTPHandler.stratum = min(stratum + 1, 15)
        services.SNTPHandler.reference_id = bytes([int(n) for n in self.asked[0].split(".")])

    def _set(self, left):
        # Set the clock as the second begins: not every port takes fractions.
        first = not services.clock.is_set()
        if left > 0:
            sleep_ms(left)
        t = gmtime(self.second + max(0, -left) // 1000 - services.clock._epoch)
        machine.RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))
        services.clock.begins()
        if first:
            print(
                "the clock is set by %s: %d-%02d-%02d %02d:%02d:%02d UTC"
                % ((self.board.settings["ntp"],) + t[:6])
            )


def split(text, port):
    """Return (host, port) of "host" or "host:port"."""
    host, _, number = text.partition(":")
    return host, int(number or port)


def is_numeric(host):
    """Return True if host is an IPv4 address."""
    parts = host.split(".")
    return len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)


def _skip_name(data, at):
    # Return where the name in a DNS message ends.
    while data[at]:
        if data[at] & 0xC0:
            return at + 2
        at += data[at] + 1
    return at + 1
