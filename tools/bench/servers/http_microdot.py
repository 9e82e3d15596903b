"""microdot, a web framework over asyncio: one small page, one connection for each request."""

from common import ADDRESS, heap, ready
from microdot import Microdot

app = Microdot()


@app.get("/")
async def index(request):
    """Return as much as the other servers do."""
    return "a line of thirty-one characters\n"


@app.get("/heap")
async def used(request):
    """Return the bytes of heap in use."""
    return heap()


ready()  # it listens a moment later
app.run(*ADDRESS)
