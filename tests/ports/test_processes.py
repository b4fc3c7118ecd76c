"""What the daemon relies on in its processes, asked of the fake and of real processes alike."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from autohealer.contract import WorkerRecord
from autohealer.core.events import (
    TreeEmptied,
    TreeResists,
    WorkerAdopted,
    WorkerExited,
)
from autohealer.core.model import Exit, Incarnation
from autohealer.core.strangers import Standing
from autohealer.processes.reaper import Reaper, Watched
from tests.ports.process_stages import WITHIN_S, Manner, Opens, RealStage, Stage, real_stage
from tests.support.eventually import eventually_async
from tests.support.strangers import Stranger, stranger_on

NAME = Incarnation(3, 1)
OTHER = Incarnation(4, 1)


async def test_an_exit_is_told_once_with_its_code(opened: Opens) -> None:
    """Status would not say with which code a worker gave up, or it would be replaced twice."""
    async with opened(Manner.EXITS_3) as stage:
        pid = await stage.spawn(NAME)
        (told,) = await stage.told(WorkerExited)
        assert (told.name, told.exit, told.tree_empty) == (NAME, Exit(code=3), True)
        assert told.pid == pid
        assert 0.0 <= told.jitter < 1.0
        assert stage.facts == [told]


async def test_a_death_by_signal_is_told_as_one(opened: Opens) -> None:
    """A worker killed for its memory would look as if it had ended by itself."""
    async with opened(Manner.OBEYS) as stage:
        stage.signal(await stage.spawn(NAME), signal.SIGSEGV)
        (told,) = await stage.told(WorkerExited)
        assert told.exit == Exit(signal=signal.SIGSEGV)


async def test_no_zombie_is_left_and_nothing_reaped_twice(opened: Opens) -> None:
    """The process table would fill up, or one worker's status would be taken for another's."""
    async with opened(Manner.OBEYS) as stage:
        names = [Incarnation(slot, 1) for slot in range(12)]
        pids = {name: await stage.spawn(name) for name in names}
        for number, name in enumerate(names):
            stage.signal(pids[name], signal.SIGKILL if number % 2 else signal.SIGTERM)
        told = await stage.told(WorkerExited, len(names))
        ends = {fact.name: fact.exit.signal for fact in told}
        assert len(told) == len(names) == len(stage.facts)
        assert ends == {n: signal.SIGKILL if n.slot % 2 else signal.SIGTERM for n in names}
        assert not any(stage.exists(pid) for pid in pids.values())


async def test_term_ends_one_that_obeys(opened: Opens) -> None:
    """A normal stop would end in SIGKILL after the whole grace."""
    async with opened(Manner.OBEYS) as stage:
        await stage.spawn(NAME)
        stage.processes.terminate(NAME)
        assert stage.facts == []
        (told,) = await stage.told(WorkerExited)
        assert told.exit == Exit(signal=signal.SIGTERM)


async def test_term_reaches_one_that_is_stopped(opened: Opens) -> None:
    """A stopped worker would keep its slot for the whole grace though it would obey."""
    async with opened(Manner.OBEYS) as stage:
        stage.signal(await stage.spawn(NAME), signal.SIGSTOP)
        stage.processes.terminate(NAME)
        (told,) = await stage.told(WorkerExited)
        assert told.exit == Exit(signal=signal.SIGTERM)


async def test_one_that_hangs_is_asked_for_what_it_was_about(opened: Opens) -> None:
    """A program that hangs would be ended without a core or a traceback that says where."""
    async with opened(Manner.OBEYS) as stage:
        stage.signal(await stage.spawn(NAME), signal.SIGSTOP)
        stage.processes.abort(NAME)
        (told,) = await stage.told(WorkerExited)
        assert told.exit == Exit(signal=signal.SIGABRT)


async def test_term_reaches_the_group(opened: Opens) -> None:
    """Children of a stopped worker would go on serving."""
    async with opened(Manner.HAS_A_CHILD) as stage:
        await stage.spawn(NAME)
        assert stage.tree_size(NAME) == 2
        stage.processes.terminate(NAME)
        await stage.told(WorkerExited)
        await is_gone(stage, NAME)


async def test_kill_ends_one_that_ignores_term(opened: Opens) -> None:
    """A worker that does not listen could not be replaced."""
    async with opened(Manner.IGNORES_TERM) as stage:
        pid = await stage.spawn(NAME)
        stage.processes.terminate(NAME)
        assert stage.exists(pid)
        stage.processes.kill(NAME)
        (told,) = await stage.told(WorkerExited)
        assert told.exit == Exit(signal=signal.SIGKILL), "and it was not stopped"
        await is_gone(stage, NAME)


async def test_kill_ends_a_stopped_one(opened: Opens) -> None:
    """A frozen worker could not be replaced."""
    async with opened(Manner.IGNORES_TERM) as stage:
        stage.signal(await stage.spawn(NAME), signal.SIGSTOP)
        stage.processes.kill(NAME)
        (told,) = await stage.told(WorkerExited)
        assert told.exit.frozen, "it is said that it was stopped"
        await is_gone(stage, NAME)


@pytest.mark.parametrize("manner", [Manner.HAS_A_CHILD, Manner.HAS_A_STRAY])
async def test_what_a_dead_leader_leaves_is_ended(opened: Opens, manner: Manner) -> None:
    """A crashed worker's children would hold its port and its replacement would fail."""
    async with opened(manner) as stage:
        stage.signal(await stage.spawn(NAME), signal.SIGKILL)
        await is_gone(stage, NAME)
        assert [fact.name for fact in await stage.told(WorkerExited)] == [NAME]
        assert stage.tree_size(NAME) == 0


