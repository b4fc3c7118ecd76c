"""Which state directory a command looks in that was told none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autohealer.cli.looking import the_one_meant
from autohealer.processes.identity import boot_id, start_ticks
from autohealer.statedir.hold import Hold
from autohealer.statedir.lock import Holder

ME = Holder(os.getpid(), start_ticks(os.getpid()) or 0, boot_id())
GONE = Holder(ME.pid, ME.start_ticks + 1, ME.boot)
"""A process that had our pid before."""


@pytest.mark.parametrize(
    ("own", "of_service", "meant"),
    [
        (ME, ME, "own"),
        (ME, None, "own"),
        (None, ME, "service"),
        (GONE, ME, "service"),
        (GONE, GONE, "own"),
        (None, GONE, "service"),
        (None, None, "own"),
    ],
)
def test_what_runs_is_meant(
    tmp_path: Path, own: Holder | None, of_service: Holder | None, meant: str
) -> None:
    """`autohealer status` would say that nothing runs on a machine whose service does."""
    holds = []
    for name, holder in (("own", own), ("service", of_service)):
        (tmp_path / name).mkdir(mode=0o700)
        if holder is not None:
            holds.append(Hold(tmp_path / name, "web", holder))
    assert the_one_meant(tmp_path / "own", tmp_path / "service").name == meant
    for hold in holds:
        hold.close()


def test_what_may_not_be_read_is_not_meant(tmp_path: Path) -> None:
    """An ordinary user would be told that he may not look, and not that nothing of his runs."""
    assert the_one_meant(tmp_path / "own", tmp_path / "missing").name == "own"
