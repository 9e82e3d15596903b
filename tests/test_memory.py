"""What the library may cost in heap: measured where words and heap blocks are as on boards."""

import memory
import mpy
import pytest
from conftest import LIB, ROOT, find_target, scale


@pytest.fixture(scope="module")
def compiled():
    return mpy.compile_lib(ROOT / "build" / "mpy")


@pytest.mark.parametrize("name", ["i386", "armhf"])
def test_import_of_a_stream_server(compiled, name):
    cost = memory.import_cost(find_target(name), compiled, "TCPServer", "StreamRequestHandler")
    assert cost is not None and cost <= 12 * 1024, cost


# Rooms that need others have less of the heap for themselves.
FROM_SOURCE = {"handler": 44, "threads": 44, "stream": 48, "services": 56, "classics": 64}
FROM_SOURCE.update(hub=44, multiplex=48, multiplexer=52, passwords=52, tls=52)
FROM_SOURCE.update(message=48, faults=52, operate=52, proxy=56, session=64, remote=68)
FROM_SOURCE.update(bounds=56, operators=56, weight=48, entry=48, looks=48)
FROM_SOURCE.update(http=56, httperror=56, httplist=56, httpbody=60, httpfiles=64, xmlrpc=72)
FROM_SOURCE.update(httpsend=56, timepage=60)
FROM_SOURCE.update(page=52)


@pytest.mark.parametrize("room", memory.rooms())
def test_every_room_imports_from_source(small, room):
    heap = "%dk" % FROM_SOURCE.get(room, 40)
    assert memory.import_cost(small, LIB, "socketse." + room, heap=heap), room


@pytest.mark.parametrize(
    "names",
    [
        ("BaseRequestHandler", "TCPServer"),
        ("StreamRequestHandler", "TCPServer"),
        ("DatagramRequestHandler", "UDPServer"),
        ("StreamRequestHandler", "ThreadingTCPServer"),
        ("AsyncStreamRequestHandler", "MultiplexingTCPServer"),
        ("AsyncStreamRequestHandler", "Multiplexer", "TCPServer", "UDPServer"),
    ],
)
def test_what_programs_import_fits_from_source(small, names):
    assert memory.import_cost(small, LIB, *names, heap="72k"), names


def test_ten_thousand_connections_in_32_kb(compiled, small):
    assert memory.growth(small, compiled, 10000 * scale(), heap="32k") <= 64
