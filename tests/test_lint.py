"""Style and types: what the tools find, as failures."""

import subprocess
import sys

import pytest
from conftest import ROOT


def run(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff(command):
    run(sys.executable, "-m", "ruff", *command, ".")


def test_types():
    run(sys.executable, "tools/typecheck.py")


def test_no_room_imports_one_below_it():
    # The order of design: port knows nothing of the others, nobody knows services.
    order = "trouble rooms port shortage host unixport limits allow options workers alone".split()
    order += "tell server revive handler udp unix stream table hub plain multiplexer mixed".split()
    order += "names hosttls tlssocket certificates tls".split()
    order += "threads multiplex services classics page scram users guard login auth".split()
    order += "passwords message weight faults bounds operators entry looks session operate".split()
    order += "remote proxy httpdate httperror httpbody httpsend httpauth http httpfiles".split()
    order += "httplist timepage xmlvalues xmlsystem xmlrpc".split()
    late = {("port", "host"), ("port", "unixport"), ("services", "classics"), ("auth", "login")}
    late |= {("message", "faults"), ("session", "operate")}
    late |= {("server", "tls"), ("plain", "tls")}  # only with an ssl_context
    late |= {("http", "httpfiles"), ("httpfiles", "httplist"), ("httperror", "httpbody")}
    late |= {("httperror", "httpsend")}
    late |= {("httperror", "httplist"), ("httperror", "httpauth")}  # their own parts
    for room in order:
        for line in (ROOT / "lib/socketse" / (room + ".py")).read_text().splitlines():
            words = line.split("#")[0].split()
            if words[:1] != ["from"] or not words[1].startswith("."):
                continue
            names = [words[1][1:]] if words[1] != "." else " ".join(words[3:]).split(", ")
            for name in names:
                if (room, name) not in late and room != "trouble":
                    assert order.index(name) < order.index(room), "%s: %s" % (room, line)
