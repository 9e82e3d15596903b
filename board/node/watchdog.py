"""The watchdog: resets the board when the loop no longer turns, and leaves the REPL alone.

No port can stop its watchdog once it runs, and a soft reset does not end it. So a timer feeds it
while nothing serves, and /.watchdog keeps what boot.py has to know: the timeout in milliseconds,
and 1 while the board serves. What runs is kept in the package: this module is not.
"""

import machine
from micropython import const

import node

_FILE = "/.watchdog"
_HIGHEST = const(8388)  # rp2: milliseconds
_TIMES = const(4)  # at rest it is fed so often within its timeout


def _read():
    # Return [milliseconds, serving], None if there is no such file.
    try:
        with open(_FILE) as f:
            ms, serving = [int(word) for word in f.read().split()]
    except (OSError, ValueError):
        return None
    return [ms, serving] if ms >= 1000 else None


def _write(ms, serving):
    if _read() == [ms, serving]:
        return
    try:
        with open(_FILE, "w") as f:
            f.write("%d %d" % (ms, serving))
    except OSError as e:
        print("%s cannot be written: %s" % (_FILE, e))


def _arm(ms):
    # Start it, unless it runs with this timeout, and return the timeout it has.
    if node.wdt is None or node.wdt[1] != ms:
        try:
            node.wdt = machine.WDT(timeout=ms), ms
        except ValueError:
            ms = min(ms, _HIGHEST)
            node.wdt = machine.WDT(timeout=ms), ms
    return node.wdt[1]


def watch(seconds):
    """Start the watchdog, and return the function that has to be called within each `seconds`.

    seconds  of silence after which the board is reset; rp2 has 8.3 at most, and takes that.
             0: there is none from the next hard reset on, and None is returned
    """
    if not seconds:
        if _read():
            import os

            os.remove(_FILE)
        return None
    ms = _arm(int(seconds * 1000))
    if node.timer:
        node.timer.deinit()
        node.timer = None
    _write(ms, 1)
    node.wdt[0].feed()
    return node.wdt[0].feed


def rest(at_boot=False):
    """Let a timer feed the watchdog, if there is one: nothing serves, somebody may be at work.

    at_boot  True: see whether the board comes from a reset by the watchdog
    """
    state = _read()
    if not state:
        return
    if at_boot and state[1] and machine.reset_cause() == machine.WDT_RESET:
        node.hung = True
    ms = _arm(state[0])
    node.patience = None
    feed = node.wdt[0].feed
    feed()
    if not node.timer:
        # esp32 numbers them from 0, which apps take; others have -1 alone.
        for ident in (2, 1, -1):
            try:
                timer = machine.Timer(ident)
                break
            except ValueError:
                continue

        def tick(timer):
            if node.patience is not None:
                if node.patience <= 0:
                    return  # it hangs before it serves
                node.patience -= ms // _TIMES
            feed()

        timer.init(period=ms // _TIMES, mode=machine.Timer.PERIODIC, callback=tick)
        node.timer = timer
    _write(ms, 0)
