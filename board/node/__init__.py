"""What a board does besides serving: network, clock, LED, watchdog, discovery, surviving.

main.py calls run(). Modules that are needed once in a while are loaded then, and forgotten after.
"""

import gc
import sys

from micropython import const

_START_MS = const(60000)  # for app.setup() and all else before the board serves

hub = None  # the node.board.Board that serves
wdt = timer = None  # node.watchdog's: (the watchdog, its milliseconds), and what feeds it at rest
patience = None  # ms for which it is still fed at rest; None: for ever
hung = False  # the watchdog had to reset the board


def run(at_start=False):
    """Serve what config.json and app.py say until Ctrl-C, and return the multiplexer.

    at_start  True: restart the board after a crash, after a long pause if it was the third in a
              row; False: a crash raises
    """
    global patience
    try:
        if at_start:
            once("crash", "look_back")
            patience = _START_MS
        if hub is None:
            once("start", "open_hub")
        hub.run()
    except KeyboardInterrupt:
        print("Stopped. hub is what served; run() goes on.")
    except (Exception, SystemExit) as e:
        if not at_start:
            raise
        try:
            once("crash", "restart", e)
        except Exception as again:  # no heap, or no flash
            sys.print_exception(again)
            reset()
    finally:
        rest()
    return hub


def rest():
    """Let a timer feed the watchdog: no second Ctrl-C, nor a full heap, prevents it."""
    for _ in range(9):
        try:
            return once("watchdog", "rest")
        except (KeyboardInterrupt, MemoryError):
            continue


def reset():
    """Restart the board. It would take a machine.reset() while it serves for a hanging loop."""
    import machine

    rest()
    machine.reset()


def once(module, name, *args):
    """Call a function of the module node.module, and forget that afterwards."""
    module = __name__ + "." + module
    try:
        return getattr(__import__(module, None, None, (name,)), name)(*args)
    finally:
        forget(module)


def forget(*names):
    """Give back the heap that modules take; the next import loads them again.

    names  such as "node.start"
    """
    for name in names:
        if sys.modules.pop(name, None):
            package, _, module = name.partition(".")
            delattr(sys.modules[package], module)
    gc.collect()  # what comes next fills the gaps, and a large piece remains
