"""XML-RPC with CPython's xmlrpc.client: random values, CPython's server beside ours; fuzzing."""

import contextlib
import datetime
import http.client
import os
import random
import xmlrpc.client

import mpy
import pytest
from conftest import ROOT, connect, find_target, free_port
from hypothesis import strategies as st
from test_http import fuzz

PROGRAM = ROOT / "tests" / "http" / "calls.py"
VALUES = 2000


class Server:
    def __init__(self, start, target, module="socketse.xmlrpc", program=PROGRAM, **options):
        self.port = free_port()
        self.program = start(target, program, module, self.port, **options)
        self.program.wait_for("ready")
        connect(self.port).close()
        self.proxy = xmlrpc.client.ServerProxy("http://127.0.0.1:%d/" % self.port, allow_none=True)


class Values:
    """Random values of all types.

    exact  False: of the floats only those that MicroPython reads and writes exactly
    """

    def __init__(self, exact):
        self.random = random.Random(2000)
        self.exact = exact

    def text(self):
        rnd = self.random
        letters = ["&", "<", ">", "'", '"', "\n", "\t", "]]>", "&amp;", " ", "%", "\U0001f600"]
        letters += [chr(rnd.randrange(32, 127)), chr(rnd.randrange(160, 0xD800))]
        return "".join(rnd.choice(letters) for _ in range(rnd.randrange(20)))

    def value(self, depth=0):
        rnd = self.random
        kind = rnd.randrange(9 if depth < 4 else 7)
        if kind == 0:
            return rnd.randrange(-(2**31), 2**31) >> rnd.randrange(32)
        if kind == 1:
            return rnd.random() < 0.5
        if kind == 2:
            return self.text()
        if kind == 3:
            if self.exact:
                return rnd.uniform(-1, 1) * 10.0 ** rnd.randrange(-300, 300)
            return rnd.randrange(-(2**26), 2**26) / 64
        if kind == 4:
            return xmlrpc.client.DateTime("%04d0717T14:08:55" % rnd.randrange(1, 10000))
        if kind == 5:
            return xmlrpc.client.Binary(
                bytes(rnd.randrange(256) for _ in range(rnd.randrange(50)))
            )
        if kind == 6:
            return None
        if kind == 7:
            return [self.value(depth + 1) for _ in range(rnd.randrange(4))]
        return {self.text(): self.value(depth + 1) for _ in range(rnd.randrange(4))}


