"""Get files out of Debian packages: no root needed, nothing installed.

    root = fetch(["micropython"], "i386", "trixie", BUILD / "debian/mp-i386", libraries=True)
    subprocess.run(command(root, "usr/bin/micropython") + ["-c", "print(1 + 1)"])

apt does the work, with package lists, caches and configuration of its own below `build/apt`; the
machine's own packages, lists and locks stay as they are. Settings of the machine (proxy,
certificates, credentials) still hold. Packages are verified with Debian's keyring. The mirror is
the one that the machine's own apt sources name, or `$DEBIAN_MIRROR`.
"""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BUILD = PROJECT / "build"  # the default home of everything fetched; git ignores it

_KEYRINGS = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
)
_STAMP = ".fetched.json"  # in a root: what was asked for, and what came

_CONF = """\
Dir::State "{state}";
Dir::State::lists "{state}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{state}/cache";
// a cache of the lists would save one second and cost 80 MB
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::GzipIndexes "true";
Dir::Log "{state}";
Dir::Etc::sourcelist "{state}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
#clear APT::Architectures;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
// as root, apt would drop to a user who may not reach our folders
APT::Sandbox::User "root";
// hooks of the machine would touch the machine: some images empty apt's cache in one
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
// a mirror that cannot be reached is an error here, not a warning
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
// without network, fail soon
Acquire::Retries "1";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
"""


class FetchError(Exception):
    """Packages cannot be had; the message is a sentence that names the cause and the cure."""


