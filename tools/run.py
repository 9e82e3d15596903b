"""Serve the standard services on MicroPython: python3 tools/run.py [--host H] [--port-base N]."""

import argparse
import os
import pathlib
import signal
import subprocess
import sys

import interpreters

ROOT = pathlib.Path(__file__).resolve().parent.parent
HIGHEST = 443  # the well-known port of the last service


def port_base(text):
    """Return the number in text if all services fit above it."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535 - HIGHEST:
        raise argparse.ArgumentTypeError(
            "a number from 1 to %d is needed, not %r" % (65535 - HIGHEST, text)
        )
    return number


def main():
    """Find a MicroPython, with a line per step, and let it serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="an address of this machine")
    parser.add_argument("--port-base", type=port_base, default=7000, help="echo is at N + 7, ...")
    parser.add_argument(
        "--cert",
        type=pathlib.Path,
        default=ROOT / "board" / "tls.pem",
        help="a certificate and its key, for HTTPS; default: board/tls.pem, if make cert made one",
    )
    options = parser.parse_args()
    try:
        found = interpreters.find("native", report=lambda line: print(line, flush=True))
    except interpreters.Unavailable as e:
        sys.exit("MicroPython is missing: %s" % e)
    print("MicroPython %s: %s" % (found.version, found.note), flush=True)
    command = [
        *found.argv,
        ROOT / "tools" / "serve.py",
        options.host or "0.0.0.0",
        options.port_base,
    ]
    if options.cert.exists():
        command.append(options.cert)
    environment = dict(os.environ, MICROPYPATH="%s:.frozen" % (ROOT / "lib"))
    server = subprocess.Popen([str(part) for part in command], env=environment)
    # Ctrl-C reaches both of us: the services end, and we say so.
    signal.signal(signal.SIGINT, lambda *args: None)
    signal.signal(signal.SIGTERM, lambda *args: server.terminate())
    status = server.wait()
    if status > 0:
        return status
    print("\nStopped.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
