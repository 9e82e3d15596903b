"""What every server of the benchmark does: where it listens, and what it says about its heap.

A server is started with a port, and with "nogc" after it if it is to keep its garbage, or "clock"
if its clock is to jump.
"""

import gc
import sys

if "clock" in sys.argv:
    sys.path.insert(0, "tools/bench/servers/clock")  # its time.py comes before the port's own

ADDRESS = ("127.0.0.1", int(sys.argv[1]))
BACKLOG = 128  # a SYN that finds no room comes again after a second
CONNECTIONS = 128  # more than any figure opens, for servers that have a limit


def ready():
    """Say that the server listens: nothing that it imports or makes comes later."""
    gc.collect()
    if "nogc" in sys.argv:
        gc.disable()
    print("ready")


def heap():
    """Return the bytes of heap in use as a line; without garbage, unless that is kept."""
    if gc.isenabled():
        gc.collect()
    return b"%d\n" % gc.mem_alloc()


def again(serve):
    """Serve; after Ctrl-C once more on the same port, as at a board's prompt."""
    while True:
        try:
            serve()
            return
        except KeyboardInterrupt:
            continue
