"""TLS: ssl_context on every kind of TCP server, and contexts from certificates."""

import time

import support
from socketse import (
    AsyncStreamRequestHandler,
    Multiplexer,
    MultiplexingTCPServer,
    StreamRequestHandler,
    TCPServer,
    ThreadingTCPServer,
    client_context,
    server_context,
)
from support import (
    MICROPYTHON,
    Client,
    Skip,
    TLSClient,
    certificate,
    free,
    quiet,
    raises,
    serving,
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
    from socketse import handshake

    usual = handshake.Handshake.timeout
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
            handshake.Handshake.timeout = 0.2
            for client in silent + halves:
                try:
                    assert client.rest() == b""
                except OSError:
                    pass  # a reset: it had sent something
                client.close()
            talk(server, 2)
            assert server.stats["timed_out"] + server.stats["evicted"] == 6, server.stats
    finally:
        handshake.Handshake.timeout = usual
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
    ]
    server = server_with(MultiplexingTCPServer, AsyncEcho)
    with serving(server):
        for form in forms:
            server.ssl_context = server_context(*form)
            talk(server, 1)


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
        (b"nonsense", certificate("key.der")),
    ):
        raises(ValueError, server_context, *form)
    raises((ValueError, OSError), client_context, b"nonsense")


def test_a_context_that_is_none():
    class Server(TCPServer):
        ssl_context = "server.pem"

    e = raises(TypeError, Server, free(), Echo)
    assert "SSLContext" in str(e)
    if MICROPYTHON:
        raise Skip("contexts that tell whether they are a client's, as CPython's do")
    Server.ssl_context = client_context(certificate("cert.pem"))
    assert "client" in str(raises(ValueError, Server, free(), Echo))


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


def test_what_openssl_finds_wrong_is_the_clients_doing():
    if MICROPYTHON:
        raise Skip("OpenSSL")
    import ssl

    def fails(*args):
        raise ssl.SSLError(1, "bad record")

    class Gone(AsyncEcho):
        async def handle(self):
            self.wfile.write(await self.rfile.readline())
            await self.rfile.readline()

    real = ssl.SSLSocket
    for name in ("send", "read"):
        server = server_with(MultiplexingTCPServer, Gone)
        function = getattr(real, name)
        with quiet() as said, serving(server):
            with TLSClient(server.server_address) as client:

                def one(self, *args, f=function, own=client._socket):
                    return (f if self is own else fails)(self, *args)

                setattr(real, name, one)
                try:
                    client.send(b"x\n")
                    wait_until(lambda s=server: s.stats["errors"])
                finally:
                    setattr(real, name, function)
            wait_until(lambda s=server: not s.stats["active"])
        assert server.stats["errors"] == 1 and not said.getvalue(), said.getvalue()
