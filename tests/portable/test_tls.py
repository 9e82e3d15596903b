"""TLS: ssl_context on every kind of TCP server, and contexts from certificates."""

import random
import sys
import time

import support
from socketse import (
    AsyncStreamRequestHandler,
    Multiplexer,
    MultiplexingTCPServer,
    StreamRequestHandler,
    TCPServer,
    ThreadingTCPServer,
    UDPServer,
    client_context,
    server_context,
)
from support import (
    BOARD,
    MICROPYTHON,
    SCALE,
    Client,
    Skip,
    TLSClient,
    certificate,
    free,
    quiet,
    raises,
    rooms_are_files,
    serving,
    thread,
    wait_until,
)

HELLO = b"who are you?\n"
seen = []  # what handlers have seen of their connections


class Echo(StreamRequestHandler):
    def handle(self):
        self.wfile.write(HELLO)
        while True:
            line = self.rfile.readline()
            if not line:
                break
            self.wfile.write(line)
        self.tell()

    def tell(self):
        if self.server.ssl_context:
            seen.append((self.request.truncated, self.request.cipher()))


class AsyncEcho(AsyncStreamRequestHandler):
    async def handle(self):
        self.wfile.write(HELLO)
        await self.wfile.drain()
        while True:
            line = await self.rfile.readline()
            if not line:
                break
            self.wfile.write(line)
            await self.wfile.drain()
        Echo.tell(self)


class SpokenTo(Echo):
    client_speaks_first = True


def server_with(kind, handler, **attributes):
    attributes["ssl_context"] = server_context(certificate("server.pem"))
    attributes["request_queue_size"] = 50
    return type("Server", (kind,), attributes)(free(), handler)


def talk(server, n=30):
    with TLSClient(server.server_address) as client:
        assert client.line() == HELLO
        for i in range(n):
            line = (b"%d " % i) * (i * 7) + b"\n"
            client.send(line)
            assert client.line() == line


def check(kind, handler):
    del seen[:]
    with serving(server_with(kind, handler)) as server:
        for _ in range(3):
            talk(server)
        wait_until(lambda: len(seen) == 3 and not server.stats["active"])
        for truncated, cipher in seen:
            assert cipher[1].startswith("TLSv1."), cipher
            assert truncated  # MicroPython's close() sends no close_notify, nor does CPython's
        assert server.stats["errors"] == 0, server.stats


def test_plain_server():
    check(TCPServer, Echo)


def test_plain_server_with_an_async_handler():
    check(TCPServer, AsyncEcho)


def test_threading_server():
    check(ThreadingTCPServer, Echo)


def test_threading_server_with_an_async_handler():
    check(ThreadingTCPServer, AsyncEcho)


def test_multiplexing_server():
    check(MultiplexingTCPServer, AsyncEcho)


def test_multiplexing_server_with_a_plain_handler():
    check(MultiplexingTCPServer, Echo)


def test_clients_at_the_same_time():
    for kind, handler in ((MultiplexingTCPServer, AsyncEcho), (ThreadingTCPServer, Echo)):
        if kind is ThreadingTCPServer and kind.max_threads in (1, 2, 3):
            raise Skip("a thread for each of four connections")
        with serving(server_with(kind, handler)) as server:
            clients = [TLSClient(server.server_address) for _ in range(4)]
            for client in clients:
                assert client.line() == HELLO
            for round in range(3):
                for client in clients:
                    client.send(b"%d\n" % round)
                for client in clients:
                    assert client.line() == b"%d\n" % round
            for client in clients:
                client.close()


def test_a_multiplexer_with_several_servers():
    with Multiplexer() as hub:
        names = []
        for handler in (AsyncEcho, Echo, SpokenTo):
            names.append(hub.add(server_with(TCPServer, handler)))
        names.append(hub.add(server_with(ThreadingTCPServer, Echo)))
        plain = hub.add(TCPServer(free(), AsyncEcho))
        with serving_hub(hub):
            for server in names:
                if server.RequestHandlerClass is SpokenTo:
                    with TLSClient(server.server_address) as client:
                        client.send(b"I\n")
                        assert client.line() == HELLO
                        assert client.line() == b"I\n"
                else:
                    talk(server, 3)
            with Client(plain.server_address) as client:
                assert client.line() == HELLO


class serving_hub(serving):
    def __exit__(self, *args):
        self.server.shutdown()
        wait_until(lambda: self.record["done"], what="serve_forever to end")


class Sender(AsyncStreamRequestHandler):
    """Sends more than fits, and goes on to write while some of it waits."""

    max_pending = 30000
    size = 0

    async def handle(self):
        n = 0
        while n < 200:
            line = b"%d %s\n" % (n, b"x" * (n * 37 % 900))
            try:
                self.wfile.write(line)
                n += 1
            except OSError:
                await self.wfile.drain()
            if n % 7 == 0:
                await self.sleep(0)


def test_what_waits_to_be_sent_arrives_once_and_in_order():
    # Mbed TLS must be given the same bytes again after it could not send them.
    for kind in (MultiplexingTCPServer, TCPServer):
        with serving(server_with(kind, Sender)) as server:
            with TLSClient(server.server_address) as client:
                time.sleep(0.3)  # the sender fills all buffers meanwhile
                for n in range(200):
                    assert client.line() == b"%d %s\n" % (n, b"x" * (n * 37 % 900)), n
                assert client.line() == b""


class Collector(AsyncStreamRequestHandler):
    async def handle(self):
        n = 0
        while True:
            data = await self.rfile.read(100)
            if not data:
                break
            n += len(data)
            if n == 40000:
                self.wfile.write(b"%d\n" % n)
                await self.wfile.drain()


