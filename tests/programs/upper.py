"""A TCP server that answers in upper case, and its client, which tells what it sends and gets.

Run it on CPython or MicroPython:

    python3 upper.py server 7101
    python3 upper.py client 7101 "hello world with TCP"
"""

from client import Connection, run
from socketse import BaseRequestHandler, TCPServer


class UpperHandler(BaseRequestHandler):
    """Takes a piece of text from the connection and answers it in capitals."""

    def handle(self):
        data = self.request.recv(1024).strip()
        print("from %s: %s" % (self.client_address[0], data.decode()))
        self.request.sendall(data.upper())


def serve(address):
    with TCPServer(address, UpperHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, text):
    with Connection(address) as connection:
        print("sent:", text)
        connection.send(text + "\n")
        print("received:", connection.rest())


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT TEXT", call))
