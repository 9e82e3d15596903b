"""A file of users and passwords: salted, hashed many times over, and never half written.

A line is a user's name and what RFC 5803 stores, as PostgreSQL writes it:

    anna:SCRAM-SHA-256$2000:<salt>$<StoredKey>:<ServerKey>

in base64. Lines that begin with # are comments. Each change writes a new file, flushes it to the
disk or flash, and renames it: LittleFS and POSIX do that in one go.
"""

import os
from binascii import a2b_base64, b2a_base64
from errno import ENOENT

from . import port
from .port import const
from .scram import encode, finish, keys, salted, same, sha256

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_MOST = const(10000000)  # iterations: seconds on a PC; a damaged file asks for no more

# Of all users files: two objects may mean one file.
_lock: "Any" = port._thread and port._thread.allocate_lock()


class DamagedError(ValueError):
    """A line of the users file is none.

    like  (iterations, salt, StoredKey, ServerKey) that no password matches: with them its user
          looks like one who is not known
    """

    like: "Any" = None


class Users:
    """A users file.

    path        of the file; if it is missing nobody is known, and set() makes it
    iterations  of the hash in new entries; None: 2,000 on boards, else 100,000.
                A host can write a board's file: with as few as the board can stand
    Names have 1 to 64 bytes, no colon, no control character, no space at either end, and do not
    begin with #;
    passwords have 1 to 128 bytes. Both are str or UTF-8, taken as they are.
    Methods raise OSError if the file cannot be read or written, DamagedError, a ValueError, if a
    line that they need is none.
    """

    def __init__(self, path, iterations=None):
        if iterations is None:
            iterations = 100000 if port.platform in ("", "linux") else 2000
        if not 1 <= iterations <= _MOST:
            raise ValueError("iterations of a hash: 1 to ten million, not %r" % (iterations,))
        self.path = path
        self.iterations = iterations
        self._seed = os.urandom(16)

    def find(self, user):
        """Return (iterations, salt, StoredKey, ServerKey) of a user.

        One who is not known gets an entry that looks like the others and that no password
        matches, the same each time.
        """
        name = encode(user)
        number: Any = int
        pick = number.from_bytes(sha256(name).digest()[:3], "big")
        count = 0
        like = None  # whose iterations who is not known has: of any other, as these may differ
        seed = self._seed
        found = None
        try:
            with open(self.path, "rb") as f:
                for line in f:  # all of them: how long it takes does not tell who is there
                    this, entry = _split(line)
                    if this and entry:
                        if this == name and not found:
                            found = entry
                        if not count:
                            seed = entry
                        count += 1
                        if pick % count == 0:
                            like = entry
        except OSError as e:
            if e.errno != ENOENT:
                raise
        error = None
        if found:
            try:
                return _parse(found, self.path)
            except DamagedError as e:
                error = e
        n = self.iterations
        if like:
            try:
                n = _parse(like, self.path)[0]
            except ValueError:
                pass  # somebody else's line, of which nothing is to be seen
        salt = sha256(seed + b"\0" + name).digest()[:16]
        like = n, salt, os.urandom(32), os.urandom(32)
        if error:
            error.like = like
            raise error
        return like

    def names(self):
        """Return the names of all users, a list."""
        found = []
        try:
            with open(self.path, "rb") as f:
                for line in f:
                    name = _split(line)[0]
                    if name:
                        found.append(name.decode())
        except OSError as e:
            if e.errno != ENOENT:
                raise
        return found

    @port.coro
    def check(self, user, password, h=None):
        """Return whether the password is the user's. A coroutine: guard.check() slows failures.

        h  the AsyncStreamRequestHandler for which it hashes in slices; None: in one go
        """
        entry, error = self._find(user)
        key = yield from salted(encode(password), entry[1], entry[0], h)
        if error:
            raise error
        return same(keys(key)[0], entry[2])

    def _find(self, user):
        # Return (what find() returns, the error that it raises): as long is hashed for both.
        try:
            return self.find(user), None
        except DamagedError as e:
            return e.like, e

    def check_now(self, user, password):
        """Return whether the password is the user's: in one go."""
        return finish(self.check(user, password))

    @port.coro
    def change(self, user, old, new, h=None):
        """Give the user a new password if the old one is right. A coroutine, with h as in check().

        Returns True when it is in the file for good. False: the old one is wrong, or
        somebody was faster. Raises ValueError for a new one that cannot be one.
        """
        line = None
        password = _password(new)
        entry, error = self._find(user)
        key = yield from salted(encode(old), entry[1], entry[0], h)
        if error:
            raise error
        if not same(keys(key)[0], entry[2]):
            return False
        line = yield from self._line(encode(user), password, h)
        return self._replace(encode(user), line, entry)

    def change_now(self, user, old, new):
        """Do what change() does: in one go."""
        return finish(self.change(user, old, new))

    def set(self, user, password):
        """Give a user a password; one who is not there is added. Raises ValueError for a bad name.

        That it is good is left to the caller: it need not be known before.
        """
        name = encode(user)
        if not 0 < len(name) <= 64 or b":" in name or name[0] == 35 or _has_controls(name):
            raise ValueError("no name for a user: %r" % (user,))
        if name.strip() != name:  # it would be read as another
            raise ValueError("a user's name begins and ends with no space: %r" % (user,))
        name.decode()
        self._replace(name, finish(self._line(name, _password(password), None)), None)

    def delete(self, user):
        """Forget a user. Returns False if there was none."""
        if not user:  # who has no name is on no line, but comments have none either
            return False
        return self._replace(encode(user), b"", None)

    @port.coro
    def _line(self, name, password, h):
        salt = os.urandom(16)
        key = yield from salted(password, salt, self.iterations, h)
        line = name + b":SCRAM-SHA-256$%d" % self.iterations
        for mark, part in zip((b":", b"$", b":"), (salt,) + keys(key)):
            line += mark + b2a_base64(part)[:-1]
        return line + b"\n"

    def _replace(self, name, line, expected):
        # Put line in the place of name's, b"": nothing. Return whether that was there; with
        # expected only if it says so, with a new name True. Nobody comes between.
        if _lock:
            _lock.acquire()
        held = None
        try:
            if not port.platform:
                held = port.hold(self.path)
            path = self.path + ".new"
            f = _create(path, self.path)
            whole = False
            try:
                with f:
                    done = self._copy(f, name, line, expected)
                    if done:
                        f.flush()  # MicroPython's goes as far as the disk, or flash
                        if not port.platform:
                            port.fsync(f)
                    whole = done
                if whole:
                    if port.platform:
                        os.rename(path, self.path)
                    else:
                        port.replace(path, self.path)
            finally:
                if not whole:
                    os.remove(path)  # there may be no room for it
            return done
        finally:
            if held is not None:
                os.close(held)
            if _lock:
                _lock.release()

    def _copy(self, f, name, line, expected):
        found = False
        try:
            with open(self.path, "rb") as old:
                for other in old:
                    this, entry = _split(other)
                    if this != name:
                        f.write(other if other[-1:] == b"\n" else other + b"\n")
                    elif not found:  # of two the first one counts
                        if expected and _parse(entry, self.path) != expected:
                            return False
                        found = True
                        f.write(line)
        except OSError as e:
            if e.errno != ENOENT:
                raise
        if found or expected or not line:
            return found
        f.write(line)
        return True


