"""Numbers that differ by port, each with its reason, and names that some ports lack.

Apart from port.py, so that a program pays for them only if it asks.
"""

import socket
import sys

from . import port

_P = port.platform  # "": CPython

AF_UNIX = getattr(socket, "AF_UNIX", 0)
AF_INET6 = getattr(socket, "AF_INET6", None)
inet_pton = getattr(socket, "inet_pton", None)

# Threads at once; None: what the system allows.
# rp2: one core is left, and lwIP is safe on it from 1.25. esp32: stacks come from the heap
# that Wi-Fi needs too.
MAX_THREADS = {"rp2": 1 if sys.implementation.version >= (1, 25) else 0, "esp32": 4}.get(_P)
if not port._thread:
    MAX_THREADS = 0

# Bytes of stack of a thread; 0: the port's default.
# A handler that prints a traceback takes more than the 4 kB that are the boards' default.
STACK_SIZE = {"rp2": 8192, "esp32": 8192}.get(_P, 0)

# Connections that may wait for a thread.
# One must be left for the newcomer that makes the oldest go. rp2: lwIP has 5 TCP connections
# in all, one is the thread's. esp32: 10 sockets in all, 4 are the threads', one the listener's.
# Else half of the usual 1024 descriptors of a process.
MAX_WAITING = {"rp2": 3, "esp32": 4, "esp8266": 3}.get(_P, 512)