def test_large_records_are_read_to_their_end():
    # What TLS has read and nobody has asked for yet shows on no socket.
    for kind in (MultiplexingTCPServer, TCPServer):
        with serving(server_with(kind, Collector)) as server:
            with TLSClient(server.server_address) as client:
                client.send(b"y" * 40000)
                assert client.line() == b"40000\n"


def refused(address, data):
    """Send data to a TLS server, and wait until it closes; return what came."""
    with Client(address) as client:
        client.send(data)
        try:
            return client.rest()
        except OSError:
            return b"reset"


NO_TLS = (
    b"GET / HTTP/1.0\r\n\r\n",
    b"\0" * 100,
    b"\xff" * 1000,
    b"\x16\x03\x01\x00\x04\x0e\x00\x00\x00",  # what comes last from a server
)
# The beginning of a ClientHello, whose rest never comes.
HALF = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + b"r" * 32


def test_what_is_no_tls_closes_its_connection_and_counts():
    for kind, handler in (
        (MultiplexingTCPServer, AsyncEcho),
        (MultiplexingTCPServer, Echo),
        (ThreadingTCPServer, Echo),
        (TCPServer, Echo),
    ):
        with serving(server_with(kind, handler)) as server, quiet() as text:
            for n, data in enumerate(NO_TLS, 1):
                got = refused(server.server_address, data)
                assert HELLO not in got, got
                wait_until(lambda n=n, server=server: server.stats["errors"] == n)
            talk(server, 2)
            wait_until(lambda server=server: not server.stats["active"])
            assert text.getvalue() == ""


def test_silence_and_half_a_handshake_stop_nobody():
    from socketse import tls

    usual = tls.Handshake.timeout
    hub = Multiplexer()
    server = hub.add(server_with(TCPServer, AsyncEcho))
    other = hub.add(TCPServer(free(), AsyncEcho))
    try:
        with serving_hub(hub):
            silent = [Client(server.server_address) for _ in range(3)]
            halves = [Client(server.server_address) for _ in range(3)]
            for client in halves:
                client.send(HALF)
            with Client(other.server_address) as client:
                assert client.line() == HELLO
            talk(server, 2)
            assert server.stats["timed_out"] == 0
            tls.Handshake.timeout = 0.2
            for client in silent + halves:
                try:
                    assert client.rest() == b""
                except OSError:
                    pass  # a reset: it had sent something
                client.close()
            tls.Handshake.timeout = usual
            talk(server, 2)
            assert server.stats["timed_out"] + server.stats["evicted"] == 6, server.stats
    finally:
        tls.Handshake.timeout = usual
        hub.close()


def test_a_silent_client_holds_a_plain_server_for_5_seconds():
    with serving(server_with(TCPServer, Echo)) as server:
        with Client(server.server_address) as silent:
            talk(server, 1)
            try:
                assert silent.rest() == b""
            except OSError:
                pass
        assert server.stats["timed_out"] == 1, server.stats


def test_wrapping_in_setup():
    context = server_context(certificate("server.pem"))

    class Wrapped(StreamRequestHandler):
        def setup(self):
            self.request = context.wrap_socket(self.request, server_side=True)
            StreamRequestHandler.setup(self)

        def handle(self):
            self.wfile.write(HELLO)
            self.wfile.write(self.rfile.readline())
            self.request.close()

    for kind in (TCPServer, ThreadingTCPServer):
        with serving(kind(free(), Wrapped)) as server:
            for _ in range(2):
                with TLSClient(server.server_address) as client:
                    assert client.line() == HELLO
                    client.send(b"yes\n")
                    assert client.line() == b"yes\n"


class Certified(AsyncStreamRequestHandler):
    async def handle(self):
        await self.rfile.readline()
        der = self.request.getpeercert(True)
        self.wfile.write(b"%d\n" % len(der or b""))


def test_client_certificates():
    context = server_context(certificate("server.pem"), cafile=certificate("clients.pem"))
    for kind in (MultiplexingTCPServer, TCPServer, ThreadingTCPServer):
        server = server_with(kind, Certified)
        server.ssl_context = context
        with serving(server):
            for name in (None, "stranger", "client"):
                try:
                    with TLSClient(server.server_address, name) as client:
                        client.send(b"\n")
                        line = client.line()
                except (OSError, ValueError):
                    line = b""
                assert (int(line or b"0") > 100) == (name == "client"), (name, line)
            wait_until(lambda server=server: not server.stats["active"])
            assert server.stats["errors"] == 2, server.stats


def test_what_is_known_before_data_has_come():
    class Early(AsyncStreamRequestHandler):
        async def handle(self):
            early = self.request.cipher()  # MicroPython's own would crash
            self.wfile.write(await self.rfile.readline())
            await self.wfile.drain()
            seen.append((early, self.request.cipher(), self.request.getpeercert(True)))

    del seen[:]
    with serving(server_with(MultiplexingTCPServer, Early)) as server:
        with TLSClient(server.server_address) as client:
            client.send(b"x\n")
            assert client.line() == b"x\n"
        wait_until(lambda: seen)
    early, late, peer = seen[0]
    assert early is None or early == late
    assert late[1].startswith("TLSv1.") and peer is None


def test_certificates_come_in_all_forms():
    def content(name):
        with open(certificate(name), "rb") as f:
            return f.read()

    forms = [
        (certificate("server.pem"),),
        (content("server.pem"),),
        (certificate("server.der"),),
        (content("server.der"),),
        (certificate("cert.pem"), certificate("server.pem")),
        (content("cert.pem"), certificate("server.pem")),
        (certificate("cert.der"), certificate("key.der")),
        (content("cert.der"), content("key.der")),
        (certificate("cert.pem"), certificate("key.der")),
        (bytearray(content("cert.der")), bytearray(content("server.pem"))),
        (certificate("odd.pem"),),
        (certificate("cert.der"), certificate("odd.pem")),
        (content("key.der") + content("cert.der"),),
        (certificate("chain.pem"),),
        (certificate("chain.der"), certificate("server.pem")),
    ]
    server = server_with(MultiplexingTCPServer, AsyncEcho)
    with serving(server):
        for form in forms:
            server.ssl_context = server_context(*form)
            talk(server, 1)


