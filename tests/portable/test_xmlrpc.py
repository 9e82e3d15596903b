"""XML-RPC: values and calls, what is refused, and that nothing of it hurts."""

import errno
import gc

from socketse import Multiplexer, TCPServer
from socketse.xmlrpc import Binary, DateTime, Fault, SimpleXMLRPCServer
from socketse.xmlvalues import dumps, loads
from support import MICROPYTHON, Client, free, raises, thread, wait_until

CALL = (
    "<?xml version='1.0'?>\n<methodCall>\n<methodName>%s</methodName>\n"
    "<params>%s</params></methodCall>\n"
)


def parsed(values, depth=16, builtin=False):
    """Return the parameters of a call, given as the text between <value> and </value>."""
    params = "".join(["<param>\n<value>%s</value>\n</param>" % value for value in values])
    found, method = loads((CALL % ("f", params)).encode(), depth, builtin)
    assert method == "f"
    return found


def test_values():
    assert parsed([]) == ()
    for text, value in (
        ("<int>-7</int>", -7),
        ("<i4>+2147483647</i4>", 2147483647),
        ("<i8> 9000000000 </i8>", 9000000000),
        ("<boolean>1</boolean>", True),
        ("<boolean>0</boolean>", False),
        ("<double>-1.5e3</double>", -1500.0),
        ("<string>a &lt;b&gt; &amp;amp; &quot;&apos;</string>", "a <b> &amp; \"'"),
        ("<string>&#65;&#x42;&#xe4;</string>", "AB\xe4"),
        ("&#127;&#x80;&#x7ff;&#x800;&#xfffd;", "\x7f\x80\u07ff\u0800\ufffd"),
        ("a&#x10000;&#x10ffff;\xe4&lt;", "a\U00010000\U0010ffff\xe4<"),
        ("<string> two\r\nlines\n</string>", " two\nlines\n"),
        ("<string></string>", ""),
        ("<string/>", ""),
        (" <string/> ", ""),
        ("no type", "no type"),
        ("", ""),
        (" ", " "),
        ("\n<int>1</int>\n", 1),
        ("<i1>-1</i1>", -1),
        ("<i2>300</i2>", 300),
        ("<biginteger>12345678901</biginteger>", 12345678901),
        ("<ex:i8>5</ex:i8>", 5),
        ("<ex:float>0.5</ex:float>", 0.5),
        ("<float>-1.5</float>", -1.5),
        ("<nil/>", None),
        ("<ex:nil/>", None),
        ("<nil></nil>", None),
        ("<array><data></data></array>", []),
        ("<array><data/></array>", []),
        (
            "<array>\n<data>\n<value><int>1</int></value>\n<value>x</value></data></array>",
            [1, "x"],
        ),
        ("<struct></struct>", {}),
        ("<struct/>", {}),
        ("<struct><member><name>a&amp;</name><value>b</value></member></struct>", {"a&": "b"}),
        (
            "<array><data><value><struct><member><name>x</name><value><array><data><value/>"
            "</data></array></value></member></struct></value></data></array>",
            [{"x": [""]}],
        ),
    ):
        found = parsed([text])
        assert found == (value,) and type(found[0]) is type(value), (text, found)
    for before, start in (("\ufeff", ""), ("", ' xmlns:ex="http://ws.apache.org/xmlrpc/x"')):
        call = before + (CALL % ("f", "<param><value><ex:nil/></value></param>"))
        assert loads(call.replace("Call>", "Call%s>" % start, 1).encode(), 16, 0) == ((None,), "f")
    found = parsed(["<int>1</int>", "<dateTime.iso8601>19980717T14:08:55</dateTime.iso8601>"])
    assert found == (1, DateTime("19980717T14:08:55")) and str(found[1]) == "19980717T14:08:55"
    assert parsed(["<base64>\nYWJj\nZGVm\n</base64>"])[0].data == b"abcdef"
    assert parsed(["<base64>YWJj</base64>"], builtin=True) == (b"abc",)
    assert DateTime((2024, 2, 29, 1, 2, 3, 0, 0)).value == "20240229T01:02:03"


