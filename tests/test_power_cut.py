"""The power goes in the middle of a flash, at every write in turn: the board starts, and serves.

The flash of a virtual board drops every write from the n-th on, n counted from the moment when
tools/flash.py begins. A few n in `make test`, each of them in `make test-all`.
"""

import shutil

import pytest
import virtual_board
from conftest import scale
from test_flash import ask, files, run, small_board


def cuts(writes, few):
    """Return the n to be tried: about `few` of them, with --all each, and one after the end."""
    step = 1 if scale() > 1 else max(1, writes // few)
    return sorted({*range(1, writes, step), writes - 1, writes + 1})


def restart(board):
    """Heal the flash and switch the power off and on; return where the console was then."""
    board.power_off()
    board.cut_power_at_write(None)
    since = board.console_end()
    board.power_on()
    return since


def writes_of(image, tmp_path, folder, *more):
    """Return how many writes a whole flash takes."""
    path = tmp_path / "counted"
    shutil.copy(image, path)
    with virtual_board.Board(flash=path) as board:
        board.wait_for_console("help()" if "help()" in more else "serving at")
        before = board.writes
        assert run(board, folder, *[word for word in more if word[0] == "-"]) == 0
        return board.writes - before


@pytest.mark.parametrize("what", ["a file", "all files"])
def test_update(what, tmp_path, capsys):
    """An old version is there: it serves, or the new one does, and nothing in between."""
    old = small_board(tmp_path / "old", "old")
    (old / "node" / "old.py").write_text("pass\n")
    new = small_board(tmp_path / "new", "new")
    more = ["--source"] if what == "all files" else []
    image, path = tmp_path / "image", tmp_path / "flash"
    with virtual_board.Board(flash=image) as board:
        assert run(board, old) == 0
    writes = writes_of(image, tmp_path, new, *more)
    assert writes > (300 if more else 15)
    seen = []
    for n in cuts(writes, 4):
        shutil.copy(image, path)
        with virtual_board.Board(flash=path) as board:
            board.wait_for_console("serving at")
            board.cut_power_at_write(n)
            status = run(board, new, *more)
            board.wait_for_console("serving at", since=restart(board))
            answer = ask(board)
            assert answer in (b"old\n", b"new\n"), "write %d: %r" % (n, answer)
            seen.append(answer)
            assert status == 1 or answer == b"new\n", "write %d" % n
            assert run(board, new, *more) == 0, "write %d: %s" % (n, capsys.readouterr().err)
            assert ask(board) == b"new\n", "write %d" % n
            left = files(board)
            assert "/node/old.mpy" not in left, "write %d" % n
            assert not [name for name in left if name.startswith("/.new")], "write %d" % n
    # One moment parts the old version from the new one.
    assert seen == sorted(seen, reverse=True) and set(seen) == {b"old\n", b"new\n"}, seen
    assert "Traceback" not in capsys.readouterr().err


def test_first_flash(tmp_path, capsys):
    """Nothing is there: the board starts, and the next flash is whole."""
    new = small_board(tmp_path / "new", "new")
    image, path = tmp_path / "image", tmp_path / "flash"
    with virtual_board.Board(flash=image) as board:
        board.wait_for_console("help()")
    writes = writes_of(image, tmp_path, new, "help()")
    assert writes > 300
    for n in cuts(writes, 4):
        shutil.copy(image, path)
        with virtual_board.Board(flash=path) as board:
            board.wait_for_console("help()")
            board.cut_power_at_write(n)
            run(board, new)
            # Without our boot.py nobody ends an update that was cut off: the next flash does.
            board.wait_for_console("\n", since=restart(board))
            assert run(board, new) == 0, "write %d: %s" % (n, capsys.readouterr().err)
            assert ask(board) == b"new\n", "write %d" % n
    assert "Traceback" not in capsys.readouterr().err