async def test_many_trees_that_end_at_once_are_all_told_of(opened: Opens) -> None:
    """After a mass kill some slots would stay `draining` until a retry notices."""
    async with opened(Manner.HAS_A_CHILD) as stage:
        names = [Incarnation(slot, 1) for slot in range(15)]
        pids = [await stage.spawn(name) for name in names]
        for pid in pids:
            stage.signal(pid, signal.SIGKILL)
        for name in names:
            await is_gone(stage, name)


async def test_ending_what_is_gone_is_harmless(opened: Opens) -> None:
    """A signal meant for a dead worker would hit whoever has its pid now."""
    async with opened(Manner.EXITS_3) as stage:
        await stage.spawn(NAME)
        await stage.told(WorkerExited)
        for name in (NAME, Incarnation(99, 99)):
            stage.processes.terminate(name)
            stage.processes.kill(name)
        await stage.spawn(OTHER)
        assert len(await stage.told(WorkerExited, 2)) == len(stage.facts)


async def test_a_next_daemon_adopts_what_is_proven(opened: Opens) -> None:
    """After a crash of the daemon its workers would be doubled, or nobody would watch them."""
    async with opened(Manner.HAS_A_CHILD) as stage:
        pid = await stage.spawn(NAME)
        record = stage.record_of(pid)
        stage.next_daemon()
        assert stage.processes.look_into(NAME, record) is None
        (adopted,) = await stage.told(WorkerAdopted)
        assert (adopted.name, adopted.pid) == (NAME, pid)
        assert stage.processes.look_into(NAME, record) is None, "it is known by now"
        assert stage.facts == [adopted]
        stage.signal(pid, signal.SIGKILL)
        await is_gone(stage, NAME)
        assert [fact.name for fact in await stage.told(WorkerExited)] == [NAME]


async def test_what_a_dead_registrant_left_is_ended_before_its_slot_is_used(opened: Opens) -> None:
    """Children of a worker that only its registration shows, and that has died, would serve beside its replacement."""
    async with opened(Manner.HAS_A_CHILD) as stage:
        pid = await stage.spawn(NAME)
        record = stage.record_of(pid)
        stage.next_daemon()
        stage.signal(pid, signal.SIGKILL)
        await eventually_async(lambda: not stage.exists(pid), within_s=WITHIN_S)
        assert stage.processes.look_into(NAME, record) is None
        await is_gone(stage, NAME)
        assert stage.processes.look_into(NAME, record) is Standing.DEAD


async def test_a_record_that_does_not_fit_adopts_nothing(opened: Opens) -> None:
    """A worker would be adopted under another's name, or a reused pid would be killed."""
    async with opened(Manner.OBEYS) as stage:
        pid = await stage.spawn(NAME)
        record = stage.record_of(pid)
        stage.next_daemon()
        look = stage.processes.look_into
        assert look(OTHER, record) is Standing.ORPHAN
        assert look(NAME, replace(record, start=record.start + 1)) is Standing.DEAD
        assert look(NAME, replace(record, pid=2**22 - 1)) is Standing.DEAD
        assert look(NAME, replace(record, boot="an earlier one")) is Standing.ELSEWHERE
        assert look(NAME, replace(record, boot="x", host="elsewhere")) is Standing.ELSEWHERE
        assert look(NAME, WorkerRecord(pid)) is Standing.ORPHAN
        assert stage.facts == []


