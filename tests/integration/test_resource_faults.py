"""The machine runs out of something, or its clock jumps: degraded, said so, recovered, and nothing spins."""

from __future__ import annotations

import mmap
import os
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

from tests.support.clients import connected
from tests.support.daemon import Daemon
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.require import require
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest, running

WITHIN_S = 30.0
FAULT_S = 2.0
SPIN_SHARE = 0.5
"""A daemon that spins takes a whole core; one that waits takes next to none."""

SOMEBODY = 61234
AS_SOMEBODY = (
    *("setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"),
    "--securebits=+no_setuid_fixup",  # else access(2) would not count the rights it keeps
    *(f"--{kind}=-all,+dac_override" for kind in ("bounding-set", "inh-caps", "ambient-caps")),
)
"""A user nobody is, to whom limits apply, with root's access to files alone."""

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime*MT*.so.1"), None)
PIDS_V1 = Path("/sys/fs/cgroup/pids")
PIDS_V2 = Path("/sys/fs/cgroup")


@contextmanager
def without_spinning(daemon: Daemon) -> Iterator[None]:
    """Have a fault last, and look at what it costs the daemon."""
    process = psutil.Process(daemon.pid)
    spent, since = sum(process.cpu_times()[:2]), time.monotonic()
    yield
    eventually(lambda: time.monotonic() - since > FAULT_S, within_s=60)
    share = (sum(process.cpu_times()[:2]) - spent) / (time.monotonic() - since)
    assert share < SPIN_SHARE, f"{share:.0%} of a core went into waiting"


def is_sound(daemon: Daemon) -> None:
    """Nothing was raised where nobody catches it, and the model held."""
    said = daemon.output.read_text().splitlines()
    assert [line for line in said if line.startswith("Traceback")] == []
    assert daemon.log("internal_error") == []
    assert daemon.log("invariant_broken") == []


