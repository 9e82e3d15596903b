"""Remote objects between interpreters, and what must not be reached through them."""

import itertools
import re
import socket

import pytest
from conftest import ALL_TARGETS, LIB, PORTABLE, ROOT, connect, find_target, free_port
from test_fuzz import library

PROGRAM = PORTABLE / "test_remote.py"
PAIRS = [("cpython", name) for name in ALL_TARGETS[1:]]
PAIRS += [(name, "cpython") for name in ALL_TARGETS[1:]]
PAIRS += [("unix64", "i386"), ("i386", "armhf"), ("armhf", "unix64"), ("esp32", "rp2")]


@pytest.mark.parametrize("kind", ["multiplexing", "threading"])
@pytest.mark.parametrize("names", PAIRS, ids="-".join)
def test_client_and_server_on_different_interpreters(names, kind, start):
    """What tests/portable/test_remote.py checks in one process, between two."""
    client, server = (find_target(name) for name in names)
    port = free_port()
    program = start(server, PROGRAM, "server", kind, port)
    program.wait_for("serving")
    done = client.run(PROGRAM, "client", port)
    assert done.stdout.endswith("OK\n"), done.stdout + done.stderr + program.output


UNCAUGHT = """
import sys
from socketse import connect

def work(c):
    c.fail(5)  # in the client

if len(sys.argv) > 2:
    sys.version_info = (3, 10)  # as if exceptions had no notes
work(connect("127.0.0.1", int(sys.argv[1])))
"""


@pytest.mark.parametrize("old", [False, True], ids=["notes", "hook"])
def test_an_uncaught_exception_shows_the_servers_lines_below(target, start, tmp_path, old):
    port = free_port()
    start(target, PROGRAM, "server", "multiplexing", port).wait_for("serving")
    path = tmp_path / "uncaught.py"
    path.write_text(UNCAUGHT)
    done = find_target("cpython").run(path, port, *["old"] * old)
    assert done.returncode == 1
    shown = done.stderr
    places = [shown.index(text) for text in ("c.fail(5)", "ValueError: ", "At the server:")]
    assert places == sorted(places), shown
    assert "test_remote.py" in shown[places[-1] :] and "in fail" in shown[places[-1] :], shown


# Escapes: each is one list of requests after NEW; the last one must be refused.

ESCAPES = {
    "class": ["GET", 0, "__class__"],
    "dict": ["GET", 0, "__dict__"],
    "init": ["RUN", 0, "__init__"],
    "new": ["RUN", 0, "__new__"],
    "reduce": ["RUN", 0, "__reduce__"],
    "reduce_ex": ["RUN", 0, "__reduce_ex__", [2]],
    "getattribute": ["RUN", 0, "__getattribute__", ["_private"]],
    "setattr": ["RUN", 0, "__setattr__", ["get", 1]],
    "subclasshook": ["RUN", 0, "__subclasshook__"],
    "subclasses": ["RUN", 0, "__subclasses__"],
    "format_dunder": ["RUN", 0, "__format__", ["{0.__class__}"]],
    "doc_of_class": ["GET", 0, "__doc__"],
    "module_name": ["GET", 0, "__module__"],
    "private": ["GET", 0, "_private"],
    "set_private": ["SET", 0, "_private", 1],
    "del_private": ["DEL", 0, "_private"],
    "mangled": ["GET", 0, "_Thing__secret"],
    "set_class": ["SET", 0, "__class__", 1],
    "set_dict": ["SET", 0, "__dict__", {"a": 1}],
    "module": ["GET", 0, "module"],
    "own_module": ["GET", 0, "own_module"],
    "run_module": ["RUN", 0, "module"],
    "class_attribute": ["GET", 0, "kind"],
    "run_class": ["RUN", 0, "kind"],
    "given_module": ["RUN", 0, "give_module"],
    "given_class": ["RUN", 0, "give_class"],
    "given_function": ["RUN", 0, "give_function"],
    "given_method": ["RUN", 0, "give_method"],
    "in_a_tuple": ["RUN", 0, "give_tuple"],
    "dotted": ["GET", 0, "part.__class__"],
    "dotted_public": ["GET", 0, "part.value"],
    "method_globals": ["GET", 0, "get.__globals__"],
    "name_as_list": ["GET", 0, ["__class__"]],
    "name_as_dict": ["GET", 0, {"a": "__class__"}],
    "empty_name": ["GET", 0, ""],
    "operator_class": ["OPS", 0, "__class__"],
    "operator_dict": ["OPS", 0, "__dict__"],
    "operator_init": ["OPS", 0, "__init__"],
    "operator_getattr": ["OPS", 0, "__getattribute__", ["_private"]],
    "operator_call_dunder": ["OPS", 0, "__init_subclass__"],
    "no_such_id": ["GET", 99, "value"],
    "method_id": ["GET", -1, "__globals__"],
    "id_as_text": ["GET", "0", "part"],
    "id_as_bool": ["GET", False, "part"],
    "foreign_object": ["RUN", 0, "take", [{"!w": [0, None, "x", ""]}]],
    "unknown_tag": ["RUN", 0, "take", [{"!x": 1}]],
}
# With what an object is got by first.
ON_OBJECTS = {
    "generator_frame": (["RUN", 0, "count"], "gi_frame"),
    "generator_code": (["RUN", 0, "count"], "gi_code"),
    "generator_yieldfrom": (["RUN", 0, "count"], "gi_yieldfrom"),
    "generator_send": (["RUN", 0, "count"], "send"),
    "generator_throw": (["RUN", 0, "count"], "throw"),
    "text_format": (["GET", 0, "text"], "format"),
    "text_format_map": (["GET", 0, "text"], "format_map"),
    "text_class": (["GET", 0, "text"], "__class__"),
    "list_class": (["GET", 0, "items"], "__class__"),
    "list_subclasses": (["GET", 0, "items"], "__subclasses__"),
    "dict_class": (["GET", 0, "mapping"], "__class__"),
    "part_class": (["GET", 0, "part"], "__class__"),
    "part_call": (["GET", 0, "part"], "__call__"),
    "part_self": (["GET", 0, "part"], "__self__"),
    "error_traceback": (["RUN", 0, "give_error"], "__traceback__"),
    "error_context": (["RUN", 0, "give_error"], "__context__"),
    "globals_class": (["RUN", 0, "give_globals"], "__class__"),
}


