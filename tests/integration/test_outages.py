"""The store is away: whatever takes it and for however long, no healthy worker pays for it.

Theory of operation: a real daemon keeps SDK workers through each fault. In the middle of every long
one a worker is killed, which must be healed although the store is away. Afterwards three witnesses
are asked: the daemon's status, the kernel's process table and the store itself.
"""

from __future__ import annotations

import os
import re
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest

from autohealer.contract import WORKERS_PATH
from tests.support.apache import apache_is_installed
from tests.support.clients import connected
from tests.support.daemon import Daemon
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.ensemble import Ensemble, Member
from tests.support.eventually import eventually
from tests.support.outages import (
    Fault,
    died,
    ended_by_us,
    have_a_history,
    holds_of,
    is_exactly_what_is_registered,
    is_exactly_what_runs,
    lasts,
    outage,
    replaced_locally,
    settles,
)
from tests.support.proxy import ChaosProxy
from tests.support.require import require
from tests.support.servers import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kazoo.client import KazooClient

    from tests.support.servers import ZooKeeperServer

pytestmark = pytest.mark.thorough

REPLICAS = 6
SESSION_S = 1.0
OPTIONS = ("--session-timeout", str(SESSION_S))
SHORT_S = 1.0
"""Nobody's session ends in so short a time, at the default session timeout."""
LONG_S = 3 * SESSION_S
"""In this time everybody's does, unless nobody is there to end it."""
VICTIM = 2


@pytest.fixture
def daemon(own_zookeeper: ZooKeeperServer, tmp_path: Path) -> Iterator[Daemon]:
    """A group that reaches its server without anything in between."""
    with Daemon(
        tmp_path / "state", own_zookeeper.address, replicas=REPLICAS, options=OPTIONS
    ) as keeper:
        yield keeper


def nobody_paid(daemon: Daemon, before: dict[int, int], store: str, *, killed: int | None) -> None:
    """Assert that the group is whole, exact and unharmed, but for the slot whose worker the test killed."""
    after = settles(daemon)
    is_exactly_what_runs(daemon, after)
    with connected(store) as client:
        is_exactly_what_is_registered(client, daemon)
    unharmed = [slot for slot in before if slot != killed]
    assert [after[slot] for slot in unharmed] == [before[slot] for slot in unharmed], daemon.view()
    assert ended_by_us(daemon) == [], daemon.view()
    assert died(daemon) == ([] if killed is None else [killed]), daemon.view()


def test_short_outages_cost_nothing(own_zookeeper: ZooKeeperServer, tmp_path: Path) -> None:
    """A hiccup of a second, of whatever kind, would cost a restart."""
    with (
        ChaosProxy(own_zookeeper.address) as proxy,
        Daemon(tmp_path / "state", proxy.address, replicas=REPLICAS) as daemon,
    ):
        before = daemon.becomes_whole()
        for fault in Fault:
            with outage(fault, own_zookeeper, proxy):
                lasts(SHORT_S)
            eventually(partial(is_reached_by, proxy, before), within_s=30, view=daemon.view)
            assert daemon.becomes_whole() == before, fault
        nobody_paid(daemon, before, own_zookeeper.address, killed=None)


def test_a_daemon_that_finds_workers_and_no_store_keeps_them_alive(
    own_zookeeper: ZooKeeperServer, daemon: Daemon
) -> None:
    """A reboot of the ZooKeeper host together with a restart of the daemon would leave the workers to themselves."""
    before = daemon.becomes_whole()
    daemon.kill()
    own_zookeeper.kill()
    daemon.start()
    eventually(lambda: daemon.log("zookeeper_unreachable"), within_s=20, view=daemon.view)
    os.kill(before[VICTIM], signal.SIGKILL)
    replaced_locally(daemon, VICTIM, before[VICTIM])
    assert "suspended: nothing is concluded" in holds_of(daemon)
    own_zookeeper.start()
    nobody_paid(daemon, before, own_zookeeper.address, killed=VICTIM)


def test_a_store_that_falls_silent_while_a_worker_is_missed_costs_nobody(
    own_zookeeper: ZooKeeperServer, tmp_path: Path
) -> None:
    """A worker that came back in the meantime would be killed on the strength of the last list."""
    with (
        ChaosProxy(own_zookeeper.address) as proxy,
        connected(own_zookeeper.address) as client,
        Daemon(tmp_path / "state", proxy.address, replicas=1) as daemon,
    ):
        while True:
            before = daemon.becomes_whole()
            znode, record = sole_registration(client)
            client.delete(znode)
            eventually(partial(is_missed_or_replaced, daemon, before[0]), within_s=30)
            proxy.blackhole()
            if is_missed(daemon, before[0]):
                break  # else it was faster, and right: the worker's znode was gone
            proxy.heal()
        client.create(znode, record, ephemeral=True)
        lasts(2.0)
        assert is_missed(daemon, before[0])
        proxy.heal()
        assert settles(daemon) == before


def is_missed(daemon: Daemon, pid: int) -> bool:
    """Whether the status says that a worker serves and is not registered."""
    rows = [row for row in daemon.slots() if row.pid == pid]
    return [(row.phase, row.registration) for row in rows] == [("ready", "absent")]


