"""What portable tests share. No pytest here: MicroPython has none."""

import os
import sys
import time

MICROPYTHON = sys.implementation.name == "micropython"
SCALE = int(os.getenv("SCALE") or 1)  # 10 for `make test-all`
BOARD = os.getenv("BOARD")  # "esp32" or "rp2" where one is played, else None
BACKLOG = 6 if BOARD else 50  # Linux lets a client wait a second when it is full
MOST = {"rp2": 4, "esp32": 8}.get(BOARD, 1000)  # connections at once
if MICROPYTHON:
    import usocket as socket  # clients are no boards: the host's own, past the stand-in
else:
    import socket
UNIX = MICROPYTHON and not BOARD  # MicroPython's unix port
ports = []  # free ones, from run.py
HOST = "127.0.0.1"


def no_room(n):
    """Return what a recv(n) raises that finds no memory for n bytes, before it takes any.

    unix: one that says another number has taken what had come, and lost it.
    """
    return MemoryError("memory allocation failed, allocating %d bytes" % n)


class Skip(Exception):
    """The test needs something that this interpreter lacks: its message names it."""


def personality():
    """Return the module with the switches of the board that is played, or skip the test."""
    if not BOARD:
        raise Skip("a board's traps: this is none")
    import personality

    return personality


def rooms_are_files():
    """Skip the test if they are joined, as in what make flash copies to a board."""
    import socketse

    if "TCPServer" in socketse.__dict__ and "socketse.server" not in sys.modules:
        raise Skip("rooms that are files of their own: here they are joined")


def free():
    """Return the address of a port that nobody uses."""
    return HOST, ports.pop()


def raises(kind, function, *args):
    """Call function(*args), which must raise kind; return the exception."""
    try:
        function(*args)
    except kind as e:
        return e
    raise AssertionError("%s was not raised" % kind.__name__)


class Client:
    """A connection for tests: what a plain client program does."""

    rcvbuf = 0  # bytes that its system takes in advance; 0: as many as it likes

    def __init__(self, address, timeout=20):
        self._socket = socket.socket()
        if MICROPYTHON:
            address = socket.getaddrinfo(address[0], address[1])[0][-1]
        if self.rcvbuf:
            self._socket.setsockopt(socket.SOL_SOCKET, 8, self.rcvbuf)  # SO_RCVBUF, on Linux
        self._socket.connect(address)
        self._socket.settimeout(timeout)
        self._buffer = b""

    def send(self, data):
        data = memoryview(data)
        while len(data):
            data = data[self._socket.send(data) :]

    def recv(self, n=4096):
        return self._socket.recv(n)

    def line(self):
        while b"\n" not in self._buffer:
            data = self.recv()
            if not data:
                break
            self._buffer += data
        end = self._buffer.find(b"\n") + 1 or len(self._buffer)
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line

    def rest(self):
        """Return all until the server closes."""
        while True:
            data = self.recv()
            if not data:
                return self._buffer
            self._buffer += data

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()


def certificate(name):
    """Return the path of one of the keys and certificates that conftest.py makes."""
    return os.getenv("CERTIFICATES") + "/" + name


class TLSClient(Client):
    """The same over TLS; name: whose certificate it shows, client or stranger."""

    def __init__(self, address, name=None, timeout=20):
        from socketse import client_context

        Client.__init__(self, address, timeout)
        cert = name and certificate(name + ".pem")
        context = client_context(certificate("cert.pem"), cert)
        self._raw = raw = self._socket
        try:
            self._socket = context.wrap_socket(raw, server_hostname="localhost")
        except BaseException:
            raw.close()
            raise

    def send_past_tls(self, data):
        if MICROPYTHON:
            self._raw.send(data)
        else:
            socket.socket.send(self._socket, data)

    def recv(self, n=4096):
        data = self._socket.recv(n)
        if data is None:
            raise OSError("nothing has come in time")
        return data


def ask(address, data, n=2048, timeout=20):
    """Send a datagram and return the answer; None if none comes within timeout seconds."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if MICROPYTHON:
            address = socket.getaddrinfo(address[0], address[1])[0][-1]
        s.settimeout(timeout)
        s.sendto(data, address)
        return s.recvfrom(n)[0]
    except OSError:
        return None
    finally:
        s.close()


_threads = []


def thread(function, *args):
    """Run function in a thread; check() at the end fails if it raised."""
    import _thread

    record = {"done": False, "error": None}

    def run():
        try:
            function(*args)
        except BaseException as e:
            record["error"] = e
        record["done"] = True

    _threads.append(record)
    _thread.start_new_thread(run, ())
    return record


def wait_until(condition, seconds=20, what="the condition"):
    """Wait until condition() is true."""
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            raise AssertionError("waited %d s for %s" % (seconds, what))
        time.sleep(0.002)


def check():
    """Wait for the threads that were started and raise what they raised."""
    for record in _threads:
        wait_until(lambda record=record: record["done"], what="a thread to end")
        if record["error"]:
            raise record["error"]


class serving:
    """with serving(server): its serve_forever runs in a thread."""

    def __init__(self, server, poll_interval=0.02):
        self.server = server
        self.record = thread(server.serve_forever, poll_interval)

    def __enter__(self):
        return self.server

    def __exit__(self, *args):
        self.server.shutdown()
        wait_until(lambda: self.record["done"], what="serve_forever to end")
        self.server.server_close()


def logged(base, log):
    """Return a server class made from base that writes into log which hooks are called."""

    class Server(base):
        def get_request(self):
            log.append("get_request")
            return base.get_request(self)

        def verify_request(self, request, client_address):
            log.append("verify_request")
            return True

        def process_request(self, request, client_address):
            log.append("process_request")
            base.process_request(self, request, client_address)

        def finish_request(self, request, client_address):
            log.append("finish_request")
            base.finish_request(self, request, client_address)

        def shutdown_request(self, request):
            log.append("shutdown_request")
            base.shutdown_request(self, request)

        def close_request(self, request):
            log.append("close_request")
            base.close_request(self, request)

    return Server


class quiet:
    """with quiet() as text: what is printed to stderr, or nothing where it cannot be caught."""

    def __enter__(self):
        import io

        self.text = io.StringIO()
        self._stderr = sys.stderr
        if not MICROPYTHON:  # MicroPython's sys is read-only
            sys.stderr = self.text
        return self.text

    def __exit__(self, *args):
        if not MICROPYTHON:
            sys.stderr = self._stderr
