"""Joining a network: one after the other of the list, until one lets us in."""

from time import ticks_add, ticks_diff

import network
from micropython import const

_PATIENCE_MS = const(15000)  # for one try
_STALE_MS = const(5000)
_PAUSE_MS = const(5000)  # after all of them have failed
_REASONS = (
    ("STAT_WRONG_PASSWORD", "wrong password"),
    ("STAT_NO_AP_FOUND", "not found"),
    ("STAT_ASSOC_FAIL", "refused"),
    ("STAT_HANDSHAKE_TIMEOUT", "no handshake"),
    ("STAT_CONNECT_FAIL", "failed"),
)


class Joining:
    """Tries the networks of the configuration. Nothing here waits: step() is called often."""

    def __init__(self, board):
        self.wlan = board.wlan
        self.settings = board.settings
        self.at = -1  # which network is tried
        self.until = None  # a tick: how long
        self.stale = self.left = None
        self.said = {}  # what was printed of a network

    def step(self, now):
        """Go on with joining; now is ticks_ms()."""
        if self.until is None:
            self._next(now)
            return
        networks = self.settings["networks"]
        reason = self._reason(now) if self.at < len(networks) else None
        if reason or ticks_diff(self.until, now) <= 0:
            if self.at < len(networks):
                self._say(networks[self.at]["ssid"], reason or "no answer")
            self._next(now)

    def _next(self, now):
        networks = self.settings["networks"]
        self.at += 1
        if self.at > len(networks):
            self.at = 0
        self.until = ticks_add(now, _PATIENCE_MS)
        if self.at == len(networks):
            self.until = ticks_add(now, _PAUSE_MS)
            return
        one = networks[self.at]
        try:
            self.wlan.disconnect()  # esp32: it may be trying by itself, and would refuse
        except OSError as e:
            self.left = e  # there was nothing to be left
        self.stale = self.wlan.status()
        try:
            address = self.settings["address"]
            if address:
                order = address["ip"], address["mask"], address["gateway"], address["dns"]
                self.wlan.ifconfig(order)
            self.wlan.connect(one["ssid"], one.get("password") or None)
        except (OSError, ValueError, RuntimeError) as e:
            self._say(one["ssid"], e)
        if self.wlan.status() != self.stale:
            self.stale = None

    def _reason(self, now):
        # Return why it cannot work, None as long as it may.
        status = self.wlan.status()
        if status == self.stale and ticks_diff(self.until, now) > _PATIENCE_MS - _STALE_MS:
            return None  # esp32: that may still be why the try before has failed
        for name, reason in _REASONS:
            if status == getattr(network, name, None):
                return reason
        return None

    def _say(self, ssid, reason):
        text = str(reason)
        if self.said.get(ssid) != text:  # once, not each time
            self.said[ssid] = text
            print("cannot join %s: %s; trying again" % (ssid, text))
