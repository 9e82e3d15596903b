"""asyncio.start_server, with the limit on waiting that a server needs."""

import asyncio

from common import ADDRESS, BACKLOG, heap, ready


async def echo(reader, writer):
    """Serve one client."""
    while True:
        line = await asyncio.wait_for(reader.readline(), 30)
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
