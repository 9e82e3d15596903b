"""Broadcasts and multicasts: what is sent to all on loopback reaches a board's own address."""

import socket
import struct

_KEPT = 16  # senders whose answers are still passed on


class Relay:
    """Listens where the board would hear what is sent to all.

    Each datagram is sent on to the board's address, from the sender's address and a port of
    ours; what comes back there is sent to the sender from the board's address.
    """

    def __init__(self, loop, address, offset, reachable):
        self._loop = loop
        self._address = address
        self._offset = offset
        self._reachable = reachable  # reachable(): the board's network is up
        self._ports = set()
        self._groups = set()
        self._ears = {}
        self._senders = {}
        self._mouth = None

    def add_port(self, port):
        """Listen for a port of the board, by the board's number."""
        self._ports.add(port)
        self._listen()

    def add_group(self, group):
        """Listen for a multicast group, on all ports."""
        self._groups.add(group)
        self._listen()

    def clear(self):
        """Listen to nothing any more."""
        for sock in [*self._ears.values(), *self._senders.values(), self._mouth]:
            if sock:
                self._loop.watch(sock, None)
                sock.close()
        self._ports, self._groups, self._ears, self._senders = set(), set(), {}, {}
        self._mouth = None

    def _listen(self):
        if not self._mouth:
            self._mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._mouth.bind((self._address, 0))
        for port in self._ports:
            # Addresses of their own, not "": what is sent to one host is none of our business.
            for address in ("127.255.255.255", "255.255.255.255", *self._groups):
                if (address, port) in self._ears:
                    continue
                ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                ear.bind((address, port + self._offset))
                if address in self._groups:
                    group = socket.inet_aton(address) + socket.inet_aton("127.0.0.1")
                    ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
                ear.setblocking(False)
                self._ears[address, port] = ear
                self._loop.watch(ear, lambda ear=ear, port=port: self._heard(ear, port))

    def _heard(self, ear, port):
        try:
            data, sender = ear.recvfrom(65536)
        except OSError:
            return  # a datagram with a wrong checksum, or an error of an earlier one
        if not sender[0].startswith("127.") or not self._reachable():
            return  # the real network is not the board's
        sock = self._senders.pop((sender, port), None)
        if sock is None:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((sender[0], 0))
            sock.connect((self._address, port + self._offset))
            sock.setblocking(False)
            self._loop.watch(sock, lambda: self._answered(sock, sender))
        self._senders[sender, port] = sock
        while len(self._senders) > _KEPT:
            oldest = self._senders.pop(next(iter(self._senders)))
            self._loop.watch(oldest, None)
            oldest.close()
        self._pass(sock.send, data)

    def _answered(self, sock, sender):
        try:
            data = sock.recv(65536)
        except OSError:
            return  # the board's port is closed by now
        self._pass(self._mouth.sendto, data, sender)

    def _pass(self, send, *what):
        try:
            send(*what)
        except OSError:
            return  # nobody is there any more: datagrams get lost


def broadcast_socket():
    """Return a socket that sends to all virtual boards: broadcast and multicast, on loopback."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, struct.pack("b", 0))
    return sock
