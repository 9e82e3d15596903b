# Runs at every start, before main.py: ends an update that was interrupted, and feeds the watchdog
# that a soft reset has left running. All in one function: nothing of it stays on the heap.


def boot():
    """Do it. Nothing that fails here may keep the REPL away."""
    import os
    import sys

    new = "/.new"  # where tools/flash.py puts what is to replace something

    def there_is(path):
        try:
            os.stat(path)
            return True
        except OSError:
            return False

    def move(folder):
        """Move the files of /.new/folder to folder, each at once and for good."""
        for entry in list(os.ilistdir(new + folder)):
            path = folder + "/" + entry[0]
            if entry[1] & 0x4000:
                if not there_is(path):
                    os.mkdir(path)
                move(path)
                os.rmdir(new + path)
            elif path not in ("/.ready", "/.gone"):
                os.rename(new + path, path)

    def remove(path):
        """Remove a folder with all that is in it."""
        for entry in list(os.ilistdir(path)):
            name = path + "/" + entry[0]
            if entry[1] & 0x4000:
                remove(name)
            else:
                os.remove(name)
        os.rmdir(path)

    def finish_update():
        """End an update: all of it if all had arrived, else nothing. The power may go any time."""
        if there_is(new + "/.ready"):
            move("")
            if there_is(new + "/.gone"):
                with open(new + "/.gone") as names:
                    for name in names:
                        name = name.strip()
                        if name and there_is(name):
                            os.remove(name)
                os.remove(new + "/.gone")
            if there_is("/.crashes"):
                os.remove("/.crashes")  # the old version's
            os.remove(new + "/.ready")
        remove(new)

    try:
        if there_is(new):
            finish_update()
        if there_is("/.watchdog"):
            import node

            node.once("watchdog", "rest", True)
    except Exception as e:
        sys.print_exception(e)


boot()
del boot
