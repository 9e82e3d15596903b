"""The virtual board: what mpremote, programs and the network see of it, and what happens to it."""

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time

import interpreters
import pytest
import serial
import virtual_board
from conftest import ROOT
from virtual_board.relay import broadcast_socket

MPREMOTE = [sys.executable, "-m", "mpremote", "connect"]
HIDDEN = 56000  # bytes for programs in a heap of 56 kB: the rest are MicroPython's own tables


@pytest.fixture(scope="module", autouse=True)
def interpreter():
    try:
        return interpreters.find("i386", report=lambda line: None)
    except interpreters.Unavailable as e:
        pytest.skip("i386: %s" % e)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    flash = tmp_path_factory.mktemp("esp32") / "flash"
    with virtual_board.Board(flash=flash) as board:
        yield board
        assert not [event for event in board.events if "fault" in event]


@pytest.fixture
def board(shared):
    """An ESP32 with an empty file system, freshly switched on, at its prompt."""
    shared.power_off()
    shared.flash.write_bytes(bytes(shared.flash.stat().st_size))
    shared.cut_power_at_write(None)
    shared.wifi(True)
    switch_on(shared)
    return shared


@pytest.fixture(scope="module")
def pico(tmp_path_factory):
    flash = tmp_path_factory.mktemp("pico_w") / "flash"
    with virtual_board.Board(kind="pico_w", flash=flash) as board:
        board.wait_for_console(">>> ")
        yield board


def switch_on(board):
    at = board.console_end()
    board.power_on()
    board.wait_for_console(">>> ", since=at)


def mpremote(board, *args, fails=False, stdin=None):
    """Run a command of mpremote and return what it printed."""
    done = subprocess.run(
        [*MPREMOTE, board.device, *[str(arg) for arg in args]],
        capture_output=True,
        text=True,
        timeout=20,
        stdin=stdin,
    )
    assert bool(done.returncode) == fails, done.stdout + done.stderr + board.console[-2000:]
    return done.stdout + done.stderr


class Line:
    """The REPL for people, through pyserial."""

    def __init__(self, board):
        self.board = board
        self.port = serial.Serial(board.device, exclusive=True)
        self.at = board.console_end()
        self.send(b"\x02")
        self.ready()

    def send(self, data):
        self.at = self.board.console_end()
        self.port.write(data)

    def wait(self, text):
        self.board.wait_for_console(text, since=self.at)
        return self.board.console[self.at :]

    def do(self, source):
        """Have a statement run to its end and return what it printed."""
        self.send(source.encode() + b"\r")
        return self.wait("\n>>> ").split("\n", 1)[1].rsplit("\n", 1)[0].replace("\r", "").strip()

    def start(self, program):
        """Let a program run in the background of the test; return when it runs."""
        text = "print('be' 'gun')\n" + program.strip()
        self.send(b"\x05" + text.replace("\n", "\r").encode() + b"\r\x04")
        self.at = self.board.wait_for_console("begun", since=self.at)

    def ready(self):
        """Wait for the prompt of a REPL that has just begun."""
        self.wait("information.\r\n>>> ")

    def stop(self):
        """Press Ctrl-C, and wait until it has ended the program."""
        self.send(b"\x03")
        self.wait("KeyboardInterrupt: \r\n>>> ")

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.port.close()


@pytest.fixture
def line(board):
    with Line(board) as opened:
        yield opened


JOIN = """import network, time
w = network.WLAN(network.STA_IF)
w.active(True)
w.connect("home", "secret")
while not w.isconnected(): time.sleep_ms(10)
print("joined")
"""

ECHO = (
    JOIN
    + """import socket
s = socket.socket()
s.bind(("", 7))
s.listen(5)
print("ready")
while True:
  c, a = s.accept()
  c.settimeout(20)
  d = c.recv(100)
  while d:
    c.sendall(d)
    d = c.recv(100)
  c.close()
"""
)


def address(board, port):
    return board.address, board.port_offset + port


def ask(board, port=7, text=b"hello", seconds=5):
    """Return what a TCP service of the board says to text."""
    with socket.create_connection(address(board, port), timeout=seconds) as client:
        client.sendall(text)
        return client.recv(100)


# mpremote


