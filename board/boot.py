# Runs at every start, before main.py: ends an update that was interrupted, and feeds the watchdog
# that a soft reset has left running.

import os
import sys

_NEW = "/.new"  # where tools/flash.py puts what is to replace something


def _is(path):
    """Return True if there is such a file or folder."""
    try:
        os.stat(path)
        return True
    except OSError:
        return False


def _move(folder):
    """Move the files of /.new/folder to folder, each at once and for good, and remove the rest."""
    for entry in list(os.ilistdir(_NEW + folder)):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            if not _is(path):
                os.mkdir(path)
            _move(path)
            os.rmdir(_NEW + path)
        elif path not in ("/.ready", "/.gone"):
            os.rename(_NEW + path, path)


def _remove(path):
    """Remove a folder with all that is in it."""
    for entry in list(os.ilistdir(path)):
        name = path + "/" + entry[0]
        if entry[1] & 0x4000:
            _remove(name)
        else:
            os.remove(name)
    os.rmdir(path)


def finish_update():
    """End an update: all of it if all had arrived, else nothing. The power may go at any moment."""
    if not _is(_NEW):
        return
    if _is(_NEW + "/.ready"):
        _move("")
        if _is(_NEW + "/.gone"):
            with open(_NEW + "/.gone") as names:
                for name in names:
                    if _is(name.strip()):
                        os.remove(name.strip())
            os.remove(_NEW + "/.gone")
        if _is("/.crashes"):
            os.remove("/.crashes")  # the old version's
        os.remove(_NEW + "/.ready")
    _remove(_NEW)


try:
    finish_update()
    if _is("/.watchdog"):
        import node

        node.once("watchdog", "rest", True)
except Exception as e:  # nothing may keep the REPL away
    sys.print_exception(e)
