"""The flaky worker fails in the ways it is asked to: real processes on real ZooKeeper servers of both kinds."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autohealer.contract import WORKERS_PATH, ZnodeName, decode_record
from flaky_worker.faults import Kind
from tests.support.eventually import eventually
from tests.support.workers import RunningWorker, launched
from tests.support.znodes import WITHIN_S, await_gone, await_output, await_znode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kazoo.client import KazooClient

    from tests.support.servers import ZooKeeperUnderTest

NAME = ZnodeName("web", 3, 17)
SHORT_SESSION_S = 1.0
LONG_SESSION_S = 10.0
MUCH_SOONER_THAN_EXPIRY_S = 1.0


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where the worker under test prints to."""
    return tmp_path / "worker.out"


@contextmanager
def flaky(
    zookeeper: ZooKeeperUnderTest,
    output: Path,
    fail: str,
    *options: str,
    session_timeout_s: float = LONG_SESSION_S,
) -> Iterator[RunningWorker]:
    """Run a flaky worker that fails within half a second or so."""
    arguments = ("-m", "flaky_worker", "--fail", fail, "--mean-life", "0.2", *options)
    with launched(
        arguments,
        zookeeper.connection,
        output,
        name=NAME,
        session_timeout_s=session_timeout_s,
    ) as worker:
        yield worker


def state_of(pid: int) -> str:
    """The kernel's letter for what a process does: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def seed_for(kind: Kind, variant: str) -> str:
    """A seed whose life, under NAME and the short mean, ends in the given variant."""
    from flaky_worker.faults import plan, seed_of_life

    for seed in range(1000):
        life = seed_of_life(seed, str(NAME.slot), str(NAME.generation))
        if plan(life, {kind: 1.0}, 0.2).variant == variant:
            return str(seed)
    raise AssertionError(f"no seed gives {variant}")


@pytest.mark.parametrize(("variant", "status"), [("exception", 1), ("exit-3", 3)])
def test_flaky_crash(
    zookeeper: ZooKeeperUnderTest, output: Path, variant: str, status: int
) -> None:
    """The simplest way to fail would not be seen as an exit."""
    with flaky(zookeeper, output, "crash", "--seed", seed_for(Kind.CRASH, variant)) as worker:
        assert worker.exit_code() == status
        assert ("FlakyError" in worker.output) == (variant == "exception")


@pytest.mark.parametrize("variant", ["SIGKILL", "SIGSEGV", "SIGABRT"])
def test_flaky_kill(zookeeper: ZooKeeperUnderTest, output: Path, variant: str) -> None:
    """Death by a signal could not be shown."""
    with flaky(zookeeper, output, "kill", "--seed", seed_for(Kind.KILL, variant)) as worker:
        assert worker.exit_code() == -signal.Signals[variant]


def test_flaky_freeze(zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path) -> None:
    """A frozen process could not be shown: it exists, and its session expires."""
    with flaky(zookeeper, output, "freeze", session_timeout_s=SHORT_SESSION_S) as worker:
        await_output(worker, "now freeze")
        eventually(lambda: state_of(worker.pid) == "T", within_s=WITHIN_S)
        await_gone(zk_client, NAME.path, worker)
        assert worker.is_running


def test_flaky_hang(zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path) -> None:
    """A stuck worker that keeps its session could not be shown."""
    with flaky(zookeeper, output, "hang", "--report-every", "0.05") as worker:
        await_output(worker, "now hang")
        worker.process.terminate()
        assert zk_client.exists(NAME.path) is not None
        assert worker.is_running


def test_flaky_hold_gil(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker whose code never lets another thread run could not be shown: alive, and unregistered."""
    options = ("--report-every", "0.05")
    with flaky(
        zookeeper, output, "hold-gil", *options, session_timeout_s=SHORT_SESSION_S
    ) as worker:
        await_output(worker, "now hold-gil")
        printed = worker.output
        await_gone(zk_client, NAME.path, worker)
        worker.process.terminate()
        assert state_of(worker.pid) == "S", "it waits in one call"
        assert worker.is_running
        assert worker.output == printed


