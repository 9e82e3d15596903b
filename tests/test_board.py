"""What board/ does on a board: on a virtual one, flashed as people do it, and asked by clients."""

import contextlib
import http.client
import json
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import flash
import interpreters
import pytest
import serial
import virtual_board
from conftest import ROOT, certificates, scale

FREE_ON_ESP32 = 19 * 1024  # bytes of the first 56 kB
FREE_WITHOUT_PAGE = 20 * 1024
FREE_WHILE_WATCHED = 12 * 1024  # while a browser has the page open
CONFIG = json.loads((ROOT / "board" / "config.template.json").read_text())
CONFIG.update(ntp=None, watchdog=0)
SERVING = "bytes of heap are free"  # the last line that is printed before it serves
CRASHING = """
from socketse import TCPServer, StreamRequestHandler
class Server(TCPServer):
    def service_actions(self):
        raise ValueError("the app's mistake")
def setup(hub):
    hub.add(Server(("", 8000), StreamRequestHandler))
"""
HANGING = """
from socketse import TCPServer, BaseRequestHandler
class Handler(BaseRequestHandler):
    def handle(self):
        while True:
            pass
def setup(hub):
    hub.add(TCPServer(("", 8000), Handler))
"""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a function that gives the flash image of a kind of board, flashed once."""
    try:
        interpreters.find("i386", report=lambda line: None)
    except interpreters.Unavailable as e:
        pytest.skip("i386: %s" % e)
    folder = tmp_path_factory.mktemp("images")
    source = folder / "board"
    shutil.copytree(ROOT / "board", source, ignore=shutil.ignore_patterns("config.json", "*.pem"))
    (source / "config.json").write_text(json.dumps(CONFIG))

    def image(kind):
        path = folder / kind
        if not path.exists():
            with virtual_board.Board(kind, flash=path) as board:
                assert flash.main(["--port", board.device, "--board", str(source)]) == 0
        return path

    return image


class Board(virtual_board.Board):
    """A virtual board with clients."""

    def put(self, **texts):
        """Write files, named without their dots, as name_json="..."; then switch it off and on."""
        with flash.Link(self.device) as link:
            for name, text in texts.items():
                name = "/" + ".".join(name.rsplit("_", 1))
                if text is None:
                    link.transport.fs_rmfile(name)
                else:
                    link.transport.fs_writefile(name, text.encode())
        self.cycle()

    def configure(self, **changes):
        self.put(config_json=json.dumps(dict(CONFIG, **changes)))

    def cycle(self):
        """Switch it off and on, and return where its console's new lines begin."""
        self.power_off()
        self.at = self.console_end()
        self.power_on()

    def served(self, seconds=20):
        """Wait until it serves, and return what it has printed since it was switched on."""
        self.wait_for_console(SERVING, seconds, since=self.at)
        return self.console[self.at :]

    def connect(self, port=7, seconds=5):
        return socket.create_connection((self.address, port + self.port_offset), seconds)

    def ask(self, line=b"hello\n", port=7, seconds=5):
        with self.connect(port, seconds) as client:
            client.sendall(line)
            return client.makefile("rb").readline()

    @contextlib.contextmanager
    def typing(self):
        """Yield a function that types at its REPL, and waits for an answer."""
        at = self.console_end()
        with serial.Serial(self.device, write_timeout=5) as line:

            def type_in(text, answer):
                nonlocal at
                line.write(text)
                at = self.wait_for_console(answer, since=at)

            yield type_in

    def run(self, code):
        """Return what code prints that mpremote runs on it."""
        command = [sys.executable, "-m", "mpremote", "connect", self.device, "exec", code]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def make(images, tmp_path):
    """make(kind, **more): a flashed board of its own, at work, ended with the test."""
    with contextlib.ExitStack() as stack:

        def board(kind="esp32", **more):
            path = tmp_path / ("%s%d" % (kind, len(list(tmp_path.iterdir()))))
            shutil.copy(images(kind), path)
            made = Board(kind, flash=path, **more)
            made.at = 0
            return stack.enter_context(made)

        yield board


