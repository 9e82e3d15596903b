"""os as firmware has it: uname, and nothing of the host's."""

import sys
from collections import namedtuple

from uos import (  # noqa: F401
    VfsFat,
    VfsLfs2,
    chdir,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    stat,
    statvfs,
    umount,
    unlink,
    urandom,
)

sep = "/"


def uname():
    """Return (sysname, nodename, release, version, machine)."""
    kind = sys.platform
    release = ".".join(str(part) for part in sys.implementation.version[:3])
    names = ("sysname", "nodename", "release", "version", "machine")
    of = namedtuple("uname", names)
    return of(kind, kind, release, "v" + release, sys.implementation._machine)


def sync():
    """Do nothing: what was written is in the flash."""
