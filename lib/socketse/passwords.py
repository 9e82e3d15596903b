"""PasswordHandler: many clients at once change their passwords."""

from .stream import AsyncStreamRequestHandler  # first: the largest compiles best

# isort: split
from errno import ETIMEDOUT

from . import guard, port
from .port import const

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_WAITS = const(3)  # of `timeout` seconds each for one change, however many lines come
_LONGEST = const(3600)  # seconds of such a wait
_WORDS = ("USER", "PASS", "NEWPASS")


class PasswordHandler(AsyncStreamRequestHandler):
    """Speaks poppassd's protocol (port 106), as mail programs and Roundcube do.

    Each line of the client, USER name, PASS old, NEWPASS new, QUIT, is answered by one that begins
    with 200 or, if it fails, with 500. After a change it may begin again; a wrong user or old
    password ends it.

    users        a Users, for the default backend
    min_length   bytes that a new password must have
    allow_plain  True: take passwords in clear text from other machines, too
    The backend is one method, change().
    """

    users: "Any" = None
    min_length = 8
    allow_plain = False
    max_line = 256

    def __init__(self, request, client_address, server):
        if self.users is None and type(self).change is PasswordHandler.change:
            raise TypeError("%s.users is None: give it a Users" % type(self).__name__)
        AsyncStreamRequestHandler.__init__(self, request, client_address, server)

    @port.coro
    def change(self, user, old, new):
        """Change a password; a coroutine, to be overridden for another backend.

        user, old, new  bytes
        Returns True if it is changed for good, False if user or old is wrong.
        Raises ValueError, whose text the client gets, for a new one that is not taken.
        """
        try:
            return (yield from self.users.change(user, old, new, self))
        except ValueError as e:
            if not hasattr(e, "like"):
                raise
            guard.damaged(self, e)
            return False

    async def handle(self):
        """Talk to one client."""
        if not guard.plain_text(self):
            guard.count(self)
            self._say("500 no passwords in clear text over the network: use TLS")
            return
        self._say("200 hello, who are you?")
        given: Any = []
        self._se_begin()
        while True:
            line = await self._se_next()
            if not line:
                if line is None:
                    self._say("500 that line is too long")
                return
            # The rest of the line but for its end: a password may have spaces anywhere.
            word, _, rest = line.rstrip(b"\r\n").partition(b" ")
            word = word.upper()
            if word == b"QUIT":
                self._say("200 bye")
                return
            if word != _WORDS[len(given)].encode() and word != b"USER" or not rest:
                self._say("500 %s and a word, please" % _WORDS[len(given)])
                continue
            if word == b"USER":
                given.clear()
            given.append(rest)
            if len(given) < 3:
                self._say("200 your %s password, please" % ("old" if len(given) < 2 else "new"))
            else:
                if not await self._change(*given):
                    return  # or guessers would hold the places of others
                given.clear()
                self._se_begin()
            await self.wfile.drain()

    def _se_begin(self):
        # One who is slow, or talks of other things, does not hold a place for ever.
        self._se_end = port.ticks_add(
            port.ticks_ms(), int(_WAITS * 1000 * min(self.timeout or _LONGEST, _LONGEST))
        )

    @port.coro
    def _se_next(self):
        # Return the next line; b"": there is none, None: it is too long.
        line = b""
        while True:
            if port.ticks_diff(self._se_end, port.ticks_ms()) < 0:
                raise OSError(ETIMEDOUT, "the client takes too long")
            data = yield from self.read(self.max_line)
            line += data
            end = line.find(b"\n") + 1
            if end:
                self._se_buffer = line[end:] + (self._se_buffer or b"")
                return line[:end] if end <= self.max_line else None
            if not data:
                return data
            if len(line) > self.max_line:
                return None

    async def _change(self, user, old, new):
        # Say how it went. Return False if the client failed to prove who it is.
        if len(new) < self.min_length:
            self._say("500 a new password needs %d bytes" % self.min_length)
            return True
        key = await guard.turn(self, True)
        if key is None:
            guard.count(self)
            self._say("500 too many failures from your address: later")
            return False
        ok = None
        try:
            ok = bool(await self.change(user, old, new))
            text = "200 changed" if ok else "500 user or old password is wrong"
        except ValueError as e:
            text = "500 %s" % e
        finally:
            guard.tell(key, ok)
        self._say(text)
        return ok is not False

    def _say(self, text):
        self.wfile.write(text.encode() + b"\r\n")
