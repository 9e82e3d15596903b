"""The echo of echo.py, whose clock jumps a day forward or back in each round: jumping.py PORT.

Time is a stand-in, see stand_in.py: its ticks wrap 1.5 s after the start.
"""

import stand_in  # first: it is what all others take for time
from socketse import MultiplexingTCPServer

DAY = 86400  # seconds


def jump(server):
    """Set the clock."""
    stand_in.shift[0] = DAY - stand_in.shift[0]


MultiplexingTCPServer.service_actions = jump
import echo  # noqa: E402, F401  # serves
