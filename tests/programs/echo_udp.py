"""UDP echo: each datagram comes back as it was, behind the word "echo:".

Run it on CPython or MicroPython:

    python3 echo_udp.py server 7103
    python3 echo_udp.py client 7103 qwerty
"""

from client import ask, run
from socketse import BaseRequestHandler, UDPServer


class EchoHandler(BaseRequestHandler):
    """Answers echo: and the datagram."""

    def handle(self):
        data, sock = self.request
        sock.sendto(b"echo:" + data, self.client_address)


def serve(address):
    with UDPServer(address, EchoHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, text):
    print(ask(address, text))


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT TEXT", call))
