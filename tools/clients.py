"""Find the network clients that the tests talk with: those people use, not our own.

`client("socat")` is the machine's own program where that will do, else Debian's, unpacked below
build/ when first asked for and run with the libraries it was built with; nothing is installed.
`testsuite(python)` finds CPython's own tests, which Debian keeps apart from its Python.
"""

import os
import shutil
import subprocess
from pathlib import Path

import debian
from interpreters import Unavailable

# name: (Debian packages, arguments for a harmless run, words that its output must hold)
_CLIENTS = {
    "nc": ("netcat-openbsd", ["-h"], ["-q ", "-U"]),  # there are four others of that name
    "socat": ("socat", ["-V"], ["socat version"]),
    "rdate": ("rdate", [], ["-o port"]),
    "chronyd": ("chrony", ["-v"], ["chronyd"]),
    "curl": ("curl", ["-V"], ["curl "]),
    "openssl": ("openssl", ["version"], ["SSL"]),
    # Without a font, text has no height.
    "chromium": (
        "chromium-headless-shell chromium-common fonts-dejavu-core",
        ["--headless", "--no-sandbox", "--dump-dom", "data:text/html,<p>it runs"],
        ["<p>it runs</p>"],
    ),
}
_OTHER_NAMES = {"chromium": ("chromium-headless-shell", "google-chrome", "chromium-browser")}
_CHROMIUM = "usr/lib/chromium/chromium-headless-shell"
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>%s</dir><cachedir>%s</cachedir></fontconfig>
"""
_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")
_ABOUT = """\
import sys
try:
    import test.test_socketserver
    found = sys.modules["test"].__path__[0]
except ImportError:
    found = ""
print("%d.%d" % sys.version_info[:2], sys.base_prefix, found, sep="\\n")
"""


def names():
    """Return the names that `client` knows."""
    return list(_CLIENTS)


def client(name, report=print):
    """Return the argv, a list of strings, that starts a client; append its arguments.

    name    one of `names()`
    report  called with one line of text per step of a fetch

    An `nc` knows -q (seconds to stay after the end of input) and -U (Unix sockets).

    `chronyd` asks an SNTP server once, as an ordinary user and without touching the clock, with
    the arguments -U -u USER -Q -t SECONDS -f /dev/null "server 127.0.0.1 port PORT iburst".

    `chromium` is driven by browser.py; it is by far the largest, some 110 MB.

    Raises Unavailable, and ValueError for an unknown name.
    """
    if name not in _CLIENTS:
        raise ValueError("no client is called %r: choose from %s" % (name, names()))
    # ordinary users often have no sbin on their PATH
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    for own in (shutil.which(one, path=path) for one in (name, *_OTHER_NAMES.get(name, ()))):
        if own and not _problem(name, [own]):
            return [own]
    try:
        argv = _fetched(name, report)
    except debian.FetchError as error:
        raise Unavailable(
            "%s: %s; otherwise install your distribution's package of it (Debian: %s)"
            % (name, error, _CLIENTS[name][0])
        ) from error
    problem = _problem(name, argv)
    if problem:
        raise Unavailable("%s (%s) does not run here: %s" % (name, " ".join(argv), problem))
    return argv


def testsuite(python, report=print):
    """Return the folder whose `test/` holds the tests of a CPython, test_socketserver.py too.

    python  the interpreter, a path or a name on PATH
    report  called with one line of text per step of a fetch

    Returns None if they are not to be had: they are not part of that Python, and it is not
    Debian's. They do run only in the Python that `python` names.

    Debian splits the package `test`: `test.support` comes with Python, the tests proper apart.
    So the folder does not replace the package on `sys.path`, it extends it, wherever it is:

        import test
        test.__path__.append(os.path.join(testsuite(sys.executable), "test"))
        import test.test_socketserver

    Raises Unavailable if `python` does not run or its tests cannot be fetched.
    """
    try:
        done = subprocess.run(
            # neither the current folder nor the environment may lend it a package `test`
            [python, "-I", "-c", _ABOUT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable("%s does not run: %s" % (python, error)) from error
    version, prefix, found = done.stdout.split("\n")[:3]
    if found:
        return Path(found).parent
    if prefix != "/usr" or not os.path.exists("/etc/debian_version"):
        return None
    try:
        root = _fetch(["libpython%s-testsuite" % version], report, libraries=False)
    except debian.FetchError as error:
        raise Unavailable("the tests of Python %s: %s" % (version, error)) from error
    return root / "usr" / "lib" / ("python" + version)


def _fetch(packages, report, libraries):
    """Return a root with packages of this machine's own release; raises FetchError."""
    arch, suite = debian.architecture(), debian.release()
    into = debian.BUILD / "debian" / ("%s-%s" % (packages[0], arch))
    return debian.fetch(packages, arch, suite, into, report, libraries=libraries)


def _fetched(name, report):
    """Return the argv of Debian's client; raises FetchError."""
    root = _fetch(_CLIENTS[name][0].split(), report, libraries=True)
    if name == "chromium":
        fonts = root / "fonts.conf"
        if not fonts.exists():
            fonts.write_text(_FONTS % (root / "usr/share/fonts", root / "fonts.cache"))
        env, *argv = debian.direct(root, _CHROMIUM)
        return [env, "FONTCONFIG_FILE=%s" % fonts, *argv]
    files = (name, name + ".openbsd")  # alternatives have no link before they are installed
    paths = ("%s/%s" % (folder, file) for folder in _FOLDERS for file in files)
    argv = debian.command(root, next((path for path in paths if (root / path).is_file()), name))
    if name == "openssl":  # without its configuration it makes no certificates
        argv = ["env", "OPENSSL_CONF=%s" % (root / "etc/ssl/openssl.cnf"), *argv]
    return argv


def _problem(name, argv):
    """Return None if `argv` starts the client that the tests expect, else what is wrong."""
    _, args, words = _CLIENTS[name]
    try:
        done = subprocess.run(
            argv + args,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    missing = [word for word in words if word not in done.stdout]
    if missing:
        return "%r is missing in %r" % (missing[0], done.stdout[:200])
    return None
