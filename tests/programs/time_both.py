"""One time handler for streams and datagrams: its request tells which of them it serves.

Run it on CPython or MicroPython:

    python3 time_both.py server 7104 tcp
    python3 time_both.py client 7104 tcp
    python3 time_both.py server 7104 udp
    python3 time_both.py client 7104 udp
"""

import time

from client import Connection, ask, run
from socketse import BaseRequestHandler, TCPServer, UDPServer


class TimeHandler(BaseRequestHandler):
    """Tells the time in UTC, to a connection or to the sender of a datagram."""

    def handle(self):
        now = "%d-%02d-%02d %02d:%02d:%02d\r\n" % time.gmtime()[:6]
        if isinstance(self.request, tuple):
            sock = self.request[1]
            sock.sendto(now.encode(), self.client_address)
        else:
            self.request.sendall(now.encode())


def serve(address, kind):
    server_class = {"tcp": TCPServer, "udp": UDPServer}[kind]
    with server_class(address, TimeHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, kind):
    if kind == "udp":
        print(ask(address, "what time is it?").strip())
    else:
        with Connection(address) as connection:
            print(connection.line())


if __name__ == "__main__":
    run(("server PORT tcp|udp", serve), ("client PORT tcp|udp", call))
