"""UDPServer and DatagramRequestHandler."""

import errno

from socketse import BaseRequestHandler, DatagramRequestHandler, Multiplexer, UDPServer, udp
from support import BOARD, HOST, MICROPYTHON, Skip, ask, free, raises, serving, socket, wait_until


class Echo(BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(b"echo:" + data, self.client_address)


def test_request_is_data_and_socket():
    address = free()
    seen = []

    class Handler(Echo):
        def handle(self):
            seen.append((self.request[1] is self.server.socket, self.client_address))
            Echo.handle(self)

    with serving(UDPServer(address, Handler)) as server:
        assert ask(address, b"hi") == b"echo:hi"
        assert ask(address, b"ho") == b"echo:ho"
        if not udp.EMPTY_KILLS:
            assert ask(address, b"") == b"echo:"
    assert seen[0][0] and seen[0][1][0] == HOST and isinstance(seen[0][1][1], int)
    assert server.stats["accepted"] >= 2


def test_a_datagram_is_taken_into_less_memory_than_the_longest_one_needs():
    if not MICROPYTHON:
        raise Skip("a recvfrom that takes all the memory at once")
    address = free()
    server = UDPServer(address, Echo)
    server.timeout = 20
    size = server.max_packet_size
    target = socket.getaddrinfo(HOST, address[1])[0][-1]
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(20)
    hub = Multiplexer()
    for once in (server.handle_request, lambda: hub.poll(20)):
        lost = server.stats["out_of_memory"]
        server.max_packet_size = 1 << 28
        client.sendto(b"one", target)
        once()
        assert server.stats["out_of_memory"] == lost + 1
        assert client.recvfrom(100)[0] == b"echo:one"
        server.max_packet_size = size
        client.sendto(b"two", target)
        once()
        assert client.recvfrom(100)[0] == b"echo:two"
        if not hub.servers:
            hub.add(server)
    client.close()
    server.server_close()


class Files(DatagramRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())


def test_files():
    address = free()
    with serving(UDPServer(address, Files)) as server:
        assert ask(address, b"one\ntwo") == b"ONE\nTWO"
    assert (server.stats["bytes_in"], server.stats["bytes_out"]) == (7, 7)


def test_nothing_written_means_nothing_sent():
    address = free()
    with serving(UDPServer(address, Files)) as server:
        assert ask(address, b"", timeout=0.2) is None
        assert server.stats["accepted"] == (0 if udp.EMPTY_KILLS else 1)
        assert ask(address, b"still there") == b"STILL THERE"


def test_longer_datagrams_are_cut_and_counted():
    class Server(UDPServer):
        max_packet_size = 10

    address = free()
    with serving(Server(address, Files)) as server:
        assert ask(address, b"0123456789") == b"0123456789"
        assert server.stats["truncated"] == 0
        assert ask(address, b"0123456789abc") == b"0123456789"
    assert server.stats["truncated"] == 1


def test_max_packet_size():
    assert UDPServer.max_packet_size == (1472 if MICROPYTHON else 8192)
    address = free()
    with serving(UDPServer(address, Files)) as server:
        data = b"Z" * UDPServer.max_packet_size
        assert ask(address, data, n=9000) == data
        assert server.stats["truncated"] == 0


def test_errors_cost_one_datagram():
    address = free()

    class Server(UDPServer):
        told = []

        def handle_error(self, request, client_address):
            self.told.append(type(self.last_error))

    class Handler(DatagramRequestHandler):
        def handle(self):
            if self.packet == b"bad":
                raise ValueError
            self.wfile.write(b"fine")

    with serving(Server(address, Handler)) as server:
        assert ask(address, b"bad", timeout=0.2) is None
        assert ask(address, b"good") == b"fine"
    assert server.told == [ValueError]


def test_two_live_servers_on_one_port_are_an_error():
    address = free()
    with serving(UDPServer(address, Echo)):
        assert raises(OSError, UDPServer, address, Echo).errno == errno.EADDRINUSE
    with serving(UDPServer(address, Echo)):
        assert ask(address, b"x") == b"echo:x"


class Stop(BaseException):
    """Stands for Ctrl-C."""


def test_second_run_after_an_exception():
    class Interrupted(UDPServer):
        def service_actions(self):
            raise Stop

    address = free()
    raises(Stop, Interrupted(address, Echo).serve_forever, 0.01)
    with serving(UDPServer(address, Echo)):
        assert ask(address, b"x") == b"echo:x"


def test_tcp_and_udp_share_a_port_number():
    from socketse import TCPServer

    address = free()
    with TCPServer(address, Echo), UDPServer(address, Echo):
        pass


def test_multicast_group():
    # Only the loopback interface is used; where the machine has no multicast route this says so.
    class Server(UDPServer):
        groups = ("224.0.0.251",)

    address = free()
    try:
        server = Server(("", address[1]), Echo)
    except OSError as e:
        if e.errno == errno.ENODEV:
            raise Skip("no interface with a multicast route")
        raise
    with serving(server):
        assert ask(address, b"x") == b"echo:x"


def test_multicast_group_that_is_none():
    class Server(UDPServer):
        groups = ("224.0.0",)

    raises(ValueError, Server, ("", free()[1]), Echo)


def test_socket_that_an_empty_datagram_kills_is_made_anew():
    # esp32: after a zero-length datagram recvfrom gives b"" for ever (platform fact).
    address = free()
    udp.EMPTY_KILLS = True
    with serving(UDPServer(address, Echo)) as server:
        first = server.socket
        assert ask(address, b"", timeout=0.2) is None
        wait_until(lambda: server.socket is not first, what="a new socket")
        assert ask(address, b"x") == b"echo:x"
    raises(OSError, first.recvfrom, 1)


def test_ipv6():
    if BOARD:
        raise Skip("IPv6")

    class Server(UDPServer):
        address_family = socket.AF_INET6

    port = free()[1]
    with serving(Server(("::1", port), Echo)):
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.settimeout(20)
        s.sendto(b"x", socket.getaddrinfo("::1", port)[0][-1])
        assert s.recvfrom(100)[0] == b"echo:x"
        s.close()
