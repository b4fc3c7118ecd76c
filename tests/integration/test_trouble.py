"""Things that go wrong around the workers: each costs what it must and no more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import WorkerRecord, encode_record
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.require import require
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 20.0
FOREIGN = {
    "somebody-elses": b"hello",
    "flaky_worker-1-77": b"\xff\xfe garbage",
    "flaky_worker-0-78": b"x" * 500_000,
    "flaky_worker-2-79": b'{"pid": 1}',
}


@pytest.mark.thorough
def test_znodes_nobody_knows_are_reported_and_left_alone(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Other people's znodes, garbage or huge, would be deleted, counted, or crash the daemon."""
    zk_client.ensure_path("/workers")
    for name, data in FOREIGN.items():
        zk_client.create(f"/workers/{name}", data)
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=3) as daemon:
        daemon.becomes_whole()
        eventually(
            lambda: len(daemon.log("unknown_registration")) == 4,
            within_s=WITHIN_S,
            view=daemon.view,
        )
        status = daemon.status()
        assert status is not None
        standings = {stranger.name: stranger.standing for stranger in status.strangers}
        assert standings == {
            "somebody-elses": "garbage",
            "slot 1 generation 77": "garbage",
            "slot 0 generation 78": "garbage",
            "slot 2 generation 79": "orphan",
        }
        assert daemon.stop() == 0
    assert sorted(zk_client.get_children("/workers")) == sorted(FOREIGN)


@pytest.mark.thorough
def test_a_registration_left_by_a_process_that_is_proven_gone_is_cleaned_up(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """After a crash of the whole machine the registry would name corpses for ever."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    pidns = Path("/proc/self/ns/pid").stat().st_ino
    record = WorkerRecord(2**22 - 3, start=1, boot=boot, host=os.uname().nodename, pidns=pidns)
    zk_client.ensure_path("/workers")
    zk_client.create("/workers/flaky_worker-0-5", encode_record(record))
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=1) as daemon:
        daemon.becomes_whole()
        eventually(
            lambda: not zk_client.exists("/workers/flaky_worker-0-5"),
            within_s=WITHIN_S,
            view=daemon.view,
        )


@pytest.mark.thorough
def test_a_worker_started_by_hand_is_shown_and_not_counted(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Somebody's experiment would count as one of N, or be invisible."""
    environment = dict(os.environ) | {"AUTOHEALER_ZOOKEEPER": zookeeper.connection}
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=2) as daemon:
        daemon.becomes_whole()
        command = [sys.executable, "-m", "flaky_worker", "--mean-life", "inf"]
        by_hand = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            manual = eventually(
                lambda: [s for s in strangers(daemon) if s[1] == "manual"],
                within_s=WITHIN_S,
                view=daemon.view,
            )
            assert [pid for _, _, pid in manual] == [by_hand.pid]
            assert daemon.is_whole()
        finally:
            by_hand.terminate()
            by_hand.wait()
        eventually(lambda: not strangers(daemon), within_s=WITHIN_S, view=daemon.view)


def strangers(daemon: Daemon) -> list[tuple[str, str, int | None]]:
    """Name, standing and pid of what is registered but not the daemon's."""
    status = daemon.status()
    return [] if status is None else [(s.name, s.standing, s.pid) for s in status.strangers]


def test_a_worker_that_never_registers_is_retried_and_the_cause_guessed(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A program that knows nothing of ZooKeeper would seem to run, or be restarted in a blind rage."""
    args = ("--fail", "never-register", "--mean-life", "1")
    with Daemon(
        tmp_path / "state",
        zookeeper.connection,
        replicas=2,
        args=args,
        options=("--registration-timeout", "1.5"),
    ) as daemon:
        killed = eventually(
            lambda: daemon.log("worker_killed"), within_s=WITHIN_S, view=daemon.view
        )
        assert "does not use autohealer.worker" in str(killed[0]["reason"])
        eventually(
            lambda: [s for s in daemon.slots() if s.failures > 1], within_s=40, view=daemon.view
        )
        assert not any(slot.ready for slot in daemon.slots())


def test_a_crash_loop_backs_off_and_says_so(zookeeper: ZooKeeperUnderTest, tmp_path: Path) -> None:
    """A program that cannot start would spin the machine, or be given up in silence."""
    program = tmp_path / "crashes.sh"
    program.write_text("#!/bin/sh\necho it is broken\nexit 7\n")
    program.chmod(0o755)
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=5, program=str(program), args=()
    ) as daemon:
        slots = eventually(
            lambda: [s for s in daemon.slots() if s.failures >= 4], within_s=40, view=daemon.view
        )
        assert all("exited with code 7" in slot.reason for slot in slots)
        assert all(slot.next_try_s is not None for slot in slots if slot.phase == "backoff")
        exits = daemon.log("worker_exited")
        assert exits[-1]["last_output"] == ["it is broken"] * 5 or "it is broken" in str(exits[-1])


@pytest.mark.thorough
def test_a_program_that_vanishes_is_retried_until_it_is_back(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A deployment that replaces the file would end the group for good."""
    program = tmp_path / "worker.sh"
    text = f"#!/bin/sh\nexec {sys.executable} -m flaky_worker --mean-life inf\n"
    program.write_text(text)
    program.chmod(0o755)
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(program), args=()
    ) as daemon:
        before = daemon.becomes_whole()
        program.unlink()
        os.kill(before[0], signal.SIGKILL)
        failed = eventually(
            lambda: daemon.log("worker_start_failed"), within_s=WITHIN_S, view=daemon.view
        )
        assert "No such file" in str(failed[0]["error"])
        program.write_text(text)
        program.chmod(0o755)
        daemon.replaces(before, within_s=WITHIN_S)