def content_of_a_certificate():
    with open(certificate("cert.der"), "rb") as f:
        return f.read()


def test_certificates_that_are_none():
    raises(OSError, server_context, certificate("missing.pem"))
    raises(OSError, server_context, certificate("cert.pem"), certificate("missing.pem"))
    for form in (
        (b"",),
        (b"nonsense",),
        (b"0\x82\xff\xffnonsense", b"0\x82\xff\xffnonsense"),
        (certificate("cert.der"),),
        (certificate("cert.pem"),),
        (certificate("cert.pem"), b"nonsense"),
        (certificate("server.pem"), certificate("cert.pem")),
        (b"nonsense", certificate("key.der")),
        (certificate("cert.pem"), b"0\x80nonsense\0\0"),
        (b"0\x80nonsense\0\0", certificate("key.der")),
        (certificate("cert.pem"), b"0"),
        (certificate("cert.pem"), b"0\3\2\1\1"),
        (b"-----BEGIN CERTIFICATE-----\n", certificate("key.der")),
        (b"-----BEGIN CERTIFICATE-----\nMMMM\n-----END", certificate("key.der")),
    ):
        raises(ValueError, server_context, *form)
    for form in ((certificate("locked.pem"),), (certificate("old-locked.pem"),)):
        e = raises(ValueError, server_context, *form)
        assert "encrypted" in str(e), e
    for cafile in (b"nonsense", certificate("key.der"), content_of_a_certificate()[:-9]):
        raises(ValueError, client_context, cafile)
    server_context(certificate("server.pem"), cafile=certificate("odd.pem"))
    stranger = certificate("cert.pem"), certificate("rsa.pem")
    if MICROPYTHON:
        server_context(*stranger)  # Mbed TLS does not look whether they fit
    else:
        assert "cannot be used" in str(raises(ValueError, server_context, *stranger))


def test_builds_that_know_no_pem():
    # rp2's Mbed TLS knows DER alone, and of that one certificate at a time.
    if not MICROPYTHON:
        raise Skip("contexts that take bytes: CPython's take files in PEM form")
    rooms_are_files()
    from socketse import certificates

    class Context:
        def __init__(self, protocol):
            self.given = given

        def load_cert_chain(self, cert, key):
            for data in (cert, key):
                if data[:1] != b"0":
                    raise ValueError("invalid cert")
            given.append((len(cert), len(key)))

        def load_verify_locations(self, cadata):
            if cadata[:1] != b"0":
                raise ValueError("invalid cert")
            given.append(len(cadata))

    usual = certificates.ssl
    try:
        certificates.ssl = type("ssl", (), {})
        certificates.ssl.SSLContext = Context
        certificates.ssl.PROTOCOL_TLS_SERVER = certificates.ssl.PROTOCOL_TLS_CLIENT = 1
        certificates.ssl.CERT_REQUIRED = 2
        given = []
        for form in ((certificate("server.pem"),), (certificate("server.der"),)):
            server_context(*form)
        assert given[0] == given[1], given
        given = []
        client_context(certificate("chain.pem"))
        assert len(given) == 2, given
        e = raises(ValueError, server_context, certificate("chain.pem"))
        assert "chain" in str(e), e
    finally:
        certificates.ssl = usual


def test_a_context_that_is_none():
    class Server(TCPServer):
        ssl_context = "server.pem"

    e = raises(TypeError, Server, free(), Echo)
    assert "SSLContext" in str(e)
    if MICROPYTHON:
        raise Skip("contexts that tell whether they are a client's, as CPython's do")
    Server.ssl_context = client_context(certificate("cert.pem"))
    assert "client" in str(raises(ValueError, Server, free(), Echo))


def test_a_handshake_counts_as_having_spoken():
    del seen[:]

    class Quiet(AsyncStreamRequestHandler):
        def setup(self):
            seen.append(self)

        async def handle(self):
            self.wfile.write(await self.rfile.readline())

    hub = Multiplexer(max_connections=2)
    server = hub.add(server_with(TCPServer, Quiet))
    with serving_hub(hub), TLSClient(server.server_address) as client:
        wait_until(lambda: seen)  # the server's half of the handshake is done
        silent = Client(server.server_address)
        wait_until(lambda: server.stats["active"] == 2)
        newcomer = Client(server.server_address)
        assert silent.rest() == b""  # it came later, but has said nothing at all
        assert server.stats["evicted"] == 1
        client.send(b"1\n")
        assert client.line() == b"1\n"
        silent.close()
        newcomer.close()
    hub.close()


def test_room_for_one_tls_connection():
    if not MICROPYTHON:
        raise Skip("memory that has to be looked at: CPython has enough")
    from socketse.tlssocket import TLSSocket

    TLSSocket.max_connections = 1
    hub = Multiplexer()
    server = hub.add(server_with(TCPServer, AsyncEcho))
    try:
        with serving_hub(hub):
            half = Client(server.server_address)
            half.send(HALF)
            wait_until(lambda: TLSSocket.count == 1)
            first = TLSClient(server.server_address)  # half a handshake has to go
            assert first.line() == HELLO
            assert server.stats["evicted"] == 1
            first.send(b"1\n")
            assert first.line() == b"1\n"
            # While it is at work a second one waits, then the first has to go.
            talk(server, 2)
            assert server.stats["evicted"] == 2, server.stats
            first.close()
            half.close()
        assert TLSSocket.count <= 1
    finally:
        TLSSocket.max_connections = None
        hub.close()
    assert TLSSocket.count == 0


