"""network as firmware has it: a WLAN whose access point is played by the host half."""

import time

import _host
from _host import ADDRESS, ESP, KIND, PORT_OFFSET  # noqa: F401
from _radio import gateway
from micropython import const

STA_IF = const(0)
AP_IF = const(1)

# What stands in the page: idle, joining, joined, wrong password, no access point, it is gone.
_IDLE, _JOINING, _JOINED, _WRONG, _NONE, _LOST = range(6)

if KIND == "esp32":
    STAT_IDLE = 1000
    STAT_CONNECTING = 1001
    STAT_GOT_IP = 1010
    STAT_BEACON_TIMEOUT = 200
    STAT_NO_AP_FOUND = 201
    STAT_WRONG_PASSWORD = 202
    STAT_ASSOC_FAIL = 203
    STAT_HANDSHAKE_TIMEOUT = 204
    _STATUS = (1000, 1001, 1010, 202, 201, 200)
elif KIND == "rp2":
    STAT_IDLE = 0
    STAT_CONNECTING = 1
    STAT_WRONG_PASSWORD = -3
    STAT_NO_AP_FOUND = -2
    STAT_CONNECT_FAIL = -1
    STAT_GOT_IP = 3
    _STATUS = (0, 1, 3, -3, -2, 0)
else:
    STAT_IDLE = 0
    STAT_CONNECTING = 1
    STAT_WRONG_PASSWORD = 2
    STAT_NO_AP_FOUND = 3
    STAT_CONNECT_FAIL = 4
    STAT_GOT_IP = 5
    _STATUS = (0, 1, 5, 2, 3, 3)

_hostname = "mpy-esp32" if KIND == "esp32" else "mpy-esp8266" if ESP else "PicoW"
_country = "XX"


def hostname(name=None):
    """Return the name that DHCP gets to know, or set it."""
    global _hostname
    if name is None:
        return _hostname
    if len(name) > 32:
        raise ValueError
    _hostname = name


def country(code=None):
    """Return the country whose rules the radio obeys, or set it."""
    global _country
    if code is None:
        return _country
    if len(code) != 2:
        raise ValueError
    _country = code


class WLAN:
    """The radio, as a station or as an access point."""

    IF_STA = STA_IF
    IF_AP = AP_IF
    PM_NONE = 0 if ESP else 16
    PM_PERFORMANCE = 1 if ESP else 0xA11142
    PM_POWERSAVE = 2 if ESP else 17

    # Of the station and of the access point: all objects of one kind are the same radio.
    _SETTINGS = tuple({"reconnects": 0, "channel": 6, "txpower": 20} for _ in range(2))

    def __init__(self, interface=STA_IF):
        if interface not in (0, 1):
            raise ValueError("invalid WLAN interface identifier")
        self._bit = 1 << interface
        self._settings = self._SETTINGS[interface]

    def active(self, flag=None):
        """Return whether the radio is on, or switch it."""
        now = _host.get(_host.ACTIVE)
        if flag is None:
            return bool(now & self._bit)
        _host.put(_host.ACTIVE, now | self._bit if flag else now & ~self._bit)
        if self._bit == 1 and not flag:
            _host.put(_host.STATION, _IDLE)
            _host.put(_host.WANTED, 0)
        _host.tell("wlan active %d" % _host.get(_host.ACTIVE))
        return bool(flag)

    def connect(self, ssid=None, key=None, bssid=None, **more):
        """Begin to join a network. How it goes is in isconnected() and status()."""
        state = _host.get(_host.STATION)
        if not self.active() or self._bit != 1:
            raise OSError("Wifi Not Started" if KIND == "esp32" else 1)
        if KIND == "esp32" and _host.get(_host.WANTED):
            # IDF: set_config fails while it tries, and connect when it is connected.
            state = "" if state == _JOINED else "State "
            raise OSError("Wifi Internal %sError" % state)
        _host.put(_host.WANTED, 1)
        _host.put(_host.STATION, _JOINING)
        _host.tell("wlan join %r" % ((ssid, key, self._settings["reconnects"]),))

    def disconnect(self):
        """Leave the network, or give up joining it."""
        _host.put(_host.WANTED, 0)
        _host.put(_host.STATION, _IDLE)
        _host.tell("wlan leave")

    def isconnected(self):
        """Return whether the station has an address, or somebody is at the access point."""
        return self._bit == 1 and _host.get(_host.STATION) == _JOINED

    def status(self, what=None):
        """Return one of the port's STAT_* numbers, or the radio's "rssi"."""
        if what == "rssi":
            return -50
        if what is not None:
            return []
        state = _host.get(_host.STATION)
        if self._bit != 1:
            return None if ESP else 3 if self.active() else 0
        if KIND == "esp32" and state == _LOST and self._settings["reconnects"] == 0:
            return STAT_CONNECTING
        return _STATUS[state]

    def scan(self):
        """Return (ssid, bssid, channel, RSSI, security, hidden) of each network."""
        if not self.active():
            raise OSError("STA must be active")
        time.sleep_ms(100)
        found = []
        place = _host.SEEN
        while True:
            name = _host.get_text(place)
            if name is None:
                return found
            place += 1 + len(name.encode())
            found.append((name.encode(), b"\x02access", 6, -50, 3, False))

    def ifconfig(self, config=None):
        """Return (address, netmask, gateway, DNS server) as strings, or set them (or "dhcp")."""
        if config is not None:
            self._settings["address"] = None if config == "dhcp" else tuple(config)
            return None
        if not (self.isconnected() or self._bit == 2 and self.active()):
            return ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")
        # A static address does not change where the board is reached on the host.
        fixed = self._settings.get("address") or ("", "255.0.0.0", gateway, gateway)
        return (ADDRESS,) + fixed[1:]

    def ipconfig(self, what=None, **settings):
        """Return "addr4", "gw4", "dhcp4" or "has_dhcp4", or set those."""
        value = "dhcp" if settings.get("dhcp4") else settings.get("addr4")
        if value == "dhcp":
            self.ifconfig("dhcp")
        elif value:
            if not isinstance(value, (tuple, list)):
                value = (value.split("/")[0], "255.255.255.0")
            self.ifconfig(tuple(value) + (settings.get("gw4", gateway), gateway))
        if settings:
            return None
        address, mask, router, _ = self.ifconfig()
        if what == "addr4":
            return (address, mask)
        if what == "gw4":
            return router
        if what == "dhcp4":
            return not self._settings.get("address")
        if what == "has_dhcp4":
            return not self._settings.get("address") and self.isconnected()
        raise ValueError("unknown config param")

    def config(self, what=None, **settings):
        """Return a setting by name, or set some by keyword."""
        if what is None:
            name = settings.pop("hostname", None)
            if name is not None:
                hostname(name)
            if "essid" in settings:
                settings["ssid"] = settings.pop("essid")
            self._settings.update(settings)
            return None
        if what == "mac":
            import machine

            return machine.unique_id()[-6:]
        if what in ("hostname", "dhcp_hostname"):
            return hostname()
        if what in ("essid", "ssid"):
            if self._bit == 1:
                return _host.get_text(_host.SSID) or ""
            what = "ssid"
        if what == "pm":
            return self._settings.get(what, self.PM_PERFORMANCE)
        if what not in self._settings:
            raise ValueError("unknown config param")
        return self._settings[what]