class Peer:
    """A hostile client: it sends whatever requests it wants."""

    def __init__(self, port):
        self.message = library("message")
        self.stream = self.message.Stream(connect(port))

    def ask(self, request):
        """Return (kind of the answer, its body)."""
        data = self.message._dumps(request).encode()
        self.stream.write(self.message._first(self.stream, b"%08dP" % len(data) + data))
        head, body = self.message.receive(self.stream)
        return head[8:], bytes(body)


@pytest.fixture(scope="module")
def served():
    """served(name): the port of tests/remote/escapes.py on that interpreter."""
    from conftest import Program

    programs = {}

    def serve(name):
        if name not in programs:
            target = find_target(name)
            port = free_port()
            command = target.command([ROOT / "tests" / "remote" / "escapes.py", port])
            programs[name] = Program(command, target.environment(LIB)), port
            programs[name][0].wait_for("serving")
        return programs[name][1]

    yield serve
    for program, _ in programs.values():
        program.kill()


TARGETS = ["cpython", "unix64", "i386", "armhf"]


@pytest.fixture(params=TARGETS)
def peer(request, served):
    """A client with an instance, at each interpreter."""
    found = Peer(served(request.param))
    kind, _ = found.ask(["NEW"])
    assert kind == b"W"
    yield found
    found.stream.close()


@pytest.mark.parametrize("name", ESCAPES)
def test_escape(peer, name):
    kind, body = peer.ask(ESCAPES[name])
    assert kind == b"E", (kind, body)


@pytest.mark.parametrize("name", ON_OBJECTS)
def test_escape_by_an_object(peer, name):
    first, attribute = ON_OBJECTS[name]
    kind, body = peer.ask(first)
    assert kind == b"W", (kind, body)
    number = int(re.match(rb"\[(\d+),", body).group(1))
    for request in (
        ["GET", number, attribute],
        ["RUN", number, attribute, []],
        ["SET", number, attribute, 1],
        ["DEL", number, attribute],
    ):
        if name == "part_call" and request[0] == "RUN":
            continue
        kind, body = peer.ask(request)
        assert kind == b"E", (request, kind, body)


def test_escape_by_what_is_in_a_list(peer):
    kind, body = peer.ask(["RUN", 0, "give_list"])
    number = int(re.match(rb"\[(\d+),", body).group(1))
    for request in (
        *(["OPS", number, "__getitem__", [i]] for i in range(3)),
        ["ALL", number],
        ["RUN", number, "pop", []],
        ["OPS", number, "__iadd__", [[{"!o": 99}]]],
    ):
        kind, body = peer.ask(request)
        assert kind == b"E", (request, kind, body)


def test_an_object_in_the_place_of_the_arguments_is_refused(peer):
    """It may be one that has no end, or too many items for the interpreter to survive."""
    kind, body = peer.ask(["RUN", 0, "numbers"])
    assert kind == b"W", (kind, body)
    for verb in (["RUN", 0, "count"], ["RUN", 0, "numbers"], ["GET", 0, "part"]):
        kind, body = peer.ask(verb)
        x = {"!o": int(re.match(rb"\[(\d+),", body).group(1))}
        for request in (
            ["RUN", 0, "take", x],
            ["RUN", 0, "take", [], x],
            ["OPS", 0, "__call__", x],
            ["GET", 0, "text", [], {}, x],
            ["SET", 0, x, 1],
            ["GET", x, "text"],
            [x, 0, "text"],
        ):
            kind, body = peer.ask(request)
            assert kind == b"E", (request, kind, body)


