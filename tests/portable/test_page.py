"""PageHandler: what a browser asks of it, what it refuses, and that nothing else is to be had."""

import json
import os
import time

from socketse import Multiplexer, MultiplexingTCPServer, TCPServer, UDPServer, page, services
from support import MICROPYTHON, Client, free, thread, wait_until

FILE = "/tmp/socketse-page-%d.html"
TEXT = b"<!DOCTYPE html>\n" + b"0123456789abcdef" * 100  # more than one piece of it
GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


class Answer:
    """What has come for one request: status, fields by lower-case name, body."""

    def __init__(self, client, head=False):
        line = client.line()
        self.status = int(line.split()[1])
        self.fields = {}
        while True:
            line = client.line().strip()
            if not line:
                break
            name, _, value = line.decode().partition(": ")
            self.fields[name.lower()] = value
        self.body = b""
        if head or self.status == 304:
            return
        if self.fields.get("transfer-encoding") == "chunked":
            while True:
                size = int(client.line(), 16)
                self.body += exactly(client, size)
                assert client.line() == b"\r\n"
                if not size:
                    return
        length = self.fields.get("content-length")
        if length is None:
            self.body, client._buffer = client.rest(), b""
        else:
            self.body = exactly(client, int(length))


def exactly(client, n):
    while len(client._buffer) < n:
        more = client.recv()
        assert more, "the answer is cut off"
        client._buffer += more
    data, client._buffer = client._buffer[:n], client._buffer[n:]
    return data


class Page(page.PageHandler):
    title = 'a "name" <b>'


class serving:
    """with serving() as address: a page, an echo and a datagram service in one multiplexer."""

    def __enter__(self):
        address = free()
        self.file = Page.page = FILE % address[1]
        with open(self.file, "wb") as f:
            f.write(TEXT)
        self.hub = Page.hub = Multiplexer()
        self.hub.uptime = 77
        self.echo = TCPServer(free(), services.EchoHandler)
        self.echo.name = "echo/tcp"
        for server in (
            TCPServer(address, Page),
            self.echo,
            UDPServer(free(), services.EchoHandler),
        ):
            self.hub.add(server)
        self.record = thread(self.hub.serve_forever, 0.02)
        return address

    def __exit__(self, *args):
        self.hub.shutdown()
        wait_until(lambda: self.record["done"])
        self.hub.close()
        os.remove(self.file)


def test_the_page_and_its_numbers():
    site = serving()
    with site as address:
        with Client(site.echo.server_address) as other:
            other.send(b"hello\n")
            assert other.line() == b"hello\n"
            with Client(address) as client:
                client.send(GET % b"/?every=1")
                page = Answer(client)
                assert (page.status, page.body) == (200, TEXT)
                assert page.fields["content-type"] == "text/html; charset=utf-8"
                assert page.fields["cache-control"] == "no-cache"
                # The connection stays, and one request may follow at the heels of another.
                client.send(GET % b"/stats.json" + GET % b"/")
                stats = Answer(client)
                assert stats.fields["content-type"] == "application/json"
                assert stats.fields["cache-control"] == "no-store"
                assert Answer(client).body == TEXT
        found = json.loads(stats.body)
        assert found["name"] == 'a "name" <b>' and found["uptime"] == 77
        assert found["time"] > 1700000000
        if MICROPYTHON:
            assert found["free"] > 0 and found["used"] > 0
        else:
            assert found["free"] is None and found["used"] is None
        page, echo, udp = found["services"]
        assert page["name"] == "TCPServer" and page["port"] == address[1]
        assert (page["active"], page["accepted"]) == (1, 1)
        assert echo["name"] == "echo/tcp" and echo["port"] == site.echo.server_address[1]
        assert (echo["active"], echo["bytes_in"], echo["bytes_out"]) == (1, 6, 6)
        assert udp["name"] == "UDPServer"
        for one in found["services"]:
            assert sorted(one) == sorted(list(site.echo.stats) + ["name", "port"])


def test_what_a_browser_has_already():
    with serving() as address, Client(address) as client:
        client.send(GET % b"/")
        tag = Answer(client).fields["etag"].encode()
        with_tag = b"GET / HTTP/1.1\r\nHost: x\r\nIf-None-Match: %s\r\n\r\n"
        client.send(with_tag % tag)
        assert Answer(client).status == 304
        client.send(with_tag % b'"1-1"')
        assert Answer(client).status == 200
        with open(Page.page, "wb") as f:
            f.write(TEXT + b"more")
        client.send(with_tag % tag)
        assert Answer(client).body == TEXT + b"more"


