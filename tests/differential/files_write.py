"""Every method of wfile."""

import array

from helper import Client, ErrorsSaid, Serving, address, raised, say, ss

to = address()


class Server(ErrorsSaid, ss.TCPServer):
    pass


def case(title, handle, **attributes):
    """Let handle(wfile, client) write while the client is there."""
    say("#", title)
    attributes["handle"] = lambda self: handle(self.wfile, client)
    server.RequestHandlerClass = type("Handler", (ss.StreamRequestHandler,), attributes)
    client = Client(to)
    server.handle_request()
    say("client got", client.rest())


def writes(f, client):
    for data in (b"one\n", b"", b"\x00\xff", bytearray(b"two"), memoryview(b"three")[1:4]):
        say(f.write(data))
    say(f.flush(), f.closed)


def seen_at_once(f, client):
    f.write(b"at once")
    say(client.recv(7))


def seen_after_flush(f, client):
    say(f.write(b"one"), f.write(b""), f.write(b"two"))
    say("nothing yet", client.silent())
    say(f.flush())
    say(client.recv(6))
    f.flush()
    say(f.write(b"three"), "nothing yet", client.silent())


def reused(f, client):
    buffer = bytearray(3)
    for i in range(3):
        for j in range(3):
            buffer[j] = 97 + i
        f.write(buffer)


def larger_than_buffer(f, client):
    say(f.write(b"abc"), f.write(b"x" * 1000), f.write(b"def"))
    say("all but the end is there", client.recv(1003) == b"abc" + b"x" * 1000)


def wrong(f, client):
    for data in ("text", None, 5, 1.5, ["list"]):
        say(raised(f.write, data))
    f.write(b"right")


def numbers(f, client):
    say(f.write(array.array("H", [0x4142, 0x4344, 0x4546])))
    say(f.write(memoryview(array.array("I", [0x41424344]))))


def closed(f, client):
    f.write(b"one")
    say(f.closed, f.close(), f.closed)
    say(f.close(), f.closed)
    say(raised(f.flush))


def write_after_close(f, client):
    f.write(b"one")
    f.close()
    say(raised(f.write, b"two"))


def fails(f, client):
    f.write(b"before")
    raise ValueError("failed")


with Server(to, ss.StreamRequestHandler) as server:
    for size in (0, -1, 100):
        say("## wbufsize", size)
        at = {"wbufsize": size}
        case("writes", writes, **at)
        case("a buffer of the handler's is used again", reused, **at)
        case("wrong types", wrong, **at)
        case("close", closed, **at)
        case("an error after a write", fails, **at)
        case("numbers", numbers, **at)
        case("seen", seen_after_flush if size else seen_at_once, **at)
    case("written after close", write_after_close, wbufsize=100)
    case("more than the buffer", larger_than_buffer, wbufsize=100)
    case("without delay", writes, disable_nagle_algorithm=True)

    say("## setup and finish, extended")

    class Extended(ss.StreamRequestHandler):
        wbufsize = -1

        def setup(self):
            super().setup()
            self.wfile.write(b"hello ")

        def handle(self):
            self.wfile.write(b"world")
            say("nothing yet", client.silent())

        def finish(self):
            super().finish()
            say(self.wfile.closed, self.rfile.closed)

    server.RequestHandlerClass = Extended
    client = Client(to)
    server.handle_request()
    say(client.rest())

    say("## rfile and wfile belong to one connection")

    class Both(ss.StreamRequestHandler):
        def handle(self):
            for line in self.rfile:
                self.wfile.write(line.upper())
                if line == b"bye\n":
                    break

    server.RequestHandlerClass = Both
    client = Client(to, b"one\ntwo\nbye\nno more\n")
    server.handle_request()
    say([client.line() for _ in range(3)])
    client.close()

PIECE = bytes([i * 7 % 256 for i in range(65536)])


class Large(ss.StreamRequestHandler):
    def handle(self):
        count = int(self.rfile.readline())
        for i in range(count):
            if self.wfile.write(PIECE) != len(PIECE):
                say("not all of piece", i)
        say("large written")


server = Server(to, Large)
with Serving(server):
    for size in (0, 100, -1):
        Large.wbufsize = size
        client = Client(to, b"64\n")
        good = 0
        for _ in range(64):
            good += client.recv(len(PIECE)) == PIECE
        say("client got", good, client.rest())