def test_a_builtin_function_can_be_called_and_no_more(peer):
    kind, body = peer.ask(["GET", 0, "builtin"])
    assert (kind, body[:4]) == (b"W", b"[-1,"), (kind, body)
    kind, body = peer.ask(["RUN", 0, "builtin", ["abc"]])
    assert (kind, body) == (b"P", b"3") or kind == b"E", (kind, body)
    for request in (
        ["GET", -1, "__self__"],
        ["RUN", -1, "__call__", ["abc"]],
        ["OPS", -1, "__call__", ["abc"]],
        ["RUN", 0, "take", [{"!o": -1}]],
        ["SET", 0, "kept", {"!o": -1}],
        ["GET", 0, "builtin.__self__"],
    ):
        try:
            kind, body = peer.ask(request)
        except (peer.message.SocketClosed, ConnectionError):
            break  # an id that is none may end the session
        assert kind == b"E", (request, kind, body)


def test_objects_in_sets_and_as_keys(peer):
    number = {}
    for name in ("part", "items", "text"):
        body = peer.ask(["GET", 0, name])[1]
        number[name] = {"!o": int(re.match(rb"\[(\d+),", body).group(1))}
    for x in (
        {"!s": [number["part"]]},
        {"!z": [number["text"], 1]},
        {"!d": [[number["part"], 1]]},
    ):
        kind, body = peer.ask(["RUN", 0, "take", [x]])
        assert kind == b"S" or kind == b"P", (x, kind, body)
    for request in (
        ["OPS", number["part"]["!o"], "__class__"],
        ["RUN", 0, "take", [{"!s": [number["items"]]}]],
    ):
        kind, body = peer.ask(request)
        assert kind == b"E", (request, kind, body)


def test_nothing_private_is_listed(peer):
    for verb in ("DIR", "ALL"):
        kind, body = peer.ask([verb, 0])
        assert kind == b"P" and b"part" in body, (kind, body)
        for name in (b"_private", b"secret", b"__class__", b"__dict__"):
            assert name not in body, body
        assert verb == "DIR" or b"module" not in body.replace(b"__main__", b""), body


def test_results_that_would_fill_the_heap_are_refused(peer):
    _, body = peer.ask(["GET", 0, "items"])
    number = int(re.match(rb"\[(\d+),", body).group(1))
    text, pattern, value = (
        int(re.match(rb"\[(\d+),", peer.ask(["GET", 0, name])[1]).group(1))
        for name in ("text", "pattern", "number")
    )
    for request in (["OPS", value, "__lshift__", [2]], ["OPS", value, "__pow__", [2]]):
        kind, body = peer.ask(request)
        assert kind == b"P" and body in (b"20", b"25"), (request, kind, body)
    for request in (
        ["OPS", number, "__mul__", [1 << 30]],
        ["OPS", number, "__rmul__", [1 << 30]],
        ["OPS", number, "__mul__", [1 << 70]],
        ["OPS", text, "__mod__", [1 << 30]],
        ["OPS", text, "__mul__", [1 << 30]],
        ["RUN", text, "center", [1 << 30]],
        ["RUN", text, "zfill", [1 << 30]],
        ["RUN", text, "replace", ["", "x" * 500]],
        ["RUN", text, "join", ["x" * 500]],
        ["OPS", pattern, "__mod__", [1]],
        ["OPS", value, "__rmod__", ["%999999d"]],
        ["OPS", value, "__lshift__", [1 << 20]],
        ["OPS", value, "__pow__", [1 << 20]],
        ["RUN", value, "to_bytes", [1 << 20, "big"]],
    ):
        kind, body = peer.ask(request)
        assert kind == b"E", (request, kind, body)


def test_nobody_is_held_up_by_a_half_request(served):
    for name in TARGETS[:3]:
        port = served(name)
        half = [connect(port) for _ in range(3)]
        for i, client in enumerate(half):
            client.sendall((b"00000001V1" + b"00000100P[")[: 5 + 5 * i])
        found = Peer(port)
        assert found.ask(["NEW"])[0] == b"W"
        for client in (*half, found.stream):
            client.close()


def test_address_in_use_is_told(target, start):
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = target.run(ROOT / "tests" / "remote" / "escapes.py", port)
    assert done.returncode and "in use" in done.stderr or "EADDRINUSE" in done.stderr


def test_every_pair_is_there():
    assert {name for pair in PAIRS for name in pair} == set(ALL_TARGETS)
    assert len(list(itertools.chain(PAIRS))) == len(set(PAIRS))
