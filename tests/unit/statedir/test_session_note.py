"""The note by which the next daemon goes on with its predecessor's session."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from autohealer.statedir.session_note import (
    NOTE_NAME,
    SessionNote,
    read_note,
    remove_note,
    write_note,
)

NOTE = SessionNote("zk1:2181,zk2:2181/app", "boot-1", 0x1A21AE464BE0002, bytes(range(16)))


def test_it_is_read_as_it_was_written_and_for_nobody_else(tmp_path: Path) -> None:
    """Every program would vanish with the daemon, or any user could act as its session."""
    write_note(tmp_path, NOTE)
    assert read_note(tmp_path) == NOTE
    assert stat.S_IMODE((tmp_path / NOTE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NOTE_NAME]


def test_a_newer_one_takes_its_place_and_it_can_be_removed(tmp_path: Path) -> None:
    """A session that has ended would be asked for for ever."""
    write_note(tmp_path, SessionNote("zk", "boot-0", 1, b"x"))
    write_note(tmp_path, NOTE)
    assert read_note(tmp_path) == NOTE
    remove_note(tmp_path)
    remove_note(tmp_path)
    assert read_note(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": 1}', '{"zookeeper":1,"boot":"","id":1}'])
def test_a_damaged_one_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    """A daemon could not start because of a note it can do without."""
    (tmp_path / NOTE_NAME).write_text(text)
    assert read_note(tmp_path) is None


def test_one_that_is_planted_is_not_followed(tmp_path: Path) -> None:
    """A link could have the daemon show somebody else's file to a ZooKeeper."""
    write_note(tmp_path, NOTE)
    other = tmp_path / "other"
    other.mkdir()
    (other / NOTE_NAME).symlink_to(tmp_path / NOTE_NAME)
    assert read_note(other) is None
