"""What the daemon relies on when it launches, asked of the fake and of real processes alike."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import psutil
import pytest

from autohealer.core.events import SpawnFailed, WorkerExited, WorkerSpawned
from autohealer.core.model import Incarnation
from autohealer.processes.ledger import Ledger
from autohealer.processes.local import LocalProcesses
from autohealer.processes.tree import is_in_tree
from tests.ports.process_stages import Manner, Opens, real_stage
from tests.ports.test_processes import no_descriptors

NAME = Incarnation(3, 1)


async def test_a_launch_is_told_once_with_its_pid(opened: Opens) -> None:
    """The decider would be told of a launch twice, or from within its own order."""
    async with opened(Manner.OBEYS) as stage:
        stage.processes.spawn(NAME)
        assert stage.facts == []
        assert stage.exists(await stage.spawned(NAME))
        await stage.up(NAME)
        assert stage.facts == []


async def test_launches_are_told_in_the_order_of_the_orders(opened: Opens) -> None:
    """Who waits longest for its place would be launched last."""
    names = [Incarnation(slot, 1) for slot in range(8)]
    async with opened(Manner.OBEYS) as stage:
        for name in names:
            stage.processes.spawn(name)
        assert [fact.name for fact in await stage.told(WorkerSpawned, len(names))] == names


@pytest.mark.parametrize("order", ["terminate", "kill"])
async def test_one_that_is_told_to_end_while_it_is_launched_ends(opened: Opens, order: str) -> None:
    """A stop in the middle of a start would leave workers behind, or wait for ever."""
    names = [Incarnation(slot, 1) for slot in range(8)]
    async with opened(Manner.OBEYS) as stage:
        for name in names:
            stage.processes.spawn(name)
        for name in names:
            getattr(stage.processes, order)(name)
        ends = await stage.told(WorkerExited, len(names))
        assert {end.name for end in ends} == set(names)
        assert all(end.tree_empty for end in ends)
        assert not any(stage.tree_size(name) for name in names)


async def test_whose_a_process_is_can_be_told(tmp_path: Path) -> None:
    """What a worker's child says would not count, or what a stranger says would."""
    async with real_stage(Manner.HAS_A_STRAY, tmp_path) as stage:
        pid = await stage.spawn(NAME)
        own = {pid} | {child.pid for child in psutil.Process(pid).children(recursive=True)}
        assert len(own) > 1
        assert isinstance(stage.processes, LocalProcesses)
        leader = stage.processes.leader_of(NAME)
        assert leader is not None
        assert all(is_in_tree(leader, pid) for pid in own)
        assert not any(is_in_tree(leader, pid) for pid in (1, os.getpid()))
        assert stage.processes.leader_of(Incarnation(4, 1)) is None


async def test_a_program_that_is_missing_is_told(opened: Opens) -> None:
    """A deleted program would end the daemon instead of backing off."""
    async with opened(Manner.OBEYS) as stage:
        stage.break_the_program()
        stage.processes.spawn(NAME)
        (told,) = await stage.told(SpawnFailed)
        assert "No such file or directory" in told.error
        assert 0.0 <= told.jitter < 1.0
        assert stage.facts == [told]


async def test_a_launch_without_descriptors_is_told(tmp_path: Path) -> None:
    """Running out of file descriptors would end the daemon instead of backing off."""
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        with no_descriptors():
            stage.processes.spawn(NAME)
            (told,) = await stage.told(SpawnFailed)
        assert os.strerror(errno.EMFILE) in told.error
        assert stage.tree_size(NAME) == 0


async def test_a_daemon_that_leaves_in_the_middle_of_a_start_notes_whom_it_launched(
    tmp_path: Path,
) -> None:
    """The next daemon could not tell a worker launched in the last instant from what it started."""
    names = [Incarnation(slot, 1) for slot in range(20)]
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        for name in names:
            stage.processes.spawn(name)
        stage.local.release()
        alive = {name for name in names if stage.tree_size(name)}
        assert Ledger(tmp_path, stage.warnings.append).read().keys() >= alive
