"""Who is ours when the environment cannot tell: overwritten, hidden, shared with children, or gone with its thread.

Theory of operation: real processes on a `RealStage`. A next daemon finds what an earlier one launched by what it noted,
by tokens, or by the proof in a registration; where none of them speaks, the process is held and never touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from autohealer.contract import WorkerRecord, registration_proof
from autohealer.core.events import TreeEmptied, WorkerAdopted, WorkerExited, WorkerHeld
from autohealer.core.model import Incarnation
from autohealer.core.strangers import Standing
from autohealer.processes import vitals
from autohealer.processes.census import Census
from autohealer.processes.identity import token_of
from autohealer.processes.ledger import LEDGER_NAME
from autohealer.processes.procfs import stat_of
from tests.ports.process_stages import GROUP, WITHIN_S, Manner, RealStage, real_stage
from tests.ports.test_processes import died_unwatched, is_gone
from tests.support.eventually import eventually_async

NAME = Incarnation(3, 1)
OTHER = Incarnation(4, 1)

WIPES_ITS_ENVIRONMENT = """
import ctypes, time
begin, end = map(int, open("/proc/self/stat").read().rsplit(")", 1)[1].split()[47:49])
ctypes.memset(begin, 0, end - begin)
print("up", flush=True)
time.sleep(600)
"""
"""What a process title that is longer than the command line does."""

ENDS_ITS_MAIN_THREAD = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
print("up", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""

LEADS_ONE_WITHOUT_ENVIRONMENT = """
import subprocess, time
child = subprocess.Popen(("env", "-i", "sleep", "600"))
print("up", child.pid, flush=True)
time.sleep(600)
"""
"""As a web server does whose workers write their titles over what they were given."""

WORKS_BEHIND_A_SHELL = (
    "trap 'sleep 0.3; echo done; exit 0' TERM; echo armed; while :; do sleep 0.05; done"
)


@asynccontextmanager
async def stage_of(folder: Path, *argv: str) -> AsyncIterator[RealStage]:
    """Have a stage whose workers run a command of the test's own."""
    async with real_stage(Manner.OBEYS, folder) as stage:
        stage.argv[:] = argv
        stage.next_daemon()
        yield stage


async def launched(stage: RealStage, name: Incarnation = NAME) -> int:
    """A worker that says `up`."""
    stage.processes.spawn(name)
    pid = await stage.spawned(name)
    output = stage.folder / f"slot-{name.slot}.log"
    await eventually_async(lambda: "up\n" in output.read_text(), within_s=WITHIN_S)
    return pid


def forget_launches(stage: RealStage) -> None:
    """Go on as if the daemon had been killed before it could note whom it launched."""
    stage.local.release()
    (stage.folder / LEDGER_NAME).unlink(missing_ok=True)
    stage.next_daemon()


def proven_record(stage: RealStage, pid: int, name: Incarnation = NAME) -> WorkerRecord:
    """What the SDK writes into its registration."""
    record = stage.record_of(pid)
    token = token_of(stage.secret, GROUP, name)
    return replace(record, proof=registration_proof(token, pid, record.start, record.boot))


# --- the environment is gone ------------------------------------------------------------------


async def test_one_that_overwrote_its_environment_is_adopted(tmp_path: Path) -> None:
    """A worker that sets its process title would be doubled after a crash of the daemon."""
    async with stage_of(tmp_path, sys.executable, "-c", WIPES_ITS_ENVIRONMENT) as stage:
        pid = await launched(stage)
        assert stage.tree_size(NAME) == 0, "its environment is gone"
        stage.next_daemon()
        assert stage.local.adopt_all() == 1
        (adopted,) = await stage.told(WorkerAdopted)
        assert (adopted.name, adopted.pid) == (NAME, pid)
        assert adopted.revision == stage.local.launcher.revision != ""
        stage.processes.kill(NAME)
        await is_gone(stage, NAME)