async def is_gone(stage: Stage, name: Incarnation) -> None:
    """Wait for the fact that says that nothing of an incarnation is left, and check that it is true."""

    def said() -> bool:
        exited = [f for f in stage.facts if isinstance(f, WorkerExited) and f.name == name]
        emptied = [f for f in stage.facts if isinstance(f, TreeEmptied) and f.name == name]
        return len(exited) == 1 and len(emptied) + exited[0].tree_empty == 1

    await eventually_async(said, within_s=WITHIN_S, view=lambda: stage.facts)
    assert stage.tree_size(name) == 0


# --- of real processes only -------------------------------------------------------------------


async def test_workers_are_told_who_they_are(tmp_path: Path) -> None:
    """A worker could not register under its name, or would take the daemon's systemd socket for its own."""
    async with real_stage(Manner.SHOWS_ENVIRONMENT, tmp_path) as stage:
        await stage.spawn(NAME)
        shown = dict(line.split("=", 1) for line in lines_of(tmp_path, NAME) if "=" in line)
        given = {key: value for key, value in shown.items() if key.startswith("AUTOHEALER_")}
        assert len(given.pop("AUTOHEALER_TOKEN")) == 32
        assert len(given.pop("AUTOHEALER_KEEPER")) == 12
        assert len(given.pop("AUTOHEALER_REVISION")) == 12
        assert given.pop("AUTOHEALER_LAUNCHED").isdigit()
        assert given == {
            "AUTOHEALER_GROUP": "web",
            "AUTOHEALER_SLOT": "3",
            "AUTOHEALER_GENERATION": "1",
            "AUTOHEALER_ZNODE": "/workers/web-3-1",
        }
        assert "NOTIFY_SOCKET" not in shown


async def test_a_worker_leads_a_session_of_its_own(tmp_path: Path) -> None:
    """Ctrl-C in the daemon's terminal would reach the workers behind its back."""
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        pid = await stage.spawn(NAME)
        assert os.getsid(pid) == os.getpgid(pid) == pid
        output = tmp_path / "slot-3.log"
        assert files_of(pid) == [Path(os.devnull), output, output]


async def test_the_last_words_are_kept(tmp_path: Path) -> None:
    """Nobody could say why a worker died."""
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        stage.argv[-1] = "echo up; echo no licence >&2; exit 1"
        stage.next_daemon()
        await stage.spawn(NAME)
        await stage.told(WorkerExited)
        assert stage.local.last_output[NAME.slot] == ["up", "no licence"]


async def test_adopting_all_finds_only_our_own(tmp_path: Path) -> None:
    """A restarted daemon would double its workers, or take a child of one for a worker."""
    async with real_stage(Manner.HAS_A_CHILD, tmp_path) as stage:
        pids = {name: await stage.spawn(name) for name in (NAME, OTHER)}
        stage.next_daemon()
        assert stage.local.adopt_all() == 2
        assert stage.local.adopt_all() == 0
        assert {f.name: f.pid for f in await stage.told(WorkerAdopted, 2)} == pids


@pytest.mark.parametrize("manner", [Manner.HAS_A_CHILD, Manner.HAS_A_LATE_STRAY])
async def test_what_a_worker_left_that_died_unwatched_is_ended_before_its_slot_is_used(
    tmp_path: Path, manner: Manner
) -> None:
    """A child of a worker that died while no daemon ran would be taken for it, or hold its port for ever."""
    async with real_stage(manner, tmp_path) as stage:
        await died_unwatched(stage, NAME)
        assert stage.tree_size(NAME) == 1
        assert stage.local.adopt_all() == 0
        (adopted,) = await stage.told(WorkerAdopted)
        assert adopted.name == NAME
        await is_gone(stage, NAME)
        (exited,) = await stage.told(WorkerExited)
        assert not exited.tree_empty


