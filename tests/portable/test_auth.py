"""Authentication: who knows the secret is let in, on every kind of server, and nobody else."""

import os
from binascii import hexlify

from socketse import (
    AsyncStreamRequestHandler,
    MultiplexingTCPServer,
    StreamRequestHandler,
    TCPServer,
    ThreadingTCPServer,
    auth,
    guard,
    limits,
    port,
    scram,
)
from socketse.auth import AuthError, AuthMixIn, Login, Secret
from support import BOARD, MICROPYTHON, Client, Skip, free, raises, serving, socket, wait_until

SECRET = "correct horse battery staple"
SOURCE = Secret(SECRET)


class Plain(AuthMixIn, StreamRequestHandler):
    auth = SOURCE
    purpose = b"test"
    timeout = 20

    def handle(self):
        for line in self.rfile:
            self.wfile.write(self.user.encode() + b":" + line)


class Coroutine(AuthMixIn, AsyncStreamRequestHandler):
    auth = SOURCE
    purpose = b"test"

    async def handle(self):
        while True:
            line = await self.rfile.readline()
            if not line:
                return
            self.wfile.write(self.user.encode() + b":" + line)


KINDS = (
    (TCPServer, Plain),
    (ThreadingTCPServer, Plain),
    (MultiplexingTCPServer, Plain),
    (TCPServer, Coroutine),
    (ThreadingTCPServer, Coroutine),
    (MultiplexingTCPServer, Coroutine),
)


class Files:
    """A test's client as the two files that login() wants."""

    def __init__(self, client):
        self.client = client
        self.lines = []
        self.readline = self.read

    def read(self, n):
        line = self.client.line()
        self.lines.append(line)
        return line

    def write(self, data):
        self.lines.append(data)
        self.client.send(data)


def login(client, secret=SECRET, user="", purpose=b"test"):
    files = Files(client)
    auth.login(files, files, secret, user, purpose)
    return files.lines


def forgive():
    guard.table.clear()


