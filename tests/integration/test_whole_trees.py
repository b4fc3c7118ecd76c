"""Stop means gone: nothing a worker started is left when its slot is used again, however it tried to get away.

Theory of operation: the worker starts one process of every kind that escapes somebody's supervisor. It is its
replacement that looks, before anything else, whether a process of an earlier incarnation still lives, and
writes down what it saw.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import Daemon, environment_of, exists
from tests.support.eventually import eventually
from tests.support.require import require
from tests.support.servers import ZooKeeperUnderTest

WITHIN_S = 30.0
STARTED = 70
"""At least so many processes a worker starts."""

PROGRAM = f"""#!/bin/sh
left=$(grep -lszx "AUTOHEALER_TEST_STATE_DIR=$AUTOHEALER_TEST_STATE_DIR" /proc/[0-9]*/environ |
  xargs -r grep -lszx "AUTOHEALER_SLOT=$AUTOHEALER_SLOT" |
  xargs -r grep -Lszx "AUTOHEALER_GENERATION=$AUTOHEALER_GENERATION")
echo "left:" $left >>"$AUTOHEALER_TEST_STATE_DIR/left"
sleep 600 &
sh -c 'sleep 600 & sleep 600' &
( ( sleep 600 & ) & )
(trap "" TERM HUP INT; sleep 600) &
sh -c 'kill -STOP $$; sleep 600' &
( sleep 0.7; trap "" TERM; setsid sh -c 'sleep 600 & setsid sleep 600 & wait' ) &
( i=0; while [ $i -lt 60 ]; do sleep 600 & i=$((i+1)); done; wait ) &
( sleep 0.7; setsid sh -c 'i=0; while [ $i -lt 100 ]; do setsid sleep 600 & i=$((i+1)); sleep 0.05; done; wait' ) &
exec {sys.executable} -m flaky_worker --mean-life inf
"""

WRITER = """
import os
from pathlib import Path
from autohealer.worker import run
def main(worker):
    while not worker.stopping.wait(0.05):
        Path(os.environ["TEST_DISK"], "alive").touch()
    return 0
run(main)
"""
"""Touches a file twenty times a second."""

WITHOUT_KILL = ("setpriv", "--bounding-set=-kill", "--inh-caps=-kill")
"""Root, but for the right to signal others' processes."""

SOMEBODY = 61233
"""A user id nobody has."""


@contextmanager
def group_of_trees(zookeeper: ZooKeeperUnderTest, folder: Path) -> Iterator[Daemon]:
    """One worker that has started everything it can, kept alive for a block."""
    program = folder / "tree.sh"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    with Daemon(
        folder / "state",
        zookeeper.connection,
        replicas=1,
        program=str(program),
        args=(),
        options=("--grace", "0.5"),
    ) as daemon:
        daemon.becomes_whole()
        has_grown(daemon)
        yield daemon


def has_grown(daemon: Daemon) -> None:
    """Wait until the worker's tree has every kind of process in it."""
    eventually(
        lambda: len(daemon.workers_alive()) > STARTED and len(sessions(daemon)) > 5,
        within_s=WITHIN_S,
        view=daemon.view,
    )


def sessions(daemon: Daemon) -> set[int]:
    """The sessions the group's processes are in."""
    found = set()
    for process in daemon.workers_alive():
        try:
            found.add(os.getsid(process.pid))
        except ProcessLookupError:
            continue
    return found


def left_over(daemon: Daemon) -> list[str]:
    """What each incarnation saw of the ones before it."""
    return (daemon.state_dir / "left").read_text().splitlines()


