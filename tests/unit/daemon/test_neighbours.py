"""Several groups in one process on one store room: each heals for itself, and they share the store and the brake."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from autohealer.core.events import InvariantBroken, StopRequested, StoreChanged
from autohealer.core.model import Phase, Store
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.neighbours import Neighbours
from tests.support.virtual_time import pass_time
from tests.unit.daemon.rig import POLICY, SESSION_S, Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def groups(*sizes: int) -> AsyncIterator[list[Rig]]:
    """Running groups of these sizes, all ready."""
    neighbours = Neighbours()
    rigs = [Rig(group=f"group-{n}", neighbours=neighbours) for n in range(len(sizes))]
    async with AsyncExitStack() as stack:
        neighbours.store_changed(Store.CONNECTED)
        for rig, size in zip(rigs, sizes, strict=True):
            await stack.enter_async_context(rig.running(size))
        await pass_time(60.0)
        assert [len(rig.ready()) for rig in rigs] == list(sizes)
        yield rigs


async def test_each_group_heals_for_itself() -> None:
    """A death in one group would be answered by another, or not at all."""
    async with groups(3, 2) as (one, other):
        before = one.ready(), other.ready()
        one.kill(0)
        await pass_time(1.0)
        assert one.ready().keys() == before[0].keys()
        assert one.ready()[0] != before[0][0]
        assert other.ready() == before[1]


async def test_a_broken_promise_freezes_one_group_only() -> None:
    """A fault in the model of one group would end all healing."""
    async with groups(2, 2) as (frozen, other):
        frozen.view.counts[Phase.READY] += 4
        frozen.kill(0)
        await pass_time(1.0)
        other.kill(0)
        await pass_time(1.0)
        assert any(isinstance(fact, InvariantBroken) for fact in frozen.facts())
        assert len(frozen.processes.host.running()) == 1
        assert other.view.violations == ()
        assert len(other.ready()) == 2


async def test_one_group_ends_and_the_others_go_on() -> None:
    """Stopping one group would stop the daemon's others, or hang."""
    async with groups(2, 2) as (one, other):
        one.mailbox.put(StopRequested())
        await pass_time(1.0)
        assert one.processes.host.running() == []
        other.kill(1)
        await pass_time(1.0)
        assert len(other.ready()) == 2


async def test_losses_spread_over_two_groups_trip_the_brake_of_both() -> None:
    """A fault of the store would cost every worker of a daemon with many small groups."""
    async with groups(2, 2) as rigs:
        for rig in rigs:
            rig.freeze(0)
            rig.freeze(1)
        await pass_time(SESSION_S + POLICY.settle_s - 0.1)
        assert rigs[0].view.brake.on
        assert [rig.processes.signals for rig in rigs] == [[], []]


async def test_a_replacement_in_one_group_lets_another_go_on() -> None:
    """After a mass loss a group would wait half a minute for a turn that has come long ago."""
    async with groups(2, 2) as rigs:
        for rig in rigs:
            rig.freeze(0)
            rig.freeze(1)
        await pass_time(SESSION_S + POLICY.settle_s + POLICY.rejoin_grace_s + 0.1)
        assert sorted(len(rig.processes.signals) for rig in rigs) == [0, 1]
        await pass_time(POLICY.settle_s + POLICY.rejoin_grace_s + 2.0)
        assert [len(rig.processes.signals) for rig in rigs] == [2, 2]


@pytest.mark.parametrize("store", [Store.SUSPENDED, Store.LOST])
async def test_all_groups_hear_of_the_store(store: Store) -> None:
    """A group would go on judging by a list while the session is away."""
    async with groups(2, 2) as rigs:
        neighbours = rigs[0].neighbours
        assert neighbours is not None
        neighbours.store_changed(store)
        await pass_time(0.1)
        assert [(rig.view.store, rig.view.fresh) for rig in rigs] == [(store, False)] * 2


async def test_who_joins_later_hears_of_the_present_state() -> None:
    """A group that is added to a running daemon would think for ever that the store is away."""
    neighbours, box = Neighbours(), Mailbox()
    neighbours.store_changed(Store.CONNECTED)
    neighbours.join("late", box)
    assert await box.drain(None) == [StoreChanged(Store.CONNECTED, 1)]
