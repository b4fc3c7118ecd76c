"""Whole stories of a daemon, hours of them in milliseconds: ramp, deaths, freezes, outages, crashes, stops."""

from __future__ import annotations

from dataclasses import replace

from autohealer.core.events import (
    RegistrationRead,
    SpawnFailed,
    StopRequested,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
)
from autohealer.core.model import Exit, Incarnation, Phase
from autohealer.core.strangers import Standing
from tests.support.virtual_time import pass_time
from tests.unit.daemon.rig import BASE, POLICY, Rig

AT_ONCE_S = 0.001
RAMP_S = 30.0


async def test_five_workers_through_everything() -> None:
    """The promise of the whole program: five workers, whatever happens, and all gone when asked."""
    rig = Rig()
    async with rig.running(5) as task:
        await pass_time(RAMP_S)
        first = rig.ready()
        assert sorted(first) == [0, 1, 2, 3, 4]

        rig.kill(2)
        await pass_time(AT_ONCE_S)
        assert rig.process(2).name.generation == first[2].generation + 1
        assert rig.registry.discarded == [first[2]]

        await pass_time(RAMP_S)
        rig.freeze(3)
        await pass_time(4.0 + POLICY.rejoin_grace_s + 1.0)
        assert rig.ready()[3].generation == first[3].generation + 1

        rig.registry.suspend()
        spawned = len(rig.processes.spawned)
        rig.registry.children.clear()
        await pass_time(3600.0)
        assert len(rig.processes.spawned) == spawned
        for name in rig.ready().values():
            rig.registry.register(name, b"")
        rig.registry.connect()
        await pass_time(60.0)
        assert len(rig.processes.spawned) == spawned
        assert sorted(rig.ready()) == [0, 1, 2, 3, 4]

        rig.mailbox.put(StopRequested())
        await pass_time(1.0)
        assert task.done()
    assert rig.processes.host.running() == []
    assert max(rig.most_alive.values()) == 1


async def test_an_exit_heals_while_the_store_is_away() -> None:
    """An outage of ZooKeeper would stop all healing."""
    rig = Rig()
    async with rig.running(3):
        await pass_time(RAMP_S)
        rig.registry.suspend()
        await pass_time(60.0)
        rig.kill(1)
        await pass_time(AT_ONCE_S)
        assert rig.process(1).alive
        assert len(rig.processes.host.running()) == 3


async def test_sessions_lost_in_an_outage_have_time_to_come_back() -> None:
    """ZooKeeper's return would cost every worker its life."""
    rig = Rig()
    async with rig.running(3):
        await pass_time(RAMP_S)
        names = list(rig.ready().values())
        rig.registry.suspend()
        rig.registry.children.clear()
        await pass_time(20.0)
        rig.registry.connect()
        await pass_time(POLICY.settle_s - 1.0)
        assert rig.processes.signals == []
        for name in names[:2]:
            rig.registry.register(name, b"")
        await pass_time(2.0 + POLICY.rejoin_grace_s)
        assert [name for name, _ in rig.processes.signals] == [names[2]]
        await pass_time(RAMP_S)
        assert len(rig.ready()) == 3


async def test_a_tree_left_behind_is_waited_for() -> None:
    """A replacement would start while children of its predecessor still hold the port."""
    rig = Rig()
    rig.processes.host.tree = 2
    async with rig.running(1):
        await pass_time(RAMP_S)
        rig.kill(0)
        await pass_time(AT_ONCE_S)
        assert rig.process(0).alive
        kinds = [type(fact) for fact in rig.facts()]
        assert kinds.index(WorkerExited) <= kinds.index(TreeEmptied)


async def test_a_program_that_cannot_start_is_tried_ever_more_rarely() -> None:
    """A deleted program would keep the machine busy, or be given up for good."""
    rig = Rig()
    rig.processes.host.broken = "no such file"
    async with rig.running(4):
        await pass_time(600.0)
        failed = sum(isinstance(fact, SpawnFailed) for fact in rig.facts())
        assert 20 < failed < 200
        assert {slot.phase for slot in rig.view.slots.values()} <= {
            Phase.QUARANTINED,
            Phase.BACKOFF,
            Phase.VACANT,
        }
        rig.processes.host.broken = ""
        await pass_time(120.0)
        assert len(rig.ready()) == 4


