"""Who may try a password again, and when: failures slow down per address.

Each failure doubles the time until the next try from its address counts; a minute without one
forgives one. Nobody is locked out, and a user is as fast as ever from any other address.
While a password is hashed, the next one from that address waits: many cannot try at once.
"""

from . import port
from .port import const
from .scram import finish

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

# Addresses that are remembered. When so many have failed in the last minute, all others count as
# one, which fails at most four times a second, and waits no longer than that for the next try.
MAX_ADDRESSES = 1024 if port.platform in ("", "linux") else 16
OTHERS = "*"

_FIRST_MS = const(250)
_LONGEST_MS = const(16000)
_FORGIVE_MS = const(60000)
_LOOK_MS = const(20)  # how soon one that waits for another is looked at again
_PATIENCE_MS = const(30000)  # how long it waits at most

_BUSY_MS = const(60000)  # how long one may be at work: it may have ended without a word

# By address: [failures, tick of the last one, tick at which one began its work; None: nobody has]
table: "Any" = {}
lock: "Any" = port._thread and port._thread.allocate_lock()


def address_of(h):
    """Return what stands for the address of the handler h: of IPv6 its network, as that is cheap.

    "" is a Unix socket.
    """
    host = h.client_address
    host = host[0] if isinstance(host, tuple) else ""
    if ":" in host:
        from .allow import address_bytes

        if "." not in host:  # ::ffff:10.0.0.1 is an IPv4 address
            host = address_bytes(host.split("%")[0])[:8]
    return host


def is_loopback(h):
    """Return whether the client of the handler h is on this machine."""
    host = h.client_address
    if not isinstance(host, tuple):
        return True  # a Unix socket
    return host[0][:4] == "127." or host[0] == "::1" or host[0][:11] == "::ffff:127."


def plain_text(h):
    """Return whether the client of the handler h may send a password in clear.

    It may over TLS, from this machine, and if h.allow_plain is True.
    """
    if getattr(h, "allow_plain", False) or is_loopback(h):
        return True
    return bool(getattr(h.server, "ssl_context", None)) or hasattr(h.request, "getpeercert")


def _left(entry, key):
    # Return for how many more ms who has failed must wait.
    n = entry[0]
    if not n:
        return 0
    passed = port.ticks_diff(port.ticks_ms(), entry[1])
    ms = _FIRST_MS << (min(n - 1, 6) if key != OTHERS else 0)
    return ms - passed if 0 <= passed < ms else 0  # ticks wrap after six days


def _is_busy(entry):
    return entry[2] is not None and (0 <= port.ticks_diff(port.ticks_ms(), entry[2]) < _BUSY_MS)


def _look(key, hold):
    # Return (key, ms to wait, whether for a penalty); 0 ms, and the place held, if it may go on.
    if lock:
        lock.acquire()
    try:
        if key not in table and len(table) >= MAX_ADDRESSES and not _forget():
            key = OTHERS
        entry = table.get(key)
        if entry is None:
            if hold:
                table[key] = [0, port.ticks_ms(), port.ticks_ms()]
            return key, 0, False
        if _is_busy(entry):
            return key, _LOOK_MS, False
        ms = _left(entry, key)
        entry[2] = port.ticks_ms() if hold and not ms else None
        return key, ms, True
    finally:
        if lock:
            lock.release()


def _forget():
    # Make room for an address. Return False if all have failed in the last minute.
    now = port.ticks_ms()
    for key in table:
        entry = table[key]
        if not _is_busy(entry) and not 0 <= port.ticks_diff(now, entry[1]) < _FORGIVE_MS:
            del table[key]
            return True
    return False


def tell(key, ok):
    """Count a try from the address key: ok is True, False, or None if it came to no end."""
    try:
        _tell(key, ok)
    except BaseException:  # Ctrl-C, or no memory: the address is not to wait for it all the same
        if key in table:
            table[key][2] = None
        raise


def _tell(key, ok):
    if lock:
        lock.acquire()
    try:
        if ok is not False:
            entry = table.get(key)
            if entry:
                entry[2] = None
                if not entry[0]:
                    del table[key]
            return
        now = port.ticks_ms()
        entry = table.get(key)
        if entry is None:
            if len(table) >= MAX_ADDRESSES and not _forget():
                key = OTHERS
            entry = table.setdefault(key, [0, now, None])
        passed = port.ticks_diff(now, entry[1])
        forgiven = passed // _FORGIVE_MS if passed >= 0 else entry[0]
        entry[0] = min(max(entry[0] - forgiven, 0) + 1, 16)
        entry[1] = now
        entry[2] = None
    finally:
        if lock:
            lock.release()


def count(h, name="refused"):
    """Count the client of the handler h in its server's stats, if that has some."""
    add = getattr(h.server, "_se_count", None)
    if add:
        add(name)


def damaged(h, error):
    """Tell the owner of a users file that a line of it is damaged; the client h need not know.

    Returns what stands for the entry, which looks as if there were none. Raises error if that
    says something else.
    """
    like = getattr(error, "like", None)
    if like is None:
        raise error
    report = getattr(h.server, "_se_report", None)
    if report:
        report(h.request, h.client_address, error)
    return like


@port.coro
def turn(h, hold=False):
    """Wait until the address of the handler h may try again. A coroutine.

    hold  True: it alone may then, until tell() is called
    Returns what tell() wants, None if that would take too long, or others need the place of
    who has failed. A plain handler waits in its thread, not at all if that is the serving one.
    """
    address = address_of(h)
    hub: Any = None
    is_async = hasattr(h, "_se_blame")
    if is_async and h._se_since is not None:  # a multiplexer's
        patience = _LONGEST_MS
        hub = getattr(h.server, "_se_hub", None)
    else:
        own = getattr(h.server, "_se_is_own_thread", None)
        patience = 4000 if own and own(port.get_ident()) else 0
    end = port.ticks_add(port.ticks_ms(), _PATIENCE_MS)
    while True:
        key, ms, penalty = _look(address, hold)
        if not ms:
            return key
        if penalty and hub and key == address and hub.count >= hub.server.max_connections:
            return None  # somebody else needs the place
        if penalty and ms > patience or port.ticks_diff(end, port.ticks_ms()) < 0:
            return None
        if is_async:
            yield from h.sleep(ms / 1000)
        else:
            port.sleep_ms(ms)


@port.coro
def check(h, users, user, password):
    """Return whether the password is right, None: too many failures, later. A coroutine.

    h      the handler of the one who says so; plain_text(h) is for its caller to ask
    users  a Users
    """
    key = yield from turn(h, True)
    if key is None:
        return None
    ok = None
    try:
        ok = yield from users.check(user, password, h if hasattr(h, "_se_blame") else None)
    except ValueError as e:
        damaged(h, e)
        ok = False
    finally:
        tell(key, ok)
    return ok


def check_now(h, users, user, password):
    """Return what check() does: for plain handlers."""
    return finish(check(h, users, user, password))
