"""The codec of messages under a fuzzer: whatever comes is a value or a MessageError."""

import random
import sys
import time
import tracemalloc

import pytest
from conftest import LIB, ROOT, scale
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

set_hypothesis_home_dir(ROOT / "build" / "hypothesis")
REPLAY = ROOT / "tests" / "remote" / "replay.py"
FRAMES = 10000
LIMIT = 2048  # max_message of the replay: MicroPython's default


def library(room):
    """Return a room of the library, in this process."""
    if str(LIB) not in sys.path:
        sys.path.insert(0, str(LIB))
    return __import__("socketse." + room, None, None, ("x",))


message = library("message")
library("faults")  # loaded when it is needed: not while memory is measured

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.complex_numbers(allow_nan=False)
)
KEYS = st.text(st.characters(exclude_categories=["Cs"])) | st.integers() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.sets(KEYS, max_size=4)
        | st.frozensets(KEYS, max_size=4)
        | st.binary().map(bytearray)
    ),
    max_leaves=12,
)


class Peer:
    """A stream of what has come, after the version."""

    se_met = 3

    def __init__(self, data, limit=LIMIT):
        self.data = data
        self.max_message = limit

    def readexactly(self, n):
        data, self.data = self.data[:n], self.data[n:]
        if len(data) < n:
            raise EOFError
        return data


class AsyncPeer:
    """The same for a handler's coroutine."""

    se_met = 3

    def __init__(self, data, limit=LIMIT):
        self.data = data
        self.max_message = limit

    async def read(self, n):
        data, self.data = self.data[:n], self.data[n:]
        return data

    async def readexactly(self, n):
        return Peer.readexactly(self, n)


def arecv(peer):
    """Return what message.arecv() returns; it waits for nobody."""
    try:
        message.arecv(peer).send(None)
    except StopIteration as e:
        return e.value
    raise AssertionError("it waits")


def outcome(data, is_async=False):
    """Return how a message in data ends: "value", "error" or "closed"; anything else raises."""
    try:
        if is_async:
            arecv(AsyncPeer(data))
        else:
            message.recv(Peer(data))
    except message.MessageError:
        return "error"
    except message.SocketClosed:
        return "closed"
    except Exception as e:
        # host.py's mark on what a message of kind E has told
        if hasattr(e, "__notes__") or hasattr(e, "_se_stack"):
            return "value"
        raise
    return "value"


PIECES = [b'"', b"[", b"]", b"{", b"}", b",", b":", b"0", b"-1", b"1e9", b"true", b"null", b'"!t"']
PIECES += [b'"!%s":' % bytes([c]) for c in b"ifcbatlszdwoxq!"] + [
    b'"!"',
    b"\\u00e9",
    b"\\",
    b"\xff",
]
PIECES += [b'"a"', b'"MQ=="', b"[[[[", b"]]]]", b'{"!d":[[', b"[1,2]", b"1.5", b" ", b"\n", b"NaN"]
PIECES += [b'["ValueError",["x"],""]', b'["RUN",0,"x",[]]', b'[1,null,"x","y"]', b"9" * 30]


def frames(seed, n):
    """Yield n frames: random ones, some of them nearly right."""
    rng = random.Random(seed)
    for _ in range(n):
        how = rng.random()
        if how < 0.1:
            yield bytes(rng.randrange(256) for _ in range(rng.randrange(30)))
            continue
        size = rng.choice((3, 10, 30, 300))
        body = b"".join(rng.choice(PIECES) for _ in range(rng.randrange(size)))
        if how < 0.3:
            body = rng.choice((b"[", b'"', b'{"a":')) + body
        elif how < 0.5:
            body = b"[" + rng.choice(PIECES) * rng.randrange(900) + b"]"
        elif how < 0.6:
            value = rng.choice((b'{"!t":[1,{"!b":"MQ=="}]}', b'["x",[1.5,{"a":{"!s":[1]}}]]'))
            body = bytearray(value)
            for _ in range(rng.randrange(3)):
                body[rng.randrange(len(body))] = rng.randrange(256)
        n = len(body) if rng.random() < 0.97 else rng.randrange(10 ** rng.randrange(9))
        yield b"%08d" % n + rng.choice((b"P", b"P", b"P", b"S", b"B", b"E", b"W", b"V")) + body


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(VALUES)
def test_values_come_back(value):
    data = message.dumps(value, 1 << 20)
    found = message.recv(Peer(data, 1 << 20))
    assert type(found) is type(value) and repr(found) == repr(value) or found == value


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.binary(max_size=200), st.sampled_from([b"P", b"S", b"E", b"W"]))
def test_bytes_are_a_value_or_an_error(body, kind):
    data = b"%08d" % len(body) + kind + body
    assert outcome(data) == outcome(data, True) in ("value", "error")


@pytest.mark.parametrize("is_async", [False, True], ids=["recv", "arecv"])
def test_frames_are_values_or_errors(is_async):
    """In memory of CPython, whose list takes 88 bytes for a letter of JSON; boards: see below."""
    seen = {}
    tracemalloc.start()
    try:
        for data in frames(5, FRAMES * scale()):
            begin = time.thread_time()  # other processes' time is not ours
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            how = outcome(data, is_async)
            assert tracemalloc.get_traced_memory()[1] - before < 10 * LIMIT + 40960, data
            assert time.thread_time() - begin < 1, data
            seen[how] = seen.get(how, 0) + 1
    finally:
        tracemalloc.stop()
    assert min(seen.values()) > FRAMES * scale() // 200 and len(seen) == 3, seen


@pytest.mark.parametrize("seed, kind", [(7, "recv"), (8, "arecv")])
def test_the_same_frames_on_micropython(micropython, seed, kind, tmp_path):
    """In a heap in which max_message and 4 kB are left while a message is waited for."""
    path = tmp_path / "frames"
    n = FRAMES * scale() // (5 if micropython.name == "armhf" else 1)  # it is emulated
    with path.open("wb") as f:
        for data in frames(seed, n):
            f.write(b"%06d" % len(data) + data)
    # A small heap: it is collected before each frame.
    done = micropython.run(REPLAY, path, LIMIT, kind, heap="160k", seconds=60 * scale())
    assert done.stdout.startswith("%d frames: " % n), done.stdout + done.stderr
    assert done.stdout.endswith("OK\n"), done.stdout + done.stderr
