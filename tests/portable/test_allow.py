"""Which addresses may connect."""

from socketse import BaseRequestHandler, TCPServer, UDPServer
from socketse.allow import match
from support import BOARD, MICROPYTHON, Client, ask, free, raises, serving


def test_addresses_and_globs():
    for host, pattern, expected in (
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.11", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.*", True),
        ("127.0.0.12", "127.0.0.?", False),
        ("127.0.0.12", "127.0.0.1[0-3]", True),
        ("127.0.0.12", "127.0.0.1[!0-3]", False),
        ("127.0.0.14", "127.0.0.1[!0-3]", True),
        ("127x0x0x1", "127.0.0.1", False),
        ("1.2.3.4", "*", True),
        ("11.2.3.4", "1*.2.3.4", True),
        ("::1", "::1", True),
        ("fe80::1", "fe80::*", True),
        ("FE80::1", "fe80::1", True),
        ("fe80::1%eth0", "fe80::1", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
    ):
        assert match(host, (pattern,)) is expected, (host, pattern)


def test_networks():
    for host, pattern, expected in (
        ("192.168.1.77", "192.168.1.0/24", True),
        ("192.168.2.77", "192.168.1.0/24", False),
        ("192.168.2.77", "192.168.0.0/16", True),
        ("10.0.0.127", "10.0.0.0/25", True),
        ("10.0.0.128", "10.0.0.0/25", False),
        ("10.0.0.1", "10.0.0.1/32", True),
        ("10.0.0.2", "10.0.0.1/32", False),
        ("1.2.3.4", "0.0.0.0/0", True),
        ("::ffff:10.0.0.1", "10.0.0.0/8", True),
        ("fd00::5", "fd00::/8", True),
        ("fe80::5", "fd00::/8", False),
        ("fe80::5%eth0", "fe80::/10", True),
        ("fe80::5%eth0", "10.0.0.0/8", False),
        ("10.0.0.1", "fd00::/8", False),
    ):
        if BOARD and ":" in pattern:
            raises(ValueError, match, host, (pattern,))  # no inet_pton, and no such client
        else:
            assert match(host, (pattern,)) is expected, (host, pattern)


def test_any_pattern_will_do():
    assert match("10.0.0.7", ["127.0.0.1", "10.0.0.0/8"])
    assert not match("10.0.0.7", [])


def test_patterns_that_cannot_match_raise():
    for pattern in (
        "localhost",
        "10.0.0.0/33",
        "10.0.0/8",
        "10.0.0.0/x",
        "[",
        "[]",
        "][",
        "300.1.1.1/8",
        "a b",
        "",
        "192.168.1",
        "!10.0.0.*",
        "1.2.3.4.5",
    ):
        e = raises(ValueError, match, "10.0.0.1", (pattern,))
        assert pattern in str(e), e
    raises(ValueError, match, "10.0.0.1", "10.0.0.1")


class Hello(BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"hello")


def test_server_lets_in_whom_it_allows():
    class Server(TCPServer):
        allow = ["127.0.0.1"]

    port = free()[1]
    with serving(Server(("", port), Hello)) as server:
        with Client(("127.0.0.1", port)) as c:
            assert c.rest() == b"hello"
        server.allow = ["10.*"]
        with Client(("127.0.0.1", port)) as c:
            assert c.rest() == b""
    assert server.stats["refused"] == 1


def test_datagrams():
    class Server(UDPServer):
        allow = ["10.0.0.0/8"]

    def handler(request, client_address, server):
        request[1].sendto(b"hello", client_address)

    with serving(Server(free(), handler)) as server:
        assert ask(server.server_address, b"x", timeout=0.2) is None
        server.allow = None
        assert ask(server.server_address, b"x") == b"hello"


def test_wrong_pattern_raises_before_the_server_is_made():
    class Server(TCPServer):
        allow = ["my.own.pc"]

    address = free()
    raises(ValueError, Server, address, Hello)
    with TCPServer(address, Hello):
        assert MICROPYTHON or True
