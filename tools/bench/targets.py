"""What the library may cost: the one place where that stands."""

SMALLEST = {"small_plain": 16, "small_multiplexing": 24}  # kB

# What, where it stands in the results, at most, and its unit; "x": times that of another server.
TARGETS = (
    ("CPU per request, to the poll loop", "requests multiplexing to_poll", 1.30, "x"),
    ("CPU per request, to asyncio", "requests multiplexing to_asyncio", 0.25, "x"),
    ("CPU per connection, to the poll loop", "connections multiplexing to_poll", 1.35, "x"),
    ("CPU per remote call, to an echo", "calls remote to_echo", 2.5, "x"),
    ("idle connection, i386", "idle i386 multiplexing silent", 330, "bytes"),
    ("idle connection, armhf", "idle armhf multiplexing silent", 300, "bytes"),
    ("garbage per request", "garbage multiplexing request", 128, "bytes"),
    ("garbage per idle round", "garbage multiplexing round", 0, "bytes"),
    ("growth, TCPServer", "growth plain bytes", 64, "bytes"),
    ("growth, MultiplexingTCPServer", "growth multiplexing bytes", 64, "bytes"),
    ("heap, TCPServer", "smallest small_plain kB", SMALLEST["small_plain"], "kB"),
    (
        "heap, MultiplexingTCPServer",
        "smallest small_multiplexing kB",
        SMALLEST["small_multiplexing"],
        "kB",
    ),
    ("import of a stream server, i386", "imports TCPServer i386", 12288, "bytes"),
    ("import of a stream server, armhf", "imports TCPServer armhf", 12288, "bytes"),
    ("answer among 300 silent clients", "flood small_multiplexing seconds", 1.0, "s"),
    ("CPU per HTTP request, to microdot", "web keep-alive http_socketse to_microdot", 0.5, "x"),
    ("CPU per HTTP connection, to microdot", "web connection http_socketse to_microdot", 0.5, "x"),
    ("idle HTTP connection, i386", "web idle http_socketse", 358, "bytes"),
    ("HTTP connection that stays, i386", "web kept http_socketse", 358, "bytes"),
    ("half an HTTP request, i386", "web half http_socketse", 550, "bytes"),
    ("import of http, to microdot", "web import to_microdot", 0.5, "x"),
    ("heap that these leave behind", "flood small_multiplexing kept", 64, "bytes"),
)


def judge(results):
    """Return (what, at most, measured or None, unit, is it kept) for all that was to be measured.

    Targets of parts that were not asked for are left out.
    """
    found = []
    for what, where, limit, unit in TARGETS:
        part, *keys = where.split()
        if part in results:
            measured = results[part]
            for key in keys:
                measured = None if measured is None else measured.get(key)
            found.append((what, limit, measured, unit, measured is not None and measured <= limit))
    return found
