"""The air: an access point that is there or not, and a station that the board's WLAN drives."""

import ctypes
import errno
import os
import socket
import struct

from . import page as places

_JOIN = 0.3  # s
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438  # the same on every architecture of Linux
_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _IP_OPTIONS = 26, 27, 4

# A filter that drops all that comes in, and a source route that loopback does not forward.
_NOTHING = ctypes.create_string_buffer(struct.pack("<HBBI", 6, 0, 0, 0))
_DEAF = struct.pack("@HP", 1, ctypes.addressof(_NOTHING))
_DUMB = b"\x83\x07\x04\x7f\x00\x00\x01\x00"


class Air:
    """What is between the board and the network.

    networks  {name: password}
    rejoins   the firmware joins again by itself
    """

    def __init__(self, page, loop, networks, rejoins, say):
        self._page = page
        self._loop = loop
        self._networks = dict(networks)
        self._rejoins = rejoins
        self._say = say
        self._up = True
        self._process = None
        self._ssid, self._key, self._reconnects = "", "", 0
        self._tries = 0
        self._told = None
        self._show_networks()

    def attach(self, process):
        """Let process be the one whose sockets fall silent; None: there is none."""
        self._process = process

    def reset(self):
        """Be as after power-up: the radio is off."""
        self._loop.at("join", 0)
        self._page[places.ACTIVE] = self._page[places.WANTED] = 0
        self._page[places.STATION] = places.IDLE
        self._set_link()

    def switch(self, up):
        """Take the access point away, or bring it back."""
        if up == self._up:
            return
        self._up = up
        self._show_networks()
        self._say("wifi on" if up else "wifi off")
        if not up and self._page[places.STATION] == places.JOINED:
            self._page[places.STATION] = places.LOST
            self._set_link()
            self._say("wlan lost")
            self._tries = 0
            self._try_again()

    def told(self, words):
        """Do what the board's WLAN says: "active N", "join (...)" or "leave"."""
        command, _, rest = words.partition(" ")
        if command == "join":
            import ast

            ssid, key, self._reconnects = ast.literal_eval(rest)
            if ssid is not None:
                self._ssid, self._key = ssid, key
            self._tries = 0
            self._told = None
            self._page.set_texts(places.SSID, [self._ssid])
            self._loop.at("join", _JOIN, self._join)
        elif command == "leave" or not self._page[places.ACTIVE] & 1:
            self._loop.at("join", 0)
            self._page[places.STATION] = places.IDLE
        was = self._page[places.LINK]
        self._set_link()
        if was != self._page[places.LINK]:
            self._say("access point of the board on" if not was else "wlan left")

    def _join(self):
        found = self._up and self._ssid in self._networks
        if found and (self._networks[self._ssid] or "") == (self._key or ""):
            self._page[places.STATION] = places.JOINED
            self._set_link()
            self._say("wlan joined " + self._ssid)
            self._told = None
            return
        self._page[places.STATION] = places.WRONG if found else places.NONE
        why = "wrong password" if found else "no such network"
        if why != self._told:
            self._told = why
            self._say("wlan cannot join %s: %s" % (self._ssid, why))
        self._try_again()

    def _try_again(self):
        self._tries += 1
        if self._rejoins and (not self._reconnects or self._tries < self._reconnects):
            self._loop.at("join", _JOIN, self._join)

    def _show_networks(self):
        self._page.set_texts(places.SEEN, self._networks if self._up else [])

    def _set_link(self):
        link = self._page[places.STATION] == places.JOINED or self._page[places.ACTIVE] & 2
        if bool(link) == bool(self._page[places.LINK]):
            return
        # First: a socket made after our look at them all sees to its silence itself.
        self._page[places.LINK] = bool(link)
        for sock in self._sockets():
            with sock:
                if link:
                    _let(sock, socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
                    _let(sock, socket.IPPROTO_IP, _IP_OPTIONS, b"")
                else:
                    _let(sock, socket.SOL_SOCKET, _SO_ATTACH_FILTER, _DEAF)
                    _let(sock, socket.IPPROTO_IP, _IP_OPTIONS, _DUMB)

    def _sockets(self):
        """Yield a duplicate of each socket that the board's process has."""
        if self._process is None or self._process.poll() is not None:
            return
        libc = ctypes.CDLL(None, use_errno=True)
        pid = self._process.pid
        process = libc.syscall(_PIDFD_OPEN, pid, 0)
        try:
            folder = "/proc/%d/fd" % pid
            for name in os.listdir(folder):
                try:
                    if not os.readlink(folder + "/" + name).startswith("socket:"):
                        continue
                except OSError:
                    continue  # closed in the meantime
                number = libc.syscall(_PIDFD_GETFD, process, int(name), 0)
                if number >= 0:
                    yield socket.socket(fileno=number)
                elif ctypes.get_errno() != errno.EBADF:
                    self._say(
                        "the board's sockets stay as they are: this system does not let its"
                        " Wi-Fi be switched (pidfd_getfd: %s)" % os.strerror(ctypes.get_errno())
                    )
                    return
        finally:
            if process >= 0:
                os.close(process)


def _let(sock, level, option, value):
    try:
        sock.setsockopt(level, option, value)
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.EINVAL):  # there is no filter to take off
            raise