def test_what_comes_while_a_handler_sleeps_is_kept():
    class Sleeper(AsyncStreamRequestHandler):
        async def handle(self):
            begun.append(1)
            await self.sleep(0.3)
            self.wfile.write(await self.rfile.readline())
            await self.wfile.drain()

    begun = []
    with serving(server_with(MultiplexingTCPServer, Sleeper)) as server:
        with TLSClient(server.server_address) as client:
            wait_until(lambda: begun)
            client.send(b"kept\n")
            assert client.line() == b"kept\n"


class SmallClient(TLSClient):
    rcvbuf = 4096


class Mirror(AsyncStreamRequestHandler):
    """Sends back what comes, in other pieces, of which only a few may wait."""

    max_pending = 300

    async def handle(self):
        while True:
            data = await self.rfile.read(random.randrange(1, 3000))
            while data:
                piece = data[: random.randrange(1, 1000)]  # more than may wait, too
                try:
                    self.wfile.write(piece)
                    data = data[len(piece) :]
                except OSError:
                    await self.wfile.drain()
                    continue
                if random.randrange(3) == 0:
                    await self.wfile.drain()
            if self._se_buffer is None:
                break


class Fickle(AsyncStreamRequestHandler):
    """Drops what is refused, and sends something else."""

    max_pending = 100 if MICROPYTHON else 1000  # less and more than what it sends at once

    async def handle(self):
        for n in range(200):
            try:
                self.wfile.write(self.line(n))
                self.server.sent.append(n)
            except OSError:
                self.server.dropped = True
                await self.sleep(0.002)

    @staticmethod
    def line(n):
        return b"%d %s\n" % (n, b"%d" % (n % 10) * (400 + n * 37 % 500))


def test_what_is_refused_is_not_sent():
    for kind in (MultiplexingTCPServer, TCPServer):
        server = server_with(kind, Fickle, dropped=False, sent=[])
        if not BOARD:
            server.socket.setsockopt(1, 7, 4096)  # SO_SNDBUF, on Linux
        with serving(server):
            with SmallClient(server.server_address) as client:
                time.sleep(0.1)
                got = []
                while True:
                    line = client.line()
                    if not line:
                        break
                    got.append(int(line.split()[0]))
                    assert line == Fickle.line(got[-1])
            assert got == server.sent
            assert BOARD or server.dropped


class PlainMirror(StreamRequestHandler):
    def handle(self):
        while True:
            data = self.request.recv(random.randrange(1, 3000))
            if not data:
                break
            self.request.sendall(data)


def test_random_sizes_both_ways():
    seed = int(time.time())
    print("seed", seed)
    random.seed(seed)
    text = bytes(bytearray(random.getrandbits(8) for _ in range(1009)))
    total = 50000 * SCALE
    for kind, handler in (
        (MultiplexingTCPServer, Mirror),
        (MultiplexingTCPServer, PlainMirror),
        (ThreadingTCPServer, PlainMirror),
        (ThreadingTCPServer, Mirror),
        (TCPServer, Mirror),
    ):
        server = server_with(kind, handler)
        if not BOARD:
            server.socket.setsockopt(1, 7, 4096)  # SO_SNDBUF, on Linux
        with serving(server):
            with SmallClient(server.server_address) as client:
                sent = got = 0
                while got < total:
                    # At most 40 kB are on the way: that is more than what the server may send.
                    while sent < total and sent - got < 40000 and random.randrange(4):
                        n = min(random.randrange(1, 9000), total - sent)
                        begin = sent % len(text)
                        client.send((text * 11)[begin : begin + n])
                        sent += n
                    if sent - got > 25000 and not random.randrange(9):
                        time.sleep(0.03)  # until the server cannot send any more
                    if got < sent:
                        data = client.recv(random.randrange(1, 5000))
                        begin = got % len(text)
                        assert data and data == (text * 6)[begin : begin + len(data)], got
                        got += len(data)
            wait_until(lambda server=server: not server.stats["active"])
            assert server.stats["errors"] == 0, server.stats


def test_garbage_after_the_handshake_is_the_clients_fault():
    for kind in (MultiplexingTCPServer, TCPServer, ThreadingTCPServer):
        with serving(server_with(kind, AsyncEcho)) as server, quiet() as text:
            with TLSClient(server.server_address) as client:
                assert client.line() == HELLO
                client.send_past_tls(b"\x17\x03\x03\x00\x20" + b"g" * 32)
                wait_until(lambda server=server: server.stats["errors"] == 1)
            wait_until(lambda server=server: not server.stats["active"])
            talk(server, 1)
            assert text.getvalue() == ""


def test_hooks_are_called_once_for_a_connection():
    class Logging(TCPServer):
        def finish_request(self, request, client_address):
            log.append(client_address)
            TCPServer.finish_request(self, request, client_address)

    for handler in (AsyncEcho, Echo):
        log = []
        with Multiplexer() as hub:
            server = hub.add(server_with(Logging, handler))
            with serving_hub(hub):
                talk(server, 1)
                talk(server, 1)
        assert len(log) == 2, log


def test_silent_clients_of_plain_handlers_have_their_limit_too():
    with Multiplexer(max_connections=3) as hub:
        server = hub.add(server_with(TCPServer, Echo))
        with serving_hub(hub):
            clients = []
            for n in range(1, 9):
                clients.append(Client(server.server_address))
                wait_until(lambda n=n: server.stats["accepted"] == n)
            wait_until(lambda: server.stats["evicted"] == 5, what="five to be evicted")
            assert server.stats["active"] <= 3
            talk(server, 1)
            for client in clients:
                client.close()