def test_without_descriptors_nothing_is_doubled_and_healing_goes_on_after(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A daemon at its limit of open files would lose a slot for ever, or fill it twice."""
    with Daemon(tmp_path / "state", zookeeper.connection, replicas=3) as daemon:
        before = daemon.becomes_whole()
        hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)[1]
        limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, hard))
        with without_spinning(daemon):
            os.kill(before[0], signal.SIGKILL)
            (resists,) = eventually(
                lambda: daemon.log("worker_tree_resists"), within_s=WITHIN_S, view=daemon.view
            )
            assert "Too many open files" in str(resists["still_there"])
        assert len(daemon.workers_alive()) == 2
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
        after = daemon.replaces({0: before[0]}, within_s=WITHIN_S)
        assert {s: after[s] for s in (1, 2)} == {s: before[s] for s in (1, 2)}
        assert daemon.log("invariant_broken") == []


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[str]:
    """The address of an embedded server that serves other users too."""
    with running(EmbeddedZooKeeper(tmp_path / "zookeeper", options=["--open-to-all"])) as server:
        yield server.address


@pytest.mark.parametrize("limit", ["control group", "user"])
@pytest.mark.thorough
def test_when_no_process_can_be_started_launches_are_retried(
    open_server: str, tmp_path: Path, limit: str
) -> None:
    """A machine out of processes would end the daemon, or its slots would stay empty."""
    require("root with setpriv", os.geteuid() == 0 and Path("/usr/bin/setpriv").exists())
    no_forks = {"control group": full_group, "user": user_at_limit}[limit]
    daemon = Daemon(tmp_path / "state", open_server, replicas=3)
    if limit == "user":
        daemon.command = [*AS_SOMEBODY, *daemon.command]
        daemon.state_dir.mkdir()
        os.chown(daemon.state_dir, SOMEBODY, SOMEBODY)
    with daemon:
        before = daemon.becomes_whole()
        with without_spinning(daemon), no_forks(daemon.pid):
            os.kill(before[0], signal.SIGKILL)
            failed = eventually(
                lambda: daemon.log("worker_start_failed"), within_s=WITHIN_S, view=daemon.view
            )
            assert "Resource temporarily unavailable" in str(failed[0]["error"])
            eventually(
                lambda: any("could not be launched" in s.reason for s in daemon.slots()),
                within_s=WITHIN_S,
                view=daemon.view,
            )
        after = daemon.replaces({0: before[0]}, within_s=WITHIN_S)
        assert {s: after[s] for s in (1, 2)} == {s: before[s] for s in (1, 2)}
        is_sound(daemon)


@contextmanager
def user_at_limit(pid: int) -> Iterator[None]:
    """Allow a process to start another only as its user's first, for a block."""
    prlimit = (*AS_SOMEBODY, "prlimit", f"--pid={pid}")
    asked = (*prlimit, "--nproc", "--output=SOFT", "--noheadings", "--raw")
    soft = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run((*prlimit, "--nproc=1:"), check=True)
    yield
    subprocess.run((*prlimit, f"--nproc={soft}:"), check=True)


@contextmanager
def full_group(pid: int) -> Iterator[None]:
    """Have a process in a control group that allows no further one, for a block."""
    parent = PIDS_V1 if (PIDS_V1 / "cgroup.procs").exists() else PIDS_V2
    home = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    own = next((line.split(":", 2)[2] for line in home if ":pids:" in line), home[-1].split(":")[2])
    group = parent / f"autohealer-test-{pid}"
    try:
        group.mkdir()
        (group / "pids.max").write_text("1")
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        require(f"a pids controller ({error})", present=False)
    try:
        yield
    finally:
        (parent / own.lstrip("/") / "cgroup.procs").write_text(str(pid))
        group.rmdir()


@pytest.mark.thorough
def test_a_full_disk_costs_no_worker_and_no_healing(tmp_path: Path) -> None:
    """A full state directory, the embedded server's data in it, would end workers or stop healing for good."""
    require("root", os.geteuid() == 0)
    state = tmp_path / "state"
    state.mkdir()
    address = f"127.0.0.1:{free_port()}"
    with small_disk(state):
        daemon = Daemon(state, f"embedded:{address.rpartition(':')[2]}", replicas=3)
        daemon.output = tmp_path / "daemon.out"
        with daemon:
            before = daemon.becomes_whole()
            with without_spinning(daemon):
                fill(state / "ballast")
                use_up_last_page(state / "groups/flaky_worker/history.jsonl")
                fill_store(address)
                os.kill(before[0], signal.SIGKILL)
                eventually(lambda: daemon.log("history_lost"), within_s=WITHIN_S, view=daemon.view)
                assert daemon.pids().items() >= {(s, before[s]) for s in (1, 2)}
            (state / "ballast").unlink()
            after = daemon.replaces({0: before[0]}, within_s=WITHIN_S)
            assert {s: after[s] for s in (1, 2)} == {s: before[s] for s in (1, 2)}
            is_sound(daemon)
            assert daemon.stop() == 0


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Have a file system of four megabytes on a folder for a block."""
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)), check=True)
    try:
        yield
    finally:
        subprocess.run(("umount", "--lazy", str(folder)), check=True)


def fill(file: Path) -> None:
    """Take all the room there is."""
    with file.open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            return


def use_up_last_page(file: Path) -> None:
    """Leave a file of lines no room in what it has already got."""
    with file.open("ab") as lines:
        lines.write(b"\n" * (-file.stat().st_size % mmap.PAGESIZE))


def fill_store(address: str) -> None:
    """Write until the server has no room left and says so."""
    with connected(address) as client:
        assert any(is_refused(client, f"/ballast-{number}") for number in range(1000))


def is_refused(client: KazooClient, path: str) -> bool:
    """Whether a znode cannot be created."""
    try:
        client.create(path, bytes(1000))
    except KazooException:
        return True
    return False


@pytest.mark.thorough  # reading the false time costs each process ten times what it does
def test_a_clock_that_jumps_an_hour_changes_nothing(tmp_path: Path) -> None:
    """Setting the clock would restart every worker, or put healing off by an hour."""
    require("libfaketime", FAKETIME is not None)
    clock = tmp_path / "clock"
    clock.write_text("+0")
    faked = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    daemon = Daemon(
        tmp_path / "state", f"embedded:{free_port()}", replicas=3, environment=faked, options=()
    )
    with daemon:
        before = daemon.becomes_whole()
        for jump in ("+3600", "-3600", "+0"):
            clock.write_text(jump)
            os.kill(before[0], signal.SIGKILL)
            after = daemon.replaces({0: before[0]}, within_s=WITHIN_S)
            assert {s: after[s] for s in (1, 2)} == {s: before[s] for s in (1, 2)}, jump
            before = after
        assert len(daemon.log("worker_exited")) == 3
        stamps = [str(line["timestamp"]) for line in daemon.log("worker_exited")]
        assert stamps[0] > stamps[2] > stamps[1], "the clock did jump"
        assert daemon.stop() == 0


@pytest.mark.thorough
def test_a_suspended_machine_restarts_nobody(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """Closing a laptop's lid would cost every worker."""
    daemon = Daemon(
        tmp_path / "state", own_zookeeper.address, replicas=3, options=("--session-timeout", "4")
    )
    with daemon:
        before = daemon.becomes_whole()
        everybody = [*before.values(), daemon.pid, own_zookeeper.pid]
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        eventually(lambda: time.monotonic() - stopped > 11.0, within_s=60)
        for pid in shuffled(everybody):
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: daemon.is_whole() and daemon.pids() == before, within_s=WITHIN_S)
        resumed = time.monotonic()
        eventually(lambda: time.monotonic() - resumed > 3.0, within_s=60)
        assert daemon.becomes_whole() == before
        assert daemon.log("worker_killed") == []


def shuffled(pids: list[int]) -> list[int]:
    """The pids in a random order, whose seed is printed."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed).sample(pids, len(pids))
