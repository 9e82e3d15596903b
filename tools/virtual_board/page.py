"""The page of numbers that both halves see; device/_host.py has the same places."""

import mmap
import struct

SIZE = 512
NEVER = 0x3FFFFFFF  # as a number of writes: MicroPython needs no memory for it

# One byte each.
INTERRUPT = 0  # what Ctrl-C is, see PROMPT...: the device half's
CTRL_C = 1  # see ON_ITS_WAY...: set by us, cleared by the device half
LINK = 2  # the network reaches the board: ours
STATION = 3  # the state of its WLAN, see IDLE...: both write it
ACTIVE = 4  # bit 0 station, bit 1 access point: the device half's
RAW = 5  # the REPL is raw: the device half's
CAUSE = 6  # of the reset, see POWER...: ours
WANTED = 7  # the station was told to connect: the device half's
# Numbers of 32 bits, the last two of 64.
WATCHDOG = 8  # ms, 0: there is none
FED = 12  # ticks_ms of the last feed
WRITES = 16  # of the flash so far
CUT = 20  # how many of them come through
FREE = 40  # bytes of the heap when boot.py begins: the device half's
CLOCK = 24  # s that the board's clock is behind ours
EXCEPTION = 32  # the address of a KeyboardInterrupt to raise: the device half's
# Texts, each after its length in a byte.
SSID = 64
SEEN = 128

# Ctrl-C is a byte like others, interrupts what runs, will interrupt what is about to run.
PROMPT, RUNNING, STARTING = range(3)
ON_ITS_WAY, DUE = 1, 2
POWER, HARD, DOG, SOFT = range(4)
IDLE, JOINING, JOINED, WRONG, NONE, LOST = range(6)


class Page:
    """The page in a file; all methods take one of the places above."""

    def __init__(self, path):
        path.write_bytes(bytes(SIZE))
        with open(path, "r+b") as f:
            self._map = mmap.mmap(f.fileno(), SIZE)

    def __getitem__(self, place):
        return self._map[place]

    def __setitem__(self, place, value):
        self._map[place] = value

    def number(self, place):
        """Return the number of 32 bits there."""
        return struct.unpack_from("<I", self._map, place)[0]

    def set_number(self, place, value):
        """Set the number of 32 bits there."""
        struct.pack_into("<I", self._map, place, value)

    def exception(self):
        """Return the address of the exception that is to be raised."""
        return struct.unpack_from("<Q", self._map, EXCEPTION)[0]

    def set_clock(self, behind):
        """Set how many seconds the board's clock is behind ours."""
        struct.pack_into("<q", self._map, CLOCK, behind)

    def set_texts(self, place, texts):
        """Write texts (of at most 32 bytes each), as many as find room, one after the other."""
        for text in texts:
            data = text.encode()[:32]
            if place + len(data) + 2 > SIZE:
                break
            self._map[place] = len(data)
            self._map[place + 1 : place + 1 + len(data)] = data
            place += 1 + len(data)
        self._map[place] = 0

    def close(self):
        """Give the memory back."""
        self._map.close()
