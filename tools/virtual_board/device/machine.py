"""machine as firmware has it, as far as there is something to show without hardware."""

import time

import _host
from _host import ESP, KIND
from micropython import const, schedule
from utime import mktime, ticks_ms

_SLICE_MS = const(20)  # a timer that was stopped is forgotten after that

if KIND == "rp2":
    PWRON_RESET = 1
    HARD_RESET = WDT_RESET = 3  # machine.reset() is done by the watchdog, too
    _CAUSES = (PWRON_RESET, WDT_RESET, WDT_RESET, PWRON_RESET)
    WDT_LONGEST = 8388  # ms, on RP2040
else:
    PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
    if KIND == "esp8266":
        PWRON_RESET, WDT_RESET, SOFT_RESET, HARD_RESET = 0, 1, 4, 6
    _CAUSES = (PWRON_RESET, SOFT_RESET if KIND == "esp8266" else HARD_RESET, WDT_RESET, SOFT_RESET)
    WDT_LONGEST = 0x3FFFFFFF


def reset():
    """Start the board anew, as its button does. Never returns."""
    _host.end("machine.reset()")


def soft_reset():
    """Start the interpreter anew: raises SystemExit, as on boards."""
    raise SystemExit


def reset_cause():
    """Return one of the constants *_RESET."""
    return _CAUSES[_host.get(_host.CAUSE)]


def unique_id():
    """Return 6 bytes, on rp2 8, that no other virtual board at work has."""
    numbers = bytes(int(part) for part in _host.ADDRESS.split("."))
    return b"\x02\x00" + numbers if ESP else b"\xe6\x61\x00\x00" + numbers


def freq(hz=None):
    """Return the processor's usual frequency in Hz."""
    return 125000000 if KIND == "rp2" else 160000000 if KIND == "esp32" else 80000000


def idle():
    """Return after a short time."""
    time.sleep_ms(1)


def lightsleep(ms=0):
    """Wait for ms milliseconds."""
    time.sleep_ms(ms)


def disable_irq():
    """Return a state for enable_irq. Nothing is disabled."""
    return 1


def enable_irq(state=1):
    """Do nothing: nothing was disabled."""


class WDT:
    """The watchdog: once made it resets the board unless it is fed. Nothing stops it.

    timeout  ms, on rp2 at most 8388: more raises ValueError, also in firmware
    """

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError("WDT(%s) doesn't exist" % id)
        if timeout > WDT_LONGEST:
            raise ValueError("timeout exceeds %d" % WDT_LONGEST)
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        if KIND == "esp8266":
            timeout = 5000  # it has no other
        self.feed()
        _host.put_number(_host.WATCHDOG, timeout)
        _host.tell("watchdog %d" % timeout)

    def feed(self):
        """Put off the reset by the timeout."""
        _host.put_number(_host.FED, ticks_ms())


class RTC:
    """The clock; runs through soft resets, and from its beginning after power-up."""

    def __init__(self, id=0):
        pass

    def datetime(self, moment=None):
        """Return (year, month, day, weekday, hours, minutes, seconds, subseconds), or set that."""
        if moment is None:
            year, month, day, hour, minute, second, weekday, _ = time.gmtime()
            return (year, month, day, weekday, hour, minute, second, 0)
        year, month, day, _, hour, minute, second = moment[:7]
        time._set(int(mktime((year, month, day, hour, minute, second, 0, 0, 0))))

    if ESP:

        def init(self, moment):
            """Set (year, month, day, hour, minute, second, ...)."""
            time._set(int(mktime(tuple(moment[:6]) + (0, 0, 0))))


