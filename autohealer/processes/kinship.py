"""Which incarnation a process belongs to, and which process has a socket: who is behind a connection or a record.

Theory of operation. A process is of an incarnation's tree if the leader of its session, or one of its ancestors, is the
incarnation's, or if it carries its token. Which processes have a socket open the kernel shows by its inode, for those
that are ours to look at; leaders and their sessions are looked at first, because it is mostly they who are asked for.

Must never know: ZooKeeper. Limits: what is of another user, network namespace or machine is not found, and nothing is
said of it. Looking at all processes takes milliseconds, so it is not for the loop's thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from autohealer.contract import ENV_TOKEN, WorkerRecord
from autohealer.core.model import Incarnation
from autohealer.processes.identity import boot_id, environment_of, is_running
from autohealer.processes.procfs import all_pids, own_pid_namespace, stat_of
from autohealer.zkserver.endpoints import Kernel, Pair, UnknownOwnerError

GENERATIONS_MAX = 64
"""How far up the ancestors of a process are followed."""


@dataclass(frozen=True, slots=True)
class Kin:
    """A process of this machine, and whose tree it is of; None: nobody's of this group."""

    pid: int
    name: Incarnation | None


class Family:
    """The trees of a group's live incarnations at one moment, by the pids of their leaders and by their tokens."""

    def __init__(
        self, by_pid: Mapping[int, Incarnation], by_token: Mapping[str, Incarnation]
    ) -> None:
        self._by_pid = by_pid
        self._by_token = by_token

    @property
    def names(self) -> list[Incarnation]:
        """Whose they are."""
        return list(self._by_pid.values())

    def behind(self, ends: Sequence[Pair]) -> Kin | None:
        """Who has the socket that one of these is; None where that cannot be told. Raises `OSError`."""
        inode = _inode_of(ends)
        if not inode:
            return None
        for pid in self._nearest_first():
            if _has_open(pid, inode):
                return Kin(pid, self._of_tree(pid))
        return None

    def behind_record(self, record: WorkerRecord) -> Kin | None:
        """Who a record names; None where it speaks of elsewhere, or too little. Raises `OSError`."""
        is_here = (record.host, record.boot) == (os.uname().nodename, boot_id())
        if not is_here or record.pidns not in {0, own_pid_namespace()}:
            return None
        if not record.start or is_running(record.pid, record.start) is not True:
            return None
        return Kin(record.pid, self._of_tree(record.pid))

    def _nearest_first(self) -> Iterator[int]:
        yield from self._by_pid
        stats = [stat for pid in all_pids() if pid not in self._by_pid and (stat := stat_of(pid))]
        yield from (s.pid for s in sorted(stats, key=lambda s: s.session not in self._by_pid))

    def _of_tree(self, pid: int) -> Incarnation | None:
        ancestor = pid
        for _ in range(GENERATIONS_MAX):
            stat = stat_of(ancestor)
            if stat is None:
                break
            for one in (ancestor, stat.session):
                if one in self._by_pid:
                    return self._by_pid[one]
            if stat.parent <= 1:
                break
            ancestor = stat.parent
        return self._by_token.get(environment_of(pid).get(ENV_TOKEN, ""))


def is_own(ends: Sequence[Pair]) -> bool:
    """Whether one of these is a socket of this very process."""
    inode = _inode_of(ends)
    return inode != 0 and _has_open(os.getpid(), inode)


def is_here(ends: Sequence[Pair]) -> bool:
    """Whether one of these is a socket of this machine, and of this network namespace."""
    return _inode_of(ends) != 0


def _inode_of(ends: Sequence[Pair]) -> int:
    """The socket that is one of these ends; 0 where none is to be found on this machine."""
    try:
        with closing(Kernel()) as kernel:
            found = kernel.find(ends)
    except UnknownOwnerError:
        return 0
    return next((end.inode for end in found if end is not None and end.inode), 0)


def _has_open(pid: int, inode: int) -> bool:
    """Whether a process has a socket open; False where that is not ours to see."""
    wanted, folder = f"socket:[{inode}]", f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)  # noqa: PTH208 - names are numbers
    except OSError:
        return False
    return any(_target_of(f"{folder}/{descriptor}") == wanted for descriptor in descriptors)


def _target_of(link: str) -> str:
    """Where a descriptor leads; empty for one that was closed meanwhile."""
    try:
        return os.readlink(link)  # noqa: PTH115 - as little as it takes, for each descriptor of each process
    except OSError:
        return ""
