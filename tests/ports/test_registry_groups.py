"""What several groups rely on in the registry they share, asked of both kinds of ZooKeeper."""

from __future__ import annotations

import time

import pytest

from autohealer.coordination import listing, registry
from autohealer.core.events import Event, RegistryWiped, WorkersListed
from autohealer.core.model import Incarnation
from autohealer.daemon.ports import Registry
from tests.ports.registry_stages import GROUP, NAME, WITHIN_S, RealStage, label_of, real_stage
from tests.support.eventually import eventually_async
from tests.support.proxy import ChaosProxy
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest

OTHER_GROUP = "api"


class Neighbour:
    """Another group of the same daemon."""

    def __init__(self, stage: RealStage) -> None:
        self.facts: list[Event] = []
        self.port = stage.real.subscribe(OTHER_GROUP, self.facts.append)
        self.registry: Registry = self.port

    async def lists(self, *ours: Incarnation) -> None:
        """Wait until the last fact is a list of these."""

        def listed() -> bool:
            last = self.facts[-1] if self.facts else None
            return isinstance(last, WorkersListed) and last.ours == frozenset(ours)

        await eventually_async(listed, within_s=WITHIN_S, view=lambda: self.facts)


async def test_each_group_hears_of_its_own(zookeeper: ZooKeeperUnderTest) -> None:
    """A group would take another's workers for its own, or wake up for every change of the others."""
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        neighbour = Neighbour(stage)
        await stage.lists(NAME)
        await neighbour.lists()
        heard = len(neighbour.facts)
        for generation in range(18, 23):
            stage.create(label_of(3, generation))
            await stage.lists(*(Incarnation(3, known) for known in range(17, generation + 1)))
        assert len(neighbour.facts) == heard
        before = len(stage.facts)
        stage.create(label_of(0, 1, OTHER_GROUP))
        await neighbour.lists(Incarnation(0, 1))
        assert len(stage.facts) == before


async def test_a_list_asked_for_goes_to_who_asked(zookeeper: ZooKeeperUnderTest) -> None:
    """A worker would be ended without the list that was to be had before, or all groups pay for one's doubt."""
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        neighbour = Neighbour(stage)
        await stage.lists(NAME)
        await neighbour.lists()
        heard = len(neighbour.facts)
        for _ in range(3):
            asked_at = time.monotonic()
            stage.registry.relist()
            await stage.lists_what_was_asked_since(asked_at)
        assert len(neighbour.facts) == heard


async def test_a_doubt_while_a_list_is_under_way_is_answered_by_a_later_one(
    own_zookeeper: ZooKeeperServer,
) -> None:
    """A worker would be ended on the strength of a list that was asked for before anybody missed it."""
    with ChaosProxy(own_zookeeper.address) as proxy:
        async with real_stage(proxy.address) as stage:
            await stage.lists()
            proxy.delay(to_client_s=0.5)
            stage.registry.relist()
            await eventually_async(lambda: stage.real._lister._under_way, within_s=WITHIN_S)
            asked_at = time.monotonic()
            stage.registry.relist()
            await stage.lists_what_was_asked_since(asked_at)
            assert len(stage.all_of(WorkersListed)) == 2  # the first one was nobody's answer


