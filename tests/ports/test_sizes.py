"""Real processes that grow, by themselves, by what they started, and by what ran away from them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from autohealer.contract import ENV_TOKEN
from autohealer.core.events import Event, MemoryReported
from autohealer.core.model import Incarnation
from autohealer.processes.procfs import stat_of
from autohealer.processes.reaper import Watched
from autohealer.processes.sizes import Scales, Weigher, sizes_of
from autohealer.processes.tree import Leader
from tests.support.eventually import eventually, eventually_async

WITHIN_S = 20.0
MIB = 2**20
SIZE = 64 * MIB
NAME = Incarnation(0, 1)

GROWS = f"""
import sys
held = []
print("ready", flush=True)
for line in sys.stdin:
    held = [] if line.strip() == "less" else [b"x" * {SIZE}]
    print("done", flush=True)
"""
"""Grows and shrinks when it is told to."""

HAS_A_CHILD = f"""
import os, subprocess, sys
code = "import time; x = b'x' * {SIZE}; print('ready', flush=True); time.sleep(99)"
if sys.argv[1:] == ["within"]:
    subprocess.run(["/bin/sh", "-c", 'env -i "$0" -c "$1" &', sys.executable, code])
else:
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
if sys.argv[1:] == ["leave"]:
    os._exit(0)
sys.stdin.readline()
"""
"""What it started is large: in a session of its own, or `within` its own, with no parent and no token left."""


@contextmanager
def running(code: str, *arguments: str, token: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session, once it has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {ENV_TOKEN: token},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        for pid in _carriers(token):
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.close()


def _token(word: str) -> str:
    """One that nobody else has."""
    return f"test-{os.getpid()}-{word}"


def _carriers(token: str) -> list[int]:
    """Who carries a token of this test."""
    wanted, found = f"{ENV_TOKEN}={token}".encode(), []
    for folder in Path("/proc").iterdir():
        try:
            carries = folder.name.isdigit() and wanted in (folder / "environ").read_bytes()
        except OSError:
            continue
        if carries:
            found.append(int(folder.name))
    return found


def tell(process: subprocess.Popen[bytes], word: str) -> None:
    """Have one grow or shrink, and wait until it has."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{word}\n".encode())
    process.stdin.flush()
    assert process.stdout.readline() == b"done\n"


def leader(process: subprocess.Popen[bytes]) -> Leader:
    """A process as the leader of a worker's tree."""
    stat = stat_of(process.pid)
    assert stat is not None
    watched = Watched(process.pid, os.pidfd_open(process.pid))
    return Leader(NAME, "", stat.start_ticks, True, watched)


@pytest.mark.parametrize("where", ["beyond", "within"])
def test_what_a_worker_has_started_counts_wherever_it_went(where: str) -> None:
    """A leak in a child that leads a session of its own would be nobody's."""
    with running(HAS_A_CHILD, where, token=_token("a")) as process:
        sizes = sizes_of({process.pid: "t", os.getpid() + 10**6: "gone"})
        assert sizes.keys() == {process.pid}
        assert sizes[process.pid] > SIZE


def test_what_has_lost_its_parents_is_known_by_its_token() -> None:
    """A leak in what a worker left behind would be nobody's."""
    token = _token("a")
    with (
        running(GROWS, token=_token("b")) as process,
        running(HAS_A_CHILD, "leave", token=token) as left,
    ):
        eventually(lambda: left.poll() is not None, within_s=WITHIN_S)
        assert sizes_of({process.pid: token})[process.pid] > SIZE
        assert sizes_of({process.pid: "another"})[process.pid] < SIZE


async def test_one_that_stays_large_is_told_of_and_one_that_shrinks_again_too() -> None:
    """A worker would be replaced for a moment's need, or never."""
    facts: list[Event] = []
    tasks: set[asyncio.Task[object]] = set()

    def start(work: Coroutine[object, object, None]) -> None:
        tasks.add(asyncio.get_running_loop().create_task(work))

    with running(GROWS, token=_token("a")) as process:
        who = leader(process)
        weigher = Weigher(facts.append, {NAME: who}.get)
        weigher.limit_bytes = SIZE
        weigher.watch(NAME)
        scales = Scales(start, look_s=0.05)
        scales.add(weigher)
        tell(process, "more")
        await eventually_async(lambda: len(facts) == 1, within_s=WITHIN_S)
        tell(process, "less")
        await eventually_async(lambda: len(facts) == 2, within_s=WITHIN_S)
        scales.remove(weigher)
        await asyncio.gather(*tasks)
        os.close(who.watched.pidfd)
    large, small = facts
    assert isinstance(large, MemoryReported)
    assert isinstance(small, MemoryReported)
    assert large.rss_bytes > SIZE > small.rss_bytes


def _judged(*sizes: int) -> list[int]:
    """What is told of a worker that may use 100 and is found to use so much, look after look."""
    facts: list[Event] = []
    weigher = Weigher(facts.append, lambda _name: None)
    weigher.limit_bytes = 100
    weigher.watch(NAME)
    for size in sizes:
        weigher.weighed(NAME, size)
    return [fact.rss_bytes for fact in facts if isinstance(fact, MemoryReported)]


def test_one_look_is_none() -> None:
    """A worker would be replaced for a moment's need."""
    assert _judged(150, 90, 150, 90) == []
    assert _judged(100, 100) == []


def test_it_is_told_again_when_it_has_grown() -> None:
    """Status would tell for days of what a worker used when it was noticed."""
    assert _judged(110, 120, 121, 131, 132, 140) == [120, 132]
    assert _judged(110, 120, 90, 110, 115) == [120, 90, 115]


def test_who_ends_is_weighed_no_more() -> None:
    """A worker that is just ending would be told of to nobody's use."""
    facts: list[Event] = []
    weigher = Weigher(facts.append, lambda _name: None)
    weigher.limit_bytes = 100
    weigher.watch(NAME)
    weigher.forget(NAME)
    for size in (200, 200):
        weigher.weighed(NAME, size)
    assert facts == []
