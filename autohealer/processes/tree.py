"""One incarnation's processes: its leader, what is known of the rest, and how they are reached.

A worker leads a session and process group of its own, so one `killpg` reaches what stayed in it. What
left the group still carries the incarnation's token in its environment, and once its parents are dead
it is a child of the daemon that launched it (a subreaper).

Must never signal a pid it has not proven: a group is signalled only while its leader lives or is unreaped.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

import psutil

from autohealer.contract import ENV_TOKEN
from autohealer.core.model import Exit, Incarnation
from autohealer.processes.identity import environment_of
from autohealer.processes.procfs import all_pids, stat_of
from autohealer.processes.reaper import Watched


@dataclass(slots=True)
class Tree:
    """What this daemon answers for under one name.

    `leader` is None once it ended; `exit` is how, until that was told. `rest` are the others that were found and
    killed, each held. `group_gone` stays true once nothing was left in the leader's group: from then on its number may
    be somebody else's. `kills` counts the orders to end it, `looks` those at what is left since the last one;
    `outlived` are the pids that had been killed before the last order, `told` what was last said of those who resist.
    """

    name: Incarnation
    pid: int
    token: str
    is_child: bool
    leader: Watched | None = None
    rest: dict[int, Watched] = field(default_factory=dict)
    exit: Exit | None = None
    frozen: bool = False
    group_gone: bool = False
    kills: int = 0
    looks: int = 0
    outlived: tuple[int, ...] = ()
    told: tuple[str, ...] = ()

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the whole group; nothing happens once its leader may have been reaped."""
        if self.leader is not None and (self.is_child or self.leader.is_alive()):
            signal_group(self.pid, number)

    def note_group(self) -> bool:
        """Whether nothing is left in the leader's group; only the launching daemon can tell."""
        self.group_gone = self.group_gone or not self.is_child or is_group_empty(self.pid)
        return self.group_gone


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


def in_group(leader_pid: int) -> list[int]:
    """Every live process of a process group, whoever may read its environment. Raises `OSError`."""
    stats = ((pid, stat_of(pid)) for pid in all_pids())
    return [pid for pid, stat in stats if stat is not None and stat.group == leader_pid]


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
