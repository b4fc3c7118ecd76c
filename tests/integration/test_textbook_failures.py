"""Three ways the textbook algorithm (one launch per watch event) fails for good; none may fail here."""

from __future__ import annotations

import itertools
import os
import random
import signal
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.outages import lasts
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest, four_letter_word

SEED = 20261120


@pytest.mark.thorough
def test_a_replacement_killed_before_it_registers_is_replaced(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """No znode, no event, no launch: the group would stay at N-1 for ever."""
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=5) as daemon:
        before = daemon.becomes_whole()
        os.kill(before[2], signal.SIGKILL)
        unregistered: int = eventually(
            lambda: starting_pid(daemon, 2),
            within_s=10,
            view=daemon.view,
        )
        os.kill(unregistered, signal.SIGKILL)
        after = daemon.replaces({2: before[2]}, within_s=20)
        assert after[2] != unregistered


def test_zookeeper_away_for_two_seconds_costs_nothing(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """The daemon would leave at the first lost connection, or restart workers that are well."""
    with Daemon(tmp_path / "state", own_zookeeper.address) as daemon:
        before = daemon.becomes_whole()
        own_zookeeper.kill()
        eventually(lambda: daemon.log("zookeeper_suspended"), within_s=20, view=daemon.view)
        assert not any(slot.ready for slot in daemon.slots()), (
            "nothing is known, so nothing is called ready"
        )
        two_seconds_without_answer(own_zookeeper)
        own_zookeeper.start()
        assert daemon.becomes_whole() == before
        assert daemon.log("worker_exited") == daemon.log("worker_killed") == []


@pytest.mark.thorough
def test_two_kills_a_second_for_ten_seconds_end_with_all_workers(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Limits on restarts would be used up for good: 0 of 10 at the end."""
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    with Daemon(tmp_path / "state", zookeeper.connection) as daemon:
        daemon.becomes_whole()
        for _ in range(20):
            pids = eventually(daemon.pids, within_s=20, view=daemon.view)
            os.kill(rng.choice(sorted(pids.values())), signal.SIGKILL)
            lasts(0.5)
        daemon.becomes_whole()
        assert len(daemon.log("worker_exited")) == 20


def starting_pid(daemon: Daemon, number: int) -> int:
    """The process of a slot that is not registered yet; 0 while there is none."""
    rows = (s for s in daemon.slots() if s.slot == number and s.phase == "starting")
    return next((row.pid for row in rows if row.pid), 0)


def two_seconds_without_answer(server: ZooKeeperServer) -> None:
    """The outage itself, seen from outside."""
    silent = itertools.count()
    eventually(
        lambda: four_letter_word(server.address, "ruok") == "" and next(silent) >= 40, within_s=30
    )
