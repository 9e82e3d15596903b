"""Echo that doubles: the smallest server, and its client.

Run it on CPython or MicroPython:

    python3 double.py server 7100
    python3 double.py client 7100 qwerty
"""

from client import Connection, run
from socketse import BaseRequestHandler, TCPServer


class DoubleHandler(BaseRequestHandler):
    """Answers what it gets twice over."""

    def handle(self):
        data = self.request.recv(1024)
        print("%s sends %s" % (self.client_address[0], data.decode()))
        self.request.sendall(data + data)


def serve(address):
    with TCPServer(address, DoubleHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, text):
    with Connection(address) as connection:
        connection.send(text)
        print(connection.rest())


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT TEXT", call))
