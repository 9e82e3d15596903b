"""What is left of a crash: /crash.txt with its traceback, /.crashes with how many in a row."""

import io
import os
import sys
import time

import machine
from micropython import const

import node

_COUNT = "/.crashes"
_TEXT = "/crash.txt"
_AT_MOST = const(3)
_PAUSE_S = const(3)
_LONG_PAUSE_S = const(600)
_LENGTH = const(2000)  # bytes of a traceback that are kept


class _Short(io.IOBase):
    """Writes to a file no more than _LENGTH bytes."""

    def __init__(self, file):
        self.file = file
        self.left = _LENGTH

    def write(self, data):
        """Write what there is room for."""
        n = len(data)
        self.file.write(bytes(data)[: self.left])
        self.left -= min(n, self.left)
        return n


def _count():
    try:
        with open(_COUNT) as f:
            return int(f.read())
    except (OSError, ValueError):
        return 0


def keep(what):
    """Keep an exception, or a sentence, in /crash.txt; if there is no room, say so."""
    try:
        with open(_TEXT, "wb") as f:
            out = _Short(f)
            out.write(("%d-%02d-%02d %02d:%02d:%02d UTC\n" % time.gmtime()[:6]).encode())
            if isinstance(what, str):
                out.write(what.encode() + b"\n")
            else:
                sys.print_exception(what, out)
    except OSError as e:
        print("%s cannot be written: %s" % (_TEXT, e))


def _set(count):
    try:
        with open(_COUNT, "w") as f:
            f.write(str(count))
    except OSError as e:
        print("%s cannot be written: %s" % (_COUNT, e))


def _another(what):
    # Keep it, and return how many there were in a row.
    keep(what)
    count = _count() + 1
    _set(count)
    return count


def forget():
    """Begin to count anew: the board has served for a while."""
    if _count():
        os.remove(_COUNT)


def look_back():
    """Say what the last crash was, and step aside for a while if there were three in a row."""
    if node.hung:
        node.hung = False
        _another("The loop did not turn any more: the watchdog has reset the board.")
    count = _count()
    if not count:
        return
    print("The last crash, kept in %s:" % _TEXT)
    try:
        with open(_TEXT) as f:
            for line in f:
                print("   ", line.rstrip())
    except (OSError, UnicodeError) as e:
        print("    it cannot be read:", e)
    if machine.reset_cause() == machine.PWRON_RESET:
        forget()  # somebody is there
    elif count >= _AT_MOST:
        print(
            "%d crashes in a row: nothing is started for %d minutes."
            % (count, _LONG_PAUSE_S // 60)
        )
        print("Ctrl-C leads to the REPL; there run() starts it, and so does power off and on.")
        node.rest()
        _set(_AT_MOST - 1)  # once more
        time.sleep(_LONG_PAUSE_S)
        machine.reset()


def restart(error):
    """Keep the error and reset the board."""
    sys.print_exception(error)
    count = _another(error)
    print("That was crash %d. The board restarts in %d s, Ctrl-C prevents it." % (count, _PAUSE_S))
    node.rest()
    time.sleep(_PAUSE_S)
    machine.reset()
