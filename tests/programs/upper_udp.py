"""The twin of upper.py for datagrams: a handler's request is the data and the server's socket.

Run it on CPython or MicroPython:

    python3 upper_udp.py server 7102
    python3 upper_udp.py client 7102 "hello world with UDP"
"""

from client import ask, run
from socketse import BaseRequestHandler, UDPServer


class UpperHandler(BaseRequestHandler):
    """Answers a datagram in capitals: there is no connection, so it says to whom."""

    def handle(self):
        data, sock = self.request
        data = data.strip()
        print("from %s: %s" % (self.client_address[0], data.decode()))
        sock.sendto(data.upper(), self.client_address)


def serve(address):
    with UDPServer(address, UpperHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, text):
    print("sent:", text)
    print("received:", ask(address, text + "\n"))


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT TEXT", call))
