"""What a home's router offers a board: a name server, and the time.

Every name has the gateway's own address, and the time is the host's.
"""

import socket
import struct
import time

_NAMES, _TIME = 53, 123
_1970 = 2208988800  # seconds from 1900


def address(board):
    """Return the address of the gateway of the board that has this address."""
    a, b, c, d = board.split(".")
    return ".".join((a, b, str(int(c) ^ 1), d))


class Gateway:
    """Answers DNS (RFC 1035) and SNTP (RFC 5905), on their ports + offset.

    loop     the board's Loop
    board    its address
    offset   what is added to all ports in the board's world
    """

    def __init__(self, loop, board, offset):
        self._loop = loop
        self._host = address(board)
        self._sockets = []
        try:
            for port, answer in ((_NAMES, self._name), (_TIME, self._time)):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._sockets.append(sock)
                sock.setblocking(False)
                sock.bind((self._host, port + offset))
                loop.watch(sock, lambda sock=sock, answer=answer: self._serve(sock, answer))
        except OSError:
            self.close()
            raise

    def close(self):
        """Answer nobody any more."""
        for sock in self._sockets:
            self._loop.watch(sock, None)
            sock.close()
        self._sockets = []

    def _serve(self, sock, answer):
        try:
            data, client = sock.recvfrom(2048)
            reply = answer(data)
            if reply:
                sock.sendto(reply, client)
        except OSError:
            return  # datagrams get lost

    def _name(self, data):
        if len(data) < 17 or data[2] & 0x80 or data[4:6] != b"\0\1":
            return None
        end = data.find(b"\0", 12) + 5  # of the one question
        record = b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 60, 4) + socket.inet_aton(self._host)
        return data[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + data[12:end] + record

    def _time(self, data):
        if len(data) < 48 or data[0] & 7 != 3:
            return None
        now = time.time() + _1970
        stamp = struct.pack(">II", int(now) & 0xFFFFFFFF, int(now % 1 * (1 << 32)))
        return b"\x24\x02\x06\xec" + bytes(8) + b"HOST" + stamp + data[40:48] + stamp + stamp