def test_refused_values():
    for text in (
        "<int></int>",
        "<int>x</int>",
        "<int>1.0</int>",
        "<int>1_0</int>",
        "<int>--1</int>",
        "<int>%s</int>" % ("1" * 30),
        "<double>one</double>",
        "<double>%s</double>" % ("1" * 500),
        "<boolean>true</boolean>",
        "<boolean>2</boolean>",
        "<nil>x</nil>",
        "<ex:int>1</int>",
        "<int>1</ex:int>",
        "<ex:array>1</ex:array>",
        "<ex:struct></ex:struct>",
        "<ey:int>1</ey:int>",
        "<bigdecimal>1</bigdecimal>",
        "a\0b",
        "<string>\x01</string>",
        "\x0b",
        "<int>\x0c1</int>",
        "<struct><member><value>a</value><name>a</name></member></struct>",
        "&#x+41;",
        "&#x 41;",
        "&#+65;",
        "&#1_00;",
        "&#x4_1;",
        "<int i4>1</int i4>",
        "<int>1</int><int>2</int>",
        "x<int>1</int>",
        "x<nil/>",
        "<int>1</int>x",
        "<int>1</string>",
        "<int>1</int></value>",
        "<int><int>1</int></int>",
        "<array></array>",
        "<array/>",
        "<array><value>1</value></array>",
        "<array><data>x</data></array>",
        "<array><data></data><data></data></array>",
        "<struct><name>a</name></struct>",
        "<struct><member><name>a</name></member></struct>",
        "<struct><member><value>a</value></member></struct>",
        "<struct><member><name>a</name><name>a</name><value>a</value></member></struct>",
        "<struct><member><name>a</name><value>a</value><value>a</value></member></struct>",
        "&nbsp;",
        "&",
        "&;",
        "&#0;",
        "&#x;",
        "&#xD800;",
        "&#x110000;",
        "&#99999999999999999999;",
        "<!-- a comment -->",
        "<![CDATA[x]]>",
        "<?php ?>",
        "<value>",
        "<",
        "<int",
        "</methodCall>",
    ):
        try:
            found = parsed([text])
        except (ValueError, OverflowError):
            continue
        raise AssertionError("%r was taken for %r" % (text, found))


def test_refused_calls():
    call = (CALL % ("f", "")).encode()
    assert loads(call, 16, False) == ((), "f")
    assert loads(b"<methodCall><methodName>a.b</methodName></methodCall>", 16, 0) == ((), "a.b")
    for data in (
        b"",
        b"x",
        b"<methodCall>",
        b"<methodCall></methodCall>",
        b"<methodCall x><methodName>f</methodName></methodCall>",
        b"<methodCall xmlns:ex><methodName>f</methodName></methodCall>",
        b"<methodCall x='1'><methodName>f</methodName></methodCall>",
        b"<methodCall><methodName xmlns:a='b'>f</methodName></methodCall>",
        b" \xef\xbb\xbf<methodCall><methodName>f</methodName></methodCall>",
        b"<methodCall><methodName>f</methodName>",
        b"<methodCall><params></params></methodCall>",
        b"<methodResponse></methodResponse>",
        b"<value>x</value>",
        call + call,
        b"<methodCall><methodName>f</methodName></methodCall>" * 2,
        call + b"x",
        b"x" + call,
        b"</methodCall>",
        call.replace(b"f", b"\xff"),
        call.replace(b"<?xml version='1.0'?>", b"<!DOCTYPE x [<!ENTITY a 'b'>]>"),
        call.replace(b"'1.0'", b"'1.0' encoding='iso-8859-1'"),
        call.replace(b"<params>", b"<params></params><params>"),
        call.replace(b"<methodName>", b"<methodName>f</methodName><methodName>"),
        call.replace(b"<params>", b"<params><param></param>"),
        call.replace(b"<params>", b"<params><param><value/><value/></param>"),
        call.replace(b"<params>", b"<params>x"),
    ):
        raises(ValueError, loads, data, 16, False)


def test_depth():
    def nested(n):
        return "<array><data><value>" * n + "</value></data></array>" * n

    value = parsed([nested(16)])[0]
    for _ in range(15):
        value = value[0]
    assert value == [""]
    for n in (17, 500):
        raises(ValueError, parsed, [nested(n)])


def test_answers():
    start, end = (
        b"<?xml version='1.0'?>\n<methodResponse><params><param><value>",
        (b"</value></param></params></methodResponse>\n"),
    )
    for value, text in (
        (1, b"<int>1</int>"),
        (True, b"<boolean>1</boolean>"),
        ("a<&>\xe4", "<string>a&lt;&amp;&gt;\xe4</string>".encode()),
        (1.5, b"<double>1.5</double>"),
        (None, b"<nil/>"),
        (b"abc", b"<base64>\nYWJj\n</base64>"),
        (Binary(b"abc"), b"<base64>\nYWJj\n</base64>"),
        (DateTime("19980717T14:08:55"), b"<dateTime.iso8601>19980717T14:08:55</dateTime.iso8601>"),
        ((1,), b"<array><data><value><int>1</int></value></data></array>"),
        (
            {"<": 1},
            b"<struct><member><name>&lt;</name><value><int>1</int></value></member></struct>",
        ),
    ):
        found = bytes(dumps((value,), True))
        assert found == start + text + end, found
    for value in (0.1 + 0.2, 1 / 3, 123456.789012345678):
        text = bytes(dumps((value,), True)).split(b"double>")[1][:-2]
        assert float(str(text, "ascii")) == value, text
    raises(TypeError, dumps, (None,), False)
    raises(TypeError, dumps, ({1: 2},), False)
    raises(TypeError, dumps, (len,), False)
    raises(OverflowError, dumps, (1 << 31,), False)
    endless = []
    endless.append(endless)
    raises((TypeError, RuntimeError), dumps, (endless,), False)
    deep = []
    for _ in range(60):  # boards have small stacks
        deep = [deep]
    raises(TypeError, dumps, (deep,), False)


