"""What a server needs only when something is wrong: loaded then, and not before."""

import errno
import os

from . import limits, port

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

_SERVERS = 32  # that a Multiplexer may have, and what waits for threads
_WILD = ("", "0.0.0.0", "::")


def find(name, rooms):
    """Return __all__ for "import *"; raise AttributeError for a name that is not there."""
    if name == "__all__":
        names = [entry.split(":")[1].split("/") for some in rooms for entry in some.split()]
        names = [name for some in names for name in some if name]
        return [name for name in names if limits.AF_UNIX or "Unix" not in name]
    if name.startswith("Forking"):
        name += ": microcontrollers cannot fork; use ThreadingMixIn or MultiplexingMixIn"
    raise AttributeError("socketse has no " + name)


def create_task(core):
    """Return a task for MicroPython's asyncio to queue when a handler awaits something of its.

    It would queue its current task otherwise, perhaps None, and crash. An import of asyncio
    in a handler, followed by such an await before the next of ours, is not caught.
    """
    return core.Task(_nobody())


def _nobody():
    return
    yield


def exception(what):
    """Return the exception for a handler that has awaited something of another loop's."""
    return RuntimeError(
        "only the handler's own methods can be awaited, e.g. self.sleep(seconds); not %r" % (what,)
    )


def grow(hub):
    """Let the poller of a hub have room for all connections at once: unix, before TLS is polled.

    When its table of descriptors moves, what it knows of an object that has none, as those of TLS,
    points anywhere, and the interpreter crashes.
    """
    if getattr(hub, "grown", None) is hub.select:
        return
    n = hub.server.max_connections + _SERVERS
    while True:
        _register(hub, range(n))
        for fd in range(n):
            hub.select.unregister(fd)
        try:
            hub.select.poll(0)
            break
        except OSError:  # a table larger than the number of descriptors that the system allows
            n >>= 1
            hub.select = port.poll()
            _register(hub, list(hub.map))
    for h in hub.map.values():
        if h._se_since is not None:
            hub.modify(h)
    hub.grown = hub.select


def _register(hub, some):
    for one in some:
        try:
            hub.select.register(one, 1)
        except MemoryError:
            hub.insert(one)  # or the poller could not be used any more


def bind(error, address, family):
    """Return the exception that says why bind failed with error: MicroPython only."""
    if family == limits.AF_UNIX:
        if not isinstance(address, str):
            return TypeError("server_address is the path of a Unix socket, not %r" % (address,))
    elif not isinstance(address, (tuple, list)) or len(address) < 2:
        return TypeError("server_address is (host, port), not %r" % (address,))
    elif not isinstance(address[0], str) or not isinstance(address[1], int):
        return TypeError("server_address is (str, int), not %r" % (address,))
    elif address[1] == 0:
        return ValueError("port 0: MicroPython cannot tell which port it got; name one")
    elif not 0 < address[1] < 65536:
        return OverflowError("port must be 1 to 65535, not %d" % address[1])
    if not isinstance(error, OSError):
        return error
    number = error.errno
    if not isinstance(number, int) or number < 0:
        return OSError(errno.EHOSTUNREACH, "host %r does not resolve: %s" % (address[0], error))
    if number == errno.EADDRINUSE:
        fault = "another server has this address"
        if family == limits.AF_UNIX:
            fault += ", or left its file there: remove that"
    elif number in (99, 125):  # EADDRNOTAVAIL, of which MicroPython has no name
        fault = "this machine does not have this address"
    else:
        fault = error.args[1] if len(error.args) > 1 else "cannot bind"
    return OSError(number, "%s: %r" % (fault, address))


def listen(error, server):
    """Return the exception that says why a server could not be made."""
    if port.platform and isinstance(error, OSError) and len(error.args) < 2:
        # Boards say only now that another server has this address.
        return bind(error, server.server_address, server.address_family)
    return error


def server_close(left, server):
    """Close those of the servers in left that stand in the way of server's address."""
    for loop in left:
        hub: Any = getattr(loop, "_se_hub", None)
        if hub and hub.cur_task is not None:
            continue  # somebody is in its poll()
        for old in getattr(loop, "servers", (loop,)):  # a Multiplexer's
            if not _overlap(old, server):
                continue
            old.block_on_close = False  # its threads may hang on their clients for ever
            old.server_close()
            if old.address_family == limits.AF_UNIX:
                _unlink(old.server_address)  # a path, unlike a port, stays in use
            if old is not loop:
                hub.discard(None)
                if not loop.servers:
                    loop._se_new_poller()  # it is to be forgotten: nobody would close it


def _unlink(path):
    try:
        os.unlink(path)
    except OSError as e:
        if e.errno != errno.ENOENT:
            raise


def _overlap(old, new):
    family = getattr(old, "address_family", None)  # None: a BaseServer without a socket
    if family != new.address_family or old.socket_type != new.socket_type:
        return False
    a, b = old.server_address, new.server_address
    if new.address_family == limits.AF_UNIX:
        return a == b
    if a[1] != b[1]:
        return False
    # A name may stand for any address.
    name = not b[0][:1].isdigit() and ":" not in b[0]
    return name or a[0] == b[0] or a[0] in _WILD or b[0] in _WILD
