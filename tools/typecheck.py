"""Check the types of lib/ as each Python that runs it would see them.

    python tools/typecheck.py

The Python that runs it must have mypy (and pip, for the first run). It prints a line for each run:

    esp32    the boards' files, with the stubs of the ESP32
    rp2      the same, with the stubs of the Pico W
    unix     those and unixport.py, with the stubs of MicroPython's unix port
    cpython  those, host.py and hosttls.py, with the type checker's own stubs of CPython

The boards' stubs come from PyPI on the first run and stay below build/, together with mypy's
caches: later runs need no network. Settings that all runs share are in pyproject.toml.
The exit status is 1, after what is wrong, if one run is not clean, or if a comment in lib/
silences the type checker elsewhere than in port.py or without its reason.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LIB = ROOT / "lib" / "socketse"

# Run: the package of stubs, sys.platform there, and the files that this Python alone has.
_RUNS = {
    "esp32": ("micropython-esp32-stubs==1.29.0.post1", "esp32", ()),
    "rp2": ("micropython-rp2-rpi_pico_w-stubs==1.29.0.post1", "rp2", ()),
    "unix": ("micropython-unix-stubs==1.29.0.post1", "linux", ("unixport.py",)),
    "cpython": (None, "linux", ("host.py", "hosttls.py")),
}
_STDLIB = "micropython-stdlib-stubs==1.29.0.post2"  # what the three do not pin themselves

_SILENCED = re.compile(r"#\s*(type:\s*ignore|mypy:)")
_WITH_REASON = re.compile(r"# type: ignore\[[a-z-]+\]  # \w")


def main():
    """Do all runs and return the exit status."""
    for name, (package, _, _) in _RUNS.items():
        if package and not _install(name, package):
            return 1
    runs = {name: _start(name) for name in _RUNS}
    problems = _silenced()
    for name, run in runs.items():
        output = run.communicate()[0].strip()
        print("%-9s%s" % (name, output.split("\n")[-1]))
        if run.returncode:
            problems.append("\n%s:\n%s" % (name, output))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _install(name, package):
    """Have the stubs of a run in its folder; return False, after pip's own words, if they fail."""
    folder = BUILD / "stubs" / name
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == package + " " + _STDLIB:
        return True
    print("%-9sfetching %s" % (name, package), flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, "--no-deps", "--target", str(folder), package, _STDLIB])
    if done.returncode:
        return False
    stamp.write_text(package + " " + _STDLIB)
    return True


def _start(name):
    """Start mypy for one run and return the process."""
    package, platform, own = _RUNS[name]
    others = {other for _, _, some in _RUNS.values() for other in some} - set(own)
    argv = [sys.executable, "-m", "mypy", "--platform", platform]
    argv += ["--cache-dir", str(BUILD / "mypy" / name)]
    environment = dict(os.environ)
    if package:
        # Modules like sys are found by the first of the two, modules like socket by the second.
        argv += ["--custom-typeshed-dir", str(BUILD / "stubs" / name)]
        environment["MYPYPATH"] = str(BUILD / "stubs" / name)
    # port.platform is "" on CPython; mypy cannot see that for itself.
    argv += ["--always-true" if package else "--always-false", "platform"]
    argv += [str(path.relative_to(ROOT)) for path in _files() if path.name not in others]
    return subprocess.Popen(
        argv,
        cwd=str(ROOT),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
    )


def _files():
    """Return the paths of the library's files."""
    return sorted(LIB.rglob("*.py"))


def _silenced():
    """Return a line of text for each comment that may not silence the type checker."""
    found = []
    for path in _files():
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if _SILENCED.search(line):
                if path.name != "port.py" or not _WITH_REASON.search(line):
                    where = "%s:%d" % (path.relative_to(ROOT), number)
                    found.append(where + ": silences the type checker without a reason in port.py")
    return found


if __name__ == "__main__":
    sys.exit(main())
