"""Every method of rfile. Most clients have sent all, and closed, before the server looks."""

import struct

from helper import Client, ErrorsSaid, address, kind, raised, say, socket, ss

to = address()


class Server(ErrorsSaid, ss.TCPServer):
    pass


def case(title, data, handle, **attributes):
    """Let handle(rfile) read what a client sent that is gone by now."""
    say("#", title)
    attributes["handle"] = lambda self: handle(self.rfile)
    server.RequestHandlerClass = type("Handler", (ss.StreamRequestHandler,), attributes)
    client = Client(to, data)
    client.close()
    server.handle_request()


def lines(f):
    for _ in range(6):
        say(f.readline())


def sizes(f):
    for size in (3, 0, 100, -1, 1, 2, None, 100, 100):
        say(size, f.readline(size))


def iterated(f):
    for line in f:
        say(line)
    say([line for line in f], f.readline(), f.read())


def broken_off(f):
    for line in f:
        say(line)
        break
    say(f.readline(), next(f), f.read(2), next(f))
    say(raised(next, f))
    say(iter(f) is f)


def reads(f):
    for size in (0, 1, 4, 100, 5, 0, -1):
        say(size, f.read(size))


def all_of_it(f):
    data = f.read()
    say(len(data), sum(data), f.read(), f.readline())


def none_of_it(f):
    say(f.read(None), f.read(None))


def into(f):
    buffer = bytearray(4)
    for _ in range(4):
        say(f.readinto(buffer), buffer)
    say(f.readinto(memoryview(buffer)[1:3]), f.readinto(bytearray(0)))


def into_part(f):
    buffer = bytearray(8)
    say(f.readinto(memoryview(buffer)[2:5]), buffer)
    say(f.readinto(memoryview(buffer)[7:]), buffer)


def read1(f):
    say(f.readline(), f.read1(2), f.read1(100), f.read1(5))


def mixed(f):
    size = int(f.readline())
    say(size, f.read(size), f.readline(), f.read(1), f.readline(2), f.read())


def closed(f):
    say(f.closed, f.readline())
    f.close()
    say(f.closed, f.close())
    say(raised(f.readline), raised(f.read, 1), raised(f.read), raised(f.readinto, bytearray(1)))
    say(raised(next, f))


def wrong(f):
    for argument in ("1", b"1", 1.5, ()):
        say(raised(f.read, argument), raised(f.readline, argument))
    say(raised(f.readinto, b"bytes"))


def binary(f):
    data = f.read(256)
    say(list(data) == list(range(256)), f.readline(), f.read())


def pairs(f):
    while True:
        record = f.read(6)
        if len(record) < 6:
            say("end", record)
            return
        say(struct.unpack(">HI", record))


everything = bytes(range(256))
with Server(to, ss.StreamRequestHandler) as server:
    for size in (-1, 1000, 3):
        say("## rbufsize", size)
        at = {"rbufsize": size}
        case("lines", b"one\ntwo\n\nthree\r\n", lines, **at)
        case("a half line at the end", b"one\nhal", lines, **at)
        case("empty lines", b"\n\n\n", lines, **at)
        case("nothing", b"", lines, **at)
        case("lines with a size", b"abcdef\nghi\n\nj\nklmno\npq", sizes, **at)
        case("iteration", b"one\n\ntwo\nhal", iterated, **at)
        case("iteration of nothing", b"", iterated, **at)
        case("iteration, broken off", b"one\ntwo\nthree\nfour\nfive", broken_off, **at)
        case("read", b"0123456789", reads, **at)
        case("read all", b"x\n" * 3000, all_of_it, **at)
        case("read None", b"0123456789", none_of_it, **at)
        case("readinto", b"0123456789", into, **at)
        case("readinto a part", b"0123456789", into_part, **at)
        case("mixed", b"7\nabc\ndefrest\nxyz\nend", mixed, **at)
        case("closed", b"one\ntwo\n", closed, **at)
        case("wrong arguments", b"one\n", wrong, **at)
        case("binary", everything + b"\x00\xff\n\xfe", binary, **at)
        case("records", struct.pack(">HIHI", 1, 2, 3, 4) + b"\x00\x05", pairs, **at)
        case("a line of 1000 bytes", b"x" * 999 + b"\ny", lambda f: say(len(f.readline())), **at)
    case("read1", b"line\n0123456789", read1)

    say("## the connection is still open")

    class Talk(ss.StreamRequestHandler):
        def handle(self):
            say(self.rfile.readline(), self.rfile.read(3))
            client.send(b"ne\nx")
            say(self.rfile.readline(), self.rfile.read(1))
            client.send(b"12")
            say(self.rfile.read(2), self.rfile.read(0), self.rfile.readline(0))

    server.RequestHandlerClass = Talk
    client = Client(to, b"one\nabco")
    server.handle_request()
    say(client.rest())

    say("## nothing comes in time")

    class Hurry(ss.StreamRequestHandler):
        timeout = 0.05

        def handle(self):
            say(self.rfile.readline(), self.timeout)
            try:
                say(self.rfile.readline())
            except OSError as e:
                say("too late", kind(e))
                self.wfile.write(b"too late")
                raise

    server.RequestHandlerClass = Hurry
    client = Client(to, b"one\ntw")
    server.handle_request()
    say(client.rest())

    say("## the client resets the connection")

    class Reset(ss.StreamRequestHandler):
        def handle(self):
            say(self.rfile.readline())
            client.close()
            self.rfile.readline()
            say("not reached")

        def finish(self):
            say("finish")
            ss.StreamRequestHandler.finish(self)

    server.RequestHandlerClass = Reset
    client = Client(to, b"one\n")
    linger = getattr(socket, "SO_LINGER", 13)
    client.socket.setsockopt(socket.SOL_SOCKET, linger, struct.pack("ii", 1, 0))
    server.handle_request()
