"""UDPServer and DatagramRequestHandler, after CPython's socketserver."""

import io
from socket import SOCK_DGRAM

from .server import BaseRequestHandler, TCPServer  # first: the largest compiles best

# isort: split
from . import port

# esp32: a zero-length datagram makes every later recvfrom return b"" at once.
EMPTY_KILLS = port.platform == "esp32"


def retry(socket, size):
    """Return (data, address) of a datagram taken into less than size bytes of heap.

    One that does not fit is thrown away, or it would be the next one for ever: OSError then, also
    if it is gone already, because there was only too little for its address.
    """
    socket.settimeout(0)
    try:
        while True:
            size = size >> 2 or 1
            try:
                found = socket.recvfrom(size)
                break
            except MemoryError:
                if size == 1:
                    raise
    finally:
        socket.settimeout(None)
    if len(found[0]) == size:
        raise OSError("no memory for a datagram")
    return found


class UDPServer(TCPServer):
    """A server of datagrams: a handler's request is (data, socket).

    max_packet_size  bytes of a datagram that are taken; what is longer is cut and counted
                     in stats["truncated"]
    groups           multicast groups to join, e.g. ("224.0.0.251",)
    """

    allow_reuse_address = False  # two servers on one port would rob each other in silence
    socket_type = SOCK_DGRAM
    # On MicroPython what an Ethernet frame carries, because recvfrom allocates it each time.
    max_packet_size = 1472 if port.platform else 8192
    groups: "list | tuple" = ()

    def server_bind(self):
        """Bind the socket and join the groups."""
        TCPServer.server_bind(self)
        if self.groups:
            from .options import join_group

            for group in self.groups:
                join_group(self.socket, group)

    def server_activate(self):
        """Do nothing: datagrams need no listening. Raises TypeError if they were to have TLS."""
        if self.ssl_context is not None:
            raise TypeError("ssl_context is for TCP servers")

    def get_request(self):
        """Return ((data, socket), client_address) of the next datagram."""
        # One byte more than wanted tells a datagram that is too long.
        size = self.max_packet_size + 1
        try:
            data, client_address = self.socket.recvfrom(size)
        except MemoryError:
            self._se_count("out_of_memory")
            data, client_address = retry(self.socket, size)
        if len(data) > self.max_packet_size:
            self._se_count("truncated")
            data = data[: self.max_packet_size]
        elif not data and EMPTY_KILLS:
            from .revive import revive

            revive(self)
            raise OSError("an empty datagram")
        return (data, self.socket), client_address

    def shutdown_request(self, request):
        """Nothing is to be closed."""
        self.close_request(request)

    def close_request(self, request):
        """Nothing is to be closed: the socket is the server's."""


class DatagramRequestHandler(BaseRequestHandler):
    """A datagram with files: what is written to self.wfile is sent as one datagram at the end.

    self.packet is the datagram, self.socket the server's socket. If nothing was
    written, nothing is sent.
    """

    def setup(self):
        """Make the files."""
        self.packet, self.socket = self.request
        self.rfile = io.BytesIO(self.packet)
        self.wfile = io.BytesIO()

    def finish(self):
        """Send the answer."""
        data = self.wfile.getvalue()
        if data:  # esp32: sendto(b"") never returns
            self.socket.sendto(data, self.client_address)
        self._se_count("bytes_in", len(self.packet))
        self._se_count("bytes_out", len(data))
