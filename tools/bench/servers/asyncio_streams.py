"""asyncio.start_server, as it is frozen into MicroPython."""

import asyncio

from common import ADDRESS, BACKLOG, heap, ready


async def echo(reader, writer):
    """Serve one client."""
    while True:
        line = await reader.readline()
        if not line:
            break
        if line == b"heap\n":
            line = heap()
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main():
    """Serve for ever."""
    server = await asyncio.start_server(echo, *ADDRESS, backlog=BACKLOG)
    ready()
    await server.wait_closed()


asyncio.run(main())
