"""What the programs share: each runs as PROGRAM MODULE FOLDER PORT ... on CPython and MicroPython.

MODULE is socketserver or socketse, FOLDER an empty one for Unix sockets, the ports are free ones.
No server of these programs says what only one Python or one of the two modules could say.
"""

import _thread
import socket
import sys
import time

MICROPYTHON = sys.implementation.name == "micropython"
HOST = "127.0.0.1"
SECONDS = 20  # for what should take no time

ss = __import__(sys.argv[1])
folder = sys.argv[2]
ports = [int(text) for text in sys.argv[3:]]

# Programs use ports again at once. socketse's default is True.
ss.TCPServer.allow_reuse_address = True

_lock = _thread.allocate_lock()
_said = []


def say(*words):
    """Print words as one line, from any thread."""
    text = " ".join([str(word) for word in words])
    with _lock:
        _said.append(text)
        print(text)


def count(text):
    """Return how often text has been said."""
    with _lock:
        return _said.count(text)


def until(condition, what="the condition"):
    """Wait until condition() is true."""
    end = time.time() + SECONDS
    while not condition():
        if time.time() > end:
            raise AssertionError("waited in vain for " + what)
        time.sleep(0.002)


def address():
    """Return the address of a free port."""
    return HOST, ports.pop()


def path(name):
    """Return the path of a Unix socket."""
    return folder + "/" + name


def kind(error):
    """Return the name of an exception's type: MicroPython knows no subclasses of OSError."""
    return "OSError" if isinstance(error, OSError) else type(error).__name__


def error_of(server):
    """Return the exception that handle_error is about."""
    return getattr(server, "last_error", None) or sys.exc_info()[1]


class ErrorsSaid:
    """To be mixed in first: handle_error says the exception's type and a ValueError's text."""

    def handle_error(self, request, client_address):
        error = error_of(self)
        # The text of others is the system's or the interpreter's.
        say("handle_error", kind(error), error.args if isinstance(error, ValueError) else "")


def raised(function, *args):
    """Return the name of the exception that function(*args) raises, or what it returns."""
    try:
        return function(*args)
    except BaseException as e:
        return kind(e)


def packed(to):
    """Return an address as the system's own sockets take it."""
    if not MICROPYTHON:
        return to
    if isinstance(to, str):
        return b"\x01\0" + to.encode() + b"\0"
    return socket.getaddrinfo(to[0], to[1])[0][-1]


class Client:
    """A connection to a server, made of the system's own socket."""

    def __init__(self, to, data=b""):
        family = socket.AF_UNIX if isinstance(to, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.connect(packed(to))
        self.socket.settimeout(SECONDS)
        self.send(data)

    def send(self, data):
        while data:
            data = data[self.socket.send(data) :]

    def recv(self, n):
        """Return exactly n bytes, fewer at the end."""
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                break
            data += more
        return data

    def line(self):
        data = b""
        while not data.endswith(b"\n"):
            more = self.socket.recv(1)
            if not more:
                break
            data += more
        return data

    def rest(self):
        """Return all until the server closes, and close."""
        data = b""
        while True:
            more = self.socket.recv(1000)
            if not more:
                self.close()
                return data
            data += more

    def silent(self):
        """Return True if nothing comes within a moment."""
        self.socket.settimeout(0.05)
        try:
            self.socket.recv(1)
        except OSError:
            return True
        finally:
            self.socket.settimeout(SECONDS)
        return False

    def close(self):
        self.socket.close()


class Datagrams:
    """A socket for datagrams, bound to the address own, made of the system's own."""

    def __init__(self, to, own=None):
        family = socket.AF_UNIX if isinstance(to, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.settimeout(SECONDS)
        if own:
            self.socket.bind(packed(own))
        self.to = packed(to)

    def send(self, data):
        self.socket.sendto(data, self.to)

    def recv(self):
        return self.socket.recvfrom(5000)[0]

    def close(self):
        self.socket.close()


class Thread:
    """A started thread that runs function(*args) and says what that raises."""

    def __init__(self, function, *args):
        self.alive = True
        self._function = function
        _thread.start_new_thread(self._run, args)

    def _run(self, *args):
        try:
            self._function(*args)
        except BaseException as e:
            say(self._function.__name__, "raised", kind(e), e.args)
        finally:
            self.alive = False

    def join(self):
        until(lambda: not self.alive, "a thread")


class Serving:
    """with Serving(server): its serve_forever runs in a thread. It is closed at the end."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.thread = Thread(self.server.serve_forever, 0.02)
        return self.server

    def __exit__(self, *args):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


HOOKS = (
    "server_bind server_activate server_close get_request verify_request process_request "
    "process_request_thread finish_request shutdown_request close_request service_actions "
    "handle_timeout handle_error"
).split()


def traced(base):
    """Return a subclass of base whose hooks say their name and call base's."""
    names = {}
    for name in HOOKS:
        if hasattr(base, name):
            names[name] = _hook(base, name)
    return type("Traced" + base.__name__, (base,), names)


def _hook(base, name):
    inherited = getattr(base, name)

    def hook(self, *args):
        # Idle rounds of serve_forever are a matter of time: only those after a request count.
        quiet = name == "service_actions" and not getattr(self, "in_request", False)
        if quiet:
            return inherited(self, *args)
        known = getattr(self, "request_now", None)
        same = [a is b for a, b in zip(args, known)] if args and known else ""
        say(name, len(args), same)
        self.in_request = name != "service_actions"
        if name == "handle_error":
            say("  about", kind(error_of(self)), error_of(self).args)
            return None
        result = inherited(self, *args)
        if name == "get_request":
            self.request_now = result
        return result

    return hook


class TracedHandler(ss.BaseRequestHandler):
    """Says its steps; fails in those that are in the server's failing, a dict."""

    def setup(self):
        self.step("setup")

    def handle(self):
        self.step("handle")

    def finish(self):
        self.step("finish")

    def step(self, name):
        say("-", name)
        error = getattr(self.server, "failing", {}).get(name)
        if error:
            raise error(name)
