"""What firmware does besides MicroPython itself: the file system, boot.py, main.py, the REPL.

The words and bytes of the REPL are those of MicroPython's shared/runtime/pyexec.c. What print()
writes gets its \r from the terminal; so \n alone stands here.
"""

import gc
import io
import select

import _host
import _micropython
import _sys as sys
import usys
import vfs
from micropython import const

import __main__

# These two are found by this way only: MicroPython looks into sys.modules first of all.
sys.modules["micropython"] = _micropython
sys.modules["sys"] = sys

# With the device half's folder in sys.path the others are found before the unix port's. What
# loading one leaves behind is collected before the next, so that they lie close together.
for _name in ("time", "os", "machine", "network", "socket"):
    gc.collect()
    __import__(_name)

machine, os, time = (sys.modules[_name] for _name in ("machine", "os", "time"))

_CTRL_A, _CTRL_B, _CTRL_C, _CTRL_D, _CTRL_E = 1, 2, 3, 4, 5
_NAMES = const(300)  # of a program: 20 + 40 + 80 + 160
_NAME = const(7)  # bytes in the table: pointer, length, hash
_SIZE = const(256)  # of a read; also the window of raw-paste mode

_namespace = __main__.__dict__
_stdin = usys.stdin.buffer
_poller = select.poll()
_poller.register(_stdin, select.POLLIN)
_chunk = bytearray(_SIZE)
_rest = b""  # what was read and not yet looked at
_raw = _host.terminal.write
_interruption = KeyboardInterrupt()


def _read():
    """Return what has come in, at least a byte."""
    global _rest
    rest, _rest = _rest, b""
    while not rest:
        # With a timer at work now and then somebody must look at what is scheduled.
        for _ in _poller.ipoll(10 if machine.Timer._at_work else -1):
            size = _stdin.readinto(_chunk)
            if not size:
                usys.exit()  # the host half is gone
            rest = bytes(memoryview(_chunk)[:size])
    return rest


def _char():
    """Return the next byte as a number."""
    global _rest
    data = _read()
    _rest = data[1:]
    return data[0]


def _execute(function, *args):
    """Call it so that Ctrl-C interrupts it; return (whether to go on, what was raised)."""
    raised = None
    again = True
    _host.terminal.wait(True)
    try:
        try:
            _host.put(_host.INTERRUPT, _host.RUNNING)
            if _host.get(_host.CTRL_C) == 2:
                raise KeyboardInterrupt
            function(*args)
        finally:
            _host.put(_host.INTERRUPT, _host.STARTING)
            # An interrupt may be under way: it must not hit the REPL.
            for _ in range(50):
                if _host.get(_host.CTRL_C) != 1:
                    break
                time.sleep_ms(1)
    except SystemExit:
        again = False
    except BaseException as e:
        raised = e
        if e is _interruption:
            _renew_interruption()
    _host.put(_host.CTRL_C, 0)
    _host.terminal.wait(False)
    return again, raised


def _renew_interruption():
    # The host half raises it for Ctrl-C; each time a new one, for its traceback.
    global _interruption
    _interruption = KeyboardInterrupt()
    _host.put_address(_host.EXCEPTION, _interruption)


def _at_prompt():
    """From now on Ctrl-C is a byte for us."""
    _host.terminal.wait(False)
    _host.put(_host.INTERRUPT, _host.PROMPT)
    _host.put(_host.CTRL_C, 0)


def _show(exception):
    """Print an exception as firmware does: without our own part of the way to it."""
    if exception is None:
        return
    try:
        text = io.StringIO()
        sys.print_exception(exception, text)
        for line in text.getvalue().split("\n")[:-1]:
            if not line.startswith('  File "_boot.py"'):
                print(line)
    except MemoryError:
        sys.print_exception(exception, sys.stdout)


def _run_source(source, kind):
    # What we have left behind would otherwise spread text and program all over the heap.
    gc.collect()
    text = b"".join(source)
    source.clear()
    code = compile(text, "<stdin>", kind)
    text = None
    exec(code, _namespace)


def _run(source, kind="exec"):
    """Run source, as a list of bytes that is emptied; return as _execute does."""
    _host.put(_host.INTERRUPT, _host.STARTING)
    try:
        return _execute(_run_source, source, kind)
    finally:
        _at_prompt()


