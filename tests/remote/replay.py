"""Reads messages from a file of frames: replay.py FILE MAX_MESSAGE KIND.

KIND is recv, or arecv as servers use it. Each is to be a value or a MessageError, in a heap in
which MAX_MESSAGE and 4 kB are free while it waits for a message, or twice that where all is twice
as large as on a board.
"""

import gc
import sys

from socketse import faults, message

_SPARE = 4096
limit = int(sys.argv[2])


class Peer:
    """A stream of what has come, after the version; a long body comes as from a socket."""

    se_met = 3
    max_message = limit

    def __init__(self, data):
        self.data = data
        self.at = 0

    def readexactly(self, n):
        if self.at + n > len(self.data):
            raise EOFError
        found = bytearray(n) if n > 256 else bytes(self.data[self.at : self.at + n])
        if n > 256:
            for i in range(n):
                found[i] = self.data[self.at + i]
        self.at += n
        return found


class AsyncPeer:
    """The same for a handler's coroutine, which waits until there is a message."""

    se_met = 3
    max_message = limit

    async def read(self, n):
        n = min(n, len(self.data) - self.at)
        found = bytes(self.data[self.at : self.at + n])
        self.at += n
        return found

    async def readexactly(self, n):
        if not self.at:
            await Wait()
        found = await self.read(n)
        if len(found) < n:
            raise EOFError
        return found


class Wait:
    """What is awaited until a message has come."""

    def __await__(self):
        yield

    __iter__ = __await__  # MicroPython's


def wait():
    """Wait for a message, in the place of the coroutine that has waited before."""
    global waiting
    waiting = None
    gc.collect()
    waiting = message.arecv(peer)
    waiting.send(None)


def arecv(peer):
    """Do what message.recv() does."""
    try:
        waiting.send(None)
    except StopIteration as e:
        return e.value
    raise AssertionError("it waits")


def fill(left):
    """Return what leaves no more of the heap than this, in one piece."""
    reserve = bytearray(left)
    held = []
    size = 65536
    while size >= 16:
        try:
            held.append(bytearray(size))
        except MemoryError:
            size //= 2
    del reserve
    gc.collect()
    return held


counts = {"value": 0, "error": 0, "closed": 0}
peer = Peer(b"")
recv = message.recv
if sys.argv[3] == "arecv":
    peer = AsyncPeer()
    peer.at = 0
    recv = arecv
    wait()
total = 0
with open(sys.argv[1], "rb") as f:
    buf = bytearray(32768)
    held = fill((limit + _SPARE) * (2 if sys.maxsize >> 32 else 1))
    while True:
        head = f.read(6)
        if not head:
            break
        total += 1
        n = int(head)
        view = memoryview(buf)[:n]
        f.readinto(view)
        peer.data = view
        peer.at = 0
        how = "value"
        if recv is arecv:
            wait()
        gc.collect()
        try:
            recv(peer)
        except message.MessageError:
            how = "error"
        except message.SocketClosed:
            how = "closed"
        except MemoryError:
            gc.collect()
            held = None
            print("no memory for", bytes(view[:100]), n)
            sys.exit(1)
        except Exception:
            if view[8:9] != b"E":
                held = None
                print("raises for", bytes(view))
                raise
        counts[how] += 1
held = None
print("%d frames:" % total, counts, faults.__name__)
print("OK")
