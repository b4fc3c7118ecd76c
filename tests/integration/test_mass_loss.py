"""Many registrations vanish at once while their processes live: one event, one loud line, and patience.

Theory of operation: a proxy stands between the workers and ZooKeeper only, so the daemon's own session
is well and it has every reason to believe what it sees. Sessions end one after another, as the last
heartbeats fell; where a test needs all of them gone in one list, the daemon is stopped (SIGSTOP)
until they are, as it would be on a machine that was suspended.
"""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import connected
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.outages import (
    died,
    ended_by_us,
    holds_of,
    is_exactly_what_is_registered,
    is_exactly_what_runs,
    lasts,
    registered_slots,
    settles,
)
from tests.support.proxy import ChaosProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kazoo.client import KazooClient

    from tests.support.servers import ZooKeeperUnderTest

pytestmark = pytest.mark.thorough

REPLICAS = 10
LIMIT = 3
"""As many of ten may vanish and be replaced singly before it counts as a mass loss."""
SESSION_S = 1.0
REGISTRATION_S = 8.0
"""So long a worker that was adopted young may still be about to register; longer than a test looks at a trickle."""
WITHIN_S = 30.0

PROGRAM = """
import os
os.environ["AUTOHEALER_ZOOKEEPER"] = os.environ["TEST_PROXY"]
from autohealer.worker import run
run(lambda worker: worker.stopping.wait())
"""


@pytest.fixture
def proxy(zookeeper: ZooKeeperUnderTest) -> Iterator[ChaosProxy]:
    """What stands between the workers and ZooKeeper."""
    with ChaosProxy(zookeeper.server.address) as chaos:
        yield chaos


@pytest.fixture
def daemon(zookeeper: ZooKeeperUnderTest, proxy: ChaosProxy, tmp_path: Path) -> Iterator[Daemon]:
    """Ten workers that reach ZooKeeper through the proxy, kept by a daemon that does not."""
    program = tmp_path / "remote.py"
    program.write_text(PROGRAM)
    chroot = zookeeper.connection.removeprefix(zookeeper.server.address)
    with Daemon(
        tmp_path / "state",
        zookeeper.connection,
        replicas=REPLICAS,
        program=str(program),
        args=(),
        options=(
            *("--session-timeout", str(SESSION_S)),
            *("--registration-timeout", str(REGISTRATION_S)),
        ),
        environment={"TEST_PROXY": f"{proxy.address}{chroot}"},
    ) as keeper:
        yield keeper


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    """Have the daemon see what happens in the block all at once."""
    daemon.signal(signal.SIGSTOP)
    yield
    daemon.signal(signal.SIGCONT)


def cut_off(proxy: ChaosProxy) -> None:
    """Leave the workers alone in the world."""
    proxy.refuse()
    proxy.cut()


def are_left(client: KazooClient, daemon: Daemon, slots: list[int]) -> None:
    """Wait until these slots and no others are registered."""
    eventually(
        lambda: registered_slots(client, daemon.group) == slots,
        within_s=WITHIN_S,
        view=lambda: registered_slots(client, daemon.group),
    )


def is_told_once(daemon: Daemon) -> None:
    """Wait for the loud line; the status says the same."""
    eventually(lambda: daemon.log("mass_loss"), within_s=WITHIN_S, view=daemon.view)
    line = daemon.log("mass_loss")[0]
    assert line["level"] == "error"
    assert "registrations went missing together while their processes live" in str(line["why"])
    held = "mass loss of registrations: no worker is ended"
    eventually(lambda: held in holds_of(daemon), within_s=WITHIN_S, view=daemon.view)


def nobody_was_ended(daemon: Daemon, before: dict[int, int]) -> None:
    """Assert that it is over, was said once, and cost nothing."""
    eventually(lambda: daemon.log("mass_loss_over"), within_s=WITHIN_S, view=daemon.view)
    assert settles(daemon) == before
    is_exactly_what_runs(daemon, before)
    assert len(daemon.log("mass_loss")) == len(daemon.log("mass_loss_over")) == 1
    assert ended_by_us(daemon) == died(daemon) == []


def ended_since_the_loud_line(daemon: Daemon) -> list[object]:
    """The slots whose live worker was ended after the mass loss was seen, in order."""
    events = daemon.log()
    loud = next(n for n, line in enumerate(events) if line["event"] == "mass_loss")
    return [line["slot"] for line in events[loud:] if line["event"] == "worker_killed"]


