"""The executor turns each action into one call of a port, and what comes of it into a fact."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from autohealer.contract import WorkerRecord
from autohealer.core.actions import Discard, Drain, Inspect, Kill, Plan, Spawn
from autohealer.core.events import (
    Event,
    RegistrantDead,
    RegistrationRead,
    SpawnFailed,
    StoreChanged,
    WorkerAdopted,
    WorkersListed,
    WorkerSpawned,
)
from autohealer.core.model import Ending, Incarnation
from autohealer.core.strangers import Standing
from autohealer.daemon.executor import READS_AT_ONCE, Executor
from tests.support.fakehost import FakeHost
from tests.support.fakes import FakeProcesses, FakeRegistry
from tests.support.virtual_time import pass_time

NAME = Incarnation(0, 7)
OTHER = Incarnation(1, 7)


class Bench:
    """An executor between fakes, and the facts it caused."""

    def __init__(self, registry: type[FakeRegistry] = FakeRegistry) -> None:
        self.posted: list[Event] = []
        self.failures: list[BaseException] = []
        self.host = FakeHost()
        self.processes = FakeProcesses(self.posted.append, self.host)
        self.registry = registry(self.posted.append)
        self.executor = Executor(
            self.processes,
            self.registry,
            self.posted.append,
            self.failures.append,
        )
        self.registry.connect()

    def facts(self) -> list[Event]:
        """What was posted, the store's own facts aside."""
        return [f for f in self.posted if not isinstance(f, StoreChanged | WorkersListed)]

    async def inspect(self, *names: Incarnation | str) -> list[Event]:
        """Look into some registrations; the facts."""
        self.executor.execute(Plan(tuple(Inspect(name) for name in names)))
        await pass_time(0.01)
        return self.facts()


class BrokenRegistry(FakeRegistry):
    """Reads nothing, for a reason nobody thought of."""

    async def read(self, name: Incarnation | str) -> WorkerRecord:
        """Break."""
        raise ZeroDivisionError(str(name))


class SlowRegistry(FakeRegistry):
    """Takes a second for each read and counts how many are under way."""

    under_way = 0
    most = 0

    async def read(self, name: Incarnation | str) -> WorkerRecord:
        """As a distant ZooKeeper."""
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await pass_time(1.0)
        finally:
            self.under_way -= 1
        return await super().read(name)


async def test_a_launch_is_told_with_its_pid() -> None:
    """Status would show no pid."""
    bench = Bench()
    bench.executor.execute(Plan((Spawn(0, NAME, "first start"),)))
    await pass_time(0.01)
    assert bench.facts() == [WorkerSpawned(NAME, bench.host.last_pid)]


async def test_a_launch_that_fails_is_told_with_the_reason() -> None:
    """A missing program would end the daemon, or be tried again without a pause."""
    bench = Bench()
    bench.host.broken = "/bin/x: No such file or directory"
    bench.executor.execute(Plan((Spawn(0, NAME, "first"), Spawn(1, OTHER, "first"))))
    await pass_time(0.01)
    first, second = bench.facts()
    assert isinstance(first, SpawnFailed)
    assert isinstance(second, SpawnFailed)
    assert (first.name, first.error) == (NAME, "/bin/x: No such file or directory")
    assert 0.0 <= first.jitter < 1.0
    assert first.jitter != second.jitter


async def test_endings_and_deletions_reach_their_port() -> None:
    """A worker to be drained would be killed, or the other way round."""
    bench = Bench()
    bench.registry.register(Incarnation(0, 6), b"")
    third = Incarnation(2, 5)
    spawns = (Spawn(0, NAME, ""), Spawn(1, OTHER, ""), Spawn(2, third, ""))
    endings = (
        *(Drain(0, NAME, "", Ending.SURPLUS), Kill(1, OTHER, "", Ending.REGISTRATION_LOST)),
        Drain(2, third, "", Ending.WATCHDOG),
    )
    bench.executor.execute(Plan((*spawns, *endings, Discard(Incarnation(0, 6)))))
    assert bench.processes.signals == [(NAME, 15), (OTHER, 9), (third, 6)]
    await pass_time(0.01)
    assert bench.registry.children == {}


