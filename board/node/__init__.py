"""What a board does besides serving: network, clock, LED, watchdog, discovery, surviving.

main.py calls run(). Modules that are needed once in a while are loaded then, and forgotten after.
"""

import gc
import sys

hub = None  # the node.board.Board that serves
wdt = timer = None  # node.watchdog's: (the watchdog, its milliseconds), and what feeds it at rest
hung = False  # the watchdog had to reset the board


def run(at_start=False):
    """Serve what config.json and app.py say until Ctrl-C, and return the multiplexer.

    at_start  True: restart the board after a crash, and return None at once after three in a row;
              False: a crash raises
    """
    try:
        if at_start and once("crash", "steps_aside"):
            return None
        if hub is None:
            once("start", "open_hub")
        hub.run()
    except KeyboardInterrupt:
        print("Stopped. hub is what served; run() goes on.")
    except (Exception, SystemExit) as e:
        if not at_start:
            raise
        once("crash", "restart", e)
    finally:
        once("watchdog", "rest")
    return hub


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
