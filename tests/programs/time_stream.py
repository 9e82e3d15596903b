"""A time server whose handler reads and writes the connection as a file, line by line.

Run it on CPython or MicroPython:

    python3 time_stream.py server 7105
    python3 time_stream.py client 7105 Anna
"""

import time

from client import Connection, run
from socketse import StreamRequestHandler, TCPServer


class TimeHandler(StreamRequestHandler):
    """Reads a name and tells its bearer the time in UTC."""

    def handle(self):
        name = self.rfile.readline().strip()
        now = "%d-%02d-%02d %02d:%02d:%02d" % time.gmtime()[:6]
        self.wfile.write(b"hello %s, it is %s\r\n" % (name, now.encode()))


def serve(address):
    with TCPServer(address, TimeHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, name):
    with Connection(address) as connection:
        connection.send(name + "\r\n")
        print(connection.line())


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT NAME", call))