@pytest.fixture(scope="module")
def shared(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("shared") / "flash"
    shutil.copy(images("esp32"), path)
    with Board("esp32", flash=path) as board:
        yield board


@pytest.fixture
def esp32(shared, images):
    """An ESP32 just as it was flashed, switched on."""
    shared.power_off()
    shutil.copyfile(images("esp32"), shared.flash)
    shared.wifi(True)
    shared.cycle()
    return shared


def test_an_esp32_has_room_left_while_it_serves(esp32):
    line = [line for line in esp32.served().splitlines() if SERVING in line][0]
    assert int(line.split()[0]) >= FREE_ON_ESP32
    assert esp32.ask() == b"hello\n"


def test_the_page_over_tls(make):
    board = make("pico_w")  # the 56 kB that an ESP32 begins with are tight for it
    board.served()
    secure = dict(CONFIG["services"], **{"https/tcp": 443})
    board.put(
        config_json=json.dumps(dict(CONFIG, services=secure)),
        tls_pem=(certificates() / "server.pem").read_text(),
    )
    lines = board.served()
    assert "https/tcp 443" in lines
    trust = ssl.create_default_context(cafile=str(certificates() / "cert.pem"))
    trust.check_hostname = False  # a virtual board has an address of its own
    with contextlib.closing(
        http.client.HTTPSConnection(
            board.address, 443 + board.port_offset, timeout=10, context=trust
        )
    ) as client:
        for _ in range(3):
            assert get(client, "/") == (200, (ROOT / "board/node/page.html").read_bytes())
            found = json.loads(get(client)[1])
        assert [one["active"] for one in found["services"] if one["name"] == "https/tcp"] == [1]
        assert get(client, "/tls.pem")[0] == 404
        assert found["free"] >= 4096, found
    assert board.ask() == b"hello\n"
    # Without its key it does not serve in plain text.
    board.put(tls_pem="nonsense")
    lines = board.served()
    assert "https is not served: /tls.pem: " in lines and "https/tcp 443" not in lines
    with pytest.raises(OSError):
        board.connect(443)
    assert board.ask() == b"hello\n"


def test_the_time_over_tls(make):
    board = make("pico_w")
    board.served()
    board.put(
        config_json=json.dumps(dict(CONFIG, services={"echo/tcp": 7, "time/https": 443})),
        tls_pem=(certificates() / "server.pem").read_text(),
    )
    assert "time/https 443" in board.served()
    trust = ssl.create_default_context(cafile=str(certificates() / "cert.pem"))
    trust.check_hostname = False  # a virtual board has an address of its own
    with contextlib.closing(
        http.client.HTTPSConnection(
            board.address, 443 + board.port_offset, timeout=10, context=trust
        )
    ) as client:
        for _ in range(3):
            status, page = get(client, "/")
            assert status == 503 and b"The clock is not set." in page
    assert board.ask() == b"hello\n"


def test_a_pico_w_serves(make):
    board = make("pico_w")
    assert "serving at " + board.address in board.served()
    assert board.ask() == b"hello\n"


# The page: what a browser shows of it is in test_page.py.


def page_of(board):
    return http.client.HTTPConnection(board.address, 80 + board.port_offset, timeout=10)


def get(connection, path="/stats.json"):
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_page_and_its_numbers(esp32):
    esp32.served()
    assert esp32.ask() == b"hello\n"
    with contextlib.closing(page_of(esp32)) as client:
        assert get(client, "/") == (200, (ROOT / "board/node/page.html").read_bytes())
        found = json.loads(get(client)[1])
        assert found["name"] == "socketse" and found["time"] is None
        services = {one["name"]: one for one in found["services"]}
        assert {name: services[name]["port"] for name in CONFIG["services"]} == CONFIG["services"]
        assert services["echo/tcp"]["accepted"] == 1 and services["app/tcp"]["active"] == 0
        for _ in range(100):
            if json.loads(get(client)[1])["uptime"] >= 2:
                break
            time.sleep(0.1)
        assert 2 <= json.loads(get(client)[1])["uptime"] <= 20
        for path in ("/config.json", "/node/page.html", "/../config.json", "/boot.py", "/app.py"):
            status, text = get(client, path)
            assert status == 404 and b"secret" not in text


def test_the_page_takes_heap_only_while_somebody_looks(esp32):
    esp32.served()
    free = []
    for _ in range(10 * scale()):
        with contextlib.closing(page_of(esp32)) as client:
            assert get(client, "/")[0] == 200
            free.append([json.loads(get(client)[1])["free"] for _ in range(10)])
    assert min(map(min, free)) >= FREE_WHILE_WATCHED, free
    # Nothing grows. At most, because the connection before may not be closed yet.
    assert max(free[2]) - max(free[-1]) <= 256, free
    with esp32.typing() as type_in:
        type_in(b"\x03", ">>> ")
        type_in(b"import sys; print('socketse.page' in sys.modules)\r", "\nFalse\r\n")


def test_a_board_without_a_page(esp32):
    esp32.served()
    without = {name: CONFIG["services"][name] for name in CONFIG["services"] if name != "http/tcp"}
    esp32.configure(services=without)
    lines = esp32.served()
    assert "http" not in lines and "echo/tcp 7" in lines
    (line,) = [line for line in lines.splitlines() if SERVING in line]
    assert int(line.split()[0]) >= FREE_WITHOUT_PAGE
    with pytest.raises(ConnectionRefusedError):
        esp32.connect(80)


# Configuration.


WRONG = {
    "hostname": (None, "hostname must be a name"),
    "networks": ("home", "networks must be a list like"),
    "address": ({"ip": "1.2.3.4"}, "address must be null for DHCP"),
    "services": ({"telnet/tcp": 23}, "services must be like"),
    "max_connections": (True, "max_connections must be null"),
    "when_full": (7, "when_full must be"),
    "allow": ("everybody", "allow must be null for everybody"),
    "ntp": ("http://pool.ntp.org", "ntp must be null, or a host"),
    "utc_offset": (99, "utc_offset must be hours"),
    "country": ("Germany", "country must be null, or two letters"),
    "watchdog": (-1, "watchdog must be 0, or seconds"),
    "led": (True, "led must be null"),
    "colour": ("red", "nobody knows 'colour'"),
}
WRONG_TOO = {
    "services": ({"echo/tcp": 70000}, "services must be like"),
    "allow": (["192.168.1"], "nobody is served"),
    "ntp": ("pool.ntp.org:ntp", "ntp must be null, or a host"),
    "led": (99999999999, "there is no pin 99999999999"),
}


@pytest.mark.parametrize(
    "text, sentences",
    [
        (None, ["/config.json cannot be read"]),
        ("{not json", ["/config.json is not JSON"]),
        ("[1, 2]", ["/config.json is not JSON (it must begin with {)"]),
        ('{"services": {1: 7}}', ["services must be like"]),
        ('{"services": {"http/udp": 80}}', ["services must be like"]),
        *(
            (json.dumps({key: wrong[key][0] for key in wrong}), [wrong[key][1] for key in wrong])
            for wrong in (WRONG, WRONG_TOO)
        ),
    ],
    ids=["missing", "not JSON", "a list", "no names", "no protocol", "wrong", "wrong, too"],
)
def test_a_broken_configuration_is_told_and_the_defaults_hold(esp32, text, sentences):
    esp32.served()
    esp32.put(config_json=text)
    esp32.wait_for_console("no network in config.json", since=esp32.at)
    lines = esp32.console[esp32.at :]
    assert [sentence for sentence in sentences if sentence not in lines] == [], lines
    assert esp32.run("print(6 * 7)") == "42\n"  # nothing keeps mpremote out


def test_services_limits_and_addresses_are_as_configured(esp32):
    esp32.served()
    esp32.configure(
        services={"echo/tcp": 1007, "daytime/udp": 1013},
        max_connections=2,
        allow=["127.0.0.1"],
        utc_offset=5.5,
    )
    assert "daytime/udp 1013, discovery/udp 20007, echo/tcp 1007" in esp32.served()
    assert esp32.ask(port=1007) == b"hello\n"
    with pytest.raises(ConnectionRefusedError):
        esp32.connect(7)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.9", 0))
        stranger.settimeout(5)
        stranger.connect((esp32.address, 1007 + esp32.port_offset))
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(10) == b""
    with esp32.typing() as type_in:
        type_in(b"\x03", ">>> ")
        type_in(b"print(hub.max_connections, hub.stats['refused'])\r", "\n2 1\r\n")


def test_a_port_that_cannot_be_served_does_not_stop_the_others(esp32):
    esp32.served()
    esp32.configure(services={"echo/tcp": 7, "discard/tcp": 8000})  # the app's
    lines = esp32.served()
    assert "app.py does not work" in lines and "EADDRINUSE" in lines
    assert esp32.ask() == b"hello\n"


def test_a_static_address(esp32):
    esp32.served()
    address = {"ip": esp32.address, "mask": "255.0.0.0"}
    address.update(gateway="127.0.0.1", dns="127.0.0.1")
    esp32.configure(address=address)
    esp32.served()
    assert esp32.ask() == b"hello\n"


# The app.


@pytest.mark.parametrize(
    "text, sentence",
    [
        (None, "no module named 'app'"),
        ("def setup(hub:\n", "SyntaxError"),
        ("x = 1\n", "AttributeError"),
        ("def setup(hub):\n    raise OSError(5)\n", "OSError"),
        ("def setup(hub):\n    raise SystemExit\n", "SystemExit"),
    ],
)
def test_a_broken_app_is_told_and_the_rest_serves(esp32, text, sentence):
    esp32.served()
    esp32.put(app_py=text)
    lines = esp32.served()
    assert sentence in lines and "app.py does not work: all else is served" in lines
    assert esp32.ask() == b"hello\n"
    assert sentence in esp32.run("print(open('/crash.txt').read())")


def test_the_app_measures_and_switches(make):
    board = make("pico_w")
    board.served()
    assert 0 <= int(board.ask(b"read\n", 8000)) < 65536
    assert board.ask(b"led off\n", 8000) == b"ok\n"
    board.wait_for("pin LED 0")
    assert board.ask(b"led on\n", 8000) == b"ok\n"
    assert board.ask(b"\xff\xfe\n", 8000) == b"say read, led on or led off\n"
    assert board.ask(b"read\n", 8000).strip().isdigit()


# The network.


def test_the_board_comes_back_each_time_the_network_does(esp32):
    esp32.served()
    for _ in range(10 * scale()):
        assert esp32.ask() == b"hello\n"
        since = len(esp32.events)
        esp32.wifi(False)
        esp32.wait_for("wlan lost", since=since)
        at = esp32.console_end()
        esp32.wifi(True)
        esp32.wait_for_console(SERVING, since=at)
    assert esp32.ask() == b"hello\n"
    free = [
        int(line.split()[0]) for line in esp32.console[esp32.at :].splitlines() if SERVING in line
    ]
    # After the first time nothing grows.
    assert free[1] - free[-1] <= 64, free


def test_it_says_why_it_cannot_join_and_takes_the_next_network(esp32):
    esp32.served()
    esp32.configure(
        networks=[
            {"ssid": "elsewhere", "password": "secret"},
            {"ssid": "home", "password": "wrong"},
            {"ssid": "home", "password": "secret"},
        ]
    )
    lines = esp32.served(60)
    assert "cannot join elsewhere: not found; trying again" in lines
    assert "cannot join home: wrong password; trying again" in lines


def test_the_led_tells(make):
    board = make("pico_w")
    board.served()
    board.wait_for("pin LED 1")
    assert board.events.count("pin LED 1") < 40
    since = len(board.events)
    board.wifi(False)
    for _ in range(3):  # it blinks
        since = board.wait_for("pin LED 0", since=since)
        since = board.wait_for("pin LED 1", since=since)


# Time.


@contextlib.contextmanager
def answering(answers):
    """A server of datagrams; yields its port and the list of the questions so far.

    answers  answers(n, question) returns the datagrams that answer the n-th question
    """
    stop = threading.Event()
    asked = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)

        def serve():
            while not stop.is_set():
                try:
                    data, client = server.recvfrom(600)
                except TimeoutError:
                    continue
                for answer in answers(len(asked), data):
                    server.sendto(answer, client)
                asked.append(data)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1], asked
        finally:
            stop.set()
            thread.join()