def test_no_server_falls_back_to_plain_text():
    class Server(TCPServer):
        def get_request(self):
            return self.socket.accept()  # past TLS

    for handler in (AsyncEcho, Echo):
        for hub in (None, Multiplexer()):
            server = server_with(Server, handler)
            with serving_hub(hub) if hub and hub.add(server) else serving(server):
                with quiet() as text, Client(server.server_address) as client:
                    client.send(b"hello\n")
                    try:
                        assert client.rest() == b""
                    except OSError:
                        pass  # a reset: it had sent something
                    wait_until(lambda server=server: server.stats["errors"])
                if not MICROPYTHON:
                    assert "get_request" in text.getvalue(), text.getvalue()
            server.server_close()

    class Datagrams(UDPServer):
        ssl_context = server_context(certificate("server.pem"))

    assert "TCP" in str(raises(TypeError, Datagrams, free(), Echo))


def test_a_context_that_cannot_accept():
    if MICROPYTHON:
        raise Skip("contexts with check_hostname, as CPython's are")
    context = server_context(certificate("server.pem"))
    context.verify_mode = 2
    context.check_hostname = True
    server = server_with(TCPServer, Echo)
    server.ssl_context = context
    with serving(server), quiet() as text, Client(server.server_address) as client:
        assert client.rest() == b""
        wait_until(lambda: "check_hostname" in text.getvalue())


def test_a_handshake_without_room_waits_in_peace():
    if not MICROPYTHON:
        raise Skip("memory that has to be looked at: CPython has enough")
    rooms_are_files()
    from socketse import tlssocket

    looks = []

    def has_room(limit):
        looks.append(1)
        return usual(limit)

    usual = tlssocket.has_room
    tlssocket.has_room = has_room
    tlssocket.TLSSocket.max_connections = 1
    try:
        with serving(server_with(MultiplexingTCPServer, AsyncEcho)) as server:
            with TLSClient(server.server_address) as first:
                assert first.line() == HELLO
                with Client(server.server_address) as second:
                    begin = time.time()
                    second.send(HALF)
                    for _ in range(8):
                        first.send(b"at work\n")
                        assert first.line() == b"at work\n"
                        time.sleep(0.1)
                    # One look every 100 ms.
                    most = 10 + 20 * (time.time() - begin)
                    assert 1 <= len(looks) < most, (len(looks), most)
    finally:
        tlssocket.TLSSocket.max_connections = None
        tlssocket.has_room = usual


class Full:
    """A context for whose connections there is no room."""

    def wrap_socket(self, wire, **options):
        raise MemoryError


def test_a_handshake_that_never_finds_room_was_out_of_memory():
    if not MICROPYTHON:
        raise Skip("memory that has to be looked at: CPython has enough")
    rooms_are_files()
    from socketse import tls

    usual = tls.Handshake.timeout
    try:
        server = MultiplexingTCPServer(free(), Echo)
        server.ssl_context = Full()
        with serving(server), Client(server.server_address) as other:
            wait_until(lambda: server.stats["active"] == 1)
            tls.Handshake.timeout = 0.4
            with Client(server.server_address) as client:
                wait_until(lambda: server.stats["active"] == 2)
                client.send(b"x")
                wait_until(lambda: server.stats["active"] == 1)
            other.close()
            wait_until(lambda: server.stats["active"] == 0)
            tls.Handshake.timeout = 1000  # alone: nobody can leave it room
            with Client(server.server_address) as client:
                wait_until(lambda: server.stats["active"] == 1)
                client.send(b"x")
                wait_until(lambda: server.stats["active"] == 0)
            assert server.stats["out_of_memory"] == 3, server.stats
            assert server.stats["timed_out"] == 0, server.stats
    finally:
        tls.Handshake.timeout = usual


