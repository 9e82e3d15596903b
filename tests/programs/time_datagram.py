"""The twin of time_stream.py for datagrams: what the handler writes goes out as one datagram.

Run it on CPython or MicroPython:

    python3 time_datagram.py server 7106
    python3 time_datagram.py client 7106 Anna
"""

import time

from client import ask, run
from socketse import DatagramRequestHandler, UDPServer


class TimeHandler(DatagramRequestHandler):
    """Reads a name and tells its bearer the time in UTC."""

    def handle(self):
        name = self.rfile.readline().strip()
        now = "%d-%02d-%02d %02d:%02d:%02d" % time.gmtime()[:6]
        self.wfile.write(b"hello %s, " % name)
        self.wfile.write(b"it is %s\r\n" % now.encode())


def serve(address):
    with UDPServer(address, TimeHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, name):
    print(ask(address, name + "\r\n").strip())


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT NAME", call))
