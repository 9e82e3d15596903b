"""Echoes lines beside three asyncio tasks, or alone: beside.py PORT [alone].

b"late\\n" is answered with the milliseconds by which the latest tick was late since the last
such question, and with how many ticks there were.
"""

import asyncio
import sys

from socketse import AsyncStreamRequestHandler, Multiplexer, TCPServer
from socketse.port import ticks_diff, ticks_ms

EVERY_MS = 10
worst = ticks = 0


class Echo(AsyncStreamRequestHandler):
    """Sends each line back."""

    async def handle(self):
        """Serve one client."""
        global worst, ticks
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            if line == b"late\n":
                line = b"%d %d\n" % (worst, ticks)
                worst = ticks = 0
            self.wfile.write(line)
            await self.wfile.drain()


async def tick():
    """Note how late each tick is."""
    global worst, ticks
    before = ticks_ms()
    while True:
        await asyncio.sleep(EVERY_MS / 1000)
        now = ticks_ms()
        worst = max(worst, ticks_diff(now, before) - EVERY_MS)
        ticks += 1
        before = now


async def main(hub):
    """Serve beside three tasks."""
    tasks = [asyncio.create_task(tick()) for _ in range(3)]
    print("ready")
    await hub.serve()
    return tasks


# All come at once; Linux lets those who find no room wait for a second.
TCPServer.request_queue_size = 128
hub = Multiplexer()
server = hub.add(TCPServer(("127.0.0.1", int(sys.argv[1])), Echo))
if sys.argv[2:]:
    print("ready")
    hub.serve_forever()
else:
    asyncio.run(main(hub))