def is_missed_or_replaced(daemon: Daemon, pid: int) -> bool:
    """Whether that is so, or was."""
    return is_missed(daemon, pid) or pid not in {row.pid for row in daemon.slots()}


def sole_registration(client: KazooClient) -> tuple[str, bytes]:
    """The path and the data of the only registration there is."""
    (name,) = client.get_children(WORKERS_PATH)
    data, _ = client.get(f"{WORKERS_PATH}/{name}")
    return f"{WORKERS_PATH}/{name}", data


def is_reached_by(proxy: ChaosProxy, workers: dict[int, int]) -> bool:
    """Whether all workers are connected."""
    return set(workers.values()) <= set(proxy.client_pids())


@pytest.mark.parametrize("fault", Fault)
def test_a_long_outage_costs_no_healthy_worker(
    own_zookeeper: ZooKeeperServer, tmp_path: Path, fault: Fault
) -> None:
    """Workers would be restarted because ZooKeeper was unwell, or the dead wait for its return."""
    with ChaosProxy(own_zookeeper.address) as proxy:
        network = fault in {Fault.CUT, Fault.BLACKHOLED, Fault.SLOW}
        address = proxy.address if network else own_zookeeper.address
        # kazoo gives a connection up whose heartbeat takes a sixth of the session timeout to be answered.
        options = ("--session-timeout", "3") if fault is Fault.SLOW else OPTIONS
        with Daemon(tmp_path / "state", address, replicas=REPLICAS, options=options) as daemon:
            before = daemon.becomes_whole()
            with outage(fault, own_zookeeper, proxy):
                os.kill(before[VICTIM], signal.SIGKILL)
                replaced_locally(daemon, VICTIM, before[VICTIM])
                lasts(LONG_S)
                if fault in {Fault.KILLED, Fault.CUT}:
                    assert "suspended: nothing is concluded" in holds_of(daemon)
                    assert not any(slot.ready for slot in daemon.slots())
            nobody_paid(daemon, before, own_zookeeper.address, killed=VICTIM)


def test_what_is_held_back_and_why_is_said(tmp_path: Path) -> None:
    """When ZooKeeper falls silent a user would see idleness, or a lie, instead of the reason."""
    with (
        running(EmbeddedZooKeeper(tmp_path / "zookeeper")) as server,
        ChaosProxy(server.address) as proxy,
        Daemon(tmp_path / "state", proxy.address, replicas=2, options=OPTIONS) as daemon,
    ):
        before = daemon.becomes_whole()
        with outage(Fault.BLACKHOLED, server, proxy):
            eventually(lambda: "suspended" in holds_of(daemon), within_s=30, view=daemon.view)
            assert not any(slot.ready for slot in daemon.slots())
        eventually(lambda: "is back" in holds_of(daemon), within_s=30, view=daemon.view)
        nobody_paid(daemon, before, server.address, killed=None)
        said = " | ".join(str(line["why"]) for line in daemon.log("holding"))
        assert re.search("suspended: nothing is concluded.*back: workers have time", said), said


def test_a_store_that_comes_back_empty_costs_no_healthy_worker(
    own_zookeeper: ZooKeeperServer, daemon: Daemon
) -> None:
    """Everybody would be missing from the new store and killed, or be locked out of it for ever."""
    before = daemon.becomes_whole()
    with connected(own_zookeeper.address) as client:
        have_a_history(client)
    own_zookeeper.kill()
    own_zookeeper.wipe()
    os.kill(before[VICTIM], signal.SIGKILL)
    replaced_locally(daemon, VICTIM, before[VICTIM])
    own_zookeeper.start()
    nobody_paid(daemon, before, own_zookeeper.address, killed=VICTIM)


# --- three servers ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """One ensemble for all tests here; each leaves it as it found it."""
    require("Apache ZooKeeper", apache_is_installed())
    with Ensemble(tmp_path_factory.mktemp("ensemble")) as three:
        yield three


def kill(ensemble: Ensemble, members: list[Member]) -> None:
    """Kill some for a long time and start them again."""
    for member in members:
        member.kill()
    lasts(LONG_S)
    ensemble.start(members)


def freeze(ensemble: Ensemble, members: list[Member]) -> None:
    """Stop the clock of some for a long time."""
    for member in members:
        member.freeze()
    lasts(LONG_S)
    for member in members:
        member.resume()
    ensemble.await_service()


@pytest.mark.parametrize("fault", [kill, freeze])
@pytest.mark.parametrize("whom", ["a follower", "the leader", "all three"])
def test_losing_servers_of_an_ensemble_costs_no_healthy_worker(
    ensemble: Ensemble,
    tmp_path: Path,
    fault: Callable[[Ensemble, list[Member]], None],
    whom: str,
) -> None:
    """An ensemble, which is there to survive this, would make it worse."""
    members = {
        "a follower": ensemble.followers[:1],
        "the leader": [ensemble.leader],
        "all three": ensemble.members,
    }[whom]
    group = f"{fault.__name__}-{whom.rsplit(maxsplit=1)[-1]}"
    options = (*OPTIONS, "--group", group)
    with Daemon(
        tmp_path / "state", ensemble.address, replicas=REPLICAS, options=options, group=group
    ) as daemon:
        before = daemon.becomes_whole()
        fault(ensemble, members)
        nobody_paid(daemon, before, ensemble.address, killed=None)
        assert daemon.stop() == 0
