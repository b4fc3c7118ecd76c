"""Make a fault happen to this very process.

Theory of operation: each way to fail is one short function; `commit` returns only when the worker
is to work on. Nothing here is repaired or cleaned up: that is the supervisor's part.

Must never know: when a fault is due.

Limits: a forked-off process ends by itself after `LEFT_BEHIND_S`; a leak never passes its limit.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import time
from typing import TYPE_CHECKING, assert_never

from flaky_worker.faults import Fault, Kind

if TYPE_CHECKING:
    from typing import NoReturn

    from autohealer.worker import Worker

LEFT_BEHIND_S = 300
EXIT_CRASHED = 3
LEAK_STEP_MIB = 8
_LEAK_PAUSE_S = 0.02
_FOR_EVER_S = 2**31 - 1


class FlakyError(Exception):
    """The failure that was asked for."""


def commit(fault: Fault, worker: Worker, leak_limit_mib: float) -> None:
    """Fail as planned; return when the worker is to work on."""
    match fault.kind:
        case Kind.CRASH:
            _crash(fault.variant)
        case Kind.KILL:
            _signal_itself(signal.Signals[fault.variant])
        case Kind.FREEZE:
            _signal_itself(signal.SIGSTOP)
        case Kind.HANG:
            _hang()
        case Kind.HOLD_GIL:
            hold_gil()
        case Kind.LOSE_SESSION:
            worker.unregister()
        case Kind.LEAK:
            _leak(worker, leak_limit_mib)
        case Kind.IGNORE_TERM:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        case Kind.SLOW_START:
            worker.register()
        case Kind.NEVER_REGISTER:
            return
        case Kind.FORK:
            _leave_behind(own_session=fault.variant == "own-session")
            _crash("exception")
        case _:
            assert_never(fault.kind)


def _crash(variant: str) -> NoReturn:
    if variant == "exit-3":
        raise SystemExit(EXIT_CRASHED)
    raise FlakyError("failed as asked")


def _signal_itself(number: signal.Signals) -> None:
    # The crash is wanted, its core dump is not.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), number)


def _hang() -> NoReturn:
    while True:
        time.sleep(3600)


def hold_gil() -> NoReturn:
    """Keep the interpreter's lock for ever: no other thread of this process runs again."""
    # A signal to this thread would end the sleep and let the others run for a moment.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    keeping_the_lock = ctypes.PyDLL(None)  # a CDLL would let go of it during the call
    while True:
        keeping_the_lock.sleep(_FOR_EVER_S)


def _leak(worker: Worker, limit_mib: float) -> None:
    held: list[bytes] = []
    while not worker.stopping.wait(_LEAK_PAUSE_S):
        if (len(held) + 1) * LEAK_STEP_MIB > limit_mib:
            raise MemoryError(f"leaked up to the limit of {limit_mib:g} MiB")
        held.append(b"\xff" * (LEAK_STEP_MIB << 20))


def _leave_behind(*, own_session: bool) -> None:
    command = ("sleep", str(LEFT_BEHIND_S))
    os.posix_spawnp("sleep", command, os.environ, setsid=own_session)
