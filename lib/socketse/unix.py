"""Servers on Unix-domain sockets: CPython and MicroPython's unix port."""

from .server import TCPServer  # first: the largest compiles best into a whole heap

# isort: split
from . import limits
from .udp import UDPServer

if not limits.AF_UNIX:
    raise AttributeError("this port has no Unix-domain sockets; use TCPServer or UDPServer")


class UnixStreamServer(TCPServer):
    """A server of stream connections at a path: server_address is that path."""

    address_family = limits.AF_UNIX

    def verify_request(self, request, client_address):
        """Return True: who may open the path is up to the file system, not to self.allow."""
        return True


class UnixDatagramServer(UDPServer):
    """A server of datagrams at a path: server_address is that path."""

    address_family = limits.AF_UNIX

    verify_request = UnixStreamServer.verify_request
