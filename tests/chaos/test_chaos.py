"""Every kind of fault on a seeded schedule, many at a time, judged by independent witnesses.

`AUTOHEALER_CHAOS_SEED` replays a schedule, `AUTOHEALER_CHAOS_FAULTS` makes it longer; for long runs there is
`python -m tests.chaos --faults 1000 --server embedded|apache --seed S`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.arena import SESSION_TIMEOUT_S, arena
from tests.chaos.campaign import Campaign
from tests.chaos.schedule import Kind, schedule_of
from tests.support.servers import ZooKeeperServer

SEED = int(os.environ.get("AUTOHEALER_CHAOS_SEED", "20261419"))
FAULTS = int(os.environ.get("AUTOHEALER_CHAOS_FAULTS", "30"))
MINUTES_AT_MOST = 10


@pytest.mark.thorough
@pytest.mark.timeout(MINUTES_AT_MOST * 60)
def test_under_fire_no_invariant_is_broken_and_the_group_is_whole_afterwards(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """A slot would be lost or doubled, a healthy worker ended, or something left behind, when faults coincide."""
    print(f"AUTOHEALER_CHAOS_SEED={SEED} AUTOHEALER_CHAOS_FAULTS={FAULTS}")
    schedule = schedule_of(SEED, FAULTS, SESSION_TIMEOUT_S)
    with arena(own_zookeeper, tmp_path / "state") as scene:
        report = Campaign(scene, say=print).run(schedule)
        print(report)
        assert report.violations == [], scene.daemon.view()
    assert set(report.faults) == {kind.label for kind in Kind}, "every kind of fault has struck"
    assert report.heals
