"""What a worker may use: limits, niceness and its rank before the OOM killer, set before its program begins.

Theory of operation. The C library's spawn knows none of them. So a shell is launched in the program's place that stops
itself; everything is set from outside, and then it goes on and becomes the program. That takes a millisecond, and only
where there is something to set.

Limits: a daemon that is killed within that millisecond leaves a worker that is stopped.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from autohealer.launchspec import ResourceLimits


def held_back(argv: Sequence[str]) -> list[str]:
    """A command that stops itself once and then becomes another."""
    return ["/bin/sh", "-c", 'kill -STOP "$$"; exec "$@"', "sh", *argv]


def knowing_its_pid(argv: Sequence[str]) -> list[str]:
    """A command that is told its own pid as the one that has to ping, and then becomes another."""
    return ["/bin/sh", "-c", 'WATCHDOG_PID=$$; export WATCHDOG_PID; exec "$@"', "sh", *argv]


@contextmanager
def before_it_begins(pid: int) -> Iterator[None]:
    """A block in which a child that was held back stands still; afterwards it goes on. Holds up the calling thread."""
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    yield
    os.kill(pid, signal.SIGCONT)


def limit(pid: int, limits: ResourceLimits) -> None:
    """Set the limits of a process nobody has reaped, soft and hard. Raises `OSError`: the sentence says which not."""
    for name, number, most in _told(limits):
        try:
            resource.prlimit(pid, number, (most, most))
        except (ValueError, PermissionError) as error:
            sentence = (
                f"its limit {name} = {most} cannot be set: the daemon itself may not have that"
            )
            raise PermissionError(errno.EPERM, sentence) from error


def rank(pid: int, nice: int | None, oom_score_adj: int | None) -> None:
    """Set how a process is ranked for the processor and before the OOM killer. Raises `OSError`."""
    if nice is not None:
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    if oom_score_adj is not None:
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(oom_score_adj), encoding="ascii")


def _told(limits: ResourceLimits) -> list[tuple[str, int, int]]:
    numbers = (
        ("nofile", resource.RLIMIT_NOFILE, limits.nofile),
        ("nproc", resource.RLIMIT_NPROC, limits.nproc),
        ("core", resource.RLIMIT_CORE, limits.core_bytes),
        ("memlock", resource.RLIMIT_MEMLOCK, limits.memlock_bytes),
        ("stack", resource.RLIMIT_STACK, limits.stack_bytes),
        ("address_space", resource.RLIMIT_AS, limits.address_space_bytes),
    )
    return [(name, number, most) for name, number, most in numbers if most is not None]