class Thing:
    def hello(self):
        return "hello"

    def _private(self):
        return "private"


class Serving:
    def __init__(self, multiplexed, **kwargs):
        self.server = SimpleXMLRPCServer(free(), logRequests=False, **kwargs)
        self.loop = self.server
        if multiplexed:
            self.loop = Multiplexer()
            self.loop.add(self.server)

    def __enter__(self):
        self.record = thread(self.loop.serve_forever, 0.02)
        return self.server

    def __exit__(self, *args):
        self.loop.shutdown()
        wait_until(lambda: self.record["done"], what="serve_forever to end")
        self.server.server_close()


def post(server, body, path="/RPC2", fields=""):
    with Client(server.server_address) as c:
        c.send(
            (
                "POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n"
                % (path, fields, len(body))
            ).encode()
            + body
        )
        head, _, body = c.rest().partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body


def called(server, method, *values):
    params = "".join(["<param><value>%s</value></param>" % value for value in values])
    status, body = post(server, (CALL % (method, params)).encode())
    assert status == 200
    for name in (b"<int>", b"<string>"):
        body = body.replace(name, b"").replace(b"</" + name[1:], b"")
    return body.split(b"<value>", 1)[1].split(b"</value></", 1)[0], body


def test_calls():
    for multiplexed in (False, True):
        serving = Serving(multiplexed)
        server = serving.server
        server.register_function(pow)  # a builtin: MicroPython's have no name
        server.register_function(lambda *args: len(args), "count")

        @server.register_function
        def fail():
            raise KeyError("no")

        @server.register_function(name="fault")
        def other():
            raise Fault(42, "a fault")

        server.register_instance(Thing())
        server.register_introspection_functions()
        server.register_multicall_functions()
        raises(ValueError, server.register_function, object())
        with serving:
            assert called(server, "pow", "<int>2</int>", "<int>10</int>")[0] == b"1024"
            assert called(server, "count", "a", "b")[0] == b"2"
            assert called(server, "hello")[0] == b"hello"
            for method, code, text in (
                ("fail", b"1", b"&lt;class 'KeyError'&gt;:"),
                ("fault", b"42", b"a fault"),
                ("_private", b"1", b'method "_private" is not supported'),
                ("nothing", b"1", b'method "nothing" is not supported'),
                ("hello.x", b"1", b'method "hello.x" is not supported'),
            ):
                body = called(server, method)[1]
                assert b"<fault>" in body, body
                assert b"<name>faultCode</name><value>" + code + b"</value>" in body, body
                assert text in body, body
            names = called(server, "system.listMethods")[1]
            for name in (b"count", b"fail", b"fault", b"hello", b"pow", b"system.multicall"):
                assert b"<value>" + name + b"</value>" in names, names
            assert b"private" not in names
            assert called(server, "system.methodSignature", "x")[0] == b"signatures not supported"
            assert called(server, "system.methodHelp", "count")[0] == b""
            assert called(server, "nothing", "<nil/>")[1].count(b"<fault>") == 1
            assert post(server, b"<x")[1].count(b"<fault>") == 1
            assert post(server, b"", "/elsewhere") == (404, b"No such page")
            assert post(server, b"x", fields="Content-Encoding: gzip\r\n")[0] == 501
            assert post(server, bytes(17000))[0] == 413
            with Client(server.server_address) as c:
                c.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert c.line()[:12] == b"HTTP/1.0 411"
            with Client(server.server_address) as c:
                c.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert c.line()[:12] == b"HTTP/1.0 405"
        assert server.stats["errors"] == 1 and isinstance(server, TCPServer)  # the 413


def test_what_ends_a_program_elsewhere():
    """exit() in a function is a fault, as CPython's servers have it; Ctrl-C is none."""
    for multiplexed in (False, True):
        serving = Serving(multiplexed)
        server = serving.server
        server.register_multicall_functions()

        @server.register_function
        def fail(kind):
            raise {"exit": SystemExit, "end": GeneratorExit, "stop": KeyboardInterrupt}[kind](3)

        with serving:
            for kind, name in ((b"exit", b"SystemExit"), (b"end", b"GeneratorExit")):
                for _ in range(2):
                    body = called(server, "fail", kind.decode())[1]
                    assert b"<value>&lt;class '" + name + b"'&gt;:3</value>" in body, body
            many = server.funcs["system.multicall"]
            found = many([{"methodName": "fail", "params": ["exit"]}])
            assert found == [{"faultCode": 1, "faultString": "<class 'SystemExit'>:3"}], found
            raises(KeyboardInterrupt, many, [{"methodName": "fail", "params": ["stop"]}])
            call = (CALL % ("fail", "<param><value>stop</value></param>")).encode()
            raises(KeyboardInterrupt, server._marshaled_dispatch, call)


