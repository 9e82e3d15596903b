"""The bare poll loop: the least that a server of many connections can do, and all it does.

It sends back whatever comes: no lines, no timeouts, no limits, no second kind of request.
"""

import select
import socket

from common import ADDRESS, BACKLOG, heap, ready

connections = {}


def serve():
    """Serve for ever."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(socket.getaddrinfo(*ADDRESS)[0][-1])
    listener.listen(BACKLOG)
    listener.setblocking(False)
    poller = select.poll()
    poller.register(listener, select.POLLIN)
    ready()
    while True:
        newcomer = False  # register while ipoll runs would move what it walks through
        for sock, _ in poller.ipoll(-1):
            if sock is listener:
                newcomer = True
                continue
            try:
                chunk = sock.recv(256)
                if chunk == b"heap\n":
                    chunk = heap()
                if chunk:
                    sock.send(chunk)
                    continue
            except OSError:  # a reset
                pass
            poller.unregister(sock)
            del connections[sock]
            sock.close()
        if newcomer:
            sock, address = listener.accept()
            sock.setblocking(False)
            connections[sock] = address
            poller.register(sock, select.POLLIN)


serve()