class Pretender:
    """A context and its socket for Mbed TLS's: with answers that stand in a list."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.given = []

    def wrap_socket(self, wire, **options):
        self.wire = wire
        return self

    def answer(self, given):
        self.given.append(given)
        found = self.answers.pop(0) if self.answers else None
        if isinstance(found, BaseException):
            raise found
        return found

    read = write = lambda self, given: self.answer(given)

    def close(self):
        self.given.append("close")


class Silent:
    """A socket that takes pieces of an answer, as a test wants it."""

    def __init__(self, data=b""):
        self.data = data
        self.taken = []

    def readinto(self, buf):
        n = min(len(buf), len(self.data))
        if not n:
            return None
        buf[:n] = self.data[:n]
        self.data = self.data[n:]
        return n

    def write(self, buf):
        if not self.taken:
            return None
        return min(len(buf), self.taken.pop(0))


def pretended(*answers):
    """Return (client, TLSSocket) over a connection, with a Pretender as its context."""
    if not MICROPYTHON:
        raise Skip("a TLS socket of our own: CPython's is the standard library's")
    from socketse import port
    from socketse.tlssocket import TLSSocket

    with TCPServer(free(), Echo) as server:
        client = Client(server.server_address)
        native, _ = port.accept_native(server.socket)
    tls = TLSSocket(native, Pretender(*answers))
    tls.settimeout(0)
    return client, tls


_POLL, _READ, _WRITE = 3, 1, 4  # of io.IOBase.ioctl


def event(tls, mask):
    """Return what select.poll would be told, after a little time."""
    return tls.ioctl(_POLL, mask, 50)


def test_the_end_stays_the_end():
    client, tls = pretended(b"request", b"")
    with client:
        client.send(b"x")
        wait_until(lambda: event(tls, _READ))
        assert tls.recv(100) == b"request"
        assert tls.recv(0) == b"" and not tls.ended
        assert tls.recv(100) == b"" and tls.ended and not tls.truncated
        assert tls.recv(100) == tls.read(100) == b"" and tls.readinto(bytearray(9)) == 0
        assert event(tls, _READ) == _READ and event(tls, 0) == 0
        assert event(tls, _READ | _WRITE) == _READ | _WRITE
        tls.context.answers = [6]
        assert tls.send(b"answer") == 6  # it was the client's end only
        tls.close()
        tls.close()
        assert tls.context.given.count("close") == 1


def test_what_is_asked_of_a_closed_connection():
    client, tls = pretended(b"data")
    from socketse.tlssocket import TLSSocket

    with client:
        client.send(b"x")
        wait_until(lambda: event(tls, _READ))
        assert tls.recv(100) == b"data" and TLSSocket.count == 1
        tls.close()
        assert TLSSocket.count == 0
        for function in (tls.recv, tls.read):
            assert raises(OSError, function, 9).errno == 9
        for function in (tls.send, tls.sendall, tls.write):
            assert raises(OSError, function, b"x").errno == 9
        assert tls.cipher() is tls.getpeercert(True) is None
        assert event(tls, _READ) == 32  # POLLNVAL


def test_only_what_was_asked_for_is_told():
    client, tls = pretended(None, b"data")
    with client:
        assert event(tls, _READ | _WRITE) == 0  # it has not begun
        for function, given in ((tls.recv, 9), (tls.send, b"x")):
            assert raises(OSError, function, given).errno == 11
        assert tls.handshake() is False and not tls.open and tls.getpeercert() is None
        client.send(b"hello")
        assert event(tls, 0) == 0 and event(tls, _READ) == _READ
        # In the handshake a write waits for the client, not for room that is there.
        assert tls.send(b"") == 0
        raises(OSError, tls.send, b"answer")
        assert event(tls, _WRITE) == _WRITE
        tls.socket.readinto(bytearray(9))
        for tls.ready in (True, False):  # it may only look so
            assert event(tls, _WRITE) == event(tls, _READ) == 0
        tls.wire.full = True
        assert event(tls, _READ) == _READ and event(tls, _WRITE) == _WRITE
        tls.wire.full = False
        client.send(b"x")
        assert event(tls, _WRITE) == _WRITE
        assert tls.recv(9) == b"data" and tls.known
        assert event(tls, 0) == 0 and event(tls, _WRITE) == _WRITE
        if not BOARD:  # the system is the host's
            while tls.socket.write(b"y" * 10000):
                pass
            assert event(tls, _READ) == _READ and event(tls, _WRITE) == 0
        tls.close()


def test_what_was_not_sent_must_be_sent_again():
    from errno import ECONNABORTED

    client, tls = pretended(b"data", None, 5000, 4096, 904)
    with client:
        client.send(b"x")
        wait_until(lambda: event(tls, _READ))
        assert tls.recv(9) == b"data"
        assert tls.write(b"y" * 5000) is None
        assert raises(OSError, tls.send, b"something else").errno == ECONNABORTED
        tls.context.answers = [4096, 904]
        assert tls.write(b"y" * 5000) == 4096 and tls.write(b"y" * 904) == 904
        lengths = [len(given) for given in tls.context.given if given != 9]
        assert lengths == [4096, 4096, 904], lengths
        tls.close()


def test_when_a_handler_may_begin():
    client, tls = pretended(*[None] * 7)
    from socketse import tlssocket

    with client:
        client.send(b"x")
        wait_until(tls.spoken)
        assert tls.handshake() is False and tls.open
        wire = tls.wire
        wire.stage = 2
        for wire.full, wire.head, over in ((True, 0, False), (False, 3, False), (False, 0, True)):
            assert tls.handshake() is over
        assert tls.cipher() is None  # nobody knows for sure
        # A certificate that is required has to be there.
        tls.ready = False
        tls.context.verify_mode = 2
        tls.context.getpeercert = lambda binary: None
        assert tls.handshake() is False
        tls.context.getpeercert = lambda binary: b"certificate"
        assert tls.handshake() is True
        raises(NotImplementedError, pretended_certificate, tls)
        tls.close()
    # The first one is tried wherever there seems to be no room.
    client, tls = pretended(b"data")
    with client:
        client.send(b"x")
        wait_until(tls.spoken)
        usual = tlssocket.TLSSocket.max_connections
        tlssocket.TLSSocket.max_connections = 0
        assert tls.recv(9) == b"data"
        tlssocket.TLSSocket.max_connections = usual
        tls.close()


def pretended_certificate(tls):
    del tls.context.getpeercert
    tls.getpeercert(True)


def test_errors_of_a_handshake():
    from errno import ECONNABORTED, ENOBUFS, ENOMEM

    for error, kind, text in (
        (OSError(-29184, "INVALID_RECORD"), OSError, "TLS: INVALID_RECORD"),
        (OSError(-29184), OSError, "TLS: -29184"),
        (ValueError("not signed"), OSError, "TLS: not signed"),
        (OSError(104), OSError, ""),
    ):
        client, tls = pretended(error)
        with client:
            client.send(b"x")
            wait_until(lambda tls=tls: tls.spoken())
            e = raises(kind, tls.handshake)
            assert text in str(e) and e.errno in (ECONNABORTED, 104), e
            tls.close()
    client, tls = pretended(b"")
    with client:
        client.send(b"x")
        wait_until(tls.spoken)
        assert "gone" in str(raises(OSError, tls.handshake))
        tls.close()
    for error, kind in (
        (OSError(ENOMEM), MemoryError),
        (OSError(ENOBUFS), MemoryError),
        (OSError(-1, "bad config"), OSError),
        (TypeError("no context"), TypeError),
    ):
        client, tls = pretended(error)
        tls.context.wrap_socket = lambda *args, tls=tls, **kw: tls.context.answer(0)
        with client:
            client.send(b"x")
            wait_until(lambda tls=tls: tls.spoken())
            raises(kind, tls.handshake)
            assert not tls.open
            tls.close()
    from socketse.tlssocket import TLSSocket

    assert TLSSocket.count == 0


def feed(wire, data, sizes):
    """Let a Wire read data as Mbed TLS does: the head of a record, then its body."""
    wire.socket.data = data
    size = 5
    while wire.socket.data:
        buf = bytearray(min(size, random.choice(sizes)))
        n = wire.readinto(buf)
        size -= n
        if not size:
            size = wire.body or 5


def record(kind, n):
    return bytes([kind, 3, 3, n >> 8, n & 255]) + b"\x16" * n


def test_where_a_handshake_ends():
    if not MICROPYTHON:
        raise Skip("a TLS socket of our own: CPython's is the standard library's")
    from socketse.tlssocket import Wire

    hello, changed, secret = record(22, 200), record(20, 1), record(23, 300)
    server_hello = record(22, 90)

    class Reset:
        def readinto(self, buf):
            raise OSError(104)

        write = readinto

    wire = Wire(Reset(), False)
    # No exception passes through Mbed TLS.
    assert wire.readinto(bytearray(5)) == wire.write(b"x") == -104
    for sizes in ((1,), (1, 2, 3), (5, 1000)):
        # TLS 1.2: the client's Finished, and the server's
        wire = Wire(Silent(), False)
        feed(wire, hello + record(22, 70) + changed + record(22, 40), sizes)
        assert wire.stage == 1
        assert wire.write(changed) is None and wire.full and wire.stage == 2
        wire.socket.taken = [3, 100, 100]
        assert wire.write(changed) == 3 and wire.full
        assert wire.write(changed[3:]) == 3 and not wire.full
        assert wire.write(record(22, 40)) == 45 and wire.stage == 2
        # TLS 1.3, with one hello and with two
        for parts in ((hello,), (hello, changed + hello)):
            wire = Wire(Silent(), False)
            for part in parts:
                feed(wire, part, sizes)
                wire.socket.taken = [1000] * 3
                assert wire.stage < 2
                wire.write(server_hello)
                assert wire.stage == 0
                wire.write(changed)
                wire.write(secret)
                assert wire.stage == 0
            feed(wire, changed, sizes)
            assert wire.stage == 1
            feed(wire, secret[:-1], sizes)
            assert wire.stage == 1
            feed(wire, secret[-1:], sizes)
            assert wire.stage == 2 and not wire.head
            feed(wire, b"\x17\x03", (1,))
            assert not wire.head  # not looked at any more
        wire = Wire(Silent(), True)
        feed(wire, hello + changed + record(22, 40), sizes)
        assert wire.stage == 2  # a client's: the server's Finished comes last


def test_room_by_the_heap():
    if not MICROPYTHON:
        raise Skip("memory that has to be looked at: CPython has enough")
    rooms_are_files()
    from socketse import port, tlssocket

    class esp32:
        HEAP_DATA = 4

        @staticmethod
        def idf_heap_info(which):
            assert which == 4
            return [(50000, free // 2, 0, 0), (50000, free - free // 2, 0, 0)]

    class gc:
        @staticmethod
        def mem_free():
            return free

    usual = port.platform, sys.modules.get("gc")
    try:
        for port.platform, name, fake in (("esp32", "esp32", esp32), ("rp2", "gc", gc)):
            sys.modules[name] = fake
            for free in (0, 35999, 36000, 90000):
                assert tlssocket.has_room(None) == (free >= 36000), (name, free)
    finally:
        port.platform = usual[0]
        sys.modules.pop("esp32", None)
        if usual[1]:
            sys.modules["gc"] = usual[1]
        else:
            sys.modules.pop("gc", None)
    assert tlssocket.has_room(1) and not tlssocket.has_room(0)


def test_no_memory_to_accept():
    if not MICROPYTHON:
        raise Skip("a TLS socket of our own: CPython's is the standard library's")
    rooms_are_files()
    from socketse import port, tlssocket

    class poll:
        def register(self, *args):
            raise MemoryError

    usual = port.poll
    with TCPServer(free(), Echo) as server, Client(server.server_address) as client:
        port.poll = poll
        try:
            raises(MemoryError, tlssocket.accept, server.socket, None)
        finally:
            port.poll = usual
        assert client.rest() == b""
    assert tlssocket.TLSSocket.count == 0


def test_a_server_that_leaves_during_handshakes():
    for leave in (Multiplexer.remove, lambda hub, server: server.server_close()):
        with Multiplexer() as hub:
            server = hub.add(server_with(TCPServer, AsyncEcho))
            clients = [Client(server.server_address) for _ in range(4)]
            for client in clients[1:]:
                client.send(HALF)
            for _ in range(20):
                hub.poll(0.02)
            assert server.stats["active"] == 4
            leave(hub, server)
            assert server.stats["active"] == hub._se_hub.count == 0
            if MICROPYTHON:
                assert __import__("socketse").tlssocket.TLSSocket.count == 0
            for client in clients:
                try:
                    assert client.rest() == b""
                except OSError:
                    pass  # a reset: it had sent something
                client.close()
            server.server_close()


def test_a_client_without_a_thread():
    if ThreadingTCPServer.max_threads == 0:
        raise Skip("threads")
    with serving(server_with(ThreadingTCPServer, Echo, max_threads=1)) as server:
        with TLSClient(server.server_address) as first:
            assert first.line() == HELLO
            with Client(server.server_address):  # silent: it waits, and holds up nobody
                talk(server, 3)
                first.send(b"still here\n")
                assert first.line() == b"still here\n"


def test_interrupts_and_want_of_memory_in_a_handshake():
    if not MICROPYTHON:
        raise Skip("a TLS socket of our own: CPython's is the standard library's")
    from socketse.tlssocket import TLSSocket

    for kind in (TCPServer, MultiplexingTCPServer, ThreadingTCPServer):
        for error in (KeyboardInterrupt(), MemoryError()):
            if kind is ThreadingTCPServer and isinstance(error, KeyboardInterrupt):
                continue  # threads cannot be interrupted on boards
            server = kind(free(), Echo)
            server.ssl_context = Pretender(error, b"")
            with Client(server.server_address) as client:
                client.send(b"x")
                with quiet():
                    try:
                        for _ in range(3):
                            server.timeout = 0.2
                            server.handle_request()
                        assert not isinstance(error, KeyboardInterrupt)
                    except KeyboardInterrupt:
                        assert isinstance(error, KeyboardInterrupt)
                    server.server_close()
                assert TLSSocket.count == 0 and server.stats["active"] == 0
                if kind is TCPServer and isinstance(error, MemoryError):
                    assert server.stats["out_of_memory"] == 0  # it has tried again
                    assert server.stats["errors"] == 1
                try:
                    assert client.rest() == b""
                except OSError:
                    pass  # a reset: it had sent something


class Once:
    """A poller whose unregister is hit by Ctrl-C at a call."""

    def __init__(self, hub, call):
        self.hub = hub
        self.select = hub.select
        self.call = call
        hub.select = self

    def unregister(self, socket):
        if not isinstance(socket, int):  # unix: of no connection, only to make its table larger
            self.call -= 1
            if not self.call:
                self.hub.select = self.select
                raise KeyboardInterrupt
        self.select.unregister(socket)

    def __getattr__(self, name):
        return getattr(self.select, name)


def test_ctrl_c_between_handshake_and_handler_keeps_no_place():
    # The second call is at the first byte after the handshake.
    for handler, call in ((AsyncEcho, 1), (SpokenTo, 1), (SpokenTo, 2)):
        server = server_with(MultiplexingTCPServer, handler)
        hub = server._se_new_poller()
        once = Once(hub, call)

        def greet(server=server):
            try:
                with TLSClient(server.server_address) as client:
                    client.send(b"hello\n")
                    client.line()
            except OSError:
                pass  # it is closed

        record = thread(greet)
        raises(KeyboardInterrupt, server.serve_forever, 0.02)
        assert once.call == 0 and server.stats["active"] == 0 and hub.count == 0
        wait_until(lambda record=record: record["done"])
        server.server_close()


def test_what_a_handshake_on_cpython_waits_for():
    if MICROPYTHON:
        raise Skip("CPython's TLS socket")
    import ssl

    from socketse.hosttls import TLSSocket, accept

    context = server_context(certificate("server.pem"))
    with TCPServer(free(), Echo) as server, Client(server.server_address):
        tls, _ = accept(server.socket, context)
        usual = ssl.SSLSocket
        try:
            ssl.SSLSocket = type("SSLSocket", (), {})
            for error, want in ((ssl.SSLWantWriteError, 4), (ssl.SSLWantReadError, 1)):

                def fail(*args, error=error):
                    raise error(8, "EOF")

                ssl.SSLSocket.do_handshake = fail
                assert tls.handshake() is False and tls.want == want
            ssl.SSLSocket.read = lambda *args: fail(error=ssl.SSLEOFError)
            raises(ssl.SSLEOFError, TLSSocket.read, tls, 1)
            tls.ready = True
            assert tls.read(1) == b"" and tls.truncated
            tls.ready = False
        finally:
            ssl.SSLSocket = usual
            tls.close()


def test_ctrl_c_in_the_good_bye_on_cpython_leaves_no_descriptor():
    if MICROPYTHON:
        raise Skip("CPython's TLS socket")
    import socket

    from socketse.hosttls import accept

    def unwrap():
        raise KeyboardInterrupt

    context = server_context(certificate("server.pem"))
    with TCPServer(free(), Echo) as server, Client(server.server_address):
        tls, _ = accept(server.socket, context)
        tls.settimeout(3)
        tls.ready = True
        tls.unwrap = unwrap
        raises(KeyboardInterrupt, tls.shutdown, socket.SHUT_WR)
        assert tls.gettimeout() == 3 and tls.fileno() >= 0
        tls.ready = True
        raises(KeyboardInterrupt, tls.close)
        assert tls.fileno() < 0


def test_nobody_waits_for_a_clients_good_bye():
    class Brief(StreamRequestHandler):
        def handle(self):
            self.wfile.write(HELLO)

    with serving(server_with(TCPServer, Brief)) as server:
        clients = []
        for _ in range(3):
            clients.append(TLSClient(server.server_address, timeout=10))
            assert clients[-1].line() == HELLO
        for client in clients:
            client.close()


def test_contexts_on_cpython_leave_nothing_behind():
    if MICROPYTHON:
        raise Skip("CPython's way with keys: by a file")
    import os
    import ssl
    import tempfile

    from socketse.hosttls import accept

    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            context = server_context(certificate("server.pem"))
            raises(ValueError, server_context, certificate("cert.pem"), certificate("rsa.pem"))
            assert os.listdir(folder) == []
        finally:
            tempfile.tempdir = None
    with TCPServer(free(), Echo) as server, Client(server.server_address):
        accept(server.socket, context)[0].close()
    assert context.sslsocket_class is ssl.SSLSocket


def test_want_of_memory_loses_nothing_that_came_with_the_handshake():
    if not MICROPYTHON:
        raise Skip("a TLSSocket of our own")
    from socketse import tlssocket

    class Data:
        """Bytes of which the beginning finds no memory, once."""

        full = True

        def __len__(self):
            return len(data)

        def __getitem__(self, key):
            if key.stop and self.full:
                self.full = False
                raise MemoryError
            return data[key]

    data = b"what has come "
    end = support.socket.socket()
    sock = tlssocket.TLSSocket(end, None)
    sock.buffer = Data()
    raises(MemoryError, sock.recv, 256)
    assert sock.recv(256) == data
    end.close()
