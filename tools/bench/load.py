"""The clients: as cheap as CPython allows, in one thread, from addresses never used twice."""

import itertools
import select
import socket
import time

LINE = b"a line of thirty-one characters\n"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
# A call of a small method, see socketse's remote.py, what it gives, and how a session begins.
CALL = b'00000026P["RUN",0,"double",["abc"]]'
CALLED = b"00000006Sabcabc"
NEW = b'00000001V100000007P["NEW"]'
SECONDS = 10  # a server that says nothing for so long has failed

_sources = itertools.count(250)


def connect(port):
    """Return a connection from an address of the loopback net that no other one has had.

    So no port is used twice within its minute of TIME_WAIT, and the server cannot have the
    address interned, as MicroPython has "127.0.0.1".
    """
    number = next(_sources)
    source = "127.%d.%d.%d" % (1 + number // 62500 % 250, number // 250 % 250, 1 + number % 250)
    return socket.create_connection(("127.0.0.1", port), SECONDS, (source, 0))


def exchange(connection, line=LINE):
    """Send a line and return the line that comes back."""
    connection.sendall(line)
    answer = b""
    while not answer.endswith(b"\n"):
        chunk = connection.recv(256)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        answer += chunk
    return answer


def heap(connection):
    """Return the bytes of heap that the server at the other end says it uses."""
    answer = exchange(connection, b"heap\n")
    if not answer.strip().isdigit():
        raise ConnectionError("a wrong answer: %r" % answer)
    return int(answer)


class Crowd:
    """Connections that stay, each with one line under way at a time; use it in a `with`."""

    def __init__(self, port, size, line=LINE, answer=None, hello=b""):
        # answer: what comes for line, None: the same. hello: sent first; its answer ends with "]".
        self._connections = []
        self._line = line
        self._answer = answer or line
        self._poller = select.epoll()
        try:
            for _ in range(size):
                self._connections.append(connect(port))
                self._poller.register(self._connections[-1].fileno(), select.EPOLLIN)
                self._begin(self._connections[-1], hello)
            self.run(size)
        except BaseException:
            self.close()
            raise

    def _begin(self, connection, hello):
        connection.sendall(hello)
        answer = b""
        while hello and answer[-1:] != b"]":
            chunk = connection.recv(256)
            if not chunk:
                raise ConnectionError("the server closed the connection")
            answer += chunk

    def run(self, requests):
        """Have that many requests answered, one of each connection at a time.

        All lines are sent before the first answer is waited for: every server finds the same
        number of them.
        """
        for _ in range(requests // len(self._connections)):
            for connection in self._connections:
                connection.send(self._line)
            for connection in self._connections:
                if connection.recv(256) != self._answer:
                    raise ConnectionError("a wrong answer, or none")

    def race(self, seconds):
        """Send each connection's next line as soon as the last is answered.

        Returns the requests per second.
        """
        receive = {connection.fileno(): connection.recv for connection in self._connections}
        send = {connection.fileno(): connection.send for connection in self._connections}
        for connection in self._connections:
            connection.send(LINE)
        answered, under_way = 0, len(send)
        started = now = time.perf_counter()
        while under_way:
            ready = self._poller.poll(SECONDS)
            if not ready:
                raise TimeoutError("no answer in %d s" % SECONDS)
            for fd, _ in ready:
                if receive[fd](256) != LINE:
                    raise ConnectionError("a wrong answer, or none")
                if now - started < seconds:
                    answered += 1
                    send[fd](LINE)
                else:
                    under_way -= 1
            if under_way == len(send):
                now = time.perf_counter()
        return answered / (now - started)

    def close(self):
        """Close all connections."""
        for connection in self._connections:
            connection.close()
        self._poller.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


def visits(port, count, at_once=1, request=LINE):
    """Make connections, each of which sends a line, gets it back and closes.

    count    how many, a multiple of at_once
    request  the line, or a request of another kind, whose answer ends with the line
    """
    for _ in range(count // at_once):
        connections = [connect(port) for _ in range(at_once)]
        for connection in connections:
            connection.send(request)
        for connection in connections:
            answer = connection.recv(256)
            while not answer.endswith(LINE):
                chunk = connection.recv(256)
                if not chunk:
                    raise ConnectionError("a wrong answer, or none")
                answer += chunk
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
        for connection in connections:
            connection.recv(256)  # returns when the server has closed it
            connection.close()
