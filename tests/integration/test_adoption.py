"""The daemon dies, its workers do not: the next one proves which they are and takes them over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from kazoo.client import KazooClient

from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_SLOT,
    ENV_TOKEN,
    ENV_ZNODE,
    ZnodeName,
)
from autohealer.core.model import Incarnation
from autohealer.processes.identity import ENV_LAUNCHED, ticks_now, token_of
from autohealer.statedir.secret import load_secret
from tests.support.daemon import IMMORTAL, Daemon, exists
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually
from tests.support.servers import ZooKeeperUnderTest, running
from tests.support.strangers import stranger_on


def test_a_killed_daemons_workers_run_on_and_are_adopted(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A crash of the daemon would restart, orphan or double every worker."""
    daemon = Daemon(tmp_path / "state", zookeeper.connection)
    with daemon:
        before = daemon.becomes_whole()
        daemon.kill()
        assert all(exists(pid) for pid in before.values())
        daemon.start()
        eventually(lambda: len(daemon.log("worker_adopted")) == 10, within_s=30, view=daemon.view)
        assert daemon.becomes_whole() == before
        assert len(daemon.workers_alive()) == 10
        assert all(slot.adopted for slot in daemon.slots())


@pytest.mark.thorough
def test_adopted_workers_are_healed_and_stopped_like_any_other(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """After one crash of the daemon nothing would be kept alive or be stopped any more."""
    daemon = Daemon(tmp_path / "state", zookeeper.connection, replicas=3)
    with daemon:
        before = daemon.becomes_whole()
        daemon.kill()
        daemon.start()
        assert daemon.becomes_whole() == before
        os.kill(before[0], signal.SIGKILL)
        os.kill(before[1], signal.SIGSTOP)
        daemon.replaces({0: before[0], 1: before[1]}, within_s=30)
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_what_died_while_no_daemon_ran_is_replaced(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Workers lost between two daemons would be missed, or their znodes taken for workers."""
    daemon = Daemon(tmp_path / "state", zookeeper.connection, replicas=4)
    with daemon:
        before = daemon.becomes_whole()
        daemon.kill()
        os.kill(before[2], signal.SIGKILL)
        daemon.start()
        after = daemon.replaces({2: before[2]}, within_s=30)
        assert {s: after[s] for s in (0, 1, 3)} == {s: before[s] for s in (0, 1, 3)}


@pytest.mark.thorough
def test_fewer_wanted_after_a_restart_drains_the_surplus(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Lowering N would leave the rest running, uncounted."""
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=6) as many:
        before = many.becomes_whole()
        many.kill()
        with Daemon(tmp_path / "state", zookeeper.connection, replicas=2) as few:
            assert few.becomes_whole() == {slot: before[slot] for slot in (0, 1)}
            eventually(lambda: len(few.workers_alive()) == 2, within_s=20, view=few.view)


@pytest.mark.thorough
def test_a_duplicate_of_a_slot_is_drained(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """Two processes would serve as slot 1 for ever."""
    daemon = Daemon(tmp_path / "state", zookeeper.connection, replicas=2)
    with daemon:
        before = daemon.becomes_whole()
        older = worker_environment(daemon, before[1], generation=7)
        daemon.kill()
        command = [sys.executable, "-m", "flaky_worker", *IMMORTAL]
        double = subprocess.Popen(
            command, env=older, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            daemon.start()
            eventually(
                lambda: len(daemon.log("worker_adopted")) == 3, within_s=30, view=daemon.view
            )
            assert daemon.becomes_whole() == before
            assert double.wait(20) == 0, "it was asked to end, and did"
            (drained,) = daemon.log("worker_draining")
            assert (drained["generation"], "surplus" in str(drained["reason"])) == (7, True)
        finally:
            double.kill()
            double.wait()


def worker_environment(daemon: Daemon, pid: int, generation: int) -> dict[str, str]:
    """The environment of a live worker, but as another generation of its slot, proof included."""
    environment = psutil.Process(pid).environ()
    name = Incarnation(int(environment[ENV_SLOT]), generation)
    secret = load_secret(daemon.state_dir / "secret")
    return environment | {
        ENV_GENERATION: str(generation),
        ENV_LAUNCHED: str(ticks_now()),
        ENV_ZNODE: ZnodeName(daemon.group, name.slot, generation).path,
        ENV_TOKEN: token_of(secret, daemon.group, name),
    }


@pytest.mark.thorough
def test_what_a_worker_started_is_not_taken_for_a_worker(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A worker's child carries its proof too: it would be adopted in its place."""
    daemon = Daemon(tmp_path / "state", zookeeper.connection, replicas=1)
    with daemon:
        before = daemon.becomes_whole()
        inherited = psutil.Process(before[0]).environ()
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], env=inherited, stdin=subprocess.PIPE
        )
        try:
            daemon.kill()
            daemon.start()
            eventually(lambda: daemon.log("worker_adopted"), within_s=30, view=daemon.view)
            assert daemon.becomes_whole() == before
            assert child.poll() is None
        finally:
            child.kill()
            child.communicate()


def test_a_stranger_with_a_forged_token_is_never_touched(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A process that only looks like a worker, or reuses its pid, would be killed."""
    forged = dict(os.environ) | {
        ENV_GROUP: "flaky_worker",
        ENV_SLOT: "0",
        ENV_GENERATION: "7",
        ENV_TOKEN: "0" * 32,
    }
    stranger = subprocess.Popen(
        [sys.executable, "-c", "input()"], env=forged, stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        with Daemon(tmp_path / "state", zookeeper.connection, replicas=1) as daemon:
            pids = daemon.becomes_whole()
            assert pids[0] != stranger.pid
            assert daemon.stop() == 0
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.communicate()


TICKS = """
from autohealer.worker import run
def main(worker):
    while not worker.stopping.wait(1.0):
        print("tick", flush=True)
run(main)
"""


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_a_hundred_are_adopted_within_a_second_and_never_stopped_working(tmp_path: Path) -> None:
    """A restarted daemon would leave a large group unwatched for long, or its workers would stall without it."""
    program = tmp_path / "ticks.py"
    program.write_text(TICKS)
    output = tmp_path / "state/groups/ticks/output"
    with running(EmbeddedZooKeeper(tmp_path / "zookeeper")) as server:
        daemon = Daemon(
            tmp_path / "state",
            server.address,
            replicas=100,
            program=str(program),
            args=(),
        )
        with daemon:
            daemon.becomes_whole(within_s=120)
            before = {slot.slot: slot.pid for slot in daemon.slots()}
            daemon.kill()
            sizes = {file: file.stat().st_size for file in output.glob("slot-*.log")}
            eventually(
                lambda: all(file.stat().st_size > size for file, size in sizes.items()),
                within_s=60,
            )
            known = len(daemon.log())
            daemon.start()
            eventually(
                lambda: len(daemon.log("worker_adopted")) == 100, within_s=30, view=daemon.view
            )
            first, *_, last = [
                datetime.fromisoformat(str(line["timestamp"]))
                for line in daemon.log()[known:]
                if line["event"] in {"zookeeper_chosen", "worker_adopted"}
            ]
            assert (last - first).total_seconds() < 1.0
            eventually(
                lambda: {slot.slot: slot.pid for slot in daemon.slots()} == before, within_s=30
            )
            assert len(daemon.log("worker_started")) == 100
            assert all(pid is not None and exists(pid) for pid in before.values())


@pytest.mark.thorough
def test_a_stranger_on_a_dead_workers_pid_is_never_signalled(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Whoever was given a dead worker's pid while no daemon ran would be killed as that worker."""
    daemon = Daemon(
        tmp_path / "state", zookeeper.connection, replicas=2, options=("--session-timeout", "30")
    )
    with daemon:
        before = daemon.becomes_whole()
        corpse = {str(name) for name in zk_client.get_children("/workers") if "-0-" in str(name)}
        daemon.kill()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: not psutil.pid_exists(before[0]), within_s=30)
        with stranger_on(before[0], tmp_path / "diary") as stranger:
            assert corpse <= set(zk_client.get_children("/workers")), "its registration is there"
            daemon.start()
            after = daemon.replaces({0: before[0]}, within_s=30)
            assert after[1] == before[1]
            eventually(
                lambda: not corpse & set(zk_client.get_children("/workers")),
                within_s=20,
                view=daemon.view,
            )
            assert [line["slot"] for line in daemon.log("stale_registration_deleted")] == [0]
            assert daemon.stop() == 0
            assert stranger.was_left_alone