def _run_file(name):
    """Run a file if there is one; return whether to go on."""
    try:
        os.stat(name)
    except OSError:
        return True
    gc.collect()
    again, raised = _execute(execfile, name, _namespace)  # noqa: F821
    _show(raised)
    return again


def _run_raw(source):
    """Run source for somebody at a raw REPL; return whether to go on."""
    again, raised = _run(source)
    _raw(b"\x04")
    _show(raised)
    _raw(b"\x04")
    return again


def _paste():
    """Take source in raw-paste mode; return it, or None if Ctrl-C ended it."""
    global _rest
    # The host may send two windows before it hears of us.
    _raw(b"R\x01" + bytes((_SIZE & 255, _SIZE >> 8)) + b"\x01")
    source = []
    got = 0
    while True:
        data = _read()
        for end in (b"\x03", b"\x04"):
            at = data.find(end)
            if at >= 0:
                _rest = data[at + 1 :]
                source.append(data[:at])
                _raw(b"\x04")
                return source if end == b"\x04" else None
        source.append(data)
        got += len(data)
        while got >= _SIZE:
            got -= _SIZE
            _raw(b"\x01")


def _raw_repl():
    """Serve programs; return True if the REPL is to be for people, False for a soft reset."""
    global _rest
    source = []
    print("raw REPL; CTRL-B to exit\n>", end="")
    while True:
        data = _read()
        at = 0
        for byte in data:
            if byte < 5:
                break
            at += 1
        else:
            source.append(data)
            continue
        source.append(data[:at])
        _rest = data[at + 1 :]
        if byte == _CTRL_A:
            line = b"".join(source[-3:])
            source.clear()
            if line == b"\x05A":
                source = _paste()
                if source is None:
                    _show_interrupt()
                    source = []
                elif not _run_raw(source):
                    return False
                print(">", end="")
            elif line[:1] == b"\x05":
                _raw(b"R\x00>")
            else:
                print("raw REPL; CTRL-B to exit\n>", end="")
        elif byte == _CTRL_B:
            print()
            return True
        elif byte == _CTRL_C:
            source.clear()
        elif byte == _CTRL_D:
            print("OK", end="")
            if not any(source):
                print()
                return False
            if not _run_raw(source):
                return False
            source.clear()
            print(">", end="")
        else:
            source.append(data[at : at + 1])


def _show_interrupt():
    _raw(b"\x04")
    print("KeyboardInterrupt: ")
    _raw(b"\x04")


def _line(prompt):
    """Return a line that a person types, or the control character that ends it at once."""
    print(prompt, end="")
    line = bytearray()
    escape = 0
    while True:
        byte = _char()
        if escape:  # arrow keys and the like
            escape = 2 if escape == 1 and byte in b"[O" else 0 if byte >= 64 else escape
        elif byte == 27:
            escape = 1
        elif byte == _CTRL_C or (byte < 6 and not line):
            return byte
        elif byte in b"\r\n":
            print()
            return bytes(line)
        elif byte in b"\x08\x7f":
            if line:
                line[:] = line[:-1]
                print("\x08 \x08", end="")
        elif byte == 9:
            line.extend(b"    ")
            print("    ", end="")
        elif byte >= 32:
            line.append(byte)
            _raw(bytes((byte,)))


def _goes_on(text):
    """Return whether more lines belong to a statement."""
    first = text.split(b"\n", 1)[0]
    if first.rstrip().endswith(b":") or first.startswith(b"@"):
        return not text.endswith(b"\n")  # an empty line ends it
    opened = sum(text.count(c) for c in (b"(", b"[", b"{"))
    closed = sum(text.count(c) for c in (b")", b"]", b"}"))
    return opened > closed or text.endswith(b"\\")


def _people_paste():
    """Take source in paste mode; return it, or None if Ctrl-C ended it."""
    print("\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\n=== ", end="")
    source = []
    part = bytearray()
    while True:
        byte = _char()
        if byte == _CTRL_C:
            print()
            return None
        if byte == _CTRL_D:
            print()
            source.append(bytes(part))
            return source
        if len(part) == _SIZE:
            source.append(bytes(part))
            part = bytearray()
        if byte in b"\r\n":
            part.append(10)
            print("\n=== ", end="")
        else:
            part.append(byte)
            _raw(bytes((byte,)))