def test_workers_cut_off_together_are_waited_for(
    zookeeper: ZooKeeperUnderTest, proxy: ChaosProxy, daemon: Daemon
) -> None:
    """A fault of the network would restart the whole group, though nothing is wrong with it."""
    before = daemon.becomes_whole()
    with connected(zookeeper.connection) as client:
        with stopped(daemon):
            cut_off(proxy)
            are_left(client, daemon, [])
        is_told_once(daemon)
        proxy.heal()
        nobody_was_ended(daemon, before)
        is_exactly_what_is_registered(client, daemon)


def test_workers_that_stay_cut_off_cost_one_at_a_time(proxy: ChaosProxy, daemon: Daemon) -> None:
    """A network that never heals would have the whole group killed, for replacements that cannot register."""
    before = daemon.becomes_whole()
    cut_off(proxy)
    costs_one_until_mended(daemon, proxy, before)


def test_workers_cut_off_while_no_daemon_runs_cost_one_at_a_time(
    zookeeper: ZooKeeperUnderTest, proxy: ChaosProxy, daemon: Daemon
) -> None:
    """A daemon that is restarted during a network fault would kill the whole group."""
    before = daemon.becomes_whole()
    daemon.kill()
    cut_off(proxy)
    with connected(zookeeper.connection) as client:
        are_left(client, daemon, [])
    daemon.start()
    costs_one_until_mended(daemon, proxy, before)


def costs_one_until_mended(daemon: Daemon, proxy: ChaosProxy, before: dict[int, int]) -> None:
    """Assert that after the hold one worker is ended, and that the others come back once they can."""
    is_told_once(daemon)
    ended_singly = len(ended_by_us(daemon))
    assert ended_singly <= LIMIT
    eventually(lambda: ended_since_the_loud_line(daemon), within_s=WITHIN_S, view=daemon.view)
    lasts(2 * SESSION_S)
    ended = ended_by_us(daemon)
    assert len(ended) == ended_singly + 1, daemon.view()
    proxy.heal()
    after = settles(daemon)
    is_exactly_what_runs(daemon, after)
    assert {slot for slot in before if after[slot] != before[slot]} == set(ended), daemon.view()
    assert len(daemon.log("mass_loss")) == len(daemon.log("mass_loss_over")) == 1


def test_a_frozen_half_that_thaws_in_time_is_kept(
    zookeeper: ZooKeeperUnderTest, daemon: Daemon
) -> None:
    """A machine that stalls for a moment would lose every worker it stalled."""
    before = daemon.becomes_whole()
    with connected(zookeeper.connection) as client:
        with stopped(daemon):
            for slot in range(5):
                os.kill(before[slot], signal.SIGSTOP)
            are_left(client, daemon, [5, 6, 7, 8, 9])
        is_told_once(daemon)
        for slot in range(5):
            os.kill(before[slot], signal.SIGCONT)
        nobody_was_ended(daemon, before)


def test_a_frozen_half_is_replaced_one_after_another(
    zookeeper: ZooKeeperUnderTest, daemon: Daemon
) -> None:
    """After the hold all would be replaced at once, or none; or the healthy half would pay too."""
    before = daemon.becomes_whole()
    with connected(zookeeper.connection) as client, stopped(daemon):
        for slot in range(5):
            os.kill(before[slot], signal.SIGSTOP)
        are_left(client, daemon, [5, 6, 7, 8, 9])
    is_told_once(daemon)
    after = daemon.replaces({slot: before[slot] for slot in range(5)}, within_s=WITHIN_S)
    assert [after[slot] for slot in range(5, 10)] == [before[slot] for slot in range(5, 10)]
    is_exactly_what_runs(daemon, after)
    assert ended_since_the_loud_line(daemon) == [0, 1, 2, 3, 4]
    loud = next(n for n, line in enumerate(daemon.log()) if line["event"] == "mass_loss")
    steps = [
        str(line["event"])
        for line in daemon.log()[loud:]
        if line["event"] in {"worker_killed", "worker_registered"}
    ]
    assert steps[:3] == ["worker_killed", "worker_registered", "worker_killed"], steps
    eventually(lambda: daemon.log("mass_loss_over"), within_s=WITHIN_S, view=daemon.view)