async def test_a_worker_that_crashes_at_once_backs_off_and_recovers() -> None:
    """A crash loop would eat the processor."""
    rig = Rig()
    async with rig.running(1):
        await pass_time(0.01)
        for _ in range(5):
            rig.process(0).die(Exit(code=1))
            await pass_time(AT_ONCE_S)
            assert rig.view.slots[0].phase is Phase.BACKOFF
            await pass_time((rig.view.slots[0].deadline or 0.0) - rig.clock() + 0.01)
        await pass_time(RAMP_S)
        assert sorted(rig.ready()) == [0]


async def test_one_that_ignores_term_is_killed_after_its_grace() -> None:
    """A stop would hang on one deaf worker."""
    rig = Rig(policy=replace(POLICY, grace_s=10.0))
    rig.processes.host.ignores_term = True
    async with rig.running(2) as task:
        await pass_time(RAMP_S)
        rig.mailbox.put(StopRequested())
        await pass_time(9.9)
        assert len(rig.processes.host.running()) == 2
        await pass_time(0.2)
        assert task.done()
    assert rig.processes.host.running() == []


async def test_a_crashed_daemon_is_followed_by_one_that_adopts() -> None:
    """An upgrade of the daemon would restart or double every worker."""
    first = Rig()
    async with first.running(3):
        await pass_time(RAMP_S)
        names = first.ready()
    first.processes.release()
    second = Rig(host=first.processes.host, generation_base=BASE + 500)
    second.registry.children.update(first.registry.children)
    assert second.processes.adopt_all() == 3
    async with second.running(3):
        await pass_time(RAMP_S)
        assert second.ready() == names
        assert second.processes.spawned == []
        assert sum(isinstance(fact, WorkerAdopted) for fact in second.facts()) == 3
        second.kill(1)
        await pass_time(AT_ONCE_S)
        assert second.processes.spawned == [Incarnation(1, BASE + 500)]


async def test_surplus_of_an_earlier_daemon_is_drained() -> None:
    """Two incarnations of one slot would go on serving side by side."""
    first = Rig()
    host = first.processes.host
    older, newer = host.run(Incarnation(0, 5)), host.run(Incarnation(0, 6))
    for process in (older, newer):
        first.registry.register(process.name, host.record_of(process))
    first.processes.adopt_all()
    async with first.running(1):
        await pass_time(RAMP_S)
        assert [process.pid for process in host.running()] == [newer.pid]
        assert first.processes.spawned == []


async def test_strangers_are_reported_and_left_alone() -> None:
    """A process nobody here launched would be signalled."""
    rig = Rig()
    host = rig.processes.host
    stranger = host.run(Incarnation(0, 5), proven=False)
    rig.registry.register(stranger.name, host.record_of(stranger))
    async with rig.running(1):
        await pass_time(RAMP_S)
        told = RegistrationRead(stranger.name, Standing.ORPHAN, stranger.pid, host.name)
        assert told in rig.facts()
        assert stranger.alive
        assert sorted(rig.ready()) == [0]


async def test_a_thousand_workers_ramp_up_and_heal_in_little_work() -> None:
    """A large group would be slow because the daemon looks at every worker for each that dies."""
    rig = Rig(policy=replace(POLICY, budget_burst=2010, budget_per_s=500.0))
    async with rig.running(1000):
        await pass_time(120.0)
        assert len(rig.ready()) == 1000
        before = len(rig.rounds)
        for slot in range(0, 1000, 10):
            rig.kill(slot)
        await pass_time(120.0)
        assert len(rig.ready()) == 1000
        assert len(rig.rounds) - before < 3 * 100
        assert max(rig.most_alive.values()) == 1
