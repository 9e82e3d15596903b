"""A line service with many clients at once: each line comes back numbered.

Run it on CPython or MicroPython:

    python3 lines.py server 7108
    python3 lines.py client 7108
"""

import _thread

from client import Connection, run
from socketse import StreamRequestHandler, ThreadingTCPServer

GUESTS = 20


class LineHandler(StreamRequestHandler):
    """Numbers the lines of its client; an empty one asks how many came from all of them."""

    def handle(self):
        number = 0
        for line in self.rfile:
            line = line.strip()
            if line:
                number += 1
                with self.server.lock:
                    self.server.lines += 1
                self.wfile.write(b"%d %s\r\n" % (number, line))
            else:
                self.wfile.write(b"%d lines from all\r\n" % self.server.lines)


class LineServer(ThreadingTCPServer):
    """Counts lines for all threads.

    Where there is no GIL two things are needed: a lock, or some would be lost; and
    the attribute, before threads run that look into the server.
    """

    request_queue_size = GUESTS
    daemon_threads = True
    lock = _thread.allocate_lock()

    def __init__(self, server_address, RequestHandlerClass):
        ThreadingTCPServer.__init__(self, server_address, RequestHandlerClass)
        self.lines = 0


def serve(address):
    with LineServer(address, LineHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address):
    guests = [Connection(address) for _ in range(GUESTS)]
    for line in ("hello", "anybody here?", "bye"):
        for guest in guests:
            guest.send(line + "\r\n")
        for i, guest in enumerate(guests):
            print("guest %d: %s" % (i + 1, guest.line()))
    guests[0].send("\r\n")
    print(guests[0].line())
    for guest in guests:
        guest.close()


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT", call))