def _friendly_repl():
    """Serve people; return True if the REPL is to be raw, False for a soft reset."""
    version = ".".join(str(part) for part in sys.implementation.version[:3])
    print("MicroPython v%s; %s" % (version, sys.implementation._machine))
    print('Type "help()" for more information.')
    while True:
        line = _line(">>> ")
        if line == _CTRL_A:
            print()
            return True
        elif line == _CTRL_B:
            print()
            print("MicroPython v%s; %s" % (version, sys.implementation._machine))
            print('Type "help()" for more information.')
            continue
        elif line == _CTRL_C:
            print()
            continue
        elif line == _CTRL_D:
            print()
            return False
        elif line == _CTRL_E:
            source, kind = _people_paste(), "exec"
        else:
            kind = "single"
            while isinstance(line, bytes) and _goes_on(line):
                more = _line("... ")
                line = line + b"\n" + more if isinstance(more, bytes) else more
            source = [line, b"\n"] if isinstance(line, bytes) else None
            if source is None:
                print()
        if source and any(part.strip() for part in source):
            again, raised = _run(source, kind)
            _show(raised)
            if not again:
                return False


def _mount():
    """Mount the flash's LittleFS, made anew if there is none, with the files firmware makes."""
    vfs.umount("/")  # the host's files
    flash = _host.flash
    size = 32 if _host.ESP else 256  # bytes of a write, as the ports' own _boot.py has it
    try:
        system = vfs.VfsLfs2(flash, progsize=size)
        vfs.mount(system, "/")
    except OSError:
        _host.tell("flash formatted")
        vfs.VfsLfs2.mkfs(flash, progsize=size)
        system = vfs.VfsLfs2(flash, progsize=size)
        vfs.mount(system, "/")
        if _host.ESP:
            with open("/boot.py", "w") as f:
                f.write(
                    "# This file is executed on every boot (including wake-boot from deepsleep)\n"
                )
    os.chdir("/")


def _make_room_for_names():
    """Let the table of names grow now, and not when the program comes.

    MicroPython has it in pieces, for 20, 40, 80, ... names. A board's firmware has none in use,
    ours are many: without this a program would get the table for nothing, or pay for 640 names.
    """
    n = grown = 0
    while grown < 640 * _NAME:
        if not n % 8:
            gc.collect()  # what is kept of this shall lie close together
        before = gc.mem_alloc()
        getattr(gc, "%x" % n, None)  # to ask for an attribute of a name makes that known
        grown = gc.mem_alloc() - before
        n += 1


def _prepare():
    """Leave nothing behind that boards have not, and say what of the heap is taken by us."""
    sys.path[:] = ["", ".frozen", "/lib"]
    sys.argv[:] = []
    _namespace.clear()
    _namespace["__name__"] = "__main__"
    for name in ("_boot", "_host", "_micropython", "_radio", "_sys"):
        sys.modules.pop(name, None)
    _make_room_for_names()
    gc.collect()
    # What the program's first names take is not ours.
    _host.tell("kept %d" % (gc.mem_alloc() - _NAMES * _NAME))


def _work():
    """Boot and serve until a soft reset is asked for."""
    again = _run_file("boot.py")
    raw = _host.get(_host.RAW)
    if again and not raw:
        again = _run_file("main.py")
    _at_prompt()
    while again:
        try:
            again = _raw_repl() if raw else _friendly_repl()
            raw = not raw
            if again:
                _host.put(_host.RAW, raw)
        except KeyboardInterrupt:
            # Sent when a program ran that has ended by now.
            _at_prompt()
            print()
        except MemoryError as e:
            # What somebody sends us is too long.
            sys.print_exception(e, sys.stdout)
    print("MPY: soft reboot")


_prepare()
_renew_interruption()
if not _host.flash:
    # That is all, but for one thing: how are we interrupted?
    _host.tell("names %d" % _host.address(globals()))
    _end = time.ticks_add(time.ticks_ms(), 5000)
    try:
        while time.ticks_diff(_end, time.ticks_ms()) > 0:
            pass
    except KeyboardInterrupt:
        _host.tell("interrupted")
    usys.exit()
_mount()
gc.collect()
_host.put_number(_host.FREE, gc.mem_free())
_work()
_host.end("soft reset")
