"""`await hub.serve()` beside other tasks of asyncio: neither side waits long for the other."""

import contextlib
import random
import select
import socket
import statistics
import threading
import time

from conftest import ROOT, free_port, scale

PROGRAM = ROOT / "tests" / "attacks" / "beside.py"
CLIENTS = 16
ECHOES = 400  # in one measurement
PAUSE = 0.02  # seconds that a client thinks before its next line, on average
EVERY_MS = 10  # as in beside.py
LATEST_TICK_MS = 50  # and as much as the machine lets others wait
LONGER_ECHO_MS = 5
ROUNDS = 5  # a machine with other things to do may miss a figure once, and again


def echo_ms(clients, rnd):
    """Return the milliseconds that each of many echoes took, asked at random moments."""
    now = time.monotonic()
    due = {client: now + rnd.uniform(0, 2 * PAUSE) for client in clients}
    asked = {}
    took = []
    while len(took) < ECHOES * scale():
        left = max(0, min(due.values()) - time.monotonic()) if due else 20
        readable = select.select(list(asked), [], [], left)[0]
        assert readable or due, "%d clients wait for their echo" % len(asked)
        now = time.monotonic()
        for client in readable:
            answer = client.recv(100)
            assert answer == b"a line\n", answer
            took.append(1000 * (now - asked.pop(client)))
            due[client] = now + rnd.uniform(0, 2 * PAUSE)
        for client in [client for client in due if due[client] <= now]:
            del due[client]
            asked[client] = time.monotonic()
            client.sendall(b"a line\n")
    for client in asked:  # nothing is on its way when the next measurement begins
        assert client.recv(100) == b"a line\n"
    return took


class Control(threading.Thread):
    """Ticks without any server: how late they are is the machine's doing."""

    def __init__(self):
        threading.Thread.__init__(self)
        self.latest = 0  # ms
        self._over = threading.Event()

    def run(self):
        before = time.monotonic()
        while not self._over.wait(EVERY_MS / 1000):
            now = time.monotonic()
            self.latest = max(self.latest, 1000 * (now - before) - EVERY_MS)
            before = now

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *args):
        self._over.set()
        self.join()


def latest_tick(client):
    """Return by how many milliseconds the latest tick was late since last asked, and the ticks."""
    client.sendall(b"late\n")
    answer = b""
    while not answer.endswith(b"\n"):
        data = client.recv(100)
        assert data, "closed"
        answer += data
    return [int(word) for word in answer.split()]


def test_ticks_and_echoes(target, start):
    rnd = random.Random(3)
    with contextlib.ExitStack() as stack:
        clients = {}
        for how in ("alone", "beside"):
            port = free_port()
            start(target, PROGRAM, port, *([how] if how == "alone" else [])).wait_for("ready")
            clients[how] = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
                for _ in range(CLIENTS)
            ]
            echo_ms(clients[how], rnd)  # tables have grown
        for _ in range(ROUNDS):
            alone = statistics.median(echo_ms(clients["alone"], rnd))
            latest_tick(clients["beside"][0])
            begin = time.monotonic()
            with Control() as control:
                beside = statistics.median(echo_ms(clients["beside"], rnd))
                time.sleep(0.2)  # the tasks tick while nobody asks, too
                late, ticks = latest_tick(clients["beside"][0])
            due = 3 * 100 * (time.monotonic() - begin)
            print(
                "FIGURES %-7s echo %.2f ms, alone %.2f ms; latest tick %d ms, %d of %d ticks, "
                "without a server %d ms"
                % (target.name, beside, alone, late, ticks, due, control.latest)
            )
            if (
                late <= LATEST_TICK_MS + control.latest
                and beside <= alone + LONGER_ECHO_MS
                and ticks > due * EVERY_MS / (EVERY_MS + LATEST_TICK_MS)  # all three tick
            ):
                return
        raise AssertionError("no round met the figures, see above")
