"""What the kernel says of processes under /proc, with one rule: "could not look" is never "is not there".

What /proc does not show may be there all the same (`hidepid=`, `ProtectProc=`): only `exists` tells that a process is
gone. When a look itself fails, for want of descriptors or memory, `OSError` is raised, and whoever asked knows nothing.

A process whose first thread has ended while others run is alive: the kernel calls its leader a zombie, and only
the other threads still show its environment.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

_GONE = frozenset({errno.ENOENT, errno.ESRCH})
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM})
_KERNEL_THREAD = 0x00200000
_CHUNK_BYTES = 1 << 17
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Stat:
    """Some of `/proc/<pid>/stat`; `start_ticks` is in clock ticks since boot.

    `environment_end` is where in its memory the environment ends: zero in the middle of an exec, and where one may
    not look.
    """

    pid: int
    state: str
    parent: int
    group: int
    session: int
    flags: int
    threads: int
    start_ticks: int
    environment_end: int
    rss_bytes: int

    @property
    def is_stopped(self) -> bool:
        """Whether a signal or a tracer holds it."""
        return self.state in {"T", "t"}

    @property
    def is_alive(self) -> bool:
        """Whether it is more than a zombie that waits to be reaped."""
        return self.state not in {"Z", "X"} or self.threads > 1

    @property
    def is_exec_under_way(self) -> bool:
        """Whether it shows no environment because it is about to get one."""
        return self.is_alive and not self.flags & _KERNEL_THREAD and not self.environment_end


def all_pids() -> list[int]:
    """Every process there is. Raises `OSError`."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are numbers


def writes_to(pid: int, path: str) -> bool:
    """Whether a process's standard output or error is a file; False where that is not ours to see. Raises `OSError`."""
    for number in (1, 2):
        try:
            if os.readlink(f"/proc/{pid}/fd/{number}") == path:  # noqa: PTH115 - one call per process
                return True
        except OSError as error:
            if error.errno not in _GONE | _NOT_OURS:
                raise
    return False


def own_children() -> list[int]:
    """The pids of this process's children, read from the kernel in one go. Raises `OSError`."""
    pid = os.getpid()
    return [int(child) for child in _contents(f"/proc/{pid}/task/{pid}/children").split()]


def exists(pid: int) -> bool:
    """Whether there is such a process in this pid namespace, be it a zombie, and whoever may see it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def own_pid_namespace() -> int:
    """The inode number of the pid namespace in which this process's pids count; 0 when it cannot be told."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - one call on the way of nothing
    except OSError:
        return 0


def stat_of(pid: int) -> Stat | None:
    """What a process is and does; None when none is to be seen. Raises `OSError`."""
    try:
        raw = _contents(f"/proc/{pid}/stat")
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    fields = raw[raw.rindex(b")") + 2 :].split()
    return Stat(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        flags=int(fields[6]),
        threads=int(fields[17]),
        start_ticks=int(fields[19]),
        environment_end=int(fields[48]),
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def raw_environment_of(pid: int) -> bytes | None:
    """The environment of a process as it was exec'd; None when it is gone or not ours to read. Raises `OSError`.

    Empty where there is none: of a kernel thread, for an instant in the middle of an exec, and of who was given none.
    """
    try:
        return _contents(f"/proc/{pid}/environ") or _of_another_thread(pid)
    except OSError as error:
        if error.errno in _GONE:
            return _of_another_thread(pid) or None
        if error.errno in _NOT_OURS:
            return None
        raise


def _of_another_thread(pid: int) -> bytes:
    """What other threads show where the first one has ended."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - names are numbers
    except (FileNotFoundError, ProcessLookupError):
        return b""  # gone, before or after its folder was opened
    for thread in threads:
        if thread == str(pid):
            continue
        try:
            if raw := _contents(f"/proc/{pid}/task/{thread}/environ"):
                return raw
        except OSError as error:
            if error.errno not in _GONE | _NOT_OURS:
                raise
    return b""


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
