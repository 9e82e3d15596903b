"""The multiplexer of a board: between rounds it sees to network, clock, LED and watchdog."""

from gc import collect, mem_free
from sys import print_exception
from time import ticks_add, ticks_diff, ticks_ms

from socketse import BaseRequestHandler, Multiplexer, UDPServer

# isort: split
from micropython import const

from . import forget, once

_LOOK_MS = const(200)
_WELL_MS = const(60000)  # after that, what crashed before has nothing to do with it


class Board(Multiplexer):
    """Serves, joins the network and comes back to it, and keeps the clock set.

    led      the Pin of the status LED, None without one; it is left alone while all is well
    address  of the board while it is in a network, else None
    uptime   seconds since it was made; ticks begin again at 0 after twelve days
    found    True if it answers who looks for boards
    failed   True if something of the configuration or of app.py does not work
    """

    led = feed = address = ears = answer = joining = sync = None
    retry = uptime = 0  # the first is node.clock's
    failed = found = False

    def __init__(self, settings, wlan):
        Multiplexer.__init__(self, settings["max_connections"], settings["when_full"])
        self.settings = settings
        self.wlan = wlan
        self.since = ticks_ms()
        self.well_at = ticks_add(self.since, _WELL_MS)

    def run(self):
        """Serve until an exception."""
        self.feed = once("watchdog", "watch", self.settings["watchdog"])
        self.address = ""  # tell anew
        self.joining = self.sync = None
        self.due = self.sync_at = ticks_ms()
        self.serve_forever(_LOOK_MS / 1000)

    def service_actions(self):
        """Called after each round: the watchdog is fed here and nowhere else."""
        Multiplexer.service_actions(self)
        if self.feed:
            self.feed()
        now = ticks_ms()
        if ticks_diff(self.due, now) <= 0:
            self.due = ticks_add(now, _LOOK_MS)
            while ticks_diff(now, self.since) >= 1000:
                self.since = ticks_add(self.since, 1000)
                self.uptime += 1
            try:
                self.look_after(now)
            except Exception as e:
                # Not a reason to stop serving.
                print("network or clock: trying again in a minute:")
                print_exception(e)
                self.joining = self.sync = None
                self.due = ticks_add(now, _WELL_MS)

    def look_after(self, now):
        """Do what is due besides serving; now is ticks_ms()."""
        online = self.wlan.isconnected()
        light = None  # no change
        # With a new lease comes a new address, at times.
        if self.address == "" or online != bool(self.address) or not now & 0x1F00:
            address = self.wlan.ifconfig()[0] if online else None
            if address != self.address:
                self.answer = None
                self.answer = once("tell", "tell", self, address)
                self.address = address
                light = online
                self.joining = self.sync = None
                forget("node.join")
                self.sync_at = now
                if online:
                    collect()
                    print(mem_free(), "bytes of heap are free")
        if online:
            if self.failed:
                light = now >> 10 & 1
            if self.ears and self.settings["ntp"] and ticks_diff(self.sync_at, now) <= 0:
                if self.sync is None:
                    from .clock import Sync

                    self.sync = Sync(self)
                wait = self.sync.step(now)
                self.sync_at = ticks_add(ticks_ms(), wait)
                if wait < _LOOK_MS:
                    self.due = self.sync_at
                    self._se_hub.schedule(wait)  # the next round is not to sleep longer
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
