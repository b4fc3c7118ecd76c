"""The loop makes a round for a reason only, decides once, and stops acting when the model is wrong."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from autohealer.core.actions import Spawn
from autohealer.core.events import InvariantBroken, StopRequested, WorkersListed
from autohealer.core.model import Incarnation, Phase
from tests.support.virtual_time import NothingWillHappen, pass_time, run_virtually
from tests.unit.daemon.rig import POLICY, Rig

HOUR_S = 3600.0


async def test_an_idle_daemon_makes_no_rounds() -> None:
    """A daemon with nothing to do would use the processor, and drain a laptop."""
    rig = Rig()
    async with rig.running(3):
        await pass_time(60.0)
        assert len(rig.ready()) == 3
        before = len(rig.rounds)
        await pass_time(24 * HOUR_S)
        assert len(rig.rounds) == before


async def test_a_ramp_costs_a_few_rounds_a_worker() -> None:
    """A start of many would be slowed down by the daemon itself."""
    rig = Rig()
    async with rig.running(20):
        await pass_time(60.0)
        assert len(rig.ready()) == 20
        assert len(rig.rounds) <= 3 * 20


async def test_a_deadline_makes_a_round_by_itself() -> None:
    """A worker that never registers would stay for ever."""
    rig = Rig(policy=replace(POLICY, registration_timeout_s=30.0))
    async with rig.running(1):
        await pass_time(0.1)
        rig.process(0).frozen = True
        before = len(rig.rounds)
        await pass_time(29.0)
        assert len(rig.rounds) == before
        await pass_time(2.0)
        assert rig.processes.signals == [(Incarnation(0, 1000), 9)]


async def test_facts_that_wait_together_are_one_decision() -> None:
    """A mass kill would be decided worker by worker, each time from half the truth."""
    rig = Rig()
    async with rig.running(5):
        await pass_time(30.0)
        before = len(rig.rounds)
        for slot in range(5):
            rig.kill(slot)
        await pass_time(0.01)
        first = rig.rounds[before]
        assert len(first.facts) == 5
        assert sum(isinstance(action, Spawn) for action in first.plan.actions) == 5


async def test_a_waiting_list_is_replaced_by_a_newer_one() -> None:
    """A busy registry would make the loop fold lists nobody needs any more."""
    rig = Rig()
    async with rig.running():
        await pass_time(1.0)
        before = len(rig.rounds)
        for slot in range(50):
            rig.mailbox.put(WorkersListed(frozenset({Incarnation(slot, 1)}), frozenset()))
        await pass_time(1.0)
        lists = [f for r in rig.rounds[before:] for f in r.facts if isinstance(f, WorkersListed)]
        assert lists == [WorkersListed(frozenset({Incarnation(49, 1)}), frozenset())]


async def test_a_heartbeat_makes_rounds_and_nothing_else() -> None:
    """systemd's watchdog would restart a healthy but idle daemon."""
    rig = Rig(heartbeat_s=15.0)
    async with rig.running(2):
        await pass_time(60.0)
        before = len(rig.rounds)
        await pass_time(150.5)
        beats = rig.rounds[before:]
        assert len(beats) in {10, 11}
        assert all(later.at - beat.at < 15.001 for beat, later in pairwise(beats))
        assert all(not beat.facts and not beat.plan.actions for beat in beats)


async def test_a_deadline_comes_before_the_heartbeat() -> None:
    """Under systemd every deadline would be late by up to half the watchdog's time."""
    rig = Rig(heartbeat_s=1000.0)
    rig.processes.host.broken = "no such file"
    async with rig.running(1):
        await pass_time(10.0)
        assert len(rig.rounds) > 5


async def test_the_heartbeat_comes_before_a_distant_deadline() -> None:
    """A worker slow to register would keep the watchdog unfed, and systemd would restart the daemon."""
    rig = Rig(heartbeat_s=5.0)
    async with rig.running(1):
        await pass_time(0.1)
        rig.process(0).frozen = True
        await pass_time(25.0)
        assert rig.view.alarms, "a deadline is set"
        looked_at = [*(round_.at for round_ in rig.rounds), rig.clock()]
        assert all(later - earlier < 5.001 for earlier, later in pairwise(looked_at))


