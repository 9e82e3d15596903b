"""Ctrl-C without harm: KeyboardInterrupt where MicroPython's virtual machine expects one.

The unix port's own way, SIGINT, raises it wherever the process is, also within a garbage
collection, and the heap stays locked. Boards note it, and the virtual machine raises it at the
next branch. So do we: we write the exception to the place where it looks, mp_pending_exception
in py/mpstate.h. A process that waits in the kernel does not look; there SIGINT does no harm.
"""

import errno
import os
import struct


class Place:
    """Where an interpreter's virtual machine looks for exceptions, once that is found.

    program  the interpreter's file
    word     "<I" or "<Q", a pointer of its
    """

    def __init__(self, program):
        self._program = os.path.realpath(program)
        with open(self._program, "rb") as f:
            self.word = "<Q" if f.read(5)[4:] == b"\x02" else "<I"  # ELF's class: 64 bits
        self._offset = None

    def find(self, pid, names, exception, worked):
        """Find it in a process that is in a loop in a module, waiting to be interrupted.

        names      the address of the module's dictionary
        exception  the address of an exception to write
        worked     worked() returns whether that was raised, after a while at most
        Returns whether it was found.
        """
        size = struct.calcsize(self.word)
        pattern = self._pack(names)
        base, ranges = self._ranges(pid)
        with open("/proc/%d/mem" % pid, "r+b", buffering=0) as memory:
            for start, end in ranges:
                memory.seek(start)
                data = memory.read(end - start)
                at = data.find(pattern)
                while at >= 0:
                    # dict_locals, dict_globals, nlr_top, nlr_jump_callback_top, and there it is.
                    place = at + 4 * size
                    if data[place : place + size] == bytes(size):
                        memory.seek(start + place)
                        memory.write(self._pack(exception))
                        if worked():
                            self._offset = start + place - base
                            return True
                        memory.seek(start + place)
                        memory.write(bytes(size))
                    at = data.find(pattern, at + size)
        return False

    def write(self, pid, exception):
        """Let the main thread of a process raise an exception, by its address, at its next branch.

        Returns False if the place is not known. Raises ProcessLookupError, as the others do,
        if the process has ended.
        """
        if self._offset is not None:
            with self._open(pid) as memory:
                memory.write(self._pack(exception))
        return self._offset is not None

    def taken(self, pid):
        """Return whether the exception was raised since."""
        with self._open(pid) as memory:
            return not any(memory.read(struct.calcsize(self.word)))

    def clear(self, pid):
        """Take the exception back."""
        with self._open(pid) as memory:
            memory.write(self._pack(0))

    def _open(self, pid):
        memory = open("/proc/%d/mem" % pid, "r+b", buffering=0)
        memory.seek(self._ranges(pid)[0] + self._offset)
        return memory

    def _pack(self, address):
        return struct.pack(self.word, address)

    def _ranges(self, pid):
        """Return where the program begins in a process, and [(start, end)] of its variables."""
        base = None
        found = []
        with open("/proc/%d/maps" % pid) as f:
            for line in f:
                words = line.split(None, 5)
                start, end = (int(word, 16) for word in words[0].split("-"))
                own = len(words) > 5 and words[5].strip() == self._program
                if own and base is None:
                    base = start
                # Those that begin as zeros have no name, and follow the others.
                if words[1].startswith("rw") and (own or (found and start == found[-1][1])):
                    found.append((start, end))
        if base is None:
            raise ProcessLookupError(errno.ESRCH, "%d has ended" % pid)  # or not yet begun
        return base, found


def nap(pid):
    """Return the number of the nap that the main thread of a process takes, 0 if it is awake."""
    with open("/proc/%d/status" % pid) as f:
        found = dict(line.split(":", 1) for line in f)
    if found["State"].split()[0] != "S":
        return 0
    return int(found["voluntary_ctxt_switches"])