@pytest.mark.parametrize("dies", ["watched", "unwatched"])
async def test_what_an_adopted_one_leaves_without_environment_ends_with_it(
    tmp_path: Path, dies: str
) -> None:
    """After a restart of the daemon a web server's children would outlive it, and hold the port of the next one."""
    async with stage_of(tmp_path, sys.executable, "-c", LEADS_ONE_WITHOUT_ENVIRONMENT) as stage:
        stage.processes.spawn(NAME)
        pid = await stage.spawned(NAME)
        output = tmp_path / f"slot-{NAME.slot}.log"
        await eventually_async(lambda: "up" in output.read_text(), within_s=WITHIN_S)
        child = int(output.read_text().split()[1])
        stage.next_daemon()
        if dies == "unwatched":
            stage.signal(pid, signal.SIGKILL)
            await eventually_async(lambda: not stage.exists(pid), within_s=WITHIN_S)
            stage.local.adopt_all()
        else:
            assert stage.local.adopt_all() == 1
            stage.signal(pid, signal.SIGKILL)
        await is_gone(stage, NAME)
        assert not stage.exists(child)


async def test_a_proof_in_its_registration_settles_it(tmp_path: Path) -> None:
    """A worker with a process title whose launch was not noted in time could never be adopted."""
    async with stage_of(tmp_path, sys.executable, "-c", WIPES_ITS_ENVIRONMENT) as stage:
        pid = await launched(stage)
        record = proven_record(stage, pid)
        forget_launches(stage)
        assert stage.local.adopt_all() == 0
        assert stage.processes.look_into(NAME, record) is None
        (adopted,) = await stage.told(WorkerAdopted)
        assert (adopted.name, adopted.pid) == (NAME, pid)


async def test_who_cannot_be_proven_is_held_and_left_alone(tmp_path: Path) -> None:
    """A worker would be killed as somebody's remnant, or doubled, because nobody could tell whose it is."""
    async with stage_of(tmp_path, sys.executable, "-c", WIPES_ITS_ENVIRONMENT) as stage:
        pid = await launched(stage)
        record = replace(proven_record(stage, pid), proof="0" * 16)
        forget_launches(stage)
        assert stage.local.adopt_all() == 0
        assert stage.processes.look_into(NAME, record) is Standing.UNPROVABLE
        (held,) = await stage.told(WorkerHeld)
        assert (held.name, held.pid) == (NAME, pid)
        assert "environment" in held.why
        stage.processes.terminate(NAME)
        stage.processes.kill(NAME)
        assert stage.exists(pid)
        stage.signal(pid, signal.SIGKILL)
        (exited,) = await stage.told(WorkerExited)
        assert (exited.name, exited.tree_empty) == (NAME, True)


async def test_a_held_one_that_proves_itself_later_is_adopted(tmp_path: Path) -> None:
    """A worker that registers a moment after the daemon's start would be held for ever."""
    async with stage_of(tmp_path, sys.executable, "-c", WIPES_ITS_ENVIRONMENT) as stage:
        pid = await launched(stage)
        record = proven_record(stage, pid)
        forget_launches(stage)
        unproven = replace(record, proof="")
        assert stage.processes.look_into(NAME, unproven) is Standing.UNPROVABLE
        assert stage.processes.look_into(NAME, record) is None
        stage.processes.kill(NAME)
        await is_gone(stage, NAME)


async def test_another_state_directorys_worker_is_held(tmp_path: Path) -> None:
    """A worker of another daemon with the same group's name would be doubled, or its registration deleted."""
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        record = stage.record_of(await stage.spawn(NAME))
        stage.secret = b"of another state directory"
        forget_launches(stage)
        assert stage.local.adopt_all() == 0
        assert stage.processes.look_into(NAME, record) is Standing.UNPROVABLE
        (held,) = await stage.told(WorkerHeld)
        assert "another state directory" in held.why