def test_heads_and_old_clients():
    with serving() as address:
        with Client(address) as client:
            for path in (b"/", b"/stats.json"):
                client.send(b"HEAD %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                head = Answer(client, head=True)
                client.send(GET % path)
                got = Answer(client)
                assert head.status == got.status == 200 and head.fields == got.fields
        for path in (b"/", b"/stats.json"):
            with Client(address) as client:
                client.send(b"GET %s HTTP/1.0\r\n\r\n" % path)
                old = Answer(client)
                assert "transfer-encoding" not in old.fields
                assert old.fields["connection"] == "close" and client.rest() == b""
                assert old.body == TEXT or json.loads(old.body)["services"]
        with Client(address) as client:
            client.send(b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
            head, rest = client.rest().split(b"\r\n\r\n")
            assert head.split()[1] == b"404" and rest == b""


def test_nothing_else_is_to_be_had():
    wrong = (
        (GET % b"/config.json", 404),
        (GET % b"/../config.json", 404),
        (GET % b"/%2e%2e/config.json", 404),
        (GET % b"//", 404),
        (GET % b"/test_page.py", 404),
        (GET % (b"http://x/"), 404),
        (b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx", 413),
        (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"GET /\r\n\r\n", 400),
        (b"GET / FTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.x\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        # What others may take for a body must not be a request.
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length : 40\r\n\r\n" + GET % b"/" + b"x", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: y\rContent-Length: 40\r\n\r\n" + GET % b"/", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: y\nContent-Length: 40\r\n\r\n" + GET % b"/", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX:\r\n Content-Length: 40\r\n\r\n" + GET % b"/", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\xff\xfe\x00 / HTTP/1.1\r\n\r\n", 405),
        (b"GET /" + b"x" * 3000, 431),
    )
    with serving() as address:
        for request, status in wrong:
            with Client(address) as client:
                client.send(request)
                answer = Answer(client)
                assert answer.status == status, (request, answer.status)
                assert answer.fields["connection"] == "close"
                if status == 405:
                    assert answer.fields["allow"] == "GET, HEAD"
                assert client.rest() == b""
            with Client(address) as client:  # and the server goes on
                client.send(GET % b"/")
                assert Answer(client).body == TEXT


def test_who_says_close_is_closed():
    with serving() as address:
        for field in (b"Connection:close", b"connection:  Close", b"Connection: a, close"):
            with Client(address) as client:
                client.send(b"GET / HTTP/1.1\r\nhost:x\r\n%s\r\n\r\n" % field)
                answer = Answer(client)
                assert answer.status == 200 and answer.fields["connection"] == "close", field
                assert client.rest() == b""


def test_a_page_that_is_not_there():
    with serving() as address, Client(address) as client:
        os.remove(Page.page)
        client.send(GET % b"/")
        assert Answer(client).status == 404
        open(Page.page, "w").close()


def test_who_sends_half_a_request_has_to_go():
    page.head_ms = 2000
    with serving() as address, Client(address) as client, Client(address) as other:
        other.send(GET % b"/")  # a request ends its time
        assert Answer(other).status == 200
        begun = time.time()
        sent = 0
        while time.time() - begun < 20:  # a byte now and then: it is never silent for long
            try:
                client.send(b"GET / HTTP/1.1\r\nHost: x"[sent : sent + 1] or b"x")
            except OSError:
                break
            sent += 1
            time.sleep(0.05)
        assert 1 < sent < 200
        other.send(GET % b"/")
        assert Answer(other).status == 200


def test_who_has_sent_but_a_part_takes_no_place_from_others():
    with serving() as address:
        hub = Page.hub
        hub.max_connections = 2
        slow = [Client(address) for _ in range(2)]
        answered = []

        def drip():
            for i in range(40):
                if answered:
                    return
                for c in slow:
                    try:
                        c.send(b"GET / HTTP/1.1\r\nX: "[i : i + 1] or b"x")
                    except OSError:
                        continue  # it had to go
                time.sleep(0.2)
            answered.append(False)  # too late

        record = thread(drip)
        wait_until(lambda: hub.stats["bytes_in"] >= 4)
        with Client(address) as other:
            other.send(GET % b"/")
            assert Answer(other).status == 200
            assert not answered and hub.stats["evicted"] == 1
            answered.append(True)
        wait_until(lambda: record["done"])
        for c in slow:
            c.close()


def test_a_server_of_its_own():
    address = free()
    Page.page = "nothing"
    server = MultiplexingTCPServer(address, Page)
    record = thread(server.serve_forever, 0.02)
    with Client(address) as client:
        client.send(GET % b"/stats.json")
        found = json.loads(Answer(client).body)
        assert found["uptime"] is None
        assert [one["port"] for one in found["services"]] == [address[1]]
    server.shutdown()
    wait_until(lambda: record["done"])
    server.server_close()


class Short:
    """What page takes for open and os: each name's first calls find no memory."""

    def __init__(self, **calls):
        self.calls = calls  # by name, which of them fails
        self.file = None

    def fail(self, name):
        self.calls[name] = self.calls.get(name, 0) - 1
        if self.calls[name] == 0:
            raise MemoryError

    def stat(self, path):
        self.fail("stat")
        return os.stat(path)

    def open(self, path, mode):
        self.fail("open")
        self.file = open(path, mode)
        return self

    def read(self, n):
        self.fail("read")
        return self.file.read(n)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()


def without_memory(name, call):
    """Ask for the page while a call finds no memory: first beside somebody else, then alone."""
    short = Short(**{name: call})
    site = serving()
    with site as address:
        page.os, page.open = short, short.open
        try:
            with Client(address) as other, Client(address) as client:
                other.send(b"GET / HTT")
                wait_until(lambda: site.hub.stats["bytes_in"] == 9)
                time.sleep(0.3)  # garbage is to be enough in the first 250 ms
                client.send(GET % b"/")
                assert Answer(client).body == TEXT
                assert site.hub.stats["errors"] == 0 and short.calls[name] < 0
                # Now it is alone: nobody can leave it more room, but smaller pieces may fit.
                other.close()
                wait_until(lambda: site.hub.stats["active"] == 1)
                short.calls[name] = 1
                client.send(GET % b"/")
                if name == "read":
                    assert Answer(client).body == TEXT
                else:
                    assert TEXT not in client.rest()
                assert site.hub.stats["out_of_memory"] == 1 + (name != "read")
        finally:
            page.os = os
            del page.open


def test_somebody_else_goes_if_there_is_no_memory_for_an_answer():
    for name, call in (("stat", 1), ("open", 1), ("read", 1), ("read", 2)):
        without_memory(name, call)
