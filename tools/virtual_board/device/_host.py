"""What the device half shares with the host half: a page of numbers, lines of events, the flash.

The page is a file: whoever writes a number there is seen by the other at once, without a
message, and a look at it allocates nothing. shared.py in the host half knows the same places.
"""

import io
import termios

import uos
import usys
from micropython import const
from ustruct import pack_into, unpack_from
from utime import sleep_ms
from vfs import VfsPosix

# One byte each.
INTERRUPT = const(0)  # what Ctrl-C is, see PROMPT...: ours
CTRL_C = const(1)  # 1: an interrupt is on its way, 2: one is due; set by the host half
LINK = const(2)  # the network reaches us: the host half's
STATION = const(3)  # WLAN's state, see network.py: both write it
ACTIVE = const(4)  # bit 0 station, bit 1 access point: ours
RAW = const(5)  # the REPL is raw, also after a soft reset: ours
CAUSE = const(6)  # of the reset: the host half's
WANTED = const(7)  # the station was told to connect: ours
# Numbers of 32 bits, the last two of 64.
WATCHDOG = const(8)  # ms, 0: there is none
FED = const(12)  # ticks_ms of the last feed
WRITES = const(16)  # of the flash so far
CUT = const(20)  # how many of them come through
FREE = const(40)  # bytes of the heap when boot.py begins: ours
CLOCK = const(24)  # s that the board's clock, as Unix time, is behind the machine's
EXCEPTION = const(32)  # the address of a KeyboardInterrupt to raise: ours
# Texts, each after its length in a byte; the host half's.
SSID = const(64)  # the network that the station joins or has joined
SEEN = const(128)  # what a scan finds, one after the other; a length of 0 ends them

# Ctrl-C is a byte like others, interrupts what runs, will interrupt what is about to run.
PROMPT = const(0)
RUNNING = const(1)
STARTING = const(2)

KIND = uos.getenv("BOARD")
ADDRESS = uos.getenv("BOARD_ADDRESS")
PORT_OFFSET = int(uos.getenv("BOARD_PORT_OFFSET"))
ESP = KIND != "rp2"
EPOCH = 946684800 if ESP else 0  # s of Unix time at which time.time() is 0
BLOCK = const(4096)

files = VfsPosix("/")  # the host's files, also when LittleFS is mounted over them
# Opened without O_NOCTTY: so it is our controlling terminal, whose end is ours.
_line = files.open(uos.getenv("BOARD_TERMINAL"), "r+b")
_page = files.open(uos.getenv("BOARD_PAGE"), "r+b")
_events = open(int(uos.getenv("BOARD_EVENTS")), "wb")
_byte = bytearray(1)
_number = bytearray(4)


def get(place):
    """Return the byte at a place of the page."""
    _page.seek(place)
    _page.readinto(_byte)
    return _byte[0]


def put(place, value):
    """Set the byte at a place of the page."""
    _byte[0] = value
    _page.seek(place)
    _page.write(_byte)


def get_number(place):
    """Return the number of 32 bits at a place of the page."""
    _page.seek(place)
    _page.readinto(_number)
    return unpack_from("<I", _number)[0]


def put_number(place, value):
    """Set the number of 32 bits at a place of the page."""
    pack_into("<I", _number, 0, value)
    _page.seek(place)
    _page.write(_number)


def address(thing):
    """Return where a thing is in memory."""
    found = id(thing)
    # A small integer is made of it that has lost bit 31 of 32, and took bit 30 for its sign.
    return found if found >= 0 else found & 0x7FFFFFFF


def put_address(place, thing):
    """Write down where a thing is in memory, in 64 bits."""
    buf = bytearray(8)
    pack_into("<Q", buf, 0, address(thing))
    _page.seek(place)
    _page.write(buf)


def get_clock():
    """Return how many seconds the board's clock is behind the machine's."""
    _page.seek(CLOCK)
    buf = bytearray(8)
    _page.readinto(buf)
    return unpack_from("<q", buf)[0]


def put_clock(behind):
    """Set how many seconds the board's clock is behind the machine's."""
    buf = bytearray(8)
    pack_into("<q", buf, 0, behind)
    _page.seek(CLOCK)
    _page.write(buf)


def get_text(place):
    """Return the text at a place of the page, None if there is none."""
    size = get(place)
    return _page.read(size).decode() if size else None


def tell(line):
    """Tell the host half something, in one line."""
    _events.write(line + "\n")


def end(why):
    """Let the host half end this process and start the next, as a reset does. Never returns."""
    put(INTERRUPT, STARTING)
    tell(why)
    while True:
        try:
            while True:
                sleep_ms(1000)
        except KeyboardInterrupt:
            put(CTRL_C, 0)


class Terminal(io.IOBase):
    """The board's end of the line, as sys.stdout.buffer: bytes go out as they are.

    What print() writes does not come by here: the terminal makes \r\n of its \n, as
    firmware does.
    """

    def __init__(self):
        self._native = usys.stdout.buffer
        self._cooked = termios.tcgetattr(0)
        self._cooked[1] = 5  # OPOST | ONLCR
        self._bare = list(self._cooked)
        self._bare[1] = 0
        self.wait(True)

    def write(self, buf, *more):
        """Write buf, or max_len bytes of it, or those from an offset on; return how many."""
        termios.tcsetattr(0, termios.TCSANOW, self._bare)
        try:
            return self._native.write(buf, *more)
        finally:
            termios.tcsetattr(0, termios.TCSANOW, self._cooked)

    def wait(self, flag):
        """Let reading wait for all that was asked for, or return with what is there."""
        self._cooked[6][6] = 1 if flag else 0  # VMIN; the list of characters is also _bare's
        termios.tcsetattr(0, termios.TCSANOW, self._cooked)


terminal = Terminal()


class Flash:
    """The block device below LittleFS: a file of the host."""

    def __init__(self):
        name = uos.getenv("BOARD_FLASH")
        self._file = files.open(name, "r+b")
        self._blocks = files.stat(name)[6] // BLOCK

    def _may_write(self):
        """Count a write; return False if the power is cut before it."""
        done = get_number(WRITES)
        if done >= get_number(CUT):
            if done == get_number(CUT):
                tell("power cut at write %d" % (done + 1))
                put_number(WRITES, done + 1)
            return False
        put_number(WRITES, done + 1)
        return True

    def readblocks(self, block, buf, offset=0):
        """Fill buf."""
        self._file.seek(block * BLOCK + offset)
        self._file.readinto(buf)

    def writeblocks(self, block, buf, offset=0):
        """Write buf, unless the power is cut."""
        if self._may_write():
            self._file.seek(block * BLOCK + offset)
            self._file.write(buf)

    def ioctl(self, request, argument):
        """Answer for the number and size of blocks; erase one."""
        if request == 4:
            return self._blocks
        if request == 5:
            return BLOCK
        if request == 6:
            if self._may_write():
                self._file.seek(argument * BLOCK)
                for _ in range(BLOCK // 256):
                    self._file.write(_erased)
        return 0


_erased = b"\xff" * 256
# Opened now: _radio.py counts on it that only sockets are opened later.
flash = Flash() if uos.getenv("BOARD_FLASH") else None
