"""tools/bench/faults.py: some of its faults, and the table in the README that it has made."""

import re
import subprocess
import sys

import interpreters
import pytest
from conftest import ROOT, scale

PROGRAM = ROOT / "tools" / "bench" / "faults.py"


def faults():
    """Return {name: what stands in the table}."""
    found = re.findall(r'^    "([a-z-]+)": \(\s*"([^"]+)"', PROGRAM.read_text(), re.M)
    return dict(found)


def test_socketse_survives():
    try:
        interpreters.find("i386", report=lambda line: None)
    except interpreters.Unavailable as e:
        pytest.skip("i386: %s" % e)
    names = list(faults()) if scale() > 1 else ["queue", "endless", "ctrl-c"]
    words = [word for name in names for word in ("--only", name)]
    done = subprocess.run(
        [sys.executable, PROGRAM, *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_has_all_rows():
    rows = faults().values()
    assert len(rows) >= 16
    text = (ROOT / "README.md").read_text()
    assert [row for row in rows if "\n| %s | survived | survived |" % row not in text] == []