def hmac_and_pbkdf2_are_the_standards():
    def hexed(data):
        return hexlify(data).decode()

    # RFC 4231, test cases 1, 2 and 6
    for key, data, digest in (
        (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
        (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
        (
            b"\xaa" * 131,
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f",
        ),
    ):
        assert hexed(scram.hmac(key, data))[:32] == digest
    # RFC 7914, section 11: the first 32 of 64 bytes
    for password, salt, n, key in (
        (b"passwd", b"salt", 1, "55ac046e56e3089fec1691c22544b605"),
        (b"password", b"salt", 4096, "c5e478d59288c841aa530db6845c4c8d"),
    ):
        assert hexed(scram.finish(scram.salted(password, salt, n)))[:32] == key
    assert scram.same(b"ab", b"ab") and not scram.same(b"ab", b"ac")
    assert not scram.same(b"ab", b"abc") and not scram.same(b"", b"a")
    # It looks at all of both, wherever they differ.
    looked = []

    class Looked:
        def __init__(self, data):
            self.data = data

        def __len__(self):
            return len(self.data)

        def __iter__(self):
            for byte in self.data:
                looked.append(byte)
                yield byte

    for other in (b"abcdefgh", b"xbcdefgh", b"abcdefgx", b"xxxxxxxx"):
        looked.clear()
        assert scram.same(Looked(b"abcdefgh"), other) == (other == b"abcdefgh")
        assert bytes(looked) == b"abcdefgh"


def proof_and_signature_are_those_of_rfc_7677():
    from binascii import a2b_base64

    salt = a2b_base64(b"W22ZaJ0SNY7soEsUEjb6gQ==")
    key = scram.finish(scram.salted(b"pencil", salt, 4096))
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    stored, server_key = scram.keys(key)
    signature = a2b_base64(b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert scram.hmac(server_key, message) == signature
    proof = a2b_base64(b"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    assert scram.xor(proof, scram.hmac(stored, message)) == scram.hmac(key, b"Client Key")


def test_mathematics():
    """One program for what needs no server."""
    hmac_and_pbkdf2_are_the_standards()
    proof_and_signature_are_those_of_rfc_7677()


def test_who_knows_the_secret_is_served_by_every_kind_of_server():
    for base, handler in KINDS:
        with serving(base(free(), handler)) as server:
            for _ in range(2):
                with Client(server.server_address) as c:
                    lines = login(c)
                    c.send(b"hello\n")
                    assert c.line() == b":hello\n"
            for line in lines:
                assert SECRET.encode() not in line and hexlify(SECRET.encode()) not in line
            assert server.stats["refused"] == 0


def test_who_does_not_know_it_is_told_so_and_not_served():
    for base, handler in KINDS:
        forgive()
        with serving(base(free(), handler)) as server:
            with Client(server.server_address) as c:
                e = raises(AuthError, login, c, "wrong")
                assert "wrong user or secret" in str(e)
                assert c.rest() == b""
            wait_until(lambda: server.stats["refused"] == 1)
            assert server.stats["errors"] == 0
            assert guard.table["127.0.0.1"][0] == 1  # it will have to wait
        forgive()
        with serving(base(free(), handler)) as server:
            with Client(server.server_address) as c:
                raises(AuthError, login, c, SECRET, "", b"another purpose")
            wait_until(lambda: server.stats["refused"] == 1)
        forgive()


def test_what_is_no_login_is_refused_before_it_is_read():
    forgive()
    for base, handler in KINDS:
        with serving(base(free(), handler)) as server:
            for said, answer in (
                (b"hello\n", b"NO say AUTH first\n"),
                (b"00000005SHELLO", b"NO say AUTH first\n"),
                (b"AUTH 2 00 -\n", b"NO that is no beginning of version 1\n"),
                (b"AUTH 2 " + b"00" * 16 + b" -\n", b"NO that is no beginning of version 1\n"),
                (b"AUTH 1 " + b"zz" * 16 + b" -\n", b"NO that is no beginning of version 1\n"),
                (b"AUTH 1 " + b"00" * 16 + b" x\n", b"NO that is no beginning of version 1\n"),
                (b"AUTH 1 " + b"00" * 16 + b" " + b"00" * 65 + b"\n", b"NO that is no"),
                (b"AUTH " + b"0" * 300 + b"\n", b"NO that is no beginning"),
                (b"AUTH " + b"0" * 2000, b"NO that is no beginning"),
                (b"AUTH \n", b"NO that is no beginning of version 1\n"),
                (b"AUTH \xff\xfe \xff \xff\n", b"NO that is no beginning of version 1\n"),
            ):
                with Client(server.server_address) as c:
                    c.send(said)
                    got = c.rest()
                    assert got[: len(answer)] == answer, (base, handler, said, got)
            assert not guard.table  # nobody has guessed
            with Client(server.server_address) as c:
                login(c)


def first_lines(client, user=b"-"):
    client.send(b"AUTH 1 " + hexlify(os.urandom(16)) + b" " + user + b"\n")
    return client.line()


def test_proofs_that_are_none():
    proofs = (b"", b"00", b"zz" * 32, b"00" * 32, b"00" * 33, b"0" * 300, b"OK " + b"0" * 64)
    for base, handler in KINDS:
        with serving(base(free(), handler)) as server:
            for proof in proofs:
                forgive()
                with Client(server.server_address) as c:
                    words = first_lines(c).split()
                    assert [len(word) for word in words] == [32, 32, 1]
                    c.send(proof + b"\n")
                    assert c.rest() == b"NO wrong user or secret\n", proof
            wait_until(lambda server=server: server.stats["refused"] == len(proofs))
    forgive()


def test_a_recorded_session_is_of_no_use():
    for base, handler in KINDS:
        forgive()
        with serving(base(free(), handler)) as server:
            with Client(server.server_address) as c:
                lines = login(c)
            assert [line[:3] for line in lines][::3] == [b"AUT", b"OK "]
            with Client(server.server_address) as c:
                c.send(lines[0])
                assert c.line() != lines[1]
                c.send(lines[2])
                assert c.rest() == b"NO wrong user or secret\n"
    forgive()
    # Nor is it one of a server's: the client's nonce is another.
    played = Login(SECRET, "", b"test")
    played.first()
    played.second(lines[1])
    raises(AuthError, played.last, lines[3])


def test_reflection():
    """What one end has said proves nothing when it comes back."""
    mine = Login(SECRET, "", b"test")
    first = mine.first()
    raises(AuthError, Login.second, mine, first)
    # My own nonce as the server's.
    raises(AuthError, Login.second, mine, first.split()[2] + b" " + b"00" * 16 + b" 1\n")
    mine = Login(SECRET, "", b"test")
    mine.first()
    proof = mine.second(b"11" * 16 + b" " + b"00" * 16 + b" 1\n")
    raises(AuthError, mine.last, b"OK " + proof)
    raises(AuthError, mine.last, proof)
    # A server's challenge, given back to it by two connections at once: each wants its own proof.
    with serving(MultiplexingTCPServer(free(), Coroutine)) as server:
        with Client(server.server_address) as a, Client(server.server_address) as b:
            challenge = first_lines(a)
            first_lines(b)
            b.send(challenge)
            assert b.rest() == b"NO wrong user or secret\n"
    forgive()


def test_a_server_that_does_not_know_the_secret_is_found_out():
    with serving(TCPServer(free(), Plain)):
        pass
    for last in (
        b"OK " + b"00" * 32,
        b"OK ",
        b"OK",
        b"OK zz",
        b"",
        b"NO",
        b"\xff" * 200,
        b"OK \n",
    ):

        class False_(StreamRequestHandler):
            timeout = 20
            reply = last

            def handle(self):
                self.rfile.readline()
                self.wfile.write(b"11" * 16 + b" " + b"22" * 16 + b" 1\n")
                self.rfile.readline()
                self.wfile.write(self.reply + b"\n")

        with serving(TCPServer(free(), False_)) as server:
            with Client(server.server_address) as c:
                raises(AuthError, login, c)


def test_what_a_false_server_may_ask_a_client_for():
    nonce, salt = b"11" * 16, b"22" * 16
    p = Login(SECRET)
    p.first()
    assert not isinstance(raises(OSError, p.second, b""), AuthError)  # it is gone
    for line in (
        b"\n",
        b"NO\n",
        b"NO \xff\xfe\n",
        b"%s %s 0\n" % (nonce, salt),
        b"%s %s -1\n" % (nonce, salt),
        b"%s %s 1000001\n" % (nonce, salt),
        b"%s %s %s\n" % (nonce, salt, b"9" * 200),
        b"%s %s x\n" % (nonce, salt),
        b"%s %s 1" % (nonce, salt),
        b"%s %s 1 1\n" % (nonce, salt),
        b"%s %s 1\n" % (nonce[1:], salt),
        b"%s %s 1\n" % (nonce, b"z" * 32),
    ):
        p = Login(SECRET)
        p.first()
        raises(AuthError, p.second, line)
    # A person's password could be found out from a proof that costs little.
    p = Login("password", "anna")
    p.first()
    raises(AuthError, p.second, b"%s %s 999\n" % (nonce, salt))
    p = Login("password", "anna", b"", 10)
    p.first()
    p.second(b"%s %s 10\n" % (nonce, salt))


def test_the_first_bytes_have_no_longer_one_by_one():
    auth.SECONDS = 0.6
    for base, handler in (KINDS[1], KINDS[2], KINDS[3], KINDS[5]):
        with serving(base(free(), handler)) as server:
            with Client(server.server_address) as c:
                begin = port.ticks_ms()
                c._socket.settimeout(0.2)
                for byte in b"AUTH 1 0000":
                    try:
                        c.send(bytes((byte,)))
                        assert c.recv() == b""
                        break
                    except OSError as e:
                        if not port.timeout(e):
                            break
                else:
                    raise AssertionError("each byte has as long as all of them")
                assert port.ticks_diff(port.ticks_ms(), begin) < 1500


def test_a_line_of_the_users_file_that_is_damaged_looks_like_none():
    import os

    from socketse import Users

    path = "users-damaged-%d" % free()[1]
    told = []

    class Telling(MultiplexingTCPServer):
        def handle_error(self, request, client_address):
            told.append(self.last_error)

    class Handler(Coroutine):
        auth = Users(path, 1000)

    try:
        with open(path, "w") as f:
            f.write("anna:SCRAM-SHA-256$x\n")
        with serving(Telling(free(), Handler)) as server:
            answers = []
            for user in ("anna", "nobody"):
                with Client(server.server_address) as c:
                    p = Login("secret", user)
                    c.send(p.first())
                    line = c.line()
                    assert len(line.split()) == 3, line
                    c.send(p.second(line))
                    answers.append(c.line())
            assert answers[0] == answers[1] and answers[0][:3] == b"NO ", answers
        assert len(told) == 1 and path in str(told[0])
    finally:
        os.remove(path)
        guard.table.clear()


def test_silence_in_the_middle_of_a_line_ends_it():
    auth.SECONDS = 0.15
    for base, handler in (KINDS[1], KINDS[2], KINDS[3], KINDS[5]):
        with serving(base(free(), handler)) as server:
            for part in (b"AUT", b"AUTH 1 00"):
                with Client(server.server_address) as c:
                    c.send(part)
                    if base is MultiplexingTCPServer and handler is Coroutine:
                        with Client(server.server_address) as other:
                            login(other)  # nobody waits for it
                    assert c.rest() in (b"", b"NO say AUTH first\n")
            with Client(server.server_address) as c:
                first_lines(c)
                c.send(b"0123")
                assert c.rest()[:3] in (b"", b"NO ")
            with Client(server.server_address) as c:
                c.send(b"AUTH 1 ")
                c._socket.settimeout(0.05)
                for _ in range(100):  # so slowly that no wait is too long
                    try:
                        c.send(b"0")
                        assert c.recv()[:3] in (b"", b"NO ")
                        break
                    except OSError as e:
                        if not port.timeout(e):
                            break
                else:
                    raise AssertionError("one byte after the other holds a place for ever")
            with Client(server.server_address) as c:
                login(c)
                port.sleep_ms(250)  # from now on the handler's own timeout holds
                c.send(b"still here\n")
                assert c.line() == b":still here\n"


def test_mistakes_of_the_programmer():
    raises(ValueError, Secret, "")
    raises(ValueError, Secret, b"x", 0)

    class Forgotten(AuthMixIn, StreamRequestHandler):
        pass

    assert "auth is None" in str(raises(TypeError, Forgotten, None, None, None))
    e = AuthError(13, "why")
    assert isinstance(e, OSError) and e.errno == 13 and "why" in str(e)


class Fake:
    """A handler of a multiplexer, as far as guard.py can see, whose sleep takes no time."""

    now = 0
    _se_since = 0

    def __init__(self, host):
        self.client_address = (host, 1)
        self.request = self.server = self

    def _se_blame(self, exc):
        return False

    @port.coro
    def sleep(self, seconds):
        Fake.now += int(seconds * 1000 + 0.5)
        return
        yield


class clock:
    """with clock(): guard.py's time is Fake.now."""

    def __enter__(self):
        self._ticks_ms = port.ticks_ms
        port.ticks_ms = lambda: Fake.now
        forgive()

    def __exit__(self, *args):
        port.ticks_ms = self._ticks_ms
        forgive()


def attempt(h, ok):
    key = scram.finish(guard.turn(h))
    if key is not None:
        guard.tell(key, ok)
    return key is not None


def failures_double_the_wait_up_to_a_limit_and_are_forgiven():
    with clock():
        h = Fake("10.0.0.1")
        other = Fake("10.0.0.2")
        waits = []
        for _ in range(9):
            before = Fake.now
            assert attempt(h, False)
            waits.append(Fake.now - before)
            before = Fake.now
            assert attempt(other, True) and Fake.now == before  # nobody else waits
        assert waits == [0, 250, 500, 1000, 2000, 4000, 8000, 16000, 16000]
        before = Fake.now
        assert attempt(h, True)  # late, and yet
        assert Fake.now - before == 16000
        Fake.now += 10 * 60000
        before = Fake.now
        assert attempt(h, False) and attempt(h, False)
        assert Fake.now - before == 250


def success_does_not_wipe_out_failures():
    with clock():
        h = Fake("10.0.0.1")
        for _ in range(4):
            attempt(h, False)
            attempt(h, True)
        before = Fake.now
        attempt(h, True)
        attempt(h, False)
        assert Fake.now == before
        attempt(h, True)
        assert Fake.now - before >= 2000


def table_of_addresses_is_bounded_and_keeps_the_worst():
    with clock():
        bad = Fake("10.1.1.1")
        for _ in range(5):
            attempt(bad, False)
        for i in range(guard.MAX_ADDRESSES + 100):
            attempt(Fake("10.0.%d.%d" % (i // 250, i % 250)), False)
        assert len(guard.table) == guard.MAX_ADDRESSES + 1
        assert "10.1.1.1" in guard.table
        # The others share one place, which nobody holds for long.
        before = Fake.now
        for i in range(10):
            assert attempt(Fake("10.2.0.%d" % i), False)
        assert Fake.now - before == 10 * 250
        before = Fake.now
        for _ in range(5):
            assert attempt(Fake("10.3.0.1"), True)
        assert Fake.now - before == 250
        Fake.now += 60000
        for i in range(10):
            assert attempt(Fake("10.2.0.%d" % i), False)
        assert "10.2.0.5" in guard.table and len(guard.table) <= guard.MAX_ADDRESSES + 1


def one_at_a_time_of_an_address_and_none_for_ever():
    with clock():
        h, other = Fake("10.0.0.1"), Fake("10.0.0.2")
        key = scram.finish(guard.turn(h, True))
        before = Fake.now
        assert scram.finish(guard.turn(other, True)) and Fake.now == before
        assert scram.finish(guard.turn(h, True)) is None and Fake.now - before >= 30000
        # Who has vanished without a word holds up nobody for long.
        assert scram.finish(guard.turn(h, True)) == key
        assert 60000 <= Fake.now - before < 60100
        guard.tell(key, True)
        assert key not in guard.table


def who_has_failed_does_not_wait_where_others_need_the_place():
    class Hub:
        count = 3
        max_connections = 4

    Hub.server = Hub
    with clock():
        h = Fake("10.0.0.1")
        h._se_hub = Hub  # the server's
        assert attempt(h, False) and attempt(h, False)
        assert Fake.now >= 250
        before = Fake.now
        Hub.count = 4
        assert not attempt(h, True) and Fake.now == before
        other = Fake("10.0.0.2")
        other._se_hub = Hub
        assert attempt(other, True)
        Hub.count = 3
        assert attempt(h, True)


def test_guard():
    """Who may try again, and when."""
    who_has_failed_does_not_wait_where_others_need_the_place()
    failures_double_the_wait_up_to_a_limit_and_are_forgiven()
    success_does_not_wipe_out_failures()
    table_of_addresses_is_bounded_and_keeps_the_worst()
    one_at_a_time_of_an_address_and_none_for_ever()


def test_ipv6_counts_by_network():
    if not limits.inet_pton:
        raise Skip("inet_pton")
    a, b = Fake("2001:db8::1"), Fake("2001:db8::ffff:2%eth0")
    assert guard.address_of(a) == guard.address_of(b) != guard.address_of(Fake("2001:db9::1"))
    assert guard.address_of(Fake("::ffff:10.0.0.1")) == "::ffff:10.0.0.1"


def test_who_is_on_this_machine():
    for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert guard.is_loopback(Fake(host)) and guard.plain_text(Fake(host))
    for host in ("10.0.0.1", "128.0.0.1", "1270.0.0.1", "::2", "::ffff:10.0.0.1", "0.0.0.0"):
        h = Fake(host)
        assert not guard.is_loopback(h) and not guard.plain_text(h)
        h.allow_plain = True
        assert guard.plain_text(h)
        h.allow_plain = False
        h.ssl_context = h  # the server's
        assert guard.plain_text(h)


class From(Client):
    """A client with another address of this machine."""

    def __init__(self, source, address):
        self._socket = socket.socket()
        self._buffer = b""
        if MICROPYTHON:
            address = socket.getaddrinfo(address[0], address[1])[0][-1]
            self._socket.bind(socket.getaddrinfo(source, 0)[0][-1])
        else:
            self._socket.bind((source, 0))
        self._socket.connect(address)
        self._socket.settimeout(20)


def test_many_guess_and_one_knows():
    """200 guessers from 20 addresses stop nobody; of their tries few are looked at."""
    forgive()
    looked = []

    class Source:
        def find(self, user):
            return SOURCE.find(user)

    class Handler(Coroutine):
        auth = Source()

    class Server(MultiplexingTCPServer):
        request_queue_size = 6 if BOARD else 250

    def tell(key, ok, tell=guard.tell):
        looked.append(key)
        tell(key, ok)

    guard.tell, known = tell, guard.tell
    try:
        with serving(Server(free(), Handler)) as server:
            begin = port.ticks_ms()
            clients = []
            for i in range(20 if BOARD else 200):
                c = From("127.0.1.%d" % (i % 20 + 1), server.server_address)
                try:
                    c.send(b"AUTH 1 " + hexlify(os.urandom(16)) + b" -\n" + b"00" * 32 + b"\n")
                except OSError:
                    pass  # it had to make room for a newcomer
                clients.append(c)
            with Client(server.server_address) as c:
                login(c)
                c.send(b"hello\n")
                assert c.line() == b":hello\n"
            # From each address after 0, 250, 750, 1750 ms ...
            seconds = port.ticks_diff(port.ticks_ms(), begin) // 1000
            assert len(looked) <= 20 * (3 + seconds) + 1, (len(looked), seconds)
            for c in clients:
                c.close()
    finally:
        guard.tell = known
    forgive()