def dns(record):
    head = b"\x81\x80\0\1\0\1\0\0\0\0"
    return lambda data: data[:2] + head + data[12:] + record


def ntp(seconds, first=0x24, stratum=2):
    """Answer with this time, in seconds from 1900, to a question or to nobody's."""
    stamp = struct.pack(">II", int(seconds) & 0xFFFFFFFF, int(seconds % 1 * 2**32))
    head = bytes((first, stratum, 6, 0xEC)) + bytes(20)
    return lambda data: head + data[40:48] + stamp + stamp


LOOPBACK = dns(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1")


@pytest.mark.parametrize("kind", ["esp32", "pico_w"])  # 1970 and 2000 begin their years
def test_the_clock_is_set_and_passed_on(make, kind):
    board = make(kind)
    board.served()
    then = 1893456000  # 2030
    begun = time.monotonic()

    def answers(n, data):
        if len(data) != 48:
            return [LOOPBACK(data)]
        now = then + time.monotonic() - begun + 2208988800
        return [b"nonsense", ntp(now)(bytes(48)), ntp(now)(data)]  # the second is somebody else's

    with answering(answers) as (port, asked):
        address = {"ip": board.address, "mask": "255.0.0.0", "gateway": "127.0.0.1"}
        address["dns"] = "127.0.0.1:%d" % port
        board.configure(ntp="time.example:%d" % port, address=address)
        board.wait_for_console("the clock is set by time.example", since=board.at)
        assert [len(data) == 48 for data in asked[:2]] == [False, True]
        told = board.connect(37).makefile("rb").read()
        now = then + time.monotonic() - begun
        assert abs(struct.unpack(">I", told)[0] - 2208988800 - now) <= 1.5
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(5)
            question = b"\x23" + bytes(39) + b"12345678"
            client.sendto(question, (board.address, 123 + board.port_offset))
            answer = client.recv(100)
            now = then + time.monotonic() - begun
        assert answer[0] >> 6 == 0 and answer[1] == 3 and answer[12:16] == b"\x7f\0\0\1"
        seconds, fraction = struct.unpack(">II", answer[40:48])
        assert abs(seconds + fraction / 2**32 - 2208988800 - now) < 1
        dispersion = struct.unpack(">I", answer[8:12])[0] / 65536
        assert dispersion < 0.1  # it knows when the second began


@pytest.mark.parametrize(
    "host, answers",
    [
        (
            "time.example",
            [
                dns(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f"),  # cut off
                dns(b"\xff" * 99),
                dns(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xff\xff\xff\xff"),  # everybody
            ],
        ),
        ("time.example", [dns(b"\xc0\x0c\0\1"), lambda data: data[:7], bytes]),
        ("127.0.0.1", [ntp(2208988800), ntp(2208988799), ntp(0x7FFFFFFF)]),  # 1970, 2036, 2104
        ("127.0.0.1", [ntp(4000000000, stratum=0), ntp(4000000000, first=0xE4), bytes]),
    ],
)
def test_nonsense_from_the_network_does_no_harm(esp32, host, answers):
    esp32.served()
    with answering(lambda n, data: [answers[n % 3](data)]) as (port, asked):
        dns_server = "127.0.0.1:%d" % port
        address = {"ip": esp32.address, "mask": "255.0.0.0", "gateway": "127.0.0.1"}
        address["dns"] = dns_server
        ntp_host = host if host == "time.example" else dns_server
        esp32.configure(ntp=ntp_host, address=address)
        esp32.wait_for_console("the clock is not set", since=esp32.at)
        assert len(asked) >= 3
        assert esp32.ask() == b"hello\n"
        assert esp32.connect(37).makefile("rb").read() == b""
        lines = esp32.console[esp32.at :]
        assert "That was crash" not in lines and "Traceback" not in lines


def test_without_a_time_server_all_else_serves(esp32):
    esp32.served()
    esp32.configure(ntp="127.0.0.1:9")
    esp32.served()
    assert esp32.connect(37).makefile("rb").read() == b""
    assert esp32.ask(seconds=1) == b"hello\n"
    esp32.wait_for_console("the clock is not set: no answer from 127.0.0.1:9", since=esp32.at)


# Crashes, hangs, and people at the REPL.


def test_after_three_crashes_it_steps_aside(esp32):
    esp32.served()
    esp32.put(app_py=CRASHING)
    for n in (1, 2, 3):
        esp32.wait_for_console("That was crash %d." % n, since=esp32.at)
    esp32.wait_for_console("3 crashes in a row: nothing is started for 10", since=esp32.at)
    with esp32.typing() as type_in:
        type_in(b"\x03", ">>> ")
    lines = esp32.console[esp32.at :]
    assert "The last crash, kept in /crash.txt:" in lines
    assert "ValueError: the app's mistake" in lines
    assert esp32.run("print(6 * 7)") == "42\n"
    esp32.cycle()  # somebody is there: once more
    esp32.wait_for_console("That was crash 1.", since=esp32.at)


def test_the_watchdog_resets_a_board_that_hangs(esp32):
    esp32.served()
    esp32.put(app_py=HANGING, config_json=json.dumps(dict(CONFIG, watchdog=1)))
    esp32.served()
    since = len(esp32.events)
    with esp32.connect(8000):
        esp32.wait_for("watchdog: reset", since=since)
    at = esp32.wait_for_console("the watchdog has reset the board", since=esp32.at)
    esp32.wait_for_console(SERVING, since=at)
    assert esp32.ask() == b"hello\n"


def test_the_watchdog_leaves_the_repl_alone(esp32):
    esp32.served()
    esp32.configure(watchdog=1)
    esp32.served()
    with esp32.typing() as type_in:
        type_in(b"\x03", ">>> ")
    # Time passes: at the prompt, and in mpremote, after a soft reset.
    since = len(esp32.events)
    assert esp32.run("import time; time.sleep(2.5); print(1)") == "1\n"
    assert esp32.run("import time; time.sleep(2.5); print(2)") == "2\n"
    assert not [event for event in esp32.events[since:] if event.startswith("watchdog: reset")]
    with esp32.typing() as type_in:
        type_in(b"\x02\x04", SERVING)  # the friendly REPL, and a soft reset
    assert esp32.ask() == b"hello\n"


def test_ctrl_c_leads_to_the_repl_and_run_goes_on(esp32):
    esp32.served()
    assert esp32.ask() == b"hello\n"
    with esp32.typing() as type_in:
        type_in(b"\x03", "run() goes on.\r\n")
        type_in(b"", ">>> ")
        type_in(b"print(hub.stats['accepted'])\r", "\n1\r\n")
        type_in(b"hub = run()\r", SERVING)
        assert esp32.ask() == b"hello\n"


# Discovery.


def test_boards_are_found_and_serve_beside_each_other(make):
    offset = 15000
    boards = [make("esp32", port_offset=offset), make("pico_w", port_offset=offset)]
    for board in boards:
        board.served()
    for board in boards:
        assert board.ask() == b"hello\n"
    for to in ("127.255.255.255", "239.255.20.7"):
        command = [sys.executable, ROOT / "tools" / "find.py", "--json", "--seconds", "2"]
        command += ["--from", "127.0.0.1"]
        command += ["--to", "%s:%d" % (to, 20007 + offset)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stdout + done.stderr
        found = {one["address"]: one for one in json.loads(done.stdout)}
        assert set(found) == {board.address for board in boards}, (to, found)
        assert found[boards[0].address]["services"]["echo/tcp"] == 7


def test_who_asks_for_little_gets_nothing(esp32):
    esp32.served()
    where = esp32.address, 20007 + esp32.port_offset
    with contextlib.ExitStack() as stack:
        few, client = [
            stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)
        ]
        client.settimeout(5)
        few.sendto(b"socketse?", where)  # the answer would be longer: no amplifier
        few.sendto(b"who is there?" + bytes(499), where)
        client.sendto(b"socketse?" + bytes(503), where)
        answer = client.recv(1000)  # those before it were handled before it
        assert json.loads(answer)["name"] == "socketse" and len(answer) <= 512
        few.setblocking(False)
        with pytest.raises(BlockingIOError):
            few.recv(1000)
