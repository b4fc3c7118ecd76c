"""How the processes of one incarnation are reached, and what tells of them: a record, or a name for people.

A worker leads a session and process group of its own, so one `killpg` reaches what stayed in it. What
left the group still carries the incarnation's token in its environment, and once its parents are dead
it is a child of the daemon that launched it (a subreaper).

Must never signal a pid it has not proven: a group is signalled only while its leader lives or is unreaped.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

from autohealer.contract import ENV_TOKEN, WorkerRecord, keeper_id, registration_proof
from autohealer.core.model import Incarnation
from autohealer.processes.identity import boot_id, environment_of
from autohealer.processes.procfs import all_pids, own_pid_namespace, stat_of
from autohealer.processes.reaper import Watched


@dataclass(slots=True)
class Leader:
    """A live process that this daemon launched or adopted as an incarnation; the first of its tree.

    `is_child`: launched by this daemon. `terminated` and `kills` are what it was told; `frozen` whether it was stopped
    when it was killed.
    """

    name: Incarnation
    token: str
    start_ticks: int
    is_child: bool
    watched: Watched
    terminated: bool = False
    kills: int = 0
    frozen: bool = False

    @property
    def pid(self) -> int:
        """The process."""
        return self.watched.pid

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the whole group; nothing happens once the leader may have been reaped."""
        if self.is_child or self.watched.is_alive():
            signal_group(self.pid, number)


def record_of(leader: Leader, secret: bytes, address: str) -> WorkerRecord:
    """What tells of a worker as well as its own record would; `secret` is the daemon's."""
    boot = boot_id()
    return WorkerRecord(
        pid=leader.pid,
        start=leader.start_ticks,
        boot=boot,
        host=os.uname().nodename,
        address=address,
        pidns=own_pid_namespace(),
        keeper=keeper_id(secret),
        proof=registration_proof(leader.token, leader.pid, leader.start_ticks, boot),
        agent=True,
    )


def signal_group(leader_pid: int, number: signal.Signals) -> None:
    """Signal a process group whose leader is not reaped yet; a no-op when it is empty."""
    try:
        os.killpg(leader_pid, number)
    except (ProcessLookupError, PermissionError):
        # EPERM: nothing left in it but what changed its user; it is told of as resisting.
        return


def is_group_empty(leader_pid: int) -> bool:
    """Whether a process group has no member left, not even a zombie."""
    try:
        os.killpg(leader_pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def carries_token(pid: int, token: str) -> bool:
    """Whether a process's environment holds an incarnation's token. Raises `OSError`."""
    return environment_of(pid).get(ENV_TOKEN) == token


def by_group() -> Mapping[int, Sequence[int]]:
    """Every live process by its process group, whoever may read its environment. Raises `OSError`."""
    groups: dict[int, list[int]] = {}
    for pid in all_pids():
        stat = stat_of(pid)
        if stat is not None and stat.is_alive:
            groups.setdefault(stat.group, []).append(pid)
    return groups


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped, as far as one can look."""
    try:
        stat = stat_of(pid)
    except OSError:
        return False
    return stat is not None and stat.is_stopped


ANCESTORS_MAX = 64


def is_in_tree(leader: Leader, pid: int) -> bool:
    """Whether a live process is of a worker's: itself, in its session or group, or started by one that is.

    Raises `OSError`.
    """
    for _ in range(ANCESTORS_MAX):
        stat = stat_of(pid)
        if stat is None or stat.start_ticks < leader.start_ticks:
            return False
        if leader.pid in {pid, stat.session, stat.group} or carries_token(pid, leader.token):
            return True
        pid = stat.parent
    return False


def in_words(pid: int) -> str | None:
    """A process as people know it: `pid 4711 (disk-sleep, python3)`; None when it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            state, name, user_id = str(process.status()), process.name(), process.uids().real
    except psutil.AccessDenied:
        return f"pid {pid}"
    except psutil.Error:
        return None
    except OSError:
        return f"pid {pid}"
    if state in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
        return None
    owner = "" if user_id == os.geteuid() else f", of user id {user_id}"
    return f"pid {pid} ({state}, {name}{owner})"