def test_mpremote_exec_eval_run(board, tmp_path):
    assert mpremote(board, "exec", "print('to you')") == "to you\n"
    assert mpremote(board, "eval", "6 * 7") == "42\n"
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint(__name__, sys.platform)\n" + "# long\n" * 2000)
    assert mpremote(board, "run", program) == "__main__ esp32\n"
    wrong = mpremote(board, "exec", "def f():\n  1/0\nf()", fails=True)
    assert wrong.replace("\r", "").strip() == (
        "Traceback (most recent call last):\n"
        '  File "<stdin>", line 3, in <module>\n'
        '  File "<stdin>", line 2, in f\n'
        "ZeroDivisionError: divide by zero"
    )
    assert "SyntaxError" in mpremote(board, "exec", "x =", fails=True)
    # resume: no soft reset before it
    mpremote(board, "exec", "kept = 1")
    assert mpremote(board, "resume", "exec", "print(kept)") == "1\n"
    assert "NameError" in mpremote(board, "exec", "print(kept)", fails=True)


def test_mpremote_files(board, tmp_path):
    tree = tmp_path / "tree"
    (tree / "sub").mkdir(parents=True)
    every = bytes(range(256)) * 30
    (tree / "one.bin").write_bytes(every)
    (tree / "sub" / "two.txt").write_text("two\n")
    mpremote(board, "fs", "cp", "-r", tree, ":")
    assert mpremote(board, "fs", "ls", ":tree").split()[2:] == ["7680", "one.bin", "0", "sub/"]
    assert mpremote(board, "fs", "cat", ":tree/sub/two.txt") == "two\n"
    mpremote(board, "fs", "cp", ":tree/one.bin", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == every
    mpremote(board, "fs", "mkdir", "more", "+", "fs", "touch", "more/nothing")
    assert "nothing" in mpremote(board, "fs", "tree")
    mpremote(board, "fs", "rm", "-r", ":tree", "+", "fs", "rm", ":more/nothing")
    mpremote(board, "fs", "rmdir", "more")
    assert mpremote(board, "fs", "ls").split()[2:] == ["75", "boot.py"]
    assert "<VfsLfs2>" in mpremote(board, "df")


def test_mpremote_mount(board, tmp_path):
    (tmp_path / "there.py").write_text(
        "data = open('/remote/in', 'rb').read()\nopen('/remote/out', 'wb').write(data)\nprint(1)\n"
    )
    every = bytes(range(256)) * 20  # Ctrl-C and line ends among them
    (tmp_path / "in").write_bytes(every)
    assert mpremote(board, "mount", tmp_path, "exec", "import there").endswith("1\n")
    assert (tmp_path / "out").read_bytes() == every


def test_mpremote_mip_local(board, tmp_path):
    (tmp_path / "thing.py").write_text("print('a thing')\n")
    (tmp_path / "package.json").write_text(
        json.dumps({"urls": [["thing/__init__.py", "thing.py"]], "version": "1"})
    )
    mpremote(board, "mip", "install", tmp_path / "package.json")
    assert mpremote(board, "exec", "import thing; print(thing.__file__)") == (
        "a thing\n/lib/thing/__init__.py\n"
    )


def test_mpremote_reset_and_soft_reset(board, tmp_path):
    (tmp_path / "main.py").write_text("print('main', __name__)\n")
    mpremote(board, "fs", "cp", tmp_path / "main.py", ":")
    at, since = board.console_end(), len(board.events)
    mpremote(board, "soft-reset")  # leaves the REPL after boot.py
    board.wait_for("start soft reset", since=since)
    assert "main __main__" not in board.console[at:]
    mpremote(board, "reset")
    since = board.wait_for("machine.reset()", since=since)
    board.wait_for("start hard reset", since=since)
    board.wait_for_console("main __main__", since=at)


def test_mpremote_repl(board):
    leader, terminal = pty.openpty()
    mine = subprocess.Popen(
        [*MPREMOTE, board.device, "repl"], stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    try:
        seen = read_until(leader, b"Ctrl-]")
        os.write(leader, b"print(6 * 7)\r")
        seen += read_until(leader, b"42")
        os.write(leader, b"\x1d")
        assert mine.wait(10) == 0, seen
    finally:
        mine.kill()
        mine.wait()
        os.close(leader)


def read_until(file, text, seconds=10):
    seen = b""
    end = time.monotonic() + seconds
    while text not in seen:
        assert select.select([file], [], [], max(0, end - time.monotonic()))[0], seen
        seen += os.read(file, 1000)
    return seen


# The REPL


def test_people(line):
    assert line.do("1 + 1") == "2"
    line.send(b"x = [1,\r2]\rlex\x08\x7fen(x) + 40\r")
    line.wait("42\r\n>>> ")
    line.send(b"for i in range(2):\r  print('no', i)\r\r")
    line.wait("no 1\r\n>>> ")
    line.send(b"\x05if 1:\r  print('pas' 'ted')\r\x04")
    line.wait("pasted\r\n>>> ")
    line.send(b"1/0\r")
    said = line.wait("divide by zero\r\n>>> ")
    assert "_boot" not in said
    line.send(b"help()\r")
    line.wait(">>> ")


def test_soft_reset_for_people(board, line, tmp_path):
    line.do("f = open('boot.py', 'w'); f.write('print(\"bo\" \"ot\")'); f.close()")
    line.do("f = open('main.py', 'w'); f.write('print(\"ma\" \"in\")'); f.close(); x = 1")
    line.send(b"\x04")
    said = line.wait(">>> ")
    assert said.index("MPY: soft reboot\r\n") < said.index("boot\r\n") < said.index("main\r\n")
    assert "NameError" in line.do("x")
    line.send(b"raise SystemExit\r")
    line.wait("soft reboot")
    line.wait("main\r\n")
    # raw mode outlives the reset; main.py is left out
    line.send(b"\x01\x04")
    line.wait("boot\r\nraw REPL; CTRL-B to exit\r\n>")
    assert "main" not in board.console[line.at :]


def test_ctrl_c(board, line):
    line.start("n = 0\nwhile True: n += 1")
    line.stop()
    assert int(line.do("n")) > 0
    # in a wait, several times, and caught
    line.start(
        "import time\nfor i in range(3):\n  try:\n    print('try', i)\n    time.sleep(20)\n"
        "  except KeyboardInterrupt:\n    print('caught', i)"
    )
    for i in range(3):
        line.wait("try %d" % i)
        line.send(b"\x03")
        line.wait("caught %d" % i)
        time.sleep(0.06)  # sooner it is the same key
    line.wait(">>> ")
    # at the prompt it only makes a new one
    line.send(b"half\x03")
    line.wait("\r\n>>> ")
    assert line.do("1 + 1") == "2"


def test_ctrl_c_during_collections(line):
    """SIGINT would leave the heap locked: the interpreter is interrupted between instructions."""
    for n in range(20):
        line.start("import gc\nx = []\nwhile True:\n  x = [bytes(50)] * 9\n  gc.collect()")
        time.sleep(0.001 * (n % 5))
        line.stop()
        assert line.do("len(bytes(1000))") == "1000"


def test_ctrl_c_is_a_byte_without_kbd_intr(line):
    line.start(
        "import micropython, sys\nmicropython.kbd_intr(-1)\nprint('now')\n"
        "print(sys.stdin.buffer.read(3))\nmicropython.kbd_intr(3)\nprint('again')\n"
        "while True: pass"
    )
    line.wait("now")
    line.send(b"a\x03b")
    line.wait("b'a\\x03b'\r\nagain")
    line.stop()


def test_mpremote_stops_a_program(board, tmp_path):
    (tmp_path / "main.py").write_text("print('at work')\nwhile True:\n    pass\n")
    mpremote(board, "fs", "cp", tmp_path / "main.py", ":")
    at = board.console_end()
    board.power_cycle()
    board.wait_for_console("at work", since=at)
    assert mpremote(board, "exec", "print(1)") == "1\n"


@pytest.mark.parametrize("name", interpreters.names())
def test_other_interpreters(name, tmp_path):
    try:
        with virtual_board.Board(flash=tmp_path / "flash", interpreter=name) as board:
            board.wait_for_console(">>> ")
            with Line(board) as line:
                for _ in range(3):
                    line.start("import gc\nwhile True:\n  x = [bytes(50)] * 9\n  gc.collect()")
                    line.stop()
                    assert line.do("6 * 7") == "42"
                line.start("import time\ntime.sleep(20)")
                line.stop()
            assert mpremote(board, "exec", "print(1)") == "1\n"
    except interpreters.Unavailable as e:
        pytest.skip(str(e))


# Power, flash and clock


def test_flash_outlives_everything(tmp_path, interpreter):
    flash = tmp_path / "flash"
    for say in ("first", "second"):
        with virtual_board.Board(flash=flash) as board:
            board.wait_for_console(">>> ")
            with Line(board) as line:
                if say == "first":
                    line.do("f = open('/x', 'w'); f.write('kept'); f.close()")
                    with pytest.raises(BlockingIOError, match="another virtual board uses"):
                        with virtual_board.Board(flash=flash):
                            pass
                line.send(b"open('/x').read()\r")
                line.wait("'kept'")
            board.power_off()
            switch_on(board)
            with Line(board) as line:
                assert line.do("open('/x').read()") == "'kept'"
    with virtual_board.Board(flash=flash, erase=True) as board:
        board.wait_for("flash formatted")
        board.wait_for_console(">>> ")
        with Line(board) as line:
            assert line.do("import os; os.listdir('/')") == "['boot.py']"


def test_flash_of_other_size_is_refused(tmp_path):
    (tmp_path / "flash").write_bytes(b"x")
    with pytest.raises(ValueError, match="4096"):
        with virtual_board.Board(flash=tmp_path / "flash"):
            pass


def test_power_cut(board):
    def write(line, what):
        line.do("f = open('/x', 'w'); f.write('%s' * 1000); f.close()" % what)

    with Line(board) as line:
        write(line, "old")
        before = board.writes
        write(line, "new")
        needed = board.writes - before
    assert needed > 20
    seen = []
    for n in [*range(1, 4), *range(4, needed, 7), 2 * needed]:
        with Line(board) as line:
            write(line, "old")
            since = len(board.events)
            board.cut_power_at_write(n)
            write(line, "new")
            if n < needed // 2:  # how many there are differs a little from time to time
                board.wait_for("power cut at write", since=since)
        board.power_off()
        board.cut_power_at_write(None)
        switch_on(board)
        with Line(board) as line:
            seen.append(line.do("x = open('/x').read(); x[:3], len(x)"))
    assert set(seen) <= {"('old', 3000)", "('new', 3000)"}, seen
    assert "old" in seen[0] and "new" in seen[-1]


def test_clock(board, line):
    line.do("import time, machine")
    assert int(line.do("time.time()")) < 60
    line.do("machine.RTC().datetime((2026, 5, 4, 0, 13, 14, 15, 0))")
    assert line.do("time.gmtime()[:5]") == "(2026, 5, 4, 13, 14)"
    assert line.do("time.mktime(time.gmtime()) - time.time()") == "0"
    line.send(b"\x04")
    line.wait(">>> ")
    assert line.do("import time; time.localtime()[:5]") == "(2026, 5, 4, 13, 14)"
    line.send(b"import machine; machine.reset()\r")
    line.ready()
    assert line.do("import time; time.localtime()[:5]") == "(2026, 5, 4, 13, 14)"
    line.at = board.console_end()
    board.power_cycle()
    line.ready()
    assert line.do("import time; time.gmtime(0)[:3] + time.gmtime()[:3]") == (
        "(2000, 1, 1, 2000, 1, 1)"
    )


def test_reset_causes(board, line):
    line.do("import machine")
    assert line.do("machine.reset_cause() == machine.PWRON_RESET") == "True"
    line.at = board.console_end()
    board.reset()
    line.ready()
    assert line.do("import machine; machine.reset_cause() == machine.HARD_RESET") == "True"
    line.send(b"\x04")
    line.ready()
    assert line.do("import machine; machine.reset_cause() == machine.SOFT_RESET") == "True"


def test_watchdog(board, line):
    since = len(board.events)
    line.start(
        "import machine, time\nw = machine.WDT(timeout=2000)\nfor i in range(25):\n"
        "  w.feed()\n  time.sleep_ms(100)\nprint('fed')\nwhile True: pass"
    )
    line.wait("fed")
    assert not any("watchdog: reset" in event for event in board.events[since:])
    at = board.wait_for("watchdog: reset after 2.", since=since)
    board.wait_for("start watchdog", since=at)
    line.ready()
    assert line.do("import machine; machine.reset_cause() == machine.WDT_RESET") == "True"
    # it outlives a soft reset
    since = len(board.events)
    line.do("w = machine.WDT(timeout=2000)")
    line.send(b"\x04")
    at = board.wait_for("start soft reset", since=since)
    board.wait_for("watchdog: reset", since=at)


def test_pins_timers_and_sensors(board, line):
    since = len(board.events)
    line.do("from machine import Pin, ADC, Timer, unique_id; p = Pin(2, Pin.OUT); p.on(); p.on()")
    line.do("p.off()")
    board.wait_for("pin 2 0", since=since)
    assert [e for e in board.events[since:] if e.startswith("pin")] == ["pin 2 1", "pin 2 0"]
    assert "ValueError" in line.do("Pin('LED')")
    assert line.do("0 < ADC(Pin(34)).read_u16() < 65536, len(unique_id())") == "(True, 6)"
    line.send(b"t = Timer(0, period=30, callback=lambda t: print('tick'))\r")
    line.wait("tick\r\ntick")  # at the prompt
    line.start("import time\nprint('go')\nwhile True: time.sleep_ms(1)")
    line.wait("tick\r\ntick")  # while a program runs
    line.stop()
    line.send(b"\x04")
    line.ready()
    at = board.console_end()
    time.sleep(0.1)
    assert "tick" not in board.console[at:]


# Memory


def test_heap_is_the_kinds(board, pico, line):
    """What the emulation needs is added: programs have what a board's would have."""
    # The LittleFS with its caches is the board's own.
    assert HIDDEN - 3000 < board.free_heap < HIDDEN + 500
    measured = line.do("import gc; x = gc.collect(); gc.mem_free() + gc.mem_alloc()")
    assert abs(int(measured) - board.heap_kept - HIDDEN) < 500
    line.port.close()
    largest = mpremote(
        board,
        "exec",
        "import gc\ngc.collect()\nfor size in range(56000, 0, -500):\n  try:\n"
        "    x = bytearray(size)\n    break\n  except MemoryError: pass\nprint(size)",
    )
    assert int(largest) >= 48000  # in one piece: the device half does not lie about
    assert 180000 - 8000 < pico.free_heap < 184320


def test_socket_calls_leave_no_garbage(board, line):
    line.start(
        JOIN
        + """import socket, gc, select
def make():
  u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
  u.bind(("", 9))
  s = socket.socket()
  s.bind(("", 9))
  s.listen(2)
  p = select.poll()
  print("ready")
  c, _ = s.accept()
  c.settimeout(2)
  p.register(c, 1)
  return u, c, p
def tcp(c, p, n):
  for _ in range(n):
    for x in p.ipoll(2000): c.send(x[0].recv(32))
def udp(u, n):
  for _ in range(n):
    d, a = u.recvfrom(32)
    u.sendto(d, a)
def cost(f, *args):
  f(*args, 3)
  gc.collect()
  gc.disable()
  before = gc.mem_alloc()
  f(*args, 100)
  after = gc.mem_alloc()
  gc.enable()
  return (after - before) // 100
u, c, p = make()
print("costs", cost(tcp, c, p), cost(udp, u))
"""
    )
    line.wait("ready")
    with socket.create_connection(address(board, 9), timeout=5) as client:
        for _ in range(103):
            client.sendall(bytes(20))
            assert len(client.recv(32)) == 20
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(address(board, 9))
        for _ in range(103):
            client.send(bytes(20))
            assert len(client.recv(32)) == 20
    said = line.wait("costs").split("costs ")[-1] + line.wait(">>> ")
    tcp, udp = [int(word) for word in said.split("costs ")[-1].split()[:2]]
    assert tcp <= 64 and udp <= 160, (tcp, udp)  # the data itself; the datagram's tuples


# Sockets and Wi-Fi


def test_no_network_without_joining(board, line):
    line.do("import socket; s = socket.socket(); s.bind(('', 7)); s.listen(2)")
    with pytest.raises(OSError):
        ask(board, seconds=0.3)
    assert "113" in line.do("c = socket.socket(); c.connect(('127.0.0.1', 9))")
    assert "113" in line.do(
        "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.sendto(b'x', ('127.0.0.1', 9))"
    )


def test_serve_and_wifi(board, line):
    line.start(ECHO)
    line.wait("ready")
    assert ask(board) == b"hello"
    with socket.create_connection(address(board, 7), timeout=5) as client:
        client.sendall(b"1")
        assert client.recv(9) == b"1"
        since = len(board.events)
        board.wifi(False)
        board.wait_for("wlan lost", since=since)
        client.sendall(b"2")
        client.settimeout(0.3)
        with pytest.raises(OSError):
            client.recv(9)
        with pytest.raises(OSError):
            ask(board, seconds=0.3)
        board.wifi(True)
        board.wait_for("wlan joined home", since=since)
        client.settimeout(10)
        assert client.recv(9) == b"2"  # TCP has sent it again
    assert ask(board) == b"hello"
    line.stop()
    assert line.do("a[0]").strip("'").startswith("127.")
    # outlives a soft reset
    line.send(b"\x04")
    line.ready()
    line.do("import network; w = network.WLAN()")
    assert line.do("w.isconnected(), w.ifconfig()[0], w.config('ssid')") == (
        "(True, '%s', 'home')" % board.address
    )
    line.at = board.console_end()
    board.reset()
    line.ready()
    assert line.do("import network; w = network.WLAN(); w.isconnected(), w.active()") == (
        "(False, False)"
    )


def test_wlan_states_of_esp32(board, line):
    line.do("import network, time; w = network.WLAN(network.STA_IF)")
    assert "Wifi Not Started" in line.do("w.connect('home', 'secret')")
    line.do("w.active(True); w.connect('home', 'wrong')")
    assert line.do("w.status() == network.STAT_CONNECTING") == "True"
    assert "Internal State" in line.do("w.connect('home', 'secret')")
    since = board.wait_for("wlan cannot join home: wrong password")
    assert line.do("w.status() == network.STAT_WRONG_PASSWORD") == "True"
    line.do("w.disconnect(); w.connect('elsewhere')")
    board.wait_for("wlan cannot join elsewhere", since=since)
    assert line.do("w.status() == network.STAT_NO_AP_FOUND") == "True"
    assert line.do("[n[0] for n in w.scan()]") == "[b'home']"
    line.do("w.disconnect(); w.connect('home', 'secret')")
    board.wait_for("wlan joined home", since=since)
    assert line.do("w.status() == network.STAT_GOT_IP, network.PORT_OFFSET") == "(True, 11000)"
    assert line.do("w.ipconfig('addr4')[0]") == repr(board.address)
    assert line.do("w.config('mac')[:1], w.config(reconnects=3)") == "(b'\\x02', None)"
    line.do("w.active(False)")
    board.wait_for("wlan left", since=since)


def test_pico_does_not_join_again_by_itself(pico):
    with Line(pico) as line:
        line.do("import network, machine, time; w = network.WLAN(network.STA_IF)")
        line.do("w.active(True); w.connect('home', 'wrong')")
        since = pico.wait_for("wrong password")
        assert line.do("w.status()") == "-3"
        line.do("w.connect('home', 'secret')")
        since = pico.wait_for("wlan joined home", since=since)
        assert line.do("w.status()") == "3"
        pico.wifi(False)
        pico.wait_for("wlan lost", since=since)
        pico.wifi(True)
        time.sleep(0.5)
        assert line.do("w.isconnected(), w.status()") == "(False, 0)"
        line.do("w.connect('home', 'secret')")
        pico.wait_for("wlan joined home", since=since)
        # what else differs
        assert line.do("time.gmtime(0)[0], time.gmtime()[0]") == "(1970, 2021)"
        assert "8388" in line.do("machine.WDT(timeout=9000)")
        line.do("machine.Pin('LED', machine.Pin.OUT).toggle()")
        pico.wait_for("pin LED 1", since=since)
        assert line.do("import sys, os; sys.platform, os.listdir('/')") == "('rp2', [])"


@pytest.mark.parametrize("kind", ["esp32", "pico_w"])
def test_sockets_are_few(kind, shared, pico):
    board = pico if kind == "pico_w" else shared
    make = "import socket; k = []; [k.append(socket.socket(2, %d)) for _ in range(20)]"
    with Line(board) as line:
        line.send(b"\x04")
        line.ready()
        for type, number, error in ((1, *((5, 12) if board is pico else (10, 23))), (2, 2, 12)):
            if type == 2 and board is not pico:
                continue
            said = line.do(make % type)
            assert "OSError: %d" % error in said or "[Errno %d]" % error in said
            assert line.do("len(k)") == str(number)
            # those that are closed, or forgotten, are free again
            line.do("k.pop().close(); k.append(socket.socket(2, %d))" % type)
            line.do("del k; import gc; gc.collect()")
            line.do("x = [0] * 20; gc.collect()")
            line.do("k = [socket.socket(2, %d)]" % type)
            line.do("k[0].close(); del k; gc.collect()")


def test_discovery_reaches_both_of_two_boards(tmp_path, board, line):
    serve = JOIN + (
        "import socket\nu = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "u.bind(('', 20007))\n"
        "u.setsockopt(0, socket.IP_ADD_MEMBERSHIP, bytes((239, 255, 20, 7, 0, 0, 0, 0)))\n"
        "print('ready')\n"
        "while True:\n  d, a = u.recvfrom(600)\n  u.sendto(d + w.ifconfig()[0].encode(), a)"
    )
    with virtual_board.Board(flash=tmp_path / "flash", kind="pico_w") as other:
        assert other.device != board.device and other.address != board.address
        other.wait_for_console(">>> ")
        with Line(other) as second, broadcast_socket() as client:
            line.start(serve)
            second.start(serve)
            line.wait("ready")
            second.wait("ready")
            everybody = {b.address: b.address for b in (board, other)}
            assert ask_all(client, b"?" * 500, "127.255.255.255", 2) == everybody
            assert ask_all(client, b"!" * 500, "239.255.20.7", 2) == everybody
            # each answers for itself; the one without network is silent
            other.wifi(False)
            found = ask_all(client, b"." * 500, "127.255.255.255", 1)
            assert found == {board.address: board.address}


def ask_all(client, question, host, answers):
    """Ask until so many have answered: as networks do, the host loses a datagram at times."""
    found = {}
    client.settimeout(0.5)
    for _ in range(20):
        client.sendto(question, (host, 31007))
        with contextlib.suppress(TimeoutError):
            while len(found) < answers:
                data, sender = client.recvfrom(1000)
                if data.startswith(question):  # not a late answer to the question before
                    found[data[len(question) :].decode()] = sender[0]
            break
    return found


def test_a_client_of_the_board(board, line):
    """Connections and datagrams from the board to any port, from its own address."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        for sock in (server, datagrams):
            sock.settimeout(5)
        line.start(JOIN)
        line.wait("joined")
        line.do("import socket; s = socket.socket()")
        line.do("s.connect(('127.0.0.1', %d))" % server.getsockname()[1])
        with server.accept()[0] as accepted:
            assert accepted.getpeername()[0] == board.address
        line.do("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)")
        line.do("u.sendto(b'x', ('127.0.0.1', %d))" % datagrams.getsockname()[1])
        data, sender = datagrams.recvfrom(10)
        assert (data, sender[0]) == (b"x", board.address)
        line.do("u.settimeout(5)")
        datagrams.sendto(b"answer", sender)
        assert line.do("u.recvfrom(9)[0]") == "b'answer'"
        # nothing but loopback is in reach, and no name is asked for
        assert "113" in line.do("socket.socket().connect(('192.0.2.1', 80))")
        assert "OSError" in line.do("socket.getaddrinfo('pool.ntp.org', 123)")


# The command


def test_command(tmp_path):
    argv = [sys.executable, ROOT / "tools" / "virtual_board", "--flash", tmp_path / "flash"]
    started = subprocess.Popen(
        [str(part) for part in argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    try:
        first = started.stdout.readline().split()
        assert first[0] == "device"
        assert started.stdout.readline().startswith("address 127.0.7.")
        assert started.stdout.readline() == "start power-on\n"
        children = child_processes(started.pid)
        assert len(children) == 1
        for command, answers in (
            ("wifi off", "wifi off"),
            ("wifi on", "wifi on"),
            ("reset", "start hard reset"),
            ("power", "start power-on"),
            ("nonsense", "no command: nonsense"),
        ):
            started.stdin.write(command + "\n")
            while not started.stdout.readline().startswith(answers):
                assert started.poll() is None
        children = child_processes(started.pid)
        started.send_signal(signal.SIGINT)
        assert started.wait(10) == 0
        assert not any(map(alive, children))
    finally:
        started.kill()
        started.wait()
        started.stdin.close()
        started.stdout.close()


def test_nothing_is_left_after_a_kill(tmp_path):
    argv = [sys.executable, ROOT / "tools" / "virtual_board", "--flash", tmp_path / "flash"]
    started = subprocess.Popen([str(part) for part in argv], stdout=subprocess.PIPE, text=True)
    while started.stdout.readline() != "start power-on\n":
        assert started.poll() is None
    children = child_processes(started.pid)
    assert children
    started.kill()
    started.wait()
    started.stdout.close()
    end = time.monotonic() + 10
    while any(map(alive, children)):
        assert time.monotonic() < end
        time.sleep(0.01)


def child_processes(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(word) for word in f.read().split()] or all_threads_children(pid)


def all_threads_children(pid):
    found = []
    for thread in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, thread)) as f:
            found += [int(word) for word in f.read().split()]
    return found


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