async def test_observers_are_told_after_the_plan_is_under_way() -> None:
    """A slow log would stand between an exit and its replacement."""
    rig = Rig()
    async with rig.running(1):
        await pass_time(0.01)
    (first, *_) = rig.rounds
    assert first.plan.actions
    assert first.processes_alive == 1


async def test_a_broken_invariant_freezes_every_action_and_is_told() -> None:
    """A wrong model would go on killing and launching."""
    rig = Rig()
    async with rig.running(3):
        await pass_time(30.0)
        spawned = len(rig.processes.spawned)
        rig.view.counts[Phase.READY] += 4
        rig.kill(0)
        await pass_time(60.0)
        (broken,) = [fact for fact in rig.facts() if isinstance(fact, InvariantBroken)]
        assert "do not add up to 3 slots" in broken.violations[0]
        assert len(rig.processes.spawned) == spawned
        assert rig.processes.signals == []
        (hold,) = rig.rounds[-1].plan.holds
        assert hold.startswith("all actions frozen")
        assert broken.violations[0] in hold


async def test_a_frozen_daemon_is_quiet() -> None:
    """A daemon that froze itself during a ramp would keep a processor busy until it is restarted."""
    rig = Rig()
    async with rig.running(5):
        await pass_time(0.01)
        rig.view.counts[Phase.READY] += 4
        await pass_time(60.0)
        assert any(isinstance(fact, InvariantBroken) for fact in rig.facts())


async def test_a_frozen_daemon_asked_to_stop_leaves_its_workers() -> None:
    """A daemon that knows its model to be wrong would kill on its word, or never end."""
    rig = Rig()
    async with rig.running(3) as task:
        await pass_time(30.0)
        rig.view.counts[Phase.READY] += 4
        rig.kill(0)
        await pass_time(1.0)
        rig.mailbox.put(StopRequested())
        await pass_time(1.0)
        assert task.done()
        assert len(rig.processes.host.running()) == 2
        assert rig.processes.signals == []


async def test_a_plan_that_breaks_an_invariant_is_not_carried_out() -> None:
    """Two workers would be launched into one slot."""
    rig = Rig()
    async with rig.running(2):
        await pass_time(30.0)
        signals = list(rig.processes.signals)
        slot = rig.view.slots[0]
        assert slot.occupant is not None
        rig.view.key_of[slot.occupant.name] = 1
        rig.mailbox.put(StopRequested())
        await pass_time(60.0)
        assert any(isinstance(fact, InvariantBroken) for fact in rig.facts())
        assert rig.processes.signals == signals


async def test_the_end_of_everything_ends_the_loop() -> None:
    """A stopped daemon would never exit."""
    rig = Rig()
    async with rig.running(4) as task:
        await pass_time(30.0)
        rig.mailbox.put(StopRequested())
        await pass_time(0.1)
        assert task.done()
        assert rig.rounds[-1].plan.finished
        assert rig.processes.host.running() == []


async def test_a_stop_before_anything_started_ends_the_loop() -> None:
    """Ctrl-C in the first instant would hang."""
    rig = Rig()
    rig.mailbox.put(StopRequested())
    async with rig.running(4) as task:
        await pass_time(0.1)
        assert task.done()
        assert rig.processes.spawned == []


async def test_a_second_stop_kills() -> None:
    """A worker that ignores TERM could not be hurried."""
    rig = Rig()
    rig.processes.host.ignores_term = True
    async with rig.running(2) as task:
        await pass_time(30.0)
        rig.mailbox.put(StopRequested())
        await pass_time(1.0)
        assert not task.done()
        rig.mailbox.put(StopRequested())
        await pass_time(0.1)
        assert task.done()
        assert rig.processes.host.running() == []


def test_a_wait_that_nothing_ends_is_an_error() -> None:
    """A test on virtual time would hang for ever instead of failing."""
    with pytest.raises(NothingWillHappen):
        run_virtually(asyncio.Event().wait())
