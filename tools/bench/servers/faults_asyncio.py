"""asyncio.start_server as its documentation has it: lines are echoed."""

from common import ADDRESS, BACKLOG, again, heap, ready

import asyncio  # isort: skip  # after common: it may have put another clock in its place

server = None


async def echo(reader, writer):
    """Serve one client."""
    while True:
        line = await reader.readline()
        if not line:
            break
        if line == b"heap\n":
            line = heap()
        elif line == b"stop\n":
            server.close()
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main():
    """Serve until somebody says stop."""
    global server
    server = await asyncio.start_server(echo, *ADDRESS, backlog=BACKLOG)
    ready()
    await server.wait_closed()


def serve():
    """The same in a loop of its own."""
    asyncio.new_event_loop()
    asyncio.run(main())


again(serve)