@pytest.mark.thorough
def test_a_worker_that_closes_its_output_is_left_alone(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Programs that daemonise their output would be taken for dead."""
    program = tmp_path / "silent.sh"
    program.write_text(
        f"#!/bin/sh\nexec {sys.executable} -m flaky_worker --mean-life inf >&- 2>&-\n"
    )
    program.chmod(0o755)
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(program), args=()
    ) as daemon:
        before = daemon.becomes_whole()
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces(before, within_s=WITHIN_S)


@pytest.mark.thorough
def test_a_worker_that_writes_megabytes_a_second_fills_no_disk(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """One chatty worker would fill the disk, or block on a pipe nobody drains."""
    program = tmp_path / "chatty.sh"
    program.write_text(
        f"#!/bin/sh\nyes 'something to say' &\nexec {sys.executable} -m flaky_worker --mean-life inf\n"
    )
    program.chmod(0o755)
    folder = tmp_path / "state/groups/chatty/output"
    with Daemon(
        tmp_path / "state", zookeeper.connection, replicas=1, program=str(program), args=()
    ) as daemon:
        before = daemon.becomes_whole()
        eventually((folder / "slot-0.log.1").exists, within_s=60, view=daemon.view)
        assert daemon.becomes_whole() == before
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """A small file system without room, at a folder."""
    mount = ("mount", "-t", "tmpfs", "-o", "size=64k", "full", str(folder))
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    require("the right to mount", mounted)
    try:
        with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True)


@contextmanager
def file_that_cannot_be_opened(folder: Path) -> Iterator[None]:
    """Something else has the name of a worker's output file."""
    (folder / "slot-0.log").mkdir()
    yield


@pytest.mark.parametrize("trouble", [full_disk, file_that_cannot_be_opened])
@pytest.mark.thorough
def test_a_full_disk_does_not_stop_healing(
    zookeeper: ZooKeeperUnderTest,
    tmp_path: Path,
    trouble: Callable[[Path], AbstractContextManager[None]],
) -> None:
    """A full disk would take the workers with it."""
    folder = tmp_path / "state/groups/flaky_worker/output"
    folder.mkdir(parents=True)
    with (
        trouble(folder),
        Daemon(tmp_path / "state", zookeeper.connection, replicas=1) as daemon,
    ):
        before = daemon.becomes_whole()
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces(before, within_s=WITHIN_S)
        assert bool(daemon.log("output_lost")) is (trouble is file_that_cannot_be_opened)
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_running_out_of_descriptors_costs_launches_and_not_the_daemon(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """At the limit of open files the daemon would crash and leave its workers to nobody."""
    daemon = Daemon(tmp_path / "state", zookeeper.connection, replicas=25)
    daemon.command = ["sh", "-c", 'ulimit -n 36 && exec "$@"', "sh", *daemon.command]
    with daemon:
        failed = eventually(
            lambda: daemon.log("worker_start_failed"), within_s=40, view=daemon.view
        )
        assert "Too many open files" in str(failed[0]["error"])
        eventually(lambda: daemon.log("worker_registered"), within_s=40, view=daemon.view)
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.output.read_text()
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_no_workers_wanted_waits_for_a_stop(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """`autohealer 0 x`, which drains a group, would end at once or be refused."""
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=0) as daemon:
        eventually(
            lambda: (s := daemon.status()) and s.desired == 0, within_s=WITHIN_S, view=daemon.view
        )
        assert daemon.stop() == 0


def test_a_second_daemon_for_the_group_is_refused_and_the_first_named(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Two daemons would each keep N workers of one group."""
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=1) as first:
        before = first.becomes_whole()
        second = subprocess.run(
            first.command, capture_output=True, text=True, timeout=30, check=False
        )
        assert second.returncode == 4
        assert f"kept by the daemon with pid {first.pid}" in second.stderr
        assert first.becomes_whole() == before
