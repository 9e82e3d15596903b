"""A board without the board: MicroPython's unix port, made to look like one to mpremote.

    with virtual_board.Board(kind="esp32", flash=path) as board:
        subprocess.run(["mpremote", "connect", board.device, "fs", "ls"])

    python tools/virtual_board       the same for people, see __main__.py

What it is not: as slow as a board (time to think is the host's, flash and Wi-Fi cost nothing);
a network stack (its limits on sockets are there, lwIP's buffers and time-outs are not); of two
cores. A timer does not call back while the program waits in one long poll.

The host half, here, starts the interpreter, is its power supply, watchdog and access point, and
passes on what it prints and is told. The device half, in device/, is what firmware has and the
unix port has not.
"""

from .board import KINDS, Board

__all__ = ["Board", "KINDS"]
