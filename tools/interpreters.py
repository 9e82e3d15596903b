"""Find MicroPython interpreters for this machine: the 64-bit unix port, and 32-bit ones.

    python3 tools/interpreters.py                      lists all of them
    python3 tools/interpreters.py i386 -- -X heapsize=64k program.py
                                                       runs a program in one

The names on an amd64 machine:

    unix64   the machine's own: $MICROPYTHON, else `micropython` on PATH, else Debian's package
    i386     Debian's package: word size and garbage collector blocks as on ESP32 and RP2040
    armhf    Debian's package: Thumb-2 code as on RP2350, under qemu unless the machine runs it

On a machine of another architecture, the first one bears the architecture's name ("arm64", ...);
"native" means the first one everywhere. What comes from Debian is unpacked below build/ when
first asked for, see debian.py; nothing is installed.
"""

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys

import debian

SUITE = "trixie"  # the Debian release with the MicroPython that the tests are written for

_OWN_RUNS = {"amd64": ("amd64", "i386"), "arm64": ("arm64", "armhf")}  # often, not always
_QEMU = {"i386": "qemu-i386", "armhf": "qemu-arm"}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "i386", "armv7l": "armhf"}
_SMOKE = "import sys; print(1 + 1, sys.implementation.name, *sys.implementation.version[:3])"
_WAYS_OUT = (
    "name one in the environment variable MICROPYTHON (ports/unix of MicroPython's sources builds"
    " anywhere), or get one with Homebrew (brew install micropython) or from your distribution"
    " (Debian 13, Ubuntu: apt-get install micropython)"
)


class Unavailable(Exception):
    """A program cannot be had here; the message is a sentence that says which, and why."""


class Interpreter:
    """A MicroPython interpreter that runs here.

    name     "unix64", "i386", "armhf" or the machine's own architecture
    argv     list of strings; append the interpreter's arguments to it
    version  such as "1.25.0"
    note     where it comes from, for people
    """

    def __init__(self, name, argv, version, note):
        self.name = name
        self.argv = argv
        self.version = version
        self.note = note

    def __repr__(self):
        return "<MicroPython %s %s, %s>" % (self.version, self.name, self.note)


def names():
    """Return the names that `find` knows on this machine, its own interpreter first."""
    own = _architecture()
    first = "unix64" if own == "amd64" else own
    return [first] + [name for name in ("i386", "armhf") if name != first]


def find(name="native", report=print):
    """Return the Interpreter of that name, fetched if need be and seen to run.

    name    one of `names()`, or "native" for the first of them
    report  called with one line of text per step of a fetch

    Raises Unavailable, and ValueError for an unknown name.
    """
    if name == "native":
        name = names()[0]
    if name not in names():
        raise ValueError("no interpreter is called %r: choose from %s" % (name, names()))
    if name == names()[0]:
        return _find_native(name, report)
    try:
        return _find_debian(name, name, report)
    except debian.FetchError as error:
        raise Unavailable(
            "MicroPython for %s: %s (Debian's package is the only source for it)" % (name, error)
        ) from error


def find_all(report=print):
    """Return a list of all Interpreters to be had; `report` says which are not, and why."""
    found = []
    for name in names():
        try:
            found.append(find(name, report))
        except Unavailable as error:
            report(str(error))
    return found


def main(argv):
    """List the interpreters, or become one of them; return the exit status."""
    cut = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", help="the interpreter to run: %s" % ", ".join(names()))
    parser.usage = "%(prog)s [-h] [name [-- argument ...]]"
    name = parser.parse_args(argv[:cut]).name
    if name is None:
        found = find_all(_to_stderr)
        for interpreter in found:
            command = " ".join(map(shlex.quote, interpreter.argv))
            print("%-8s%-8s%s" % (interpreter.name, interpreter.version, interpreter.note))
            print("        " + command)
        return 0 if found else 1
    try:
        command = find(name, _to_stderr).argv
    except (Unavailable, ValueError) as error:
        parser.exit(1, "%s\n" % error)
    # no child process: Ctrl-C and the terminal are the interpreter's own
    os.execv(shutil.which(command[0]), command + argv[cut + 1 :])


def _to_stderr(line):
    """Report progress where it cannot mix with the output of a program."""
    print(line, file=sys.stderr, flush=True)


def _architecture():
    """Return the architecture of this machine, by Debian's name where there is one."""
    try:
        return debian.architecture()
    except debian.FetchError:
        return _MACHINES.get(platform.machine(), platform.machine())


def _find_native(name, report):
    """Return the machine's own Interpreter."""
    own = os.environ.get("MICROPYTHON")
    if own:
        return _check(name, shlex.split(own), "$MICROPYTHON")
    on_path = shutil.which("micropython")
    if on_path:
        try:
            return _check(name, [on_path], "on PATH")
        except Unavailable as error:
            report("not used: %s" % error)
    try:
        return _find_debian(name, _architecture(), report)
    except debian.FetchError as error:
        raise Unavailable(
            "MicroPython for this machine: %s; otherwise %s" % (error, _WAYS_OUT)
        ) from error


def _find_debian(name, arch, report):
    """Return Debian's Interpreter for an architecture; FetchError if it cannot be fetched."""
    root = debian.fetch(
        ["micropython"],
        arch,
        SUITE,
        debian.BUILD / "debian" / ("micropython-%s" % arch),
        report,
        libraries=True,
    )
    argv = debian.command(root, "usr/bin/micropython")
    note = "Debian %s" % SUITE
    own = _architecture()
    if arch == own or arch in _OWN_RUNS.get(own, ()):
        try:
            return _check(name, argv, note)
        except Unavailable:
            if arch not in _QEMU:
                raise
    qemu = _find_qemu(_QEMU[arch], own, report)
    return _check(name, [qemu, *argv], note + " under " + _QEMU[arch])


def _find_qemu(program, own, report):
    """Return the path of a qemu user-mode emulator that runs on the architecture `own`."""
    on_path = shutil.which(program) or shutil.which(program + "-static")
    if on_path:
        return on_path
    path = "usr/bin/" + program
    into = debian.BUILD / "debian" / ("%s-%s" % (program, own))
    # statically linked; the package holds emulators for thirty architectures
    root = debian.fetch(["qemu-user"], own, SUITE, into, report, only=[path])
    return str(root / path)


def _check(name, argv, note):
    """Return the Interpreter that `argv` starts; Unavailable unless it runs a small program."""
    try:
        done = subprocess.run(
            argv + ["-c", _SMOKE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        words = done.stdout.split()
        problem = done.stderr.strip()[-200:] or "exit status %d" % done.returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        words, problem = [], str(error)
    if words[:2] != ["2", "micropython"]:
        raise Unavailable(
            "MicroPython (%s, %s) does not run here: %s"
            % (note, " ".join(argv), "it printed %r" % done.stdout if words else problem)
        )
    return Interpreter(name, argv, ".".join(words[2:]), note)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
