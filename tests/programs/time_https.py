"""An HTTPS server that tells the time, and its client; a browser will do as well.

Run it on CPython or MicroPython, with the files that `make cert HOST=localhost` makes:

    python3 time_https.py server 7113 board/tls.pem
    python3 time_https.py client 7113 board/cert.pem
"""

from client import Connection, run
from socketse import MultiplexingMixIn, client_context, server_context
from socketse.http import HTTPServer
from socketse.timepage import TimePageHandler


class TimePageServer(MultiplexingMixIn, HTTPServer):
    """Keeps no browser waiting for another one."""


class SecureConnection(Connection):
    """A connection to a server whose certificate stands in a file."""

    def __init__(self, address, file):
        Connection.__init__(self, address)
        try:
            context = client_context(file)
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        except (OSError, ValueError):
            self.close()
            raise


def serve(address, file):
    TimePageServer.ssl_context = server_context(file)
    with TimePageServer(address, TimePageHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, file):
    with SecureConnection(address, file) as c:
        c.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = c.rest()
    print(answer.split("\r\n")[0])
    print(answer.split("<time>")[1].split("<")[0])


if __name__ == "__main__":
    run(("server PORT FILE", serve), ("client PORT FILE", call))
