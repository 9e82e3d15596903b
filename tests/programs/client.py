"""What the programs here share: their command line, and clients for TCP and UDP.

Runs on CPython and on MicroPython, some of whose sockets have no sendall, and all of which
take an address as getaddrinfo gives it. On a board there is no command line: copy a program
and this file, then e.g. ``import double`` and ``double.serve(("", 7100))``.
"""

import socket
import sys

SECONDS = 20  # how long a client waits for its server


class Connection:
    """A connection to a TCP server at (host, port).

    All methods raise OSError if the server is not there or does not answer in time.
    """

    def __init__(self, address):
        self._buffer = b""
        self._socket = socket.socket()
        try:
            self._socket.connect(_resolve(address, socket.SOCK_STREAM))
            self._socket.settimeout(SECONDS)
        except OSError:
            self.close()
            raise

    def send(self, text):
        """Send all of text."""
        data = memoryview(text.encode())
        while len(data):
            data = data[self._socket.send(data) :]

    def line(self):
        """Return the next line without its end, "" if the server has closed."""
        return self._take(b"\n").decode().rstrip()

    def rest(self):
        """Return what the server sends until it closes."""
        return self._take(None).decode()

    def _take(self, end):
        while end is None or end not in self._buffer:
            data = self._socket.recv(1024)
            if not data:
                break
            self._buffer += data
        size = len(self._buffer) if end is None else self._buffer.find(end) + 1
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()


def ask(address, text):
    """Return the answer of the UDP server at (host, port) to a datagram.

    Raises OSError if none comes in time.
    """
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        s.settimeout(SECONDS)
        s.sendto(text.encode(), _resolve(address, socket.SOCK_DGRAM))
        return s.recvfrom(1024)[0].decode()
    finally:
        s.close()


def _resolve(address, kind):
    return socket.getaddrinfo(address[0], address[1], 0, kind)[0][-1]


def run(*commands):
    """Do what the command line says, or tell how to call the program.

    commands  (usage, function), e.g. ("client PORT TEXT", call): the words after PORT are
              the function's arguments after its address; "a|b" is a choice. PORT may also
              be HOST:PORT, and :PORT for a server on all addresses of the machine.
    """
    args = sys.argv[1:]
    for usage, function in commands:
        words = usage.split()
        if len(args) == len(words) and args[0] == words[0] and _fits(args[1:], words[1:]):
            host, colon, port = args[1].rpartition(":")
            try:
                function((host if colon else "127.0.0.1", int(port)), *args[2:])
            except OSError as e:
                print("%s %s: %s" % (args[0], args[1], e))
                sys.exit(1)
            return
    for usage, _ in commands:
        print("usage: %s %s" % (sys.argv[0].split("/")[-1], usage))
    sys.exit(2)


def _fits(args, words):
    for arg, word in zip(args, words):
        if word == "PORT" and not arg.split(":")[-1].isdigit():
            return False
        if "|" in word and arg not in word.split("|"):
            return False
    return True
