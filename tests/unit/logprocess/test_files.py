"""A file that is begun anew between two lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from autohealer.logprocess.files import RotatingFile
from autohealer.logprocess.layout import older, unstamped

MAX_BYTES = 100


def file_in(folder: Path, *, keep: int = 3, is_stamped: bool = False) -> RotatingFile:
    """A small one."""
    return RotatingFile(folder / "slot-0.log", MAX_BYTES, keep, is_stamped=is_stamped)


def kept_in(folder: Path, keep: int = 3) -> list[bytes]:
    """What files hold, the oldest first."""
    log = folder / "slot-0.log"
    paths = [older(log, number) for number in range(keep, 0, -1)] + [log]
    return [path.read_bytes() for path in paths if path.exists()]


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_no_line_is_lost_or_cut_where_one_file_ends(tmp_path: Path, size: int) -> None:
    """A line would vanish, or be in two files, whenever a file is full."""
    text = b"".join(b"line %d\n" % number for number in range(30))
    file = file_in(tmp_path)
    for begin in range(0, len(text), size):
        file.write(text[begin : begin + size])
    kept = kept_in(tmp_path)
    assert b"".join(kept) == text
    assert len(kept) == 3
    longest = len(b"line 29\n")  # one that was begun is ended in its file
    assert all(part.endswith(b"\n") and len(part) < MAX_BYTES + longest for part in kept)


def test_so_many_older_files_are_kept(tmp_path: Path) -> None:
    """The disk would fill up, or what was to be kept be gone; those of a higher number that was set before stay."""
    for number in (2, 3):
        older(tmp_path / "slot-0.log", number).write_bytes(b"of an earlier setting\n")
    file = file_in(tmp_path, keep=2)
    for number in range(100):
        file.write(b"line %d\n" % number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["slot-0.log", "slot-0.log.1", "slot-0.log.2"]
    assert kept_in(tmp_path)[-1].endswith(b"line 99\n")


def test_without_older_ones_the_file_is_emptied(tmp_path: Path) -> None:
    """It would grow for ever, or one be kept that nobody wants."""
    file = file_in(tmp_path, keep=0)
    for number in range(100):
        file.write(b"line %d\n" % number)
    assert [path.name for path in tmp_path.iterdir()] == ["slot-0.log"]
    assert len(kept_in(tmp_path)[0]) <= MAX_BYTES


def test_a_line_without_an_end_fills_no_disk(tmp_path: Path) -> None:
    """A program that never ends a line would have a file without bounds."""
    file = file_in(tmp_path, keep=1)
    for _ in range(100):
        file.write(b"x" * 50)
    assert sum(map(len, kept_in(tmp_path))) <= 4 * MAX_BYTES


def test_each_line_has_its_time_whatever_it_was_written_in(tmp_path: Path) -> None:
    """A line written in two pieces would have a time in its middle, or one none."""
    file = file_in(tmp_path, is_stamped=True)
    for piece in (b"one ", b"line\nan", b"other\n", b"last\n"):
        file.write(piece)
    (text,) = kept_in(tmp_path)
    assert unstamped(text) == b"one line\nanother\nlast\n"
    assert len(text) == len(unstamped(text)) + 3 * len("2026-01-01T00:00:00.000Z ")


def test_a_file_that_somebody_took_away_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `logrotate`, or `rm`, lines would go where nobody finds them."""
    monkeypatch.setattr("autohealer.logprocess.files.LOOK_S", 0.0)
    file = file_in(tmp_path)
    file.write(b"one\n")
    (tmp_path / "slot-0.log").rename(tmp_path / "taken away")
    file.write(b"two\n")
    assert kept_in(tmp_path) == [b"two\n"]
    (tmp_path / "slot-0.log").unlink()
    file.write(b"three\n")
    assert kept_in(tmp_path) == [b"three\n"]
