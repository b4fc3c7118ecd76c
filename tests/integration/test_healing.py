"""The main job on both servers: real daemon, real workers, real signals."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import decode_record, parse_znode_name
from tests.support.daemon import Daemon, exists
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest

HEAL_WITHIN_S = 20.0
FREEZE_WITHIN_S = 30.0


@pytest.fixture
def group(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> Daemon:
    """A daemon of ten workers that never fail by themselves; not started."""
    return Daemon(tmp_path / "state", zookeeper.connection)


@pytest.fixture
def few(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> Daemon:
    """The same of three."""
    return Daemon(tmp_path / "state", zookeeper.connection, replicas=3)


def test_ten_workers_register_each_naming_a_live_process(
    group: Daemon, zk_client: KazooClient
) -> None:
    """A user who looks into ZooKeeper would not find exactly the workers that run."""
    with group:
        pids = group.becomes_whole()
        names = zk_client.get_children("/workers")
        records = [decode_record(zk_client.get(f"/workers/{name}")[0]) for name in names]
        assert sorted(record.pid for record in records) == sorted(pids.values())
        assert all(exists(record.pid) for record in records)
        slots = [parsed.slot for name in names if (parsed := parse_znode_name(name)) is not None]
        assert sorted(slots) == list(range(10))


def test_killed_workers_are_replaced(group: Daemon, zk_client: KazooClient) -> None:
    """Workers killed with -9 would stay dead, or their znodes would linger beside their replacements'."""
    with group:
        for victims in ({3}, {0, 2, 4, 6, 8}, set(range(10))):
            before = group.has_served()
            for slot in victims:
                os.kill(before[slot], signal.SIGKILL)
            after = group.replaces({slot: before[slot] for slot in victims}, HEAL_WITHIN_S)
            spared = set(range(10)) - victims
            assert {slot: after[slot] for slot in spared} == {slot: before[slot] for slot in spared}
            eventually(
                lambda: len(zk_client.get_children("/workers")) == 10, within_s=5, view=group.view
            )


def test_a_dead_workers_znode_is_gone_long_before_its_session_would_end(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """The registry would name a corpse for as long as a session timeout."""
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, options=("--session-timeout", "10")
    ) as daemon:
        victim = daemon.becomes_whole()[0]
        (name,) = zk_client.get_children("/workers")
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: not zk_client.exists(f"/workers/{name}"), within_s=5, view=daemon.view)


def test_a_frozen_worker_is_replaced_and_its_process_ended(few: Daemon) -> None:
    """A worker that hangs with its process alive would be counted as serving for ever."""
    with few:
        before = few.becomes_whole()
        os.kill(before[1], signal.SIGSTOP)
        few.replaces({1: before[1]}, FREEZE_WITHIN_S)
        assert not exists(before[1])
        (killed,) = few.log("worker_killed")
        assert "registration gone" in str(killed["reason"])


def test_a_worker_whose_znode_somebody_deletes_is_replaced(
    few: Daemon, zk_client: KazooClient
) -> None:
    """A worker that nobody can find any more would be kept as if it served."""
    with few:
        before = few.becomes_whole()
        name = next(n for n in zk_client.get_children("/workers") if "-1-" in n)
        zk_client.delete(f"/workers/{name}")
        few.replaces({1: before[1]}, HEAL_WITHIN_S)


REJOINS_ON_USR1 = """
import os, signal, threading
from kazoo.client import KazooClient
path, client = os.environ["AUTOHEALER_ZNODE"], KazooClient(os.environ["AUTOHEALER_ZOOKEEPER"])
asked = threading.Event()
signal.signal(signal.SIGUSR1, lambda *_: asked.set())
client.start()
while True:
    client.create(path, b'{"pid": %d}' % os.getpid(), ephemeral=True)
    while not asked.wait(0.05):
        pass
    asked.clear()
    client.delete(path)
"""


def test_a_worker_that_registers_again_in_time_is_left_alone(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """A hiccup of one session would cost a healthy worker its life."""
    program = tmp_path / "rejoins.py"
    program.write_text(REJOINS_ON_USR1)
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(program), args=()
    ) as daemon:
        before = daemon.becomes_whole()
        (name,) = zk_client.get_children("/workers")
        first = zk_client.exists(f"/workers/{name}")
        os.kill(before[0], signal.SIGUSR1)
        eventually(
            lambda: (now := zk_client.exists(f"/workers/{name}")) and now.czxid != first.czxid,
            within_s=HEAL_WITHIN_S,
            view=daemon.view,
        )
        assert daemon.becomes_whole() == before


def test_a_stop_leaves_no_process_and_no_znode(group: Daemon, zk_client: KazooClient) -> None:
    """What was started would outlive its daemon, unasked."""
    with group:
        pids = group.becomes_whole()
        assert group.stop() == 0
        assert not [pid for pid in pids.values() if exists(pid)]
        assert zk_client.get_children("/workers") == []


@pytest.mark.thorough
def test_ctrl_c_is_a_stop(few: Daemon) -> None:
    """Ctrl-C in a terminal would not end things cleanly."""
    with few:
        few.becomes_whole()
        few.signal(signal.SIGINT)
        assert few.wait() == 0
        assert few.everything_started() == []


@pytest.mark.thorough
def test_a_second_signal_kills_at_once(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """Workers that ignore TERM would make an impatient operator wait for the whole grace."""
    args = ("--fail", "ignore-term", "--mean-life", "0.001")
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=3, args=args, options=("--grace", "600")
    ) as daemon:
        daemon.becomes_whole()
        logs = [tmp_path / f"state/groups/flaky_worker/output/slot-{slot}.log" for slot in range(3)]
        eventually(lambda: all("ignore-term" in log.read_text() for log in logs), within_s=20)
        daemon.signal(signal.SIGTERM)
        eventually(lambda: daemon.log("stopping"), within_s=10, view=daemon.view)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 0
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_what_a_worker_started_goes_with_it(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """Grandchildren of dead workers would pile up."""
    script = tmp_path / "forks.sh"
    script.write_text(
        f"#!/bin/sh\nsleep 1000 &\nsetsid sleep 1000 &\nexec {sys.executable} -m flaky_worker --mean-life inf\n"
    )
    script.chmod(0o755)
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=2, program=str(script)
    ) as daemon:
        before = daemon.becomes_whole()
        eventually(lambda: len(daemon.workers_alive()) == 6, within_s=10, view=daemon.view)
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces({0: before[0]}, HEAL_WITHIN_S)
        eventually(lambda: len(daemon.workers_alive()) == 6, within_s=10, view=daemon.view)
        assert daemon.stop() == 0
        assert daemon.everything_started() == []
