"""Real processes that are stopped, go on, end, or are held by a debugger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from autohealer.core.events import Event, HealthReported
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Incarnation
from autohealer.processes.standstill import Standstill
from tests.support.eventually import eventually_async

WITHIN_S = 20.0


@contextmanager
def sleepers(count: int) -> Iterator[list[int]]:
    """So many processes that do nothing."""
    running = [subprocess.Popen(["/bin/sleep", "99"]) for _ in range(count)]
    try:
        yield [process.pid for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()


def _watching(pids: list[int]) -> tuple[Standstill, list[Event]]:
    facts: list[Event] = []
    standstill = Standstill(facts.append)
    for slot, pid in enumerate(pids):
        standstill.watch(Incarnation(slot, 1), pid)
    return standstill, facts


def _of(slot: int, verdict: Verdict) -> HealthReported:
    why = "its process stands still" if verdict is Verdict.UNHEALTHY else ""
    return HealthReported(Incarnation(slot, 1), Check.RUNNING, verdict, why)


async def test_who_is_stopped_is_told_of_and_who_goes_on_too() -> None:
    """A frozen program would hold its slot for ever, or one that was frozen for a moment be ended."""
    with sleepers(3) as pids:
        standstill, facts = _watching(pids)
        os.kill(pids[1], signal.SIGSTOP)
        await eventually_async(lambda: facts == [_of(1, Verdict.UNHEALTHY)], within_s=WITHIN_S)
        os.kill(pids[1], signal.SIGCONT)
        await eventually_async(lambda: facts[1:] == [_of(1, Verdict.WELL)], within_s=WITHIN_S)
        standstill.close()


async def test_everybody_is_looked_at_in_turn() -> None:
    """Of a large group only the first would be looked at."""
    with sleepers(1) as (pid,):
        standstill, facts = _watching([pid] * 160)
        os.kill(pid, signal.SIGSTOP)
        await eventually_async(lambda: len(facts) == 160, within_s=WITHIN_S)
        assert {fact.name.slot for fact in facts if isinstance(fact, HealthReported)} == set(
            range(160)
        )
        standstill.close()


_HOLD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace(16, int(sys.argv[1]), None, None)
os.waitpid(int(sys.argv[1]), 0)
print("held", flush=True)
sys.stdin.read()
"""


def _debugger_of(pid: int) -> subprocess.Popen[bytes]:
    debugger = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert debugger.stdout is not None
    assert debugger.stdout.readline() == b"held\n"
    return debugger


async def test_who_is_held_by_a_debugger_is_not_frozen() -> None:
    """A program would be killed under the eyes of who looks for its fault."""
    with sleepers(2) as pids:
        debugger = _debugger_of(pids[0])
        standstill, facts = _watching(pids)
        os.kill(pids[1], signal.SIGSTOP)
        await eventually_async(lambda: facts == [_of(1, Verdict.UNHEALTHY)], within_s=WITHIN_S)
        standstill.close()
        debugger.communicate()
        debugger.wait()


async def test_who_has_ended_is_looked_at_no_more() -> None:
    """Whoever gets its pid next would be taken for the worker."""
    with sleepers(2) as pids:
        standstill, facts = _watching(pids)
        os.kill(pids[0], signal.SIGSTOP)
        os.kill(pids[1], signal.SIGSTOP)
        standstill.forget(Incarnation(0, 1))
        await eventually_async(lambda: facts == [_of(1, Verdict.UNHEALTHY)], within_s=WITHIN_S)
        standstill.close()