async def test_a_registration_that_is_gone_again_is_no_news() -> None:
    """What vanished meanwhile would be shown as a stranger for ever."""
    assert await Bench().inspect(NAME, "manual-host-12-s7") == []


async def test_garbage_is_told_as_garbage() -> None:
    """Nobody would learn who writes nonsense below `/workers`."""
    bench = Bench()
    bench.registry.register(NAME, b"nonsense")
    assert await bench.inspect(NAME) == [RegistrationRead(NAME, Standing.GARBAGE)]


async def test_a_dead_registrant_is_told() -> None:
    """An earlier daemon's dead worker would stay listed until its session expires."""
    bench = Bench()
    process = bench.host.run(NAME)
    record = bench.host.record_of(process)
    bench.registry.register(NAME, replace(record, start=record.start + 1))
    assert await bench.inspect(NAME) == [RegistrantDead(NAME)]


async def test_an_unproven_process_is_an_orphan() -> None:
    """A process that only claims to be a worker would be adopted, and later killed."""
    bench = Bench()
    process = bench.host.run(NAME, proven=False)
    bench.registry.register(NAME, bench.host.record_of(process))
    told = RegistrationRead(NAME, Standing.ORPHAN, process.pid, bench.host.name)
    assert await bench.inspect(NAME) == [told]


async def test_another_host_is_told_with_its_name() -> None:
    """A worker of another machine would be taken for dead and its registration deleted."""
    bench = Bench()
    bench.registry.register(NAME, WorkerRecord(12, 3, "boot-9", "there"))
    told = RegistrationRead(NAME, Standing.ELSEWHERE, 12, "there")
    assert await bench.inspect(NAME) == [told]


async def test_a_proven_process_is_adopted() -> None:
    """A worker of an earlier daemon would be doubled."""
    bench = Bench()
    process = bench.host.run(NAME)
    bench.registry.register(NAME, bench.host.record_of(process))
    (adopted,) = await bench.inspect(NAME)
    assert isinstance(adopted, WorkerAdopted)
    assert (adopted.name, adopted.pid) == (NAME, process.pid)


@pytest.mark.parametrize(
    ("label", "standing"),
    [("manual-there-12-s3", Standing.MANUAL), ("Worker0000000001", Standing.UNKNOWN)],
)
async def test_names_no_daemon_gave_out_are_told(label: str, standing: Standing) -> None:
    """Workers started by hand would not be shown, or be signalled."""
    bench = Bench()
    bench.registry.register(label, WorkerRecord(12, 3, "boot-9", "there"))
    assert await bench.inspect(label) == [RegistrationRead(label, standing, 12, "there")]


async def test_reads_go_on_beside_launches_and_are_few_at_once() -> None:
    """A start beside a thousand strangers would flood ZooKeeper, or hold up every launch."""
    bench = Bench(SlowRegistry)
    registry = bench.registry
    assert isinstance(registry, SlowRegistry)
    names = [Incarnation(slot, 1) for slot in range(100)]
    for name in names:
        registry.register(name, b"nonsense")
    bench.executor.execute(Plan((*map(Inspect, names), Spawn(0, NAME, "first start"))))
    await pass_time(0.01)
    assert bench.facts() == [WorkerSpawned(NAME, bench.host.last_pid)]
    await pass_time(10.0)
    assert registry.most == READS_AT_ONCE
    assert len(bench.facts()) == 1 + len(names)


async def test_a_read_that_breaks_is_told() -> None:
    """A fault in the background would be lost, and what it should have found out never be known."""
    bench = Bench(BrokenRegistry)
    assert await bench.inspect(NAME) == []
    assert [type(error) for error in bench.failures] == [ZeroDivisionError]


async def test_cancel_gives_up_what_is_still_read() -> None:
    """A stopping daemon would complain about tasks it never finished."""
    bench = Bench(SlowRegistry)
    registry = bench.registry
    assert isinstance(registry, SlowRegistry)
    registry.register(NAME, b"nonsense")
    bench.executor.execute(Plan((Inspect(NAME),)))
    await pass_time(0.5)
    bench.executor.cancel()
    await pass_time(10.0)
    assert registry.under_way == 0
    assert bench.facts() == []
    assert len(asyncio.all_tasks()) == 1