class Device(Thing):
    """More than methods."""

    def __init__(self):
        self.greet = self.hello
        self.asked = 0

    @property
    def sensor(self):
        self.asked += 1
        return self.hello

    class inner:
        @staticmethod
        def seven():
            return 7


class Anything:
    def __getattr__(self, name):
        if name[0] == "_":
            raise AttributeError(name)
        return lambda: name


def test_what_instances_are_asked_for():
    device = Device()
    for instance, dotted, answers in (
        (device, False, {"hello": b"hello", "greet": b"hello", "sensor": b"hello"}),
        (device, True, {"inner.seven": b"7", "hello": b"hello"}),
        (device, False, {"inner.seven": None, "nothing": None, "_private": None}),
        (Anything(), False, {"whatever": b"whatever", "_dispatch": None}),
        (errno, False, {"nothing": None, "__name__": None}),
    ):
        serving = Serving(True)
        serving.server.register_instance(instance, dotted)
        with serving as server:
            for method in sorted(answers):
                found = called(server, method)
                if answers[method] is None:
                    assert b'method "%s" is not supported' % method.encode() in found[1], found
                else:
                    assert found[0] == answers[method], found
    assert device.asked == 1


def test_nothing_is_kept_of_calls():
    """MicroPython keeps all names that an object was asked for, and all that chr() returned."""

    def used():
        gc.collect()
        return gc.mem_alloc() if MICROPYTHON else 0

    server = SimpleXMLRPCServer(free(), logRequests=False)
    server.register_instance(Thing())
    server.register_introspection_functions()
    marks = []
    for i in range(3):
        for k in range(20):
            at = 0x4E00 + 400 * i + 20 * k
            text = "".join(["&#%d;" % c for c in range(at, at + 20)])
            name = "name_%d_%d_%s" % (i, k, "x" * 200)
            for method, value in ((name, text), ("system.methodHelp", name)):
                call = CALL % (method, "<param><value>%s</value></param>" % value)
                answer = server._marshaled_dispatch(call.encode())
                assert (b"is not supported" in answer) == (method == name), answer
        marks.append(used())
    server.server_close()
    assert marks[2] - marks[1] < 3000, marks


def test_multicall():
    server = SimpleXMLRPCServer(free(), logRequests=False)
    server.register_multicall_functions()

    @server.register_function
    def full():
        raise MemoryError

    def call(*values):
        values = ["<value><struct>%s</struct></value>" % value for value in values]
        params = "<param><value><array><data>%s</data></array></value></param>" % "".join(values)
        return bytes(server._marshaled_dispatch((CALL % ("system.multicall", params)).encode()))

    name = "<member><name>methodName</name><value>full</value></member>"
    params = "<member><name>params</name><value><array><data/></array></value></member>"
    try:
        for value in (name, params):  # what is no call is the fault of all
            assert b"<methodResponse><fault>" in call(value)
        raises(MemoryError, call, name + params)  # the server is to know
    finally:
        server.server_close()


def test_dotted_names_and_own_dispatch():
    class Outer:
        thing = Thing()

    serving = Serving(True)
    serving.server.register_instance(Outer(), allow_dotted_names=True)
    with serving as server:
        assert called(server, "thing.hello")[0] == b"hello"
        assert b"not supported" in called(server, "thing._private")[1]

    class Own:
        def _dispatch(self, method, params):
            return "%s %d" % (method, len(params))

        def _listMethods(self):
            return ["everything"]

    serving = Serving(True, allow_none=True)
    serving.server.register_instance(Own())
    serving.server.register_introspection_functions()
    with serving as server:
        assert called(server, "any.thing", "<nil/>")[0] == b"any.thing 1"
        assert b"everything" in called(server, "system.listMethods")[1]


def test_who_may_call():
    class Local(SimpleXMLRPCServer):
        def verify_request(self, request, client_address):
            return client_address[0] in self.allowed

    for allowed in (("127.0.0.1",), ()):
        serving = Serving(False)
        serving.server.server_close()
        serving.server = serving.loop = server = Local(free(), logRequests=False)
        server.allowed = allowed
        server.register_function(lambda: 7, "seven")
        with serving:
            try:
                assert called(server, "seven")[0] == b"7" and allowed
            except (OSError, IndexError):
                assert not allowed
