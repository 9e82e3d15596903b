"""Making the multiplexer with its servers, from config.json and app.py."""

import gc
import sys

from socketse import TCPServer, UDPServer, services

# isort: split
import network
from machine import Pin
from micropython import const

import node

from .board import Board, Ears, EarsServer

_DISCOVERY = const(20007)
# Bytes of a datagram: nobody has to say more, and each one takes a piece of heap of that length.
_DATAGRAM = const(512)
# esp32: 10 sockets in all. The newcomer who makes another go needs one of them.
_SOCKETS = const(10)
_LATER = "hostname networks address ntp watchdog"


def open_hub():
    """Make node.hub, the Board with all servers that could be opened. Prints what could not."""
    settings = node.once("config", "load")
    try:
        network.hostname(settings["hostname"])
    except ValueError as e:
        print("hostname %r is not possible: %s" % (settings["hostname"], e))
    if settings["country"]:
        network.country(settings["country"])  # rp2: or channels 12 and 13 are not seen
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)  # esp32: before the first socket
    if hasattr(wlan, "PM_NONE"):
        wlan.config(pm=wlan.PM_NONE)  # else the radio sleeps, and each answer waits for it
    board = Board(settings, wlan)
    board.led = find_led(settings["led"])
    check_allow(board)
    services.clock.offset = int(settings["utc_offset"] * 3600)
    open_services(board)
    open_app(board)
    # What is still needed.
    board.settings = {name: settings[name] for name in _LATER.split()}
    if sys.platform == "esp32" and settings["max_connections"] is None:
        board.max_connections = max(1, _SOCKETS - 1 - len(board.servers))
    node.hub = board


def check_allow(board):
    """Serve nobody if it is not clear who may be served."""
    if board.settings["allow"]:
        from socketse.allow import match

        try:
            match("", board.settings["allow"])
        except ValueError as e:
            print("allow: %s; nobody is served" % e)
            board.settings["allow"] = []
            board.failed = True


def open_services(board):
    """Open what the configuration names."""
    wanted = dict(board.settings["services"])
    port = wanted.pop("discovery/udp", None)
    open_ears(board, port or _DISCOVERY)
    board.found = bool(port and board.ears)
    for key in wanted:
        name, kind = key.split("/")
        name = name.upper() if name == "sntp" else name[0].upper() + name[1:]
        if name[:4] == "Http":
            from .page import Page as handler

            handler.title = board.settings["hostname"]
        elif kind == "https":
            handler = node.once("secure", "handler")
        else:
            handler = getattr(services, name + "Handler")
        context = None
        if "https" in key:
            context = node.once("secure", "certificate", board)
            if context is None:
                continue
        server = open_server(
            board, key, UDPServer if kind == "udp" else TCPServer, wanted[key], handler
        )
        if server and context:
            server.ssl_context = context


def open_ears(board, port):
    """Open the socket for discovery, names and time."""
    board.ears = open_server(board, "discovery/udp", EarsServer, port, Ears)
    if board.ears:
        board.ears.board = board


def open_server(board, name, kind, port, handler):
    """Add a server to the board and return it, or say why it cannot be, and return None."""
    try:
        server = kind(("", port), handler)
    except OSError as e:
        print("%s cannot be served on port %d: %s" % (name, port, e))
        board.failed = True
        return None
    server.name = name
    if kind is not TCPServer and handler is not services.EchoHandler:
        server.max_packet_size = _DATAGRAM
    if board.settings["allow"] is not None:
        server.allow = board.settings["allow"]
    services.QUIET_PORTS.add(port)
    return board.add(server)


def open_app(board):
    """Let app.py add its servers."""
    gc.collect()  # to compile it takes much of the heap, and in one piece
    try:
        import app

        app.setup(board)
    except (Exception, SystemExit) as e:
        sys.print_exception(e)
        print("app.py does not work: all else is served")
        board.failed = True
        node.once("crash", "keep", e)


def find_led(name):
    """Return the Pin of the LED, None if the board has none or nobody knows which."""
    try:
        if sys.platform == "esp32" and name in range(6, 12):
            raise ValueError("the flash is there")
        return Pin("LED" if name is None else name, Pin.OUT)
    except (ValueError, TypeError, OverflowError) as e:
        if name is not None:
            print("led: there is no pin %r (%s)" % (name, e))
        return None
