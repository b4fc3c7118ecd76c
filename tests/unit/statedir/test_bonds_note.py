"""The note by which the next daemon knows which child of `/workers` is whose."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from autohealer.statedir.bonds_note import NOTE_NAME, read_bonds, write_bonds

BONDS: list[dict[str, object]] = [{"slot": 0, "child": ["worker_7", 7, 1]}]


def test_it_is_read_as_it_was_written_and_for_nobody_else(tmp_path: Path) -> None:
    """Every worker would be lost to the next daemon, or any user could have a foreign child deleted."""
    (tmp_path / f"{NOTE_NAME}.draft").write_text("cut short by a crash")
    write_bonds(tmp_path, "zk", BONDS)
    assert read_bonds(tmp_path, "zk") == BONDS
    assert stat.S_IMODE((tmp_path / NOTE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NOTE_NAME]


def test_what_was_noted_of_another_zookeeper_says_nothing(tmp_path: Path) -> None:
    """Names of one would be believed in another."""
    write_bonds(tmp_path, "zk", BONDS)
    assert read_bonds(tmp_path, "zk:2182") == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"zookeeper":"zk"}', '{"zookeeper":"zk","bonds":[1]}', "[" * 99999]
)
def test_a_damaged_one_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    """A daemon would not start for want of something it can do without."""
    (tmp_path / NOTE_NAME).write_text(text)
    assert read_bonds(tmp_path, "zk") == []
    assert read_bonds(tmp_path / "nowhere", "zk") == []
