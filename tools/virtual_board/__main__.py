"""Run a virtual board: python tools/virtual_board [--kind esp32|pico_w|esp8266] ...

Its device's path is printed first: flash it with `make flash PORT=<path>`, or talk to it with
`mpremote connect <path>`. Then there is a line for each event. On stdin it takes:

    wifi off, wifi on    the access point goes, and comes back
    power                the power goes and comes back
    reset                the board's reset button
    quit                 as Ctrl-C does
"""

import argparse
import os
import pathlib
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
# Started as a folder, Python looks for modules in it: the device half's must not be found.
sys.path[:] = [str(HERE.parent)] + [
    entry for entry in sys.path if pathlib.Path(entry or ".").resolve() != HERE
]

import interpreters  # noqa: E402

import virtual_board  # noqa: E402


def _print(line):
    print(line, flush=True)


def main(argv=None):
    """Run a board until Ctrl-C, or "quit" on stdin; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="virtual_board",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kind", choices=list(virtual_board.KINDS), default="esp32")
    parser.add_argument("--flash", metavar="FILE", help="its file system (in build/)")
    parser.add_argument("--erase", action="store_true", help="begin with an empty flash")
    parser.add_argument("--heap", metavar="SIZE", help="such as 56k; else what the kind has")
    parser.add_argument("--address", help="of loopback; else 127.0.7.N, by the terminal's number")
    parser.add_argument("--port-offset", type=int, default=11000, metavar="N")
    parser.add_argument("--interpreter", default="i386", help="a name of tools/interpreters.py")
    parser.add_argument("--ssid", default="home", help="the network that is there")
    parser.add_argument("--password", default="secret")
    options = parser.parse_args(argv)
    try:
        board = virtual_board.Board(
            kind=options.kind,
            flash=options.flash,
            heap=options.heap,
            address=options.address,
            port_offset=options.port_offset,
            interpreter=options.interpreter,
            networks={options.ssid: options.password},
            report=_print,
            erase=options.erase,
        )
        with board:
            _serve(board)
    except (interpreters.Unavailable, ValueError, OSError) as e:
        return "The virtual board cannot start: %s" % e
    except KeyboardInterrupt:
        print()
    return 0


def _serve(board):
    """Obey stdin until it says "quit" or Ctrl-C is pressed."""
    commands = {
        "wifi off": lambda: board.wifi(False),
        "wifi on": lambda: board.wifi(True),
        "power": board.power_cycle,
        "reset": board.reset,
    }
    for line in sys.stdin:
        command = " ".join(line.split())
        if command == "quit":
            return
        if command in commands:
            commands[command]()
        elif command:
            _print("no command: %s (there are %s and quit)" % (command, ", ".join(commands)))
    signal.pause()  # stdin is at its end, as /dev/null is; the board goes on


if __name__ == "__main__":
    # Started in a shell's background we would ignore Ctrl-C; and SIGTERM is as good.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