async def test_a_list_comes_now_and_then_although_nothing_changes(
    zookeeper: ZooKeeperUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one lost event or one failed deletion has made wrong would stay wrong for ever."""
    monkeypatch.setattr(listing, "RESYNC_S", 0.1)
    monkeypatch.setattr(registry, "RESYNC_S", 0.1)
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        await stage.told(WorkersListed, 4)
        await stage.lists(NAME)


async def test_a_group_that_comes_later_gets_a_list(zookeeper: ZooKeeperUnderTest) -> None:
    """A group added to a running daemon would never learn who is registered."""
    async with real_stage(zookeeper.connection, (label_of(0, 1, OTHER_GROUP),)) as stage:
        await stage.lists()
        neighbour = Neighbour(stage)
        await neighbour.lists(Incarnation(0, 1))


async def test_a_group_that_left_hears_no_more(zookeeper: ZooKeeperUnderTest) -> None:
    """A group that was stopped would fill its mailbox until the daemon ends for it."""
    async with real_stage(zookeeper.connection) as stage:
        neighbour = Neighbour(stage)
        await stage.lists()
        await neighbour.lists()
        neighbour.port.close()
        heard = len(neighbour.facts)
        stage.create(label_of(0, 1, OTHER_GROUP))
        stage.create(label_of(3, 17))
        await stage.lists(NAME)
        assert len(neighbour.facts) == heard


async def test_each_group_deletes_and_reads_its_own(zookeeper: ZooKeeperUnderTest) -> None:
    """A dead worker of one group would take another group's registration with it."""
    async with real_stage(zookeeper.connection) as stage:
        neighbour = Neighbour(stage)
        for group in (GROUP, OTHER_GROUP):
            stage.create(label_of(3, 17, group), b'{"pid":%d}' % len(group))
        stage.create(label_of(3, 17, "third"), b'{"pid":5}')
        await stage.lists(NAME)
        await neighbour.lists(NAME)
        assert (await neighbour.registry.read(NAME)).pid == len(OTHER_GROUP)
        neighbour.registry.discard(NAME)
        await neighbour.lists()
        await neighbour.port.flush(WITHIN_S)
        assert stage.children() == {label_of(3, 17), label_of(3, 17, "third")}


async def test_a_deletion_that_failed_is_followed_by_a_list(zookeeper: ZooKeeperUnderTest) -> None:
    """A dead worker's registration that could not be deleted would not be ordered to be for half a minute."""
    async with real_stage(zookeeper.connection, (label_of(3, 17), f"{label_of(3, 17)}/x")) as stage:
        await stage.lists(NAME)
        seen = stage.lists_so_far()
        stage.registry.discard(NAME)
        await stage.real_port.flush(WITHIN_S)
        stage.create(label_of(0, 1, OTHER_GROUP))
        await stage.told(WorkersListed, seen + 1)
        await stage.lists(NAME)


async def test_workers_made_anew_is_told_to_all(zookeeper: ZooKeeperUnderTest) -> None:
    """An operator who deletes `/workers` would have every healthy worker ended for it."""
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        neighbour = Neighbour(stage)
        await stage.lists(NAME)
        await neighbour.lists()
        assert stage.all_of(RegistryWiped) == []
        stage.client.delete("/workers", recursive=True)
        await stage.told(RegistryWiped)
        await stage.lists()
        await neighbour.lists()
        assert len(stage.all_of(RegistryWiped)) == 1
        assert neighbour.facts.count(RegistryWiped()) == 1
        stage.create(label_of(3, 18))
        await stage.lists(Incarnation(3, 18))
        assert len(stage.all_of(RegistryWiped)) == 1


async def test_a_wipe_is_noticed_whoever_makes_workers_again(
    zookeeper: ZooKeeperUnderTest,
) -> None:
    """A worker that registers again, or another daemon, would hide from this one that everything was deleted."""
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        for round_ in range(1, 4):
            there = [f"/workers/{child}" for child in stage.children()]
            transaction = stage.client.transaction()
            for path in (*there, "/workers"):
                transaction.delete(path)
            transaction.create("/workers")
            transaction.create(f"/workers/{label_of(4, round_)}")
            transaction.commit()
            await stage.lists(Incarnation(4, round_))
            assert len(stage.all_of(RegistryWiped)) == round_
            assert stage.facts[-2] == RegistryWiped()


async def test_making_workers_for_the_first_time_is_no_wipe(zookeeper: ZooKeeperUnderTest) -> None:
    """Every start on a new ZooKeeper would look like an accident."""
    async with real_stage(zookeeper.connection) as stage:
        await stage.lists()
        assert stage.all_of(RegistryWiped) == []
