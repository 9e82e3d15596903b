# Serves what config.json and app.py say. Ctrl-C leads to the REPL: there hub is the multiplexer
# that serves, and run() goes on.

import sys

try:
    from node import run

    hub = run(True)
except Exception as e:  # nothing may keep the REPL away
    sys.print_exception(e)
    print("main.py could not start: flash the board again (make flash)")