@pytest.mark.parametrize(
    "how",
    [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.thorough)],
    ids=["killed", "frozen"],
)
def test_a_dead_workers_tree_is_gone_before_its_slot_is_used(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path, how: signal.Signals
) -> None:
    """What a crashed worker started would serve beside its replacement."""
    with group_of_trees(zookeeper, tmp_path) as daemon:
        before = daemon.pids()
        os.kill(before[0], how)
        daemon.replaces(before, within_s=WITHIN_S)
        assert left_over(daemon) == ["left:"] * 2
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_an_adopted_workers_tree_is_gone_before_its_slot_is_used(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """After a crash of the daemon trees would leak, because their processes are not its descendants."""
    with group_of_trees(zookeeper, tmp_path) as daemon:
        before = daemon.pids()
        daemon.kill()
        daemon.start()
        assert daemon.becomes_whole() == before
        os.kill(before[0], signal.SIGKILL)
        daemon.replaces(before, within_s=WITHIN_S)
        assert left_over(daemon) == ["left:"] * 2
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_the_tree_of_one_that_died_unwatched_is_gone_before_its_slot_is_used(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """What a worker left that died between two daemons would run for ever."""
    with group_of_trees(zookeeper, tmp_path) as daemon:
        before = daemon.pids()
        daemon.kill()
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: not exists(before[0]), within_s=WITHIN_S)
        daemon.start()
        daemon.replaces(before, within_s=WITHIN_S)
        assert left_over(daemon) == ["left:"] * 2
        assert daemon.stop() == 0


@pytest.mark.parametrize("adopted", [False, True], ids=["launched", "adopted"])
@pytest.mark.thorough
def test_a_stop_leaves_nothing_of_a_tree(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path, adopted: bool
) -> None:
    """Stopping the daemon would leave what its workers started behind."""
    with group_of_trees(zookeeper, tmp_path) as daemon:
        if adopted:
            daemon.kill()
            daemon.start()
            daemon.becomes_whole()
        assert daemon.stop() == 0
        assert daemon.everything_started() == []


@pytest.mark.thorough
def test_a_process_that_resists_is_named_until_it_is_gone(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A slot would be used beside a process nobody could end, or stay empty without a word."""
    require("root with setpriv", os.geteuid() == 0 and Path("/usr/bin/setpriv").exists())
    daemon = Daemon(tmp_path / "state", zookeeper.connection, replicas=1)
    daemon.command = [*WITHOUT_KILL, *daemon.command]
    with daemon:
        before = daemon.becomes_whole()
        inherited = environment_of(psutil.Process(before[0]))
        daemon.kill()
        daemon.start()
        assert daemon.becomes_whole() == before
        resister = subprocess.Popen(
            ("sleep", "600"), env=inherited, start_new_session=True, user=SOMEBODY
        )
        try:
            os.kill(before[0], signal.SIGKILL)
            (told,) = eventually(
                lambda: daemon.log("worker_tree_resists"), within_s=WITHIN_S, view=daemon.view
            )
            named = f"pid {resister.pid} (sleeping, sleep, of user id {SOMEBODY})"
            assert told["still_there"] == [named]
            (slot,) = eventually(
                lambda: [s for s in daemon.slots() if named in s.reason],
                within_s=WITHIN_S,
                view=daemon.view,
            )
            assert (slot.phase, slot.ready, resister.poll()) == ("draining", False, None)
        finally:
            resister.kill()
            resister.wait()
        daemon.replaces(before, within_s=WITHIN_S)
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_a_worker_in_uninterruptible_sleep_is_named_until_it_wakes(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A worker that waits for a dead disk would be given up, doubled, or end the daemon's patience."""
    program = tmp_path / "writer.py"
    program.write_text(WRITER)
    with disk(tmp_path) as mounted:
        daemon = Daemon(
            tmp_path / "state",
            zookeeper.connection,
            replicas=1,
            program=str(program),
            args=(),
            options=("--session-timeout", "1"),
            environment={"TEST_DISK": str(mounted)},
        )
        with daemon:
            before = daemon.becomes_whole()
            worker = psutil.Process(before[0])
            with frozen(mounted):
                eventually(lambda: worker.status() == psutil.STATUS_DISK_SLEEP, within_s=WITHIN_S)
                os.kill(worker.pid, signal.SIGKILL)
                told = eventually(
                    lambda: daemon.log("worker_tree_resists"), within_s=WITHIN_S, view=daemon.view
                )
                assert f"pid {worker.pid} (disk-sleep, " in str(told[0]["still_there"])
                assert [p.pid for p in daemon.workers_alive()] == [worker.pid]
            daemon.replaces(before, within_s=WITHIN_S)
            assert daemon.stop() == 0


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A small file system of its own that can be frozen, for a block."""
    require("root", os.geteuid() == 0)
    image, mounted = folder / "image", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(("mkfs.ext4", "-q", image), check=True)
    subprocess.run(("mount", "-o", "loop", image, mounted), check=True)
    try:
        yield mounted
    finally:
        subprocess.run(("umount", mounted), check=True)


@contextmanager
def frozen(mounted: Path) -> Iterator[None]:
    """Whoever writes to a file system waits, and cannot be interrupted, for a block."""
    subprocess.run(("fsfreeze", "--freeze", mounted), check=True)
    try:
        yield
    finally:
        subprocess.run(("fsfreeze", "--unfreeze", mounted), check=True)
