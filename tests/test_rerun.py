"""Ctrl-C and another run in the same interpreter, for every kind of server, again and again."""

import os
import socket
import ssl
import time

import interpreters
import pytest
from conftest import certificates, connect, scale
from siege import Marks, Protocol
from test_siege import HTTP, XMLRPC, Auth, Daytime, Page, Passwords, Remote, begin, compiled  # noqa: F401
from virtual_board.interrupt import nap

RUNS = 25  # between two looks at the heap
TLS_RUNS = 5  # over TLS, which takes long; 25 with --all
OTHER_RUNS = 1  # on other MicroPythons: one is emulated, and Ctrl-C ends it now and then
LOOKS = 4  # at least, so that there are 100 runs; garbage can look alive, what is lost adds up


class Datagram(Protocol):
    """A datagram and its answer."""

    def ask(self, connection):
        connection.send(self.request)
        self.look(connection.recv(100))


# Of each what tests/attacks/besieged.py serves.
KINDS = {
    "echo_patient": Protocol,
    "echo_threading": Protocol,
    "echo_in_a_multiplexer": Protocol,
    "echo_multiplexing": Protocol,
    "udp_": Datagram,
    "udp_Threading": Datagram,
    "udp_in_a_multiplexer": Datagram,
    "unix": Protocol,
    "unix_Threading": Protocol,
    "unix_Multiplexing": Protocol,
    "unixdatagram": Datagram,
    "unixdatagram_Threading": Datagram,
    "several_servers": Protocol,
    "asyncio_serve": Protocol,
    "poll_loop": Protocol,
    "handle_request": Protocol,
    "http": HTTP,
    "page": Page,
    "xmlrpc": XMLRPC,
    "remote": Remote,
    "remote_threading": Remote,
    "passwords": Passwords,
    "auth": Auth,
    "auth_threading": Auth,
    "Daytime": Daytime,
}
OVER_TLS = ["echo_patient", "echo_threading", "echo_multiplexing", "echo_in_a_multiplexer", "http"]
CASES = [(name, False) for name in KINDS] + [(name, True) for name in OVER_TLS]


def enter(name, tls, port, folder):
    """Return a new connection."""
    if name[:5] == "unixd":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        own = folder / "client"  # for the answer
        own.unlink(missing_ok=True)
        connection.bind(str(own))
        connection.connect(str(folder / "socket"))
    elif name[:4] == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(folder / "socket"))
    elif name[:4] == "udp_":
        connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connection.connect(("127.0.0.1", port))
    else:
        connection = connect(port)
    connection.settimeout(20)
    if tls:
        context = ssl.create_default_context(cafile=str(certificates() / "cert.pem"))
        connection = context.wrap_socket(connection, server_hostname="localhost")
    return connection


def ask(name, tls, port, folder):
    """See to it that a newcomer is served, by each server of several."""
    protocol = KINDS[name]()
    for one in ("echo_patient", "udp_", "unix") if name == "several_servers" else (name,):
        with enter(one, tls, port, folder) as client:
            protocol = KINDS[one]()
            protocol.open(client)
            protocol.ask(client)


def interrupt(program):
    """Press Ctrl-C while the program waits for something.

    Boards raise KeyboardInterrupt at the next branch. The unix port does so wherever it is, also
    in the middle of a garbage collection, and is not of much use then.
    """
    end = time.monotonic() + 10
    while not nap(program.process.pid) and time.monotonic() < end:
        time.sleep(0.0005)
    program.interrupt()


def heap_of(control):
    """Return the bytes of heap in use: what the server's control says on a new connection."""
    with connect(control) as client:
        client.sendall(b"figures\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += client.recv(4096)
    return int(answer.split()[1])


PLACES = [(case, place) for case in CASES for place in ("i386", "cpython")]
OTHERS = [name for name in interpreters.names() if name != "i386"]
PLACES += [((name, False), place) for name in list(KINDS)[:4] for place in OTHERS]


@pytest.mark.parametrize(
    "case, place", PLACES, ids=["%s%s-%s" % (c[0], "_tls" * c[1], p) for c, p in PLACES]
)
def test_run_again_after_ctrl_c(compiled, tmp_path, monkeypatch, case, place):  # noqa: F811
    name, tls = case
    monkeypatch.setenv("ROUND", "0.1")  # it waits longer: see interrupt()
    (tmp_path / "page.html").write_text("<html></html>\n")
    program, port, control = begin(compiled, name, tls, place, tmp_path)
    protocol = KINDS[name]()
    marks = Marks(program.process.pid)
    runs = RUNS
    if place in OTHERS:
        runs = OTHER_RUNS
    elif tls and scale() == 1:
        runs = TLS_RUNS
    try:
        program.wait_for("ready 0")
        for run in range(1, 3 * LOOKS * runs + 1):
            with enter(name, tls, port, tmp_path) as client:
                protocol.open(client)
                protocol.ask(client)
                if not isinstance(protocol, Datagram):
                    # In the middle of a request when it comes.
                    client.sendall(protocol.request[:5])
                interrupt(program)
                program.wait_for("ready %d" % run)
                ask(name, tls, port, tmp_path)
            if run % runs:
                continue
            marks.add(heap_of(control))
            if name[:4] == "unix" or name == "several_servers":
                assert os.listdir(tmp_path).count("socket") == 1
            if marks.steady(LOOKS - 1):
                break
        marks.check()
        assert program.process.poll() is None
    except BaseException:
        print(program.output[-3000:])
        raise
    finally:
        program.kill()
