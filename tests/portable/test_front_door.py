"""The package itself: names that load their room, names that are not there."""

import sys

import socketse
from support import BOARD, MICROPYTHON, raises, rooms_are_files

NAMES = (
    "BaseServer TCPServer UDPServer UnixStreamServer UnixDatagramServer BaseRequestHandler "
    "StreamRequestHandler DatagramRequestHandler ThreadingMixIn ThreadingTCPServer "
    "ThreadingUDPServer ThreadingUnixStreamServer ThreadingUnixDatagramServer "
    "AsyncStreamRequestHandler Multiplexer MultiplexingMixIn MultiplexingTCPServer "
    "MultiplexingUnixStreamServer AuthMixIn Secret AuthError Users PasswordHandler "
    "MessageError SocketClosed RemoteError Client ConnectionLost connect RemoteServer "
    "ThreadingRemoteServer PageHandler server_context client_context"
).split()


def rooms():
    return sorted([name[9:] for name in sys.modules if name.startswith("socketse.")])


def test_importing_loads_one_file():
    rooms_are_files()
    assert rooms() == [], rooms()


def test_every_name_is_there():
    for name in NAMES:
        if BOARD and "Unix" in name:
            assert "TCPServer" in str(raises(AttributeError, getattr, socketse, name))
            continue
        assert getattr(socketse, name).__name__ == name
        assert getattr(socketse, name) is getattr(socketse, name)


def test_a_datagram_server_loads_no_threads():
    assert socketse.UDPServer
    assert "threads" not in rooms() and "unix" not in rooms()


def test_a_threading_server_loads_no_datagrams():
    rooms_are_files()
    assert socketse.ThreadingTCPServer
    assert "udp" not in rooms() and "unix" not in rooms()


def test_a_multiplexing_server_loads_nothing_that_it_does_not_need():
    rooms_are_files()
    assert socketse.MultiplexingTCPServer and socketse.AsyncStreamRequestHandler
    unneeded = {"handler", "multiplexer", "threads", "alone", "udp", "unix", "limits", "rooms"}
    assert not unneeded & set(rooms()), rooms()


def test_multiplexing_servers_are_found_in_their_room():
    from socketse.multiplex import Multiplexer, MultiplexingMixIn, MultiplexingTCPServer

    assert Multiplexer is socketse.Multiplexer
    assert issubclass(MultiplexingTCPServer, MultiplexingMixIn)


def test_rooms_by_name():
    from socketse import allow, limits, options, port, services

    assert port.poll and limits.MAX_WAITING and allow.match and options.setsockopt
    assert services.EchoHandler


def test_forking():
    for name in ("ForkingMixIn", "ForkingTCPServer", "ForkingUDPServer"):
        e = raises(AttributeError, getattr, socketse, name)
        assert "ThreadingMixIn" in str(e) and "MultiplexingMixIn" in str(e) and name in str(e)


def test_unknown_name():
    e = raises(AttributeError, getattr, socketse, "TPCServer")
    assert "TPCServer" in str(e)
    assert not hasattr(socketse, "nonsense")


def test_import_star():
    rooms_are_files()
    namespace = {}
    exec("from socketse import *", namespace)
    if MICROPYTHON:
        assert "TCPServer" not in namespace  # as the README says
    else:
        assert sorted(set(NAMES) - set(namespace)) == []
        assert sorted(socketse.__all__) == sorted(NAMES)