async def test_what_two_incarnations_of_a_slot_left_is_ended(tmp_path: Path) -> None:
    """Of two dead workers of one slot only one would be cleaned up after."""
    newer = Incarnation(NAME.slot, NAME.generation + 1)
    async with real_stage(Manner.HAS_A_CHILD, tmp_path) as stage:
        await died_unwatched(stage, NAME)
        (tmp_path / f"slot-{NAME.slot}.log").unlink()
        await died_unwatched(stage, newer)
        alive = await stage.spawn(OTHER)
        stage.next_daemon()
        stage.facts.clear()
        assert stage.local.adopt_all() == 1
        await is_gone(stage, NAME)
        await is_gone(stage, newer)
        assert stage.exists(alive)
        assert {f.name for f in await stage.told(WorkerAdopted, 3)} == {NAME, newer, OTHER}


async def test_many_adopted_that_end_at_once_are_all_told_of(tmp_path: Path) -> None:
    """After a crash of the daemon a mass kill would leave slots behind, or take a look at everybody for each."""
    names = [Incarnation(slot, 1) for slot in range(30)]
    async with real_stage(Manner.HAS_A_CHILD, tmp_path) as stage:
        pids = [await stage.spawn(name) for name in names]
        stage.next_daemon()
        assert stage.local.adopt_all() == len(names)
        for pid in pids:
            stage.signal(pid, signal.SIGKILL)
        for name in names:
            await is_gone(stage, name)


@pytest.mark.parametrize("adopted", [False, True], ids=["launched", "adopted"])
async def test_a_tree_that_cannot_be_looked_at_is_not_taken_for_empty(
    tmp_path: Path, adopted: bool
) -> None:
    """Without descriptors a slot would be filled beside a dead worker's children, or be stuck for ever."""
    async with real_stage(Manner.HAS_A_STRAY, tmp_path) as stage:
        pid = await stage.spawn(NAME)
        await eventually_async(
            lambda: any(os.getsid(member) != pid for member in stage.members(NAME)),
            within_s=WITHIN_S,
        )
        if adopted:
            stage.next_daemon()
            assert stage.local.adopt_all() == 1
        with no_descriptors():
            stage.signal(pid, signal.SIGKILL)
            (exited,) = await stage.told(WorkerExited)
            assert not exited.tree_empty
            stage.processes.kill(NAME)
            (resists,) = await stage.told(TreeResists)
            assert "Too many open files" in resists.holdouts[0]
        assert stage.tree_size(NAME) == 1
        stage.processes.kill(NAME)
        await is_gone(stage, NAME)


async def test_a_record_whose_process_cannot_be_looked_at_is_not_judged(tmp_path: Path) -> None:
    """A daemon without descriptors would delete the registrations of workers that live."""
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        record = stage.record_of(await stage.spawn(NAME))
        stage.next_daemon()
        with no_descriptors():
            assert stage.processes.look_into(NAME, record) is Standing.UNREAD
            with pytest.raises(OSError, match="Too many open files"):
                stage.local.adopt_all()
        assert stage.facts == []
        assert stage.local.adopt_all() == 1


async def test_a_stranger_on_a_members_pid_survives(tmp_path: Path) -> None:
    """A process that was given the pid of a dying worker's child would be killed in its place."""
    with ExitStack() as strangers:

        class Late(Reaper):
            """Looks the other way while a process ends and a stranger gets its pid."""

            def watch(self, pid: int, on_end: Callable[[Watched], None]) -> Watched:
                """Hold whoever has the pid by then."""
                if pid in doomed:
                    doomed.remove(pid)
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    met.append(strangers.enter_context(stranger_on(pid, tmp_path / "diary")))
                return super().watch(pid, on_end)

        doomed: list[int] = []
        met: list[Stranger] = []
        async with real_stage(Manner.HAS_A_CHILD, tmp_path, Late) as stage:
            await died_unwatched(stage, NAME)
            doomed += stage.members(NAME)
            stage.local.adopt_all()
            await is_gone(stage, NAME)
            (stranger,) = met
            assert stranger.was_left_alone


async def died_unwatched(stage: RealStage, name: Incarnation) -> None:
    """Have a worker whose daemon is gone die."""
    pid = await stage.spawn(name)
    stage.next_daemon()
    stage.signal(pid, signal.SIGKILL)
    await eventually_async(lambda: not stage.exists(pid), within_s=WITHIN_S)


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Have a block in which no file can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def files_of(pid: int) -> list[Path]:
    """What standard input, output and error of a process are."""
    return [Path(f"/proc/{pid}/fd/{number}").readlink() for number in range(3)]


def lines_of(folder: Path, name: Incarnation) -> list[str]:
    """What a worker has written."""
    return (folder / f"slot-{name.slot}.log").read_text().splitlines()
