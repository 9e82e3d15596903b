"""Users and their passwords in a file for PasswordHandler, auth.py and others.

    python tools/passwd.py FILE USER           give a user a password; a new one is added
    python tools/passwd.py --delete FILE USER  forget a user
    python tools/passwd.py FILE                show who there is

The password is asked for twice, or read from the first line of what is piped in. The file may be
in use meanwhile by a server on this machine, if CPython runs that, but on Windows: there, and
under MicroPython, nobody waits for the other, so stop the server first. For a board, copy the
file there: mpremote fs cp FILE :/
"""

import argparse
import getpass
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "lib"))

from socketse import Users


def main(argv=None):
    """Do what the command line, argv, says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0],
        epilog="A password is asked for twice, or read from what is piped in.",
    )
    parser.add_argument("file")
    parser.add_argument("user", nargs="?", help="without it: show who there is")
    parser.add_argument("--delete", action="store_true", help="forget the user")
    parser.add_argument(
        "--iterations",
        type=int,
        default=2000,
        help="of the hash: %(default)s, for a file that boards read; 100000 for hosts alone",
    )
    args = parser.parse_args(argv)
    try:
        users = Users(args.file, args.iterations)
        if args.user is None:
            if args.delete:
                parser.error("--delete wants a user")
            for name in users.names():
                print(name)
        elif args.delete:
            if not users.delete(args.user):
                raise ValueError("%s has no user %s" % (args.file, args.user))
        else:
            users.set(args.user, _asked(args.user))
    except (OSError, ValueError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


def _asked(user):
    # Return the new password.
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("New password of %s: " % user)
    if getpass.getpass("Once more: ") != password:
        raise ValueError("these were two different ones: nothing is changed")
    return password


if __name__ == "__main__":
    sys.exit(main())