async def test_a_worker_without_its_main_thread_is_alive(tmp_path: Path) -> None:
    """A worker that serves on other threads would be taken for a zombie and doubled."""
    async with stage_of(tmp_path, sys.executable, "-c", ENDS_ITS_MAIN_THREAD) as stage:
        pid = await launched(stage)
        await eventually_async(lambda: is_zombie(pid), within_s=WITHIN_S)
        assert stage.tree_size(NAME) == 1, "its other threads show its environment"
        found = vitals.sample(pid)
        assert found is not None
        assert found.state != "zombie"
        assert found.rss_bytes > 0
        forget_launches(stage)
        assert stage.local.adopt_all() == 1
        stage.processes.kill(NAME)
        await is_gone(stage, NAME)


def is_zombie(pid: int) -> bool:
    """Whether the kernel calls a process one."""
    stat = stat_of(pid)
    return stat is not None and stat.state == "Z"


async def test_what_late_sessions_are_is_not_guessed(tmp_path: Path) -> None:
    """A worker that was slow to start would be killed as what a dead one had left."""
    async with real_stage(Manner.HAS_A_LATE_STRAY, tmp_path) as stage:
        await died_unwatched(stage, NAME)
        forget_launches(stage)
        assert stage.local.adopt_all() == 0
        (held,) = await stage.told(WorkerHeld)
        assert held.name == NAME
        assert stage.tree_size(NAME) == 1


# --- a process that cannot be seen ------------------------------------------------------------


async def test_another_pid_namespaces_process_is_not_judged(tmp_path: Path) -> None:
    """A daemon in a container would delete the registrations of workers that live outside it."""
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        record = stage.record_of(os.getpid())
        gone = replace(record, pid=2**22 - 1)
        assert stage.processes.look_into(NAME, gone) is Standing.DEAD
        assert stage.processes.look_into(NAME, replace(gone, pidns=1)) is Standing.ELSEWHERE
        assert stage.processes.look_into(NAME, replace(gone, pidns=0)) is Standing.ORPHAN


HIDDEN = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
from autohealer.processes.identity import is_running
assert libc.unshare(0x00020000) == 0
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
assert libc.mount(b"proc", b"/proc", b"proc", 0, b"hidepid=2") == 0
os.setresgid(61233, 61233, 61233)
os.setresuid(61233, 61233, 61233)
pid, start = map(int, sys.argv[1:])
print(is_running(pid, start), is_running(2**22 - 1, start))
"""


def test_a_hidden_process_is_not_dead() -> None:
    """Where /proc hides other users' processes a live worker's registration would be deleted."""
    stat = stat_of(os.getpid())
    assert stat is not None
    command = (sys.executable, "-c", HIDDEN, str(stat.pid), str(stat.start_ticks))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["None", "False"], done.stderr


async def test_a_zombie_that_nobody_reaps_is_dead(tmp_path: Path) -> None:
    """A worker whose parent is late to collect it would be called an orphan, and its znode stay."""
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        with zombie() as pid:
            assert stage.processes.look_into(NAME, stage.record_of(pid)) is Standing.DEAD


@contextmanager
def zombie() -> Iterator[int]:
    """The pid of a process that has ended and is not reaped."""
    with subprocess.Popen(("true",)) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        yield child.pid


# --- trees ------------------------------------------------------------------------------------


async def test_what_cleared_its_environment_and_left_the_session_ends_with_its_worker(
    tmp_path: Path,
) -> None:
    """`su - user -c program` would leave one process behind at every restart, and after the stop."""
    script = "echo up; setsid -w env -i sleep 600 & wait"
    async with stage_of(tmp_path, "/bin/sh", "-c", script) as stage:
        await launched(stage)
        await eventually_async(lambda: len(sleepers(stage)) == 1, within_s=WITHIN_S)
        stage.processes.kill(NAME)
        await is_gone(stage, NAME)
        assert sleepers(stage) == []


def sleepers(stage: RealStage) -> list[int]:
    """Processes without environment that write to the worker's output file."""
    found = []
    for file in Path("/proc").glob("[0-9]*/fd/1"):
        try:
            is_its = file.readlink() == stage.folder / f"slot-{NAME.slot}.log"
            environment = (file.parents[1] / "environ").read_bytes()
        except OSError:
            continue
        if is_its and not environment:
            found.append(int(file.parts[2]))
    return found


