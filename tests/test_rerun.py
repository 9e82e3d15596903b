"""Ctrl-C and another run in the same interpreter, for every kind of server, again and again."""

import contextlib
import os
import socket
import ssl

import interpreters
import pytest
from conftest import certificates, connect, scale
from siege import Marks, Protocol
from test_siege import HTTP, XMLRPC, Auth, Daytime, Page, Passwords, Remote, begin, compiled  # noqa: F401

RUNS = 4  # 100 with --all


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
    "unix": Protocol,
    "unix_Threading": Protocol,
    "unix_Multiplexing": Protocol,
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
    if name[:4] == "unix":
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
def test_run_again_after_ctrl_c(compiled, tmp_path, case, place):  # noqa: F811
    name, tls = case
    (tmp_path / "page.html").write_text("<html></html>\n")
    program, port, control = begin(compiled, name, tls, place, tmp_path)
    protocol = KINDS[name]()
    runs = 100 if scale() > 1 else RUNS
    marks = Marks(program.process.pid)
    try:
        program.wait_for("ready")
        for run in range(1, 3 * runs):
            with contextlib.ExitStack() as stack:
                client = stack.enter_context(enter(name, tls, port, tmp_path))
                protocol.open(client)
                protocol.ask(client)
                if protocol.background and name[:4] != "udp_":
                    # In the middle of a request when it comes.
                    client.sendall(protocol.request[:5])
                program.interrupt()
                program.wait_for("interrupted %d\nready\n" % run)
                with enter(name, tls, port, tmp_path) as client:
                    protocol.open(client)
                    protocol.ask(client)
            marks.add(heap_of(control))
            if name[:4] == "unix":
                assert os.listdir(tmp_path).count("socket") == 1
            if marks.steady(runs - 1):  # what is lost is lost in each; garbage can look alive
                break
        marks.check()
        assert program.process.poll() is None
    except BaseException:
        print(program.output[-3000:])
        raise
    finally:
        program.kill()
