"""The only room that knows which Python runs it.

Time, errors, waiting, addresses and threads under the same names everywhere.
CPython's half is host.py, what MicroPython's unix port needs besides is
unixport.py; boards load neither. What only CPython has, as its files over sockets and its threads,
is used only if PLATFORM is "". Numbers by port and what some lack are in limits.py, socket
options in options.py, what is needed only when something fails in trouble.py.
"""

import sys

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

PLATFORM = sys.platform if sys.implementation.name == "micropython" else ""  # "": CPython

if not PLATFORM:
    from .host import *
else:
    import select
    import socket
    from errno import EAGAIN, ETIMEDOUT
    from gc import collect
    from time import sleep_ms, ticks_add, ticks_diff, ticks_ms

    from micropython import const

    try:
        import _thread

        get_ident = _thread.get_ident
    except ImportError:  # esp8266, and builds without threads
        _thread = None  # type: ignore[assignment]  # a module or None: no type says that
        get_ident = int  # int() is 0

    allow_reuse_address = True
    coroutine: Any = const  # what is decorated with it may be awaited: any generator, here
    print_exception = sys.print_exception

    if sys.platform in ("linux", "darwin"):  # type checkers know sys.platform, not PLATFORM
        from .unixport import Socket, accept, accept_native, resolve
    else:
        Socket = socket.socket

        def accept(sock):
            """Return (connection, (host, port)) of the next connection, in blocking mode."""
            sock.settimeout(1)  # rp2: a connection that was reset while it waited is gone
            try:
                connection, address = sock.accept()
            finally:
                sock.settimeout(None)
            connection.settimeout(None)  # rp2: it has inherited the listener's
            return connection, address[:2]

        accept_native = accept

        def resolve(addr, family, type):
            """Return addr as bind takes it, with the host looked up."""
            # rp2: getaddrinfo warns when it is told family or type.
            return socket.getaddrinfo(addr[0] or "0.0.0.0", addr[1])[0][-1][:2]

    def bind(sock, addr, family, type):
        """Bind sock and return the address it got: (host, port), or a Unix socket's path.

        Raises TypeError, ValueError or OverflowError for what cannot be an address, and
        OSError for a host that does not resolve and for an address in use.
        """
        try:
            if family != 1 and not 0 < addr[1] < 65536:  # 1: AF_UNIX, where there is one
                raise ValueError
            found = resolve(addr, family, type)
            sock.bind(found)
        except Exception as e:
            from .trouble import bind_error

            raise bind_error(e, addr, family)
        return found

    # register(sock, mask), modify(sock, mask), unregister(sock), poll(ms) -> [(sock, event)], and
    # ipoll(ms), which allocates nothing. A poller whose register raised MemoryError must not be
    # used before the same object was registered after all: poll would crash the interpreter.
    Poller = select.poll

    def as_timeout(exc):
        """Return OSError(ETIMEDOUT) if exc says that a socket's time ran out, else None."""
        # unix gives EAGAIN for that, and so does esp32 below 0.1 s.
        if isinstance(exc, OSError) and exc.errno in (EAGAIN, ETIMEDOUT):
            return OSError(ETIMEDOUT)