@pytest.mark.parametrize("adopted", [False, True], ids=["launched", "adopted"])
async def test_a_worker_behind_a_shell_finishes_its_work(tmp_path: Path, *, adopted: bool) -> None:
    """A shell wrapper dies of TERM at once, and the worker behind it would be killed in the middle of its work."""
    worker = tmp_path / "worker.sh"
    worker.write_text(WORKS_BEHIND_A_SHELL)
    async with stage_of(tmp_path, "/bin/sh", "-c", f"echo up; sh {worker}; exit $?") as stage:
        await launched(stage)
        output = tmp_path / f"slot-{NAME.slot}.log"
        await eventually_async(lambda: "armed" in output.read_text(), within_s=WITHIN_S)
        if adopted:
            stage.next_daemon()
            assert stage.local.adopt_all() == 1
        stage.processes.terminate(NAME)
        (exited,) = await stage.told(WorkerExited)
        assert not exited.tree_empty
        await stage.told(TreeEmptied)
        assert "done" in output.read_text()


async def test_a_tree_that_was_only_asked_to_end_is_ended_by_a_kill(tmp_path: Path) -> None:
    """What stays behind a shell that died of TERM would never be ended."""
    script = "echo up; sh -c 'trap \"\" TERM; sleep 600; sleep 600'; exit $?"
    async with stage_of(tmp_path, "/bin/sh", "-c", script) as stage:
        await launched(stage)
        await eventually_async(lambda: stage.tree_size(NAME) >= 3, within_s=WITHIN_S)
        stage.processes.terminate(NAME)
        (exited,) = await stage.told(WorkerExited)
        assert not exited.tree_empty
        assert stage.tree_size(NAME) > 0
        stage.processes.kill(NAME)
        await is_gone(stage, NAME)


# --- others' short-lived processes ------------------------------------------------------------


@contextmanager
def loop(script: str) -> Iterator[None]:
    """Have somebody's shell start one process after the other for a block."""
    shell = subprocess.Popen(("bash", "-c", script), start_new_session=True)
    try:
        yield
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


@pytest.mark.parametrize(
    "script",
    ["while :; do /bin/true; done", "while :; do env -i /bin/sleep 0.05; done"],
    ids=["forks", "without environment"],
)
async def test_others_short_lived_processes_keep_no_slot_empty(tmp_path: Path, script: str) -> None:
    """Somebody's fork loop would keep a dead worker's slot empty for as long as it runs."""
    names = [Incarnation(slot, 1) for slot in range(10)]
    async with real_stage(Manner.OBEYS, tmp_path) as stage:
        pids = [await stage.spawn(name) for name in names]
        stage.next_daemon()
        assert stage.local.adopt_all() == len(names)
        with loop(script):
            for name, pid in zip(names, pids, strict=True):
                stage.signal(pid, signal.SIGKILL)
                await is_gone(stage, name)


async def test_a_siblings_orphans_keep_no_slot_empty(tmp_path: Path) -> None:
    """One worker that leaves short jobs behind would keep every other one's slot empty."""
    script = "echo up; while :; do (env -i sleep 0.06 &); sleep 0.01; done"
    names = [Incarnation(slot, 1) for slot in range(8)]
    async with stage_of(tmp_path, "/bin/sh", "-c", script) as stage:
        await launched(stage, OTHER)
        stage.argv[:] = ["/bin/sh", "-c", "echo up; exec sleep 600"]
        for name in [name for name in names if name != OTHER]:
            pid = await launched(stage, name)
            stage.signal(pid, signal.SIGKILL)
            await is_gone(stage, name)


def test_fork_loops_of_others_do_not_unsettle_a_look() -> None:
    """A dead worker's tree could not be told to be empty while others fork."""
    census = Census(lambda _pid: False)
    with loop("while :; do /bin/true; done"):
        looks = [census.of_all() for _ in range(100)]
    assert sum(not look.is_settled_since(0) for look in looks) <= 2
