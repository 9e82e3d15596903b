"""select as on a board: a poller that a failed register has spoiled is the end (fact 20)."""

import uselect as _unix
from personality import forbid, trip

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16


class poll:
    """A poll object, which asks each stream in turn by its ioctl, as boards do."""

    _spoiled = ()  # the object whose register has failed
    _events = None  # while ipoll goes on

    def __init__(self):
        trip("poll")
        self._poll = _unix.poll()

    def register(self, obj, mask=POLLIN | POLLOUT):
        if self._events:
            forbid("register while ipoll goes on mixes it up (fact 21)")
        try:
            trip("register")
            self._poll.register(obj, mask)
        except (OSError, MemoryError):
            self._spoiled = (obj,)
            raise
        if self._spoiled and self._spoiled[0] is obj:
            self._spoiled = ()  # the same once more repairs it

    def unregister(self, obj):
        if self._spoiled and self._spoiled[0] is obj:
            forbid("unregister of what could not be registered (fact 20)")
        self._poll.unregister(obj)

    def modify(self, obj, mask):
        trip("modify")
        self._poll.modify(obj, mask)

    def _check(self):
        trip("ipoll")
        if self._spoiled:
            forbid("poll after a register that failed (fact 20)")

    def poll(self, *args):
        self._check()
        return self._poll.poll(*args)

    def ipoll(self, *args):
        self._check()
        self._events = self._poll.ipoll(*args)
        return self

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self._events)
        except BaseException:
            self._events = None
            raise