def architecture():
    """Return Debian's name for the architecture of this machine ("amd64", "arm64", ...).

    Raises FetchError where there is no dpkg.
    """
    try:
        done = subprocess.run(
            ["dpkg", "--print-architecture"], stdout=subprocess.PIPE, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise FetchError("there is no dpkg here: this is not a Debian-like system") from error
    return done.stdout.strip()


def release():
    """Return the code name of the release this machine runs ("bookworm", ...).

    Raises FetchError if /etc/os-release has none.
    """
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key == "VERSION_CODENAME" and value.strip("\"' "):
                return value.strip("\"' ")
    raise FetchError("/etc/os-release does not name a release: this is not a Debian-like system")


def fetch(packages, arch, suite, into, report=print, libraries=False, only=None):
    """Unpack Debian packages into a folder and return the folder.

    packages   names of packages
    arch       Debian's name of an architecture, also a foreign one: "amd64", "i386", "armhf", ...
    suite      code name of a Debian release: "trixie", ...
    into       the folder, a root with usr/ and so on below it; its contents are replaced
    report     called with one line of text per step
    libraries  True adds all libraries that the packages need, by apt's own resolver; dependencies
               whose name does not begin with "lib" serve an installation and are left out
    only       paths to keep, such as ["usr/bin/qemu-arm"], all others are dropped; None keeps all

    A folder that an earlier call with the same wishes filled is returned at once, without network.
    An interrupted call leaves no folder. Other processes may call this at the same time.
    Raises FetchError.
    """
    into = Path(into)
    wish = {
        "packages": sorted(packages),
        "arch": arch,
        "suite": suite,
        "libraries": libraries,
        "only": only and sorted(only),
    }
    if _holds(into, wish):
        return into
    try:
        with _lock(report) as lock:
            if not _holds(into, wish):  # another process may have filled it meanwhile
                _fill(_Apt(arch, suite, lock), wish, into, report)
    except OSError as error:
        raise FetchError(
            "cannot write below %s (%s): check whose it is, and the free space"
            % (into.parent, error)
        ) from error
    return into


def command(root, program):
    """Return the argv that runs `program` (a path within `root`) with the libraries in `root`.

    It goes through the root's own dynamic loader, so the libc of the machine may be older, newer
    or missing. Raises FetchError if the root has no loader or no such program.
    """
    root = Path(root)
    places = _places(root)
    # some are absolute symbolic links, which lead out of the root
    loaders = [
        path for place in places for path in place.glob("ld*.so.[0-9]") if not path.is_symlink()
    ]
    if not loaders or not (root / program).is_file():
        raise FetchError("%s is incomplete: remove it and try again" % root)
    return [str(loaders[0]), "--library-path", ":".join(map(str, places)), str(root / program)]


def direct(root, program):
    """Return the argv that runs `program` with the libraries in `root` and the machine's loader.

    For one that starts itself again by its own path, which the loader of `command` would be. The
    root must be of the machine's own release. Raises FetchError if there is no such program.
    """
    root = Path(root)
    if not (root / program).is_file():
        raise FetchError("%s is incomplete: remove it and try again" % root)
    places = _places(root)
    places += [path for place in places for path in place.iterdir() if list(path.glob("lib*.so"))]
    return [
        "env",
        "LD_LIBRARY_PATH=" + ":".join(map(str, places)),
        str((root / program).resolve()),
    ]


def _places(root):
    """Return the folders with libraries in a root."""
    return [
        path
        for pattern in ("lib/*-linux-*", "usr/lib/*-linux-*")
        for path in root.glob(pattern)
        if path.is_dir()
    ]


def _holds(into, wish):
    """Whether an earlier fetch put into the folder `into` what `wish` asks for."""
    try:
        stamp = json.loads((into / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(stamp.get(key) == value for key, value in wish.items())


def _fill(apt, wish, into, report):
    """Fetch and unpack what `wish` asks for; `into` appears, complete, at the end."""
    part = into.with_name(into.name + ".part")
    archives = part.with_name(into.name + ".debs")
    try:
        for folder in (part, archives):  # an earlier call may have been killed
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True)
        apt.update(report)
        try:
            names = apt.resolve(wish["packages"]) if wish["libraries"] else wish["packages"]
            report("Debian %s %s: fetching %s" % (wish["suite"], wish["arch"], ", ".join(names)))
            debs = apt.download(names, archives)
        except FetchError as error:
            raise FetchError(
                "Debian %s %s did not supply %s: check the names, the suite and the network (%s)"
                % (wish["suite"], wish["arch"], ", ".join(wish["packages"]), error)
            ) from error
        report("Debian %s %s: unpacking into %s" % (wish["suite"], wish["arch"], into))
        for deb in debs:
            apt.run("dpkg-deb", "-x", str(deb), str(part))
        if wish["only"]:
            _prune(part, wish["only"])
        stamp = dict(wish, files=[deb.name for deb in debs])
        (part / _STAMP).write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
        if into.exists():
            shutil.rmtree(into)
        part.rename(into)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(archives, ignore_errors=True)


def _prune(root, keep):
    """Remove from the folder `root` every file but those named in `keep`, and empty folders."""
    for folder, _, files in os.walk(str(root), topdown=False):
        for path in (Path(folder, name) for name in files):
            if path.relative_to(root).as_posix() not in keep:
                path.unlink()
        if Path(folder) != root:
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(folder)


@contextlib.contextmanager
def _lock(report):
    """Hold the one lock of all fetches below BUILD; yields the open lock file."""
    _require_tools()
    import fcntl  # not on Windows, where _require_tools has just said what is missing

    path = BUILD / "apt" / "lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except OSError as error:
        raise FetchError(
            "cannot write below %s (%s): check whose it is, and the free space" % (BUILD, error)
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another process that fetches packages")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _require_tools():
    """Return the path of Debian's keyring; FetchError without it, apt-get or dpkg-deb."""
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise FetchError("there is no %s here: this is not a Debian-like system" % tool)
    for keyring in _KEYRINGS:
        if os.path.exists(keyring):
            return keyring
    raise FetchError(
        "Debian's keyring is missing: install the package debian-archive-keyring,"
        " and unless this is Debian, set DEBIAN_MIRROR to the address of a Debian mirror"
    )


class _Apt:
    """apt for one suite and architecture, with all its state below BUILD.

    lock is the open lock file; child processes inherit it, so that the lock outlives a killed
    parent for as long as they still write.
    """

    def __init__(self, arch, suite, lock):
        self.arch = arch
        self.suite = suite
        self.lock = lock
        self.state = BUILD / "apt" / ("%s-%s" % (suite, arch))
        self.conf = self.state / "apt.conf"

    def run(self, *argv, **options):
        """Run a program and return its output; FetchError with its last words if it fails."""
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(self.lock.fileno(),),
            env=dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive"),
            text=True,
            errors="replace",
            **options,
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
            raise FetchError(
                "%s says: %s" % (argv[0], lines[0][3:] if lines else done.stderr.strip()[-300:])
            )
        return done.stdout

    def apt_get(self, *args, **options):
        """Run apt-get with the private configuration and return its output."""
        return self.run("apt-get", "-c", str(self.conf), "-qq", *args, **options)

    def update(self, report):
        """Fetch the package lists, from the first mirror that carries the suite."""
        keyring = _require_tools()
        for folder in ("lists/partial", "cache/archives/partial"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        self.conf.write_text(_CONF.format(state=self.state, arch=self.arch), encoding="utf-8")
        error = None
        for mirror in self.mirrors():
            report("Debian %s %s: package lists from %s" % (self.suite, self.arch, mirror))
            # target: no translations, no file lists, no icons, whatever the machine wants
            (self.state / "sources.list").write_text(
                "deb [signed-by=%s target=Packages] %s %s main\n" % (keyring, mirror, self.suite),
                encoding="utf-8",
            )
            try:
                self.apt_get("update")
                return
            except FetchError as failure:
                error = failure
        raise FetchError(
            "no package lists of Debian %s %s: check the network connection, or set DEBIAN_MIRROR"
            " to the address of another mirror (%s)" % (self.suite, self.arch, error)
        )

    def mirrors(self):
        """Return the addresses of mirrors that may carry Debian, best first.

        A source tells its origin only if the machine has its lists, and many images have none:
        those of Debian come first, then those of unknown origin; the others are left out.
        """
        if os.environ.get("DEBIAN_MIRROR"):
            return [os.environ["DEBIAN_MIRROR"]]
        origins = {}
        listing = ("apt-get", "indextargets", "--format", "$(REPO_URI)\t$(RELEASE)\t$(ORIGIN)")
        # with the option, sources without lists are named too, but no origins
        for option in ("--no-release-info", "--release-info"):
            for line in self.run(*listing, option).splitlines():
                mirror, suite, origin = line.split("\t")
                # neither carries a whole release
                if not mirror.startswith("cdrom:") and "security" not in mirror + suite:
                    origins[mirror] = origin
        debian = [mirror for mirror, origin in origins.items() if origin == "Debian"]
        unknown = [mirror for mirror, origin in origins.items() if origin in ("", "$(ORIGIN)")]
        if not debian and not unknown:
            raise FetchError(
                "the apt sources of this machine name no Debian mirror:"
                " set DEBIAN_MIRROR to the address of one"
            )
        return debian + unknown

    def resolve(self, packages):
        """Return `packages` and the libraries they need, by apt's own resolver."""
        lines = self.apt_get("install", "--print-uris", "--yes", *packages).splitlines()
        # each line: 'address' name_version_arch.deb size digest
        chosen = {line.split()[1].partition("_")[0] for line in lines if line.startswith("'")}
        # those the installation needs bring libraries of their own: follow libraries only
        needs = {}
        listing = self.run(
            "apt-cache", "-c", str(self.conf), "depends", "--important", *sorted(chosen)
        )
        for line in listing.splitlines():
            word = line.split()[-1]
            if not line.startswith((" ", "|")):
                package = word
            elif word in chosen and word.startswith("lib"):
                needs.setdefault(package, []).append(word)
        found = list(packages)
        for package in found:  # it grows meanwhile
            found += [name for name in needs.get(package, ()) if name not in found]
        return found

    def download(self, packages, folder):
        """Download packages into a folder and return the paths of the .deb files."""
        self.apt_get("download", *packages, cwd=str(folder))
        return sorted(folder.glob("*.deb"))
