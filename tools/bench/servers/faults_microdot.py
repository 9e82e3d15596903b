"""microdot: a small page over HTTP."""

from common import ADDRESS, again, heap, ready

import asyncio  # isort: skip  # after common: it may have put another clock in its place

from microdot import Microdot  # isort: skip

app = Microdot()


@app.get("/")
async def index(request):
    """Return as much as the other servers do."""
    return "a line of thirty-one characters\n"


@app.get("/heap")
async def used(request):
    """Return the bytes of heap in use."""
    return heap()


@app.get("/stop")
async def stop(request):
    """End."""
    request.app.shutdown()
    return "it ends\n"


def serve():
    """Serve until somebody says stop."""
    asyncio.new_event_loop()
    ready()  # it listens a moment later
    app.run(*ADDRESS)


again(serve)