def test_flaky_lose_session(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A live worker without registration could not be shown."""
    with flaky(zookeeper, output, "lose-session", "--report-every", "0.05") as worker:
        await_output(worker, "now lose-session")
        await_gone(zk_client, NAME.path, worker, within_s=MUCH_SOONER_THAN_EXPIRY_S)
        await_output(worker, "work done\nweb-3-17: ")
        assert worker.is_running
        worker.process.terminate()
        assert worker.exit_code() == 0


def test_flaky_leak(zookeeper: ZooKeeperUnderTest, output: Path) -> None:
    """A leak would have no end, or would never be felt."""
    with flaky(zookeeper, output, "leak", "--leak-limit", "64") as worker:
        assert worker.exit_code() == 1
        assert "MemoryError: leaked up to the limit of 64 MiB" in worker.output


def test_flaky_ignore_term(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker that must be killed after its drain time could not be shown."""
    with flaky(zookeeper, output, "ignore-term", "--report-every", "0.05") as worker:
        await_output(worker, "now ignore-term")
        await_output(worker, "work done")
        worker.process.terminate()
        printed = len(worker.output)
        eventually(lambda: len(worker.output) > printed + 200, within_s=WITHIN_S)
        assert worker.is_running
        assert zk_client.exists(NAME.path) is not None


def test_flaky_slow_start(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker that exists long before it is ready could not be shown."""
    with flaky(zookeeper, output, "slow-start", "--report-every", "0.05") as worker:
        await_znode(zk_client, NAME.path, worker)
        assert "now slow-start" in worker.output
        worker.process.terminate()
        assert worker.exit_code() == 0


def test_flaky_never_register(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A worker that never becomes ready could not be shown."""
    with flaky(zookeeper, output, "never-register", "--report-every", "0.05") as worker:
        await_output(worker, "now never-register")
        await_output(worker, "work done")
        assert zk_client.exists(WORKERS_PATH) is None
        worker.process.terminate()
        assert worker.exit_code() == 0


@pytest.mark.parametrize("variant", ["same-session", "own-session"])
def test_flaky_fork(zookeeper: ZooKeeperUnderTest, output: Path, variant: str) -> None:
    """A worker that leaves processes behind could not be shown."""
    with ExitStack() as cleanup:
        worker = cleanup.enter_context(
            flaky(zookeeper, output, "fork", "--seed", seed_for(Kind.FORK, variant))
        )
        assert worker.exit_code() == 1
        (left,) = processes_with(f"AUTOHEALER_ZOOKEEPER={zookeeper.connection}")
        cleanup.callback(os.kill, left, signal.SIGKILL)
        assert Path(f"/proc/{left}/comm").read_text() == "sleep\n"
        assert (os.getsid(left) == left) == (variant == "own-session")


def processes_with(setting: str) -> list[int]:
    """Live processes that were given a setting of the environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            settings = environ.read_bytes().split(b"\0")
        except OSError:
            continue
        if setting.encode() in settings:
            found.append(int(environ.parent.name))
    return found


def test_flaky_without_a_reader_lives_on(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, output: Path
) -> None:
    """A full disk or a closed pipe would decide when the worker dies, not its plan."""
    shell = f'exec "{sys.executable}" -m flaky_worker --mean-life 0 --report-every 0.01'
    for number, redirection in enumerate((">/dev/full", ">&-", "| true")):
        name = ZnodeName("web", number, 1)
        launch = f"import os; os.execv('/bin/sh', ['sh', '-c', {f'{shell} {redirection}'!r}])"
        with launched(("-c", launch), zookeeper.connection, output, name=name) as worker:
            data, stat = await_znode(zk_client, name.path, worker)
            pid = decode_record(data).pid
            enough = pauses_of(pid) + 50
            eventually(partial(lives_to_pause, pid, enough), within_s=WITHIN_S)
            assert zk_client.exists(name.path) == stat
            os.kill(pid, signal.SIGTERM)
            await_gone(zk_client, name.path, worker, within_s=MUCH_SOONER_THAN_EXPIRY_S)


def lives_to_pause(pid: int, times: int) -> bool:
    """Whether the main thread of a process has waited for something that often by now."""
    return pauses_of(pid) >= times


def pauses_of(pid: int) -> int:
    """How often the main thread of a process has waited for something."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--fail", "crush"), "there is no way to fail called 'crush'"),
        (("--mean-life", "-1"), "'-1' is not a number from 0 to inf"),
        (("--report-every", "0"), "'0' is not a number from 0.01 to 3600"),
        (("--leak-limit", "inf"), "'inf' is not a number from 8 to"),
        (("--seed", "x"), "invalid int value: 'x'"),
    ],
)
def test_flaky_explains_bad_options(
    arguments: tuple[str, ...], complaint: str, output: Path
) -> None:
    """A typo would end in a traceback, or be obeyed."""
    with launched(("-m", "flaky_worker", *arguments), "127.0.0.1:1", output, name=NAME) as worker:
        assert worker.exit_code() == 2
        assert complaint in worker.output.splitlines()[-1]