class Pin:
    """A pin that tells the host half when its level changes."""

    IN, OUT, OPEN_DRAIN = (1, 3, 7) if KIND == "esp32" else (0, 1, 2)
    PULL_UP, PULL_DOWN = (2, 1) if KIND == "esp32" else (1, 2)
    IRQ_RISING, IRQ_FALLING = (1, 2) if KIND == "esp32" else (8, 4)
    _levels = {}

    def __init__(self, id, mode=-1, pull=-1, value=None, **more):
        if isinstance(id, Pin):
            id = id._id
        if isinstance(id, str):
            # Pico W: "LED", "WL_GPIO0" and "GP15"; others name none, or by the chip's manual.
            if KIND != "rp2" or not (id in ("LED", "WL_GPIO0") or id.startswith("GP")):
                raise ValueError("invalid pin" if ESP else 'unknown named pin "%s"' % id)
            if id.startswith("GP"):
                id = int(id[2:])
            else:
                id = "LED"
        elif not 0 <= id < (30 if KIND == "rp2" else 40 if KIND == "esp32" else 17):
            raise ValueError("invalid pin")
        self._id = id
        self.init(mode, pull, value=value, **more)

    def init(self, mode=-1, pull=-1, value=None, **more):
        """Set what the constructor sets."""
        if value is not None:
            self.value(value)

    def value(self, level=None):
        """Return the level, or set it."""
        if level is None:
            return self._levels.get(self._id, 0)
        level = int(bool(level))
        if self._levels.get(self._id) != level:
            self._levels[self._id] = level
            _host.tell("pin %s %d" % (self._id, level))

    __call__ = value

    def on(self):
        """Set the level to 1."""
        self.value(1)

    def off(self):
        """Set the level to 0."""
        self.value(0)

    def toggle(self):
        """Change the level."""
        self.value(not self.value())

    def irq(self, *args, **kwargs):
        """Do nothing: no level ever changes from outside."""

    def __repr__(self):
        return "Pin(%s)" % self._id


class ADC:
    """An analogue input at a constant voltage: 0.706 V of 3.3 V, 27 °C on a Pico's own sensor."""

    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = range(4)
    CORE_TEMP = 4

    def __init__(self, pin, **more):
        pass

    def read_u16(self):
        """Return the voltage from 0 to 65535."""
        return 14020

    def read_uv(self):
        """Return the voltage in microvolts."""
        return 706000

    def read(self):
        """Return the voltage from 0 to 4095, on esp8266 to 1023."""
        return 14020 >> (6 if KIND == "esp8266" else 4)

    def atten(self, *args):
        """Do nothing."""

    width = atten


class Timer:
    """Calls back while programs run and at the prompt; not while a program waits in one poll."""

    ONE_SHOT, PERIODIC = 0, 1
    _at_work = []

    def __init__(self, id=-1, **more):
        if not -1 <= id <= (3 if KIND == "esp32" else -1):
            raise ValueError("Timer doesn't exist")
        self._run = 0
        if more:
            self.init(**more)

    def init(self, mode=PERIODIC, freq=-1, period=-1, callback=None, **more):
        """Call callback(timer) every period ms (freq times a second), or once."""
        import _thread

        self.deinit()
        ms = int(1000 / freq) if freq > 0 else period
        if ms <= 0:
            raise ValueError("invalid period")
        self._at_work.append(self)
        _thread.start_new_thread(self._tick, (self._run, ms, mode == 1, callback))

    def deinit(self):
        """Stop calling back."""
        self._run += 1
        if self in self._at_work:
            self._at_work.remove(self)

    def _tick(self, run, ms, again, callback):
        end = time.ticks_add(time.ticks_ms(), ms)
        while run == self._run:
            try:
                left = time.ticks_diff(end, time.ticks_ms())
                if left > 0:
                    time.sleep_ms(min(left, _SLICE_MS))
                    continue
                end = time.ticks_add(end, ms)
                if not again:
                    self.deinit()
                schedule(callback, self)
            except RuntimeError:
                continue  # the queue is full: boards lose this call, too
            except KeyboardInterrupt:
                _host.put(_host.CTRL_C, 0)  # meant for the main thread
