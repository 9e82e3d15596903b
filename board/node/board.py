"""The multiplexer of a board: between rounds it sees to network, clock, LED and watchdog."""

from gc import mem_free
from time import ticks_add, ticks_diff, ticks_ms

from socketse import BaseRequestHandler, Multiplexer, UDPServer

# isort: split
from micropython import const

from . import forget, once

_LOOK_MS = const(200)
_SYNC_MS = const(3600000)
_WELL_MS = const(60000)  # after that, what crashed before has nothing to do with it


class Board(Multiplexer):
    """Serves, joins the network and comes back to it, and keeps the clock set.

    led     the Pin of the status LED, None without one; it is left alone while all is well
    online  True while the board is in a network
    failed  True if something of the configuration or of app.py does not work
    """

    led = feed = online = ears = answer = joining = sync = None
    failed = False

    def __init__(self, settings, wlan):
        Multiplexer.__init__(self, settings["max_connections"], settings["when_full"])
        self.settings = settings
        self.wlan = wlan
        self.due = self.sync_at = ticks_ms()
        self.well_at = ticks_add(self.due, _WELL_MS)

    def run(self):
        """Serve until an exception."""
        self.feed = once("watchdog", "watch", self.settings["watchdog"])
        self.online = None  # tell anew
        self.serve_forever(_LOOK_MS / 1000)

    def service_actions(self):
        """Called after each round: the watchdog is fed here and nowhere else."""
        Multiplexer.service_actions(self)
        if self.feed:
            self.feed()
        now = ticks_ms()
        if ticks_diff(self.due, now) > 0:
            return
        self.due = ticks_add(now, _LOOK_MS)
        online = self.wlan.isconnected()
        light = None  # no change
        if online != self.online:
            first = self.online is None
            self.online = light = online
            self.joining = None
            self.sync_at = now
            self.answer = once("tell", "tell", self, first)
            forget("node.join", "socketse.options", "socketse.allow")
            if online:
                print(mem_free(), "bytes of heap are free")
        if online:
            if self.failed:
                light = now >> 10 & 1
            if self.ears and self.settings["ntp"] and ticks_diff(self.sync_at, now) <= 0:
                self.synchronize(now)
        elif self.settings["networks"]:
            if self.joining is None:
                from .join import Joining

                self.joining = Joining(self)
            self.joining.step(now)
            light = now >> 8 & 1
        if self.led and light is not None:
            self.led.value(light)
        if self.well_at is not None and ticks_diff(self.well_at, now) <= 0:
            self.well_at = None
            once("crash", "forget")

    def synchronize(self, now):
        """Set the clock, in steps."""
        if self.sync is None:
            from .clock import Sync

            self.sync = Sync(self)
        wait = self.sync.step(now)
        if wait is None:
            wait = _SYNC_MS if self.sync.done else _WELL_MS
            self.sync = None
            forget("node.clock")
        self.sync_at = ticks_add(ticks_ms(), wait)
        if wait < _LOOK_MS:
            self.due = self.sync_at
            self._se_hub.schedule(wait)  # the next round is not to sleep longer


class EarsServer(UDPServer):
    """Hears questions of who looks for boards, and what name and time servers answer."""

    board = None  # set when it is added

    def verify_request(self, request, client_address):
        """Return True if we have asked, or if the sender is allowed."""
        sync = self.board.sync
        asked = sync and client_address == sync.asked
        return asked or UDPServer.verify_request(self, request, client_address)


class Ears(BaseRequestHandler):
    """Handles what EarsServer hears."""

    def handle(self):
        """Handle one datagram."""
        board = self.server.board
        data, socket = self.request
        if board.sync and self.client_address == board.sync.asked:
            board.sync.hear(data)
        elif data[:9] == b"socketse?":
            # A forged question makes us send no more than it was itself.
            if board.answer and len(board.answer) <= len(data):
                socket.sendto(board.answer, self.client_address)
