"""CPython's own tests of socketserver, run against socketse on the CPythons of this machine."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import clients
import pytest
import single
from conftest import ROOT, Target
from interpreters import Unavailable

OLDEST = (3, 8)  # the oldest that socketse promises to run on
RUNNER = ROOT / "tests" / "cpython_suite.py"


def version(python):
    """Return a Python's version, e.g. (3, 8), or None if it does not run: pyenv's shims may."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", "import sys; print(*sys.version_info[:2])"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else None


def installed():
    """Return [(version, path), ...] of the files that should be Pythons, the newest first."""
    files = list((pathlib.Path.home() / ".pyenv" / "versions").glob("*/bin/python3.*"))
    for folder in os.get_exec_path():
        files += pathlib.Path(folder).glob("python3.*")
    names = [(re.fullmatch(r"python3\.(\d+)", file.name), str(file)) for file in files]
    return sorted([((3, int(m[1])), file) for m, file in names if m], reverse=True)


def oldest():
    for promised, python in installed():
        if promised == OLDEST and version(python) == OLDEST:
            return python
    pytest.skip("no Python %d.%d on this machine" % OLDEST)


def system():
    python = shutil.which("python3", path=os.defpath)
    if python is None:
        pytest.skip("the system has no Python of its own in %s" % os.defpath)
    found = version(python)
    if found is None or found < OLDEST:
        pytest.skip("the system's Python, %s, is %s" % (python, found))
    return python


def newest():
    for promised, python in installed():
        if version(python) == promised:
            return python
    pytest.skip("no python3.x on PATH or among pyenv's versions")


def run(python, start, workdir, path=None):
    """Run the suite on a Python, against the file at path or the package; return its report."""
    try:
        folder = clients.testsuite(python)
    except Unavailable as e:
        pytest.skip(str(e))
    if folder is None:
        pytest.skip("%s comes without CPython's tests" % python)
    program = start(
        Target("cpython", [python]), RUNNER, workdir, folder, *([path] if path else [])
    )
    status = program.wait()
    assert status == 0, program.output
    report = json.loads(program.output.rstrip().rsplit("\n", 1)[-1])
    assert report["failed"] == [], program.output
    assert report["skipped"] == []
    return report


PYTHONS = pytest.mark.parametrize("find", [oldest, system, newest], ids=lambda find: find.__name__)


@PYTHONS
def test_cpython_suite(find, start, tmp_path):
    report = run(find(), start, tmp_path)
    assert report["left_out"] == ["test_all"]
    # CPython 3.8 to 3.13 have 27; a later one may have more, but not without being looked at.
    assert report["ran"] == 26


@PYTHONS
def test_cpython_suite_on_the_single_file(find, start, tmp_path):
    path = tmp_path / "socketse.py"
    path.write_text(single.join())
    report = run(find(), start, tmp_path, path)
    assert report["left_out"] == []
    assert report["ran"] == 27  # test_all too
