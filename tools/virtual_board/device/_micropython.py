"""micropython as firmware has it: kbd_intr only says which byte interrupts."""

import _host
from micropython import (  # noqa: F401
    RingIO,
    const,
    heap_lock,
    heap_unlock,
    mem_info,
    opt_level,
    qstr_info,
    schedule,
    stack_use,
)


def kbd_intr(char):
    """Let the byte 3 interrupt programs, or none (-1): boards have no other here."""
    if char not in (-1, 3):
        raise ValueError("a virtual board knows only kbd_intr(3) and kbd_intr(-1)")
    _host.put(_host.INTERRUPT, _host.RUNNING if char == 3 else _host.PROMPT)


def alloc_emergency_exception_buf(size):
    """Do nothing: the host has memory for that."""
