"""tools/soak: all services among honest and hostile clients; with --all a minute of it."""

import json
import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from conftest import ROOT, scale

SOAK = ROOT / "tools" / "soak"
SVG = "{http://www.w3.org/2000/svg}"


def points(line):
    """Return the (x, y) of a line of the chart."""
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def check_chart(folder):
    """See to it that the chart shows what was measured."""
    found = json.loads((folder / "soak.json").read_text())
    chart = ElementTree.parse(folder / "soak.svg").getroot()
    width, height = int(chart.get("width")), int(chart.get("height"))
    titles = [text.text for text in chart.iter(SVG + "text") if text.get("x") == "0"]
    lines = iter(map(points, chart.iter(SVG + "polyline")))
    for name, place in found.items():
        if name == "problems":
            continue
        for what, key in (("bytes of heap in use", "used"), ("descriptors", "fds")):
            assert "%s: %s, when all clients are gone" % (name, what) in titles
            values = [calm[key] for calm in place["calm"]]
            line = next(lines)
            assert len(line) == len(values) > 1
            assert all(0 <= x <= width and 0 <= y <= height for x, y in line)
            assert [x for x, _ in line] == sorted(x for x, _ in line)
            for value in (min(values), max(values)):
                assert format(value, ",") in titles
            # More is higher, by as much.
            for (_, y), value in zip(line, values):
                if max(values) > min(values):
                    part = (max(values) - value) / (max(values) - min(values))
                    top, bottom = min(y for _, y in line), max(y for _, y in line)
                    assert abs(y - top - part * (bottom - top)) < 0.2
    assert next(lines, None) is None


def test_soak(small):
    minutes = 1 if scale() > 1 else 5 / 60
    command = [sys.executable, SOAK, "--minutes", "%.3f" % minutes]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert done.stdout.endswith("survived\n")
    check_chart(ROOT / "build" / "soak")


# What is changed in site.py, and all that the verdict is to say of it.
LOSE = "self.end_headers(); lost.append((bytes(500), __import__('socket').socket()))"
WRONG = {
    "answers and leaks": (
        (("return self.n", "return self.n + 1"), ("self.end_headers()", LOSE)),
        (
            r"remote: Wrong",
            r"site: \d+ bytes of heap are lost",
            r"site: \d+ descriptors, then \d+",
        ),
    ),
    "end": ((("self.end_headers()", "raise SystemExit"),), ("site: exit status",)),
}
PROGRAM = """
import importlib.util, pathlib, sys

soak, folder, site = map(pathlib.Path, sys.argv[1:])
sys.path[:0] = [str(soak), str(soak.parent)]
import places

places.SITE, places.BUILD = site, folder
spec = importlib.util.spec_from_file_location("soak", soak / "__main__.py")
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.PLACES = (places.Site,)
module.SETTLED = 0  # a leak shows at once
sys.exit(module.main(["--minutes", "0.05"]))
"""


@pytest.mark.parametrize("what", WRONG)
def test_a_server_that_is_wrong(small, tmp_path, what):
    changes, verdict = WRONG[what]
    text = (SOAK / "site.py").read_text()
    for old, new in (*changes, ("guard.MAX", "lost = []\nguard.MAX")):
        assert text.count(old) == 1
        text = text.replace(old, new)
    site = tmp_path / "site.py"
    site.write_text(text)
    command = [sys.executable, "-c", PROGRAM, SOAK, tmp_path, site]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout[-6000:] + done.stderr
    assert "FAILED" in done.stdout and not done.stdout.endswith("survived\n")
    problems = json.loads((tmp_path / "soak.json").read_text())["problems"]
    for expected in verdict:
        assert any(re.search(expected, one) for one in problems), (expected, problems)
