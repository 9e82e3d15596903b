"""The services as people meet them: `make run`, and clients from Debian's packages."""

import calendar
import getpass
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time

import clients
import pytest
from conftest import ROOT, Program, certificates, connect, free_port

SERVE = ROOT / "tools" / "serve.py"
PORTS = {"echo": 7, "discard": 9, "daytime": 13, "chargen": 19, "time": 37}
PORTS.update(http=80, sntp=123)
YEAR_2000 = 946684800
YEAR_2040 = 2208988800


def client(name):
    try:
        return clients.client(name, report=lambda line: None)
    except clients.Unavailable as e:
        pytest.skip(str(e))


def ask(*command, stdin=""):
    """Run a client and return what it prints."""
    done = subprocess.run(
        [str(word) for word in command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=20,
        env=dict(os.environ, TZ="UTC", LC_ALL="C"),
    )
    return done.stdout + done.stderr


def free_base():
    """Return a port base above which all the services' ports are free."""
    while True:
        base = min(free_port(), 65000)
        try:
            for port in (*PORTS.values(), 443):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as s:
                        s.bind(("127.0.0.1", base + port))
            return base
        except OSError:
            continue


@pytest.fixture
def serve(start):
    """serve(target, clock): the port base of services that run."""

    def run(target, *clock):
        base = free_base()
        program = start(target, SERVE, "127.0.0.1", base, *clock)
        program.wait_for("Serving")
        program.base = base
        return program

    return run


def test_nc_gets_its_line_back(target, serve):
    program = serve(target)
    port = program.base + PORTS["echo"]
    assert ask(*client("nc"), "-q1", "127.0.0.1", port, stdin="hi\n") == "hi\n"
    program.wait_for("echo     TCP 127.0.0.1:")


def test_socat_talks_datagrams(target, serve):
    program = serve(target)
    echo = "UDP4:127.0.0.1:%d" % (program.base + PORTS["echo"])
    assert ask(*client("socat"), "-t1", "-", echo, stdin="datagram") == "datagram"
    daytime = "UDP4:127.0.0.1:%d" % (program.base + PORTS["daytime"])
    year = time.strftime("%Y", time.gmtime())
    assert year in ask(*client("socat"), "-t1", "-", daytime, stdin="x")


def test_nc_reads_the_others(target, serve):
    base = serve(target).base
    nc = client("nc")
    before = int(time.time())
    day = ask(*nc, "-d", "127.0.0.1", base + PORTS["daytime"])
    assert before <= calendar.timegm(time.strptime(day.strip())) <= time.time(), day
    with connect(base + PORTS["chargen"]) as stream:
        lines = [stream.makefile("rb").readline() for _ in range(1)]
    assert len(lines[0]) == 74
    assert ask(*nc, "-q0", "127.0.0.1", base + PORTS["discard"], stdin="away\n") == ""


def told_by_rdate(*options):
    text = ask(*client("rdate"), "-p", *options, "127.0.0.1")
    return calendar.timegm(time.strptime(text.strip().replace("UTC ", "")))


def told_by_chronyd(port):
    """Return the server's time by chrony's reckoning: its own clock and the difference."""
    text = ask(
        *client("chronyd"),
        *("-U", "-u", getpass.getuser(), "-Q", "-t", "8", "-f", "/dev/null"),
        "server 127.0.0.1 port %d iburst maxsamples 1" % port,
    )
    wrong = re.search(r"System clock wrong by (-?[0-9.]+) seconds", text)
    assert wrong, text
    return time.time() + float(wrong.group(1))


@pytest.mark.parametrize("clock", [None, YEAR_2000, YEAR_2040], ids=["now", "2000", "2040"])
def test_time_clients_report_the_servers_clock(target, serve, clock):
    program = serve(target, *([] if clock is None else [clock]))
    shift = 0 if clock is None else clock - int(time.time())
    port, sntp = program.base + PORTS["time"], program.base + PORTS["sntp"]
    assert abs(told_by_rdate("-o", port) - time.time() - shift) < 2
    assert abs(told_by_rdate("-u", "-o", port) - time.time() - shift) < 2
    if clock != YEAR_2040:  # rdate's SNTP client takes 2040 for 1903
        assert abs(told_by_rdate("-n", "-o", sntp) - time.time() - shift) < 2
    assert abs(told_by_chronyd(sntp) - time.time() - shift) < 2


def test_taken_port_is_a_sentence(target):
    base = free_base()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", base + PORTS["daytime"]))
        taken.listen()
        done = target.run(SERVE, "127.0.0.1", base)
    assert done.returncode == 1
    assert done.stdout.startswith("TCP port %d of 127.0.0.1 is in use:" % (base + 13))
    assert len(done.stdout.splitlines()) == 1 and not done.stderr


def test_ctrl_c_stops_at_once_and_again_it_starts_at_once(target, start):
    base = free_base()
    for _ in range(2):
        program = start(target, SERVE, "127.0.0.1", base)
        program.wait_for("Serving")
        with connect(base + PORTS["echo"]) as stream, connect(base + PORTS["discard"]):
            stream.sendall(b"x\n")
            assert stream.recv(10) == b"x\n"
            program.interrupt()
            assert program.wait(5) == 0
        assert "Traceback" not in program.output


def test_make_run():
    base = free_base()
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    environment.pop("MAKEFLAGS", None)
    for _ in range(2):
        command = ["make", "-C", str(ROOT), "run", "PORT_BASE=%d" % base]
        program = Program(command, environment)
        try:
            program.wait_for("Serving", 120)
            program.wait_for("Ctrl-C stops.")
            for name, port in PORTS.items():
                assert re.search("%s .*127.0.0.1:%d" % (name, base + port), program.output)
            nc = client("nc")
            port = base + PORTS["echo"]
            assert ask(*nc, "-q1", "127.0.0.1", port, stdin="hi\n") == "hi\n"
            os.killpg(program.process.pid, signal.SIGINT)  # as a terminal does
            program.wait(5)
            assert "Stopped." in program.output
            assert "Traceback" not in program.output
        finally:
            program.kill()


def test_make_run_with_a_certificate():
    base = free_base()
    command = [sys.executable, ROOT / "tools" / "run.py", "--port-base", base]
    command += ["--cert", certificates() / "server.pem"]
    program = Program([str(word) for word in command], dict(os.environ, PYTHONUNBUFFERED="1"))
    try:
        program.wait_for("Ctrl-C stops.", 120)
        assert "https://127.0.0.1:%d/" % (base + 443) in program.output
        trust = ssl.create_default_context(cafile=str(certificates() / "cert.pem"))
        page = http.client.HTTPSConnection("127.0.0.1", base + 443, timeout=20, context=trust)
        page.request("GET", "/stats.json")
        names = [one["name"] for one in json.load(page.getresponse())["services"]]
        assert "https/tcp" in names and "http/tcp" in names
        page.close()
    finally:
        program.kill()


def test_wrong_port_base_is_a_sentence():
    for wrong in ("echo", "0", "65500"):
        command = ["make", "-C", str(ROOT), "run", "PORT_BASE=" + wrong]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode and "a number from 1 to 65092" in done.stderr
        assert "Traceback" not in done.stderr


def test_flood_of_silent_clients_on_the_services(micropython, serve):
    program = serve(micropython)
    port = program.base + PORTS["echo"]
    silent = [connect(port) for _ in range(20)]
    begin = time.monotonic()
    assert ask(*client("nc"), "-q1", "127.0.0.1", port, stdin="hi\n") == "hi\n"
    assert time.monotonic() - begin < 10
    for stream in silent:
        stream.close()