def _create(path, like):
    if port.platform:
        return open(path, "wb")
    return port.create(path, like)


def _password(text):
    text = encode(text)
    if not 0 < len(text) <= 128 or _has_controls(text):
        raise ValueError("a password has 1 to 128 bytes, and no control characters")
    return text


def _has_controls(text):
    for c in text:
        if c < 32 or c == 127:
            return True
    return False


def _split(line):
    # Return (name, the rest) of a line; (b"", b""): it has none.
    line = line.strip()
    at = line.find(b":")
    if at < 1 or line[0] == 35:  # "#"
        return b"", b""
    return line[:at], line[at + 1 :]


def _parse(entry, path):
    # Return (iterations, salt, StoredKey, ServerKey).
    try:
        kind, n, rest = entry.replace(b":", b"$", 1).split(b"$", 2)
        salt, stored, server = rest.replace(b":", b"$").split(b"$")
        stored = a2b_base64(stored)
        server = a2b_base64(server)
        n = int(n)
        if kind != b"SCRAM-SHA-256" or len(stored) != 32 or len(server) != 32:
            raise ValueError
        if not 1 <= n <= _MOST:
            raise ValueError
        return n, a2b_base64(salt), stored, server
    except ValueError:
        raise DamagedError("a line of %s is not NAME:SCRAM-SHA-256$..." % path)
