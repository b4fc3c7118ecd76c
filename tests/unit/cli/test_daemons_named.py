"""How a daemon of many groups is told of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autohealer.cli.daemons import Daemon
from tests.support.statuses import STATUS


@pytest.mark.parametrize(
    ("groups", "name"),
    [
        (1, "g0"),
        (3, "g0, g1, g2"),
        (8, "g0, g1, g2, g3, g4, g5, g6, g7"),
        (50, "g0, g1, g2, g3, g4, g5, g6, g7 and 42 more groups"),
    ],
)
def test_many_groups_are_not_all_named(groups: int, name: str) -> None:
    """The one word that counts would stand behind fifty names."""
    statuses = tuple(replace(STATUS, group=f"g{number}") for number in range(groups))
    assert Daemon(Path(), 7, statuses).name == name


def test_a_daemon_stops_when_all_its_groups_do() -> None:
    """A detach would be refused because one group of several ends."""
    stopping = replace(STATUS, stopping=True)
    assert not Daemon(Path(), 7, (STATUS, stopping)).is_stopping
    assert Daemon(Path(), 7, (stopping, stopping)).is_stopping
