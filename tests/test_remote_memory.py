"""What remote objects cost in heap, on a 32-bit MicroPython, from .mpy."""

import memory
import mpy
import pytest
from conftest import ROOT, free_port, scale
from test_fuzz import library

PROGRAM = ROOT / "tests" / "remote" / "heap.py"
CORE = ("MultiplexingTCPServer", "AsyncStreamRequestHandler")


@pytest.fixture(scope="module")
def compiled():
    return mpy.compile_lib(ROOT / "build" / "mpy")


@pytest.fixture
def served(small, compiled, start):
    """served(heap): a client of tests/remote/heap.py."""

    def serve(heap):
        port = free_port()
        program = start(small, PROGRAM, port, heap=heap, lib=compiled)
        program.wait_for("serving")
        return library("proxy").Client("127.0.0.1", port)

    return serve


def test_import(small, compiled):
    core = memory.import_cost(small, compiled, *CORE)
    cost = memory.import_cost(small, compiled, *CORE, "socketse.message", "RemoteServer")
    assert cost - core <= 14 * 1024, cost - core


def test_an_idle_session(served):
    client = served("64k")
    with client.new() as first:
        first.heap()
        with client.new() as second:
            before = second.heap()
            idle = [client.new() for _ in range(10)]
            cost = (second.heap() - before) / len(idle)
            for one in idle:
                one.close()
    assert cost <= 1536, cost


def test_four_sessions_with_a_hundred_objects_each_in_64_kb(served):
    client = served("64k")
    things = [client.new() for _ in range(4)]
    nodes = [(i, thing.node(i)) for thing in things for i in range(100)]
    for i, node in nodes:
        assert node.get() == i and node.value == i
    for thing in things:
        thing.close()
    with client.new() as thing:
        assert thing.node(5).get() == 5


def test_a_thousand_sessions_one_after_the_other(served):
    client = served("64k")

    def session(i):
        with client.new() as thing:
            assert thing.node(i).get() == i
            return thing.heap()

    for i in range(100):
        before = session(i)
    for i in range(1000 * scale()):
        after = session(i % 100)
    assert after - before <= 64, (before, after)
