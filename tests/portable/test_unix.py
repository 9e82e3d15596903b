"""Servers on Unix-domain sockets, where the port has them."""

import errno
import os
import socket
import sys

import support
from socketse import limits
from support import MICROPYTHON, Skip, raises, serving

if not limits.AF_UNIX:
    raise Skip("Unix-domain sockets")

# isort: split
from socketse import (
    DatagramRequestHandler,
    StreamRequestHandler,
    ThreadingUnixDatagramServer,
    ThreadingUnixStreamServer,
    UnixDatagramServer,
    UnixStreamServer,
)


def path(n=0):
    """Return a path that is free; a port's number makes it this run's own."""
    name = "/tmp/socketse-test-%d-%d" % (support.ports[0], n)
    remove(name)
    return name


def remove(name):
    try:
        os.unlink(name)
    except OSError:
        return


def packed(name):
    return b"\x01\0" + name.encode() + b"\0" if MICROPYTHON else name


class Upper(StreamRequestHandler):
    def handle(self):
        self.wfile.write(self.rfile.readline().upper())


class UpperDatagram(DatagramRequestHandler):
    def handle(self):
        self.wfile.write(self.packet.upper())


def talk(name):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        s.connect(packed(name))
        s.send(b"hello\n")
        return s.recv(100)
    finally:
        s.close()


def talk_datagram(server_name, own_name):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        s.bind(packed(own_name))
        s.settimeout(20)
        s.sendto(b"hello", packed(server_name))
        return s.recv(100)
    finally:
        s.close()
        remove(own_name)


def test_streams():
    for kind in (UnixStreamServer, ThreadingUnixStreamServer):
        name = path()
        seen = []

        class Handler(Upper):
            def setup(self, seen=seen):
                seen.append(self.client_address)
                Upper.setup(self)

        with serving(kind(name, Handler)) as server:
            assert server.server_address == name
            assert talk(name) == b"HELLO\n"
        assert seen == [""]
        remove(name)


def test_a_client_with_a_long_path():
    # MicroPython's accept has room for 32 bytes of an address, and gives what lies behind, too.
    name, own = path(), "/tmp/" + "x" * 90 + "-%d" % support.ports[0]
    with serving(UnixStreamServer(name, Upper)):
        for _ in range(3):
            remove(own)
            s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.bind(packed(own))
            s.connect(packed(name))
            try:
                s.send(b"hello\n")
                assert s.recv(100) in (b"HELLO\n", b"")  # b"": no name could be made of it
            except OSError as e:
                assert e.errno in (errno.ECONNRESET, 32), e  # 32: EPIPE
            s.close()
            assert talk(name) == b"HELLO\n"
    remove(name)
    remove(own)


def test_datagrams():
    for kind in (UnixDatagramServer, ThreadingUnixDatagramServer):
        name, own = path(), path(1)
        with serving(kind(name, UpperDatagram)):
            assert talk_datagram(name, own) == b"HELLO"
        remove(name)


def test_path_in_use_is_an_error():
    name = path()
    with serving(UnixStreamServer(name, Upper)):
        e = raises(OSError, UnixStreamServer, name, Upper)
        assert e.errno == errno.EADDRINUSE and name in str(e)
    remove(name)


def test_second_run_after_an_exception():
    class Stop(BaseException):
        pass

    class Interrupted(UnixStreamServer):
        def service_actions(self):
            raise Stop

    name = path()
    raises(Stop, Interrupted(name, Upper).serve_forever, 0.01)
    with serving(UnixStreamServer(name, Upper)):
        assert talk(name) == b"HELLO\n"
    remove(name)


def test_bad_paths():
    raises(OSError, UnixStreamServer, "/tmp/" + "x" * 200, Upper)
    raises(OSError, UnixStreamServer, "/no/such/directory/socket", Upper)
    raises(TypeError, UnixStreamServer, 5, Upper)


def test_allow_does_not_concern_paths():
    class Server(UnixStreamServer):
        allow = ("10.0.0.1",)

    name = path()
    with serving(Server(name, Upper)):
        assert talk(name) == b"HELLO\n"
    remove(name)
    assert "socketse.unix" in sys.modules
