"""What the played boards share: the switches of their traps, and what ends a test for good.

esp32 and rp2 are played on the unix port by the modules beside this one. Each trap names the
fact that it plays by its number in tests/facts.md. Traps that no program could bear all the
time are switches here, which a test sets:

    idf_heap   False: what esp32 keeps outside of MicroPython's heap is used up (facts 15 and 31)
    lwip_heap  bytes that rp2's lwIP has for what is on its way out, of all connections: 8000;
               None: enough, because one client that does not read could hold up all others
               (fact 26)
    stall_ms   for how long a write waits for room in it
    abort_ms   after how long a connection that was closed, but not by its client, gives its
               place back: 10 s on boards, too much for tests whose clients stay (fact 12)
    on_call    a function that is called with the name of each call into socket, select,
               _thread and time before it is done, and may raise what the call is to raise;
               "accepted" and "stack" are in the middle of accept and start_new_thread
"""

from uctypes import bytearray_at
from uos import getenv

BOARD = getenv("BOARD")
ESP32 = BOARD == "esp32"
RP2 = BOARD == "rp2"

idf_heap = True
lwip_heap = None
stall_ms = 10000
abort_ms = 200
stalled = 0  # writes that had to wait for room in it
on_call = None


def trip(call):
    """Say that a call is made; it may be made to fail."""
    if on_call:
        on_call(call)


def forbid(why):
    """End the test, for the board would crash or hang: no except must keep it alive."""
    print("on a board this would have been the end:", why)
    bytearray_at(0, 1)[0] = 0


class failing:
    """with failing(call, exception, n): the next n such calls fail; count says how many did."""

    def __init__(self, call, exception, n=1):
        self.call = call
        self.exception = exception
        self.left = n
        self.count = 0

    def __enter__(self):
        global on_call
        on_call = self._look
        return self

    def __exit__(self, *args):
        global on_call
        on_call = None

    def _look(self, call):
        if call == self.call and self.left:
            self.left -= 1
            self.count += 1
            raise self.exception
