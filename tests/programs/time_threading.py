"""A time server that has a thread for each client, and gets its port back when started again.

Run it on CPython or MicroPython:

    python3 time_threading.py server 7107
    python3 time_threading.py client 7107
"""

import time

from client import Connection, run
from socketse import StreamRequestHandler, TCPServer, ThreadingMixIn


class TimeHandler(StreamRequestHandler):
    """Tells the time in UTC for each line that comes, as long as the client stays."""

    def handle(self):
        for line in self.rfile:
            now = "%d-%02d-%02d %02d:%02d:%02d" % time.gmtime()[:6]
            self.wfile.write(b"%s, it is %s\r\n" % (line.strip(), now.encode()))


class TimeServer(ThreadingMixIn, TCPServer):
    """Keeps no client waiting for another one."""

    allow_reuse_address = True  # also while the last server's connections are not forgotten
    daemon_threads = True  # Ctrl-C ends it although clients are still there


def serve(address):
    with TimeServer(address, TimeHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address):
    # The first one stays silent: without threads the second one would wait for it.
    with Connection(address) as first, Connection(address) as second:
        second.send("second\r\n")
        print(second.line())
        first.send("first\r\n")
        print(first.line())


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT", call))
