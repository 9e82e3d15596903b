"""tools/soak: all services among honest and hostile clients; with --all a minute of it."""

import subprocess
import sys

from conftest import ROOT, scale


def test_soak(small):
    minutes = 1 if scale() > 1 else 5 / 60
    command = [sys.executable, ROOT / "tools" / "soak", "--minutes", "%.3f" % minutes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert done.stdout.endswith("survived\n")
