"""config.json: what may stand in it, and what holds where it says nothing, or nonsense."""

import json

_FILE = "/config.json"
_PORT = "a port is a number from 1 to 65535"
_NAMES = "echo discard daytime chargen time sntp discovery http https"


def _text(value, most=64):
    return isinstance(value, str) and 0 < len(value.encode()) <= most


def _int(value):
    return type(value) is int  # True is one, too, for isinstance


def _number(value):
    return type(value) in (int, float)


def _host(value):
    if not _text(value):
        return False
    host, _, port = value.partition(":")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        return False
    return "/" not in host and ":" not in port and all(host.split("."))


def _networks(value):
    return isinstance(value, list) and all(
        isinstance(one, dict)
        and _text(one.get("ssid"), 32)
        and (not one.get("password") or _text(one["password"]))
        for one in value
    )


def _address(value):
    return isinstance(value, dict) and all(
        _text(value.get(name)) for name in ("ip", "mask", "gateway", "dns")
    )


def _services(value):
    if not isinstance(value, dict):
        return False
    for key in value:
        if not isinstance(key, str):
            return False
        name, _, kind = key.partition("/")
        if name not in _NAMES.split() or kind not in ("tcp", "udp") and key != "time/https":
            return False
        if kind == {"http": "udp", "https": "udp", "sntp": "tcp", "discovery": "tcp"}.get(name):
            return False
        if not _int(value[key]) or not 0 < value[key] < 65536:
            return False
    return True


# Name, default, whether null is allowed, check, what it has to be.
_KEYS = (
    ("hostname", "socketse", False, _text, "a name"),
    ("networks", [], False, _networks, 'a list like [{"ssid": "home", "password": "secret"}]'),
    ("address", None, True, _address, 'null for DHCP, or {"ip", "mask", "gateway", "dns"}'),
    (
        "services",
        {"echo/tcp": 7, "discovery/udp": 20007, "http/tcp": 80},
        False,
        _services,
        'like {"echo/tcp": 7}: a service (%s), a protocol, a port' % _NAMES.replace(" ", ", "),
    ),
    (
        "max_connections",
        None,
        True,
        lambda value: _int(value) and value > 0,
        "null, or a number from 1",
    ),
    (
        "when_full",
        "evict",
        False,
        lambda value: value in ("evict", "wait"),
        '"evict" or "wait"',
    ),
    (
        "allow",
        None,
        True,
        lambda value: isinstance(value, list) and all(_text(one) for one in value),
        'null for everybody, or a list like ["192.168.1.*"]',
    ),
    ("ntp", None, True, _host, 'null, or a host such as "pool.ntp.org"'),
    ("country", None, True, lambda value: _text(value, 2), 'null, or two letters such as "DE"'),
    (
        "utc_offset",
        0,
        False,
        lambda value: _number(value) and -24 < value < 24,
        "hours that local time is ahead of UTC",
    ),
    (
        "watchdog",
        0,
        False,
        lambda value: _number(value) and (value == 0 or 1 <= value <= 3600),
        "0, or seconds from 1 to 3600",
    ),
    (
        "led",
        None,
        True,
        lambda value: _text(value) or _int(value),
        "null, a pin's number, or its name",
    ),
)


def load(path=_FILE):
    """Return the settings, all of them: what is missing or wrong in the file has its default.

    Prints a sentence for each thing that is wrong.
    """
    found = {}
    try:
        with open(path) as f:
            found = json.load(f)
        if not isinstance(found, dict):
            raise ValueError("it must begin with {")
    except OSError as e:
        print("%s cannot be read (%s): the defaults hold" % (path, e))
        found = {}
    except ValueError as e:
        print("%s is not JSON (%s): the defaults hold" % (path, e))
        found = {}
    settings = {}
    for name, default, may_be_null, check, wanted in _KEYS:
        value = found.pop(name, default)
        if not (value is None and may_be_null) and not check(value):
            print("%s: %s must be %s; the default holds: %r" % (path, name, wanted, default))
            value = default if name != "allow" else []  # nobody, rather than everybody
        settings[name] = value
    for name in found:
        print("%s: nobody knows %r" % (path, name))
    return settings
