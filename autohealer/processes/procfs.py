"""What the kernel says of processes under /proc, with one rule: "could not look" is never "is not there".

A process that is gone is None, one whose environment is not ours to read is None as well; but when a look
itself fails, for want of descriptors or memory, `OSError` is raised, and whoever asked knows nothing.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

_GONE = frozenset({errno.ENOENT, errno.ESRCH})
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM})
_KERNEL_THREAD = 0x00200000
_CHUNK_BYTES = 1 << 17


@dataclass(frozen=True, slots=True)
class Stat:
    """Some of `/proc/<pid>/stat`; `start_ticks` is in clock ticks since boot."""

    state: str
    parent: int
    group: int
    session: int
    flags: int
    start_ticks: int

    @property
    def is_stopped(self) -> bool:
        """Whether a signal or a tracer holds it."""
        return self.state in {"T", "t"}

    @property
    def is_alive(self) -> bool:
        """Whether it is more than a zombie that waits to be reaped."""
        return self.state not in {"Z", "X"}

    @property
    def has_environment(self) -> bool:
        """Whether it can have one: zombies have none left, kernel threads never had one."""
        return self.is_alive and not self.flags & _KERNEL_THREAD


def all_pids() -> list[int]:
    """Every process there is. Raises `OSError`."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are numbers


def own_children() -> list[int]:
    """The pids of this process's children, read from the kernel in one go. Raises `OSError`."""
    pid = os.getpid()
    return [int(child) for child in _contents(f"/proc/{pid}/task/{pid}/children").split()]


def stat_of(pid: int) -> Stat | None:
    """What a process is and does; None when there is none. Raises `OSError`."""
    try:
        raw = _contents(f"/proc/{pid}/stat")
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Stat(
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        flags=int(fields[6]),
        start_ticks=int(fields[19]),
    )


def raw_environment_of(pid: int) -> bytes | None:
    """The environment of a process as it was exec'd; None when it is gone or not ours to read. Raises `OSError`.

    Empty for a zombie and a kernel thread, and for an instant in the middle of an exec.
    """
    try:
        return _contents(f"/proc/{pid}/environ")
    except OSError as error:
        if error.errno in _GONE or error.errno in _NOT_OURS:
            return None
        raise


def _contents(path: str) -> bytes:
    """As little as it takes to read a file: this is done for every process of the machine."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = [os.read(descriptor, _CHUNK_BYTES)]
        while parts[-1]:
            parts.append(os.read(descriptor, _CHUNK_BYTES))
    finally:
        os.close(descriptor)
    return b"".join(parts)