def test_random_values(start, target):
    server = Server(start, target)
    values = Values(not target.micropython)
    for i in range(VALUES // 10 if target.name == "armhf" else VALUES):  # emulated: slow
        value = values.value()
        came = server.proxy.echo(value)
        assert came == value and type(came) is type(value), "value %d" % i


CALLS = [
    ("echo", (1,)),
    ("echo", ()),
    ("echo", (1, 2)),
    ("pow", (2, 10)),
    ("add", (1, 2)),
    ("add", ("a", "b")),
    ("add", ("a", 1)),
    ("add", (1,)),
    ("nothing", ()),
    ("_hidden", ()),
    ("unknown", (1,)),
    ("add.x", ()),
    ("fail", ("fault",)),
    ("fail", ("key",)),
    ("fail", ("value",)),
    ("fail", ("type",)),
    ("fail", ("else",)),
    ("fail", ("exit",)),
    ("fail", ("generator",)),
    ("wrong", ("big",)),
    ("wrong", ("key",)),
    ("wrong", ("type",)),
    ("system.listMethods", ()),
    ("system.methodHelp", ("echo",)),
    ("system.methodHelp", ("add",)),
    ("system.methodHelp", ("unknown",)),
    ("system.methodSignature", ("echo",)),
    (
        "system.multicall",
        (
            [
                {"methodName": "add", "params": [1, 2]},
                {"methodName": "fail", "params": ["value"]},
                {"methodName": "fail", "params": ["fault"]},
                {"methodName": "fail", "params": ["exit"]},
                {"methodName": "fail", "params": ["generator"]},
                {"methodName": "unknown", "params": []},
                {"methodName": "system.multicall", "params": [[{"methodName": "x"}]]},
            ],
        ),
    ),
    ("system.multicall", ([{"methodName": "add"}],)),
    ("system.multicall", ([{"params": []}],)),
    ("system.multicall", (["add"],)),
    ("system.multicall", (1,)),
]


def called(server, method, params):
    """Return the result of a call, or its fault."""
    try:
        return getattr(server.proxy, method)(*params)
    except xmlrpc.client.Fault as e:
        return "fault", e.faultCode, e.faultString


def test_differential_xmlrpc(start, target):
    theirs = Server(start, find_target("cpython"), "xmlrpc.server")
    ours = Server(start, target)
    differ = []
    for method, params in CALLS:
        wanted, got = called(theirs, method, params), called(ours, method, params)
        if target.micropython:
            wanted, got = alike(wanted), alike(got)
        if wanted != got:
            differ.append((method, params, wanted, got))
    assert not differ


def alike(result):
    """Leave out of a fault's text what is the interpreter's own: what the exception says."""
    if isinstance(result, tuple):
        code, text = result[1:]
        known = code != 1 or "is not supported" in text or "it fails" in text
        return "fault", code, text.replace("'", "") if known else text.split(":")[0]
    if isinstance(result, str):
        return ""  # MicroPython keeps no docstrings
    if isinstance(result, list) and isinstance(result[0], list):
        return [one if isinstance(one, list) else one["faultCode"] for one in result]
    return result


def test_multicall_and_many_clients(start, target):
    server = Server(start, target)
    calls = xmlrpc.client.MultiCall(server.proxy)
    for i in range(20):
        calls.add(i, i)
    assert list(calls()) == [2 * i for i in range(20)]
    for i in range(20):
        with xmlrpc.client.ServerProxy("http://127.0.0.1:%d/RPC2" % server.port) as proxy:
            server.proxy("close")()
            assert proxy.add(i, 1) == i + 1


def test_builtin_types_and_others(start):
    server = Server(start, find_target("cpython"))
    assert server.proxy.echo(datetime.datetime(2024, 2, 29, 1, 2, 3)) == "20240229T01:02:03"
    assert server.proxy.echo(b"bytes").data == b"bytes"
    for wrong, status in ((b"GET", 405), (b"BREW", 501)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request(wrong.decode(), "/")
        assert connection.getresponse().status == status
        connection.close()


def nested(value, depth):
    return "<array><data><value>" * depth + value + "</value></data></array>" * depth


def listed(value, n):
    return "<array><data>%s</data></array>" % ("<value>%s</value>" % value * n)


# Most of them need more than there is, in one way or another.
GREEDY = [
    listed("<array><data></data></array>", 200),
    listed("1", 500),
    listed("1", 1000),
    listed("<struct><member><name>a</name><value>b</value></member></struct>", 200),
    nested("x", 15),
    nested(listed("<array><data></data></array>", 180), 14),
    "<string>%s</string>" % ("x" * 15000),
    "<string>%s</string>" % ("&amp;" * 3000),
    "<base64>%s</base64>" % ("QUFB" * 3700),
]


@pytest.mark.parametrize("heap", ["64k", "128k"])
def test_greedy_calls_in_a_small_heap(start, small, heap):
    lib = os.path.relpath(mpy.compile_lib(ROOT / "build" / "mpy"))
    program = os.path.relpath(PROGRAM)
    server = Server(start, small, program=program, heap=heap, lib=lib)
    outcomes = []
    for _ in range(2):
        for value in GREEDY:
            call = (
                "<methodCall><methodName>echo</methodName><params><param><value>%s</value>"
                "</param></params></methodCall>" % value
            )
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
            with contextlib.closing(connection):
                connection.request("POST", "/RPC2", call)
                try:
                    outcomes.append(connection.getresponse().status)
                except ConnectionError:  # there was no room even to say so
                    outcomes.append(None)
            assert server.proxy.echo(value[:40]) == value[:40]
    assert set(outcomes) <= {200, 503, None}, outcomes
    if heap == "128k":  # values among garbage left no room for so many
        assert None not in outcomes and outcomes[0] == outcomes[1] == 200, outcomes


words = st.sampled_from(
    "<methodCall>|</methodCall>|<methodName>|</methodName>|<params>|</params>|<param>|</param>|"
    "<value>|</value>|<int>|</int>|<string>|</string>|<array>|</array>|<data>|</data>|<struct>|"
    "</struct>|<member>|</member>|<name>|</name>|<nil/>|<base64>|</base64>|<double>|</double>|"
    "<boolean>|</boolean>|<dateTime.iso8601>|echo|1|nan|&lt;|&#0;|&#xd800;|&x;|<|>|/|?>|<?xml |"
    "<!DOCTYPE x>|<![CDATA[x]]>|<!-- -->|=|'| |\n".split("|")
)
values = st.recursive(
    st.integers(-(2**31), 2**31 - 1) | st.booleans() | st.text("a<&>\xe4", max_size=5) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab<", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def documents(draw):
    """A call that is right, with a piece of it gone, doubled or replaced."""
    data = xmlrpc.client.dumps((draw(values),), "echo", allow_none=True).encode()
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 30)))
        data = data[:start] + draw(words).encode() * draw(st.integers(0, 2)) + data[end:]
    return data


anything = documents() | st.lists(words, max_size=40).map(lambda w: "".join(w).encode())
anything = anything | st.binary(max_size=200)


@pytest.mark.parametrize("name", ["cpython", "i386"])
def test_fuzzed_calls(start, name):
    server = Server(start, find_target(name))
    outcomes = {"right": 0, "fault": 0}

    def check(data):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", "/RPC2", data)
            answer = connection.getresponse()
            assert answer.status == 200
            body = answer.read()
        try:
            xmlrpc.client.loads(body)
            outcomes["right"] += 1
        except xmlrpc.client.Fault as e:
            assert e.faultCode == 1
            outcomes["fault"] += 1

    marks = []
    for _ in range(3):  # the same ones: what they leave behind is left in each round
        fuzz(250, anything, check)
        # What stands on the stack may look like an address in the heap, now and then.
        marks.append(min(server.proxy.heap() for _ in range(5)))
    assert marks[2] - marks[1] <= 64, marks
    assert outcomes["right"] > 20 and outcomes["fault"] > 100, outcomes
    assert server.proxy.echo("still here") == "still here"
    assert "Traceback" not in server.program.output, server.program.output
