"""The note by which the next daemon knows which child of `/workers` is whose."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from autohealer.statedir.bonds_note import NOTE_NAME, NotedBond, read_bonds, write_bonds

BONDS = [NotedBond(0, 5, 3, 4, 9, ("worker_7", 7, 1), "{}"), NotedBond(1, 6, 3, 4, 0)]


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
    "text",
    [
        *("", "{", "[]", '{"zookeeper":"zk"}', "[" * 99999),
        *('{"zookeeper":"zk","bonds":[1]}', '{"zookeeper":"zk","bonds":[{}]}'),
        '{"zookeeper":"zk","bonds":[{"slot":"0","generation":1,"born":1,"floor":1,"owner":1}]}',
    ],
)
def test_a_damaged_one_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    """A daemon would not start for want of something it can do without."""
    (tmp_path / NOTE_NAME).write_text(text)
    assert read_bonds(tmp_path, "zk") == []
    assert read_bonds(tmp_path / "nowhere", "zk") == []


def test_a_bond_that_says_more_or_less_than_this_version_asks_is_taken_for_what_it_says(
    tmp_path: Path,
) -> None:
    """An upgrade, or going back, would lose every binding."""
    said = '"slot":0,"generation":1,"born":2,"floor":3,"owner":4'
    bonds = f'{{{said}}},{{{said},"child":["w",1],"process":7,"more":1}}'
    (tmp_path / NOTE_NAME).write_text(f'{{"zookeeper":"zk","bonds":[{bonds}]}}')
    assert read_bonds(tmp_path, "zk") == [NotedBond(0, 1, 2, 3, 4)] * 2
