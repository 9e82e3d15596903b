"""The only room that knows which Python runs it.

Time, errors, waiting, addresses and threads under the same names everywhere.
CPython's half is host.py, what MicroPython's unix port needs besides is
unixport.py; boards load neither. What only CPython has, as its files over sockets and its threads,
is used only if platform is "". Numbers by port and what some lack are in limits.py, socket
options in options.py, what is needed only when something fails in trouble.py.
"""

import sys

if False:  # for the type checker: boards have no typing, and compilers drop this
    from typing import Any

platform = sys.platform if sys.implementation.name == "micropython" else ""  # "": CPython

if not platform:
    from .host import *
else:
    import errno
    import socket
    from gc import collect
    from select import poll
    from time import sleep_ms, ticks_add, ticks_diff, ticks_ms

    from micropython import const

    # poll() makes what has register(sock, mask), modify(sock, mask), unregister(sock), poll(ms) ->
    # [(sock, event)], and ipoll(ms), which allocates nothing. If its register raised MemoryError,
    # it must not be used before the same object was registered after all: that would crash the
    # interpreter.

    try:
        import _thread

        get_ident = _thread.get_ident
    except ImportError:  # esp8266, and builds without threads
        _thread = None  # type: ignore[assignment]  # a module or None: no type says that
        get_ident = int  # int() is 0

    allow_reuse_address = True
    coro: Any = const  # what is decorated with it may be awaited: any generator, here

    if sys.platform in ("linux", "darwin"):  # type checkers know sys.platform, not platform
        from .unixport import Socket, accept, accept_native, discard, getaddrinfo
    else:
        Socket = socket.socket

        def accept(socket):
            """Return (connection, (host, port)) of the next connection, in blocking mode."""
            connection = None
            try:
                socket.settimeout(1)  # rp2: a connection that was reset while it waited is gone
                connection, address = socket.accept()
                socket.settimeout(None)
                connection.settimeout(None)  # rp2: it has inherited the listener's
                return connection, address[:2]
            except BaseException:
                if connection is not None:
                    connection.close()  # Ctrl-C, or no memory: nobody else has it
                socket.settimeout(None)
                raise

        accept_native = accept
        discard: Any = None  # unix: a recv without memory may take bytes, and lose them

        def getaddrinfo(addr, family, type):
            """Return addr as bind takes it, with the host looked up."""
            # rp2: getaddrinfo warns when it is told family or type.
            return socket.getaddrinfo(addr[0] or "0.0.0.0", addr[1])[0][-1][:2]

    def bind(socket, addr, family, type):
        """Bind socket and return the address it got: (host, port), or a Unix socket's path.

        Raises TypeError, ValueError or OverflowError for what cannot be an address, and
        OSError for a host that does not resolve and for an address in use.
        """
        try:
            if family != 1 and not 0 < addr[1] < 65536:  # 1: AF_UNIX, where there is one
                raise ValueError
            found = getaddrinfo(addr, family, type)
            socket.bind(found)
        except Exception as e:
            from .trouble import bind

            raise bind(e, addr, family)
        return found

    def timeout(exc):
        """Return OSError(ETIMEDOUT) if exc says that a socket's time ran out, else None."""
        # unix gives EAGAIN for that, and so does esp32 below 0.1 s.
        if isinstance(exc, OSError) and exc.errno in (errno.EAGAIN, errno.ETIMEDOUT):
            return OSError(errno.ETIMEDOUT)
