"""Doubles whatever it gets, as messages: and an exception for what cannot be.

Run it on CPython or MicroPython:

    python3 double_messages.py server 7110
    python3 double_messages.py client 7110 qwerty
"""

import socket

from client import SECONDS, run
from socketse import AsyncStreamRequestHandler, MultiplexingTCPServer, message


class DoubleHandler(AsyncStreamRequestHandler):
    """Answers each message with it twice over, or with the exception that this raises."""

    async def handle(self):
        while True:
            try:
                value = await message.arecv(self)
            except message.SocketClosed:
                return
            try:
                await message.asend(self, value + value)
            except TypeError as e:
                await message.asend(self, e)


def serve(address):
    with MultiplexingTCPServer(address, DoubleHandler) as server:
        try:
            print("serving on", *server.server_address)
            server.serve_forever()
        except KeyboardInterrupt:
            print("bye")


def call(address, text):
    connection = socket.socket()
    connection.connect(socket.getaddrinfo(*address)[0][-1])
    connection.settimeout(SECONDS)
    stream = message.Stream(connection)
    try:
        for value in (text, 21, (1, "x"), [None], b"\x00"):
            message.send(stream, value)
            print(message.recv(stream))
        message.send(stream, {"not": "to be doubled"})
        try:
            message.recv(stream)
        except TypeError:
            print("a dict cannot be doubled")
            lines = [line for line in stream.server_stack.split("\n") if "File" in line]
            print("at the server in", lines[0].split('"')[1].split("/")[-1])
    finally:
        stream.close()


if __name__ == "__main__":
    run(("server PORT", serve), ("client PORT TEXT", call))
