"""Everything an incarnation started: find it, end it, and say when it is gone.

A worker leads a session and process group of its own, so one `killpg` reaches what stayed in it. What
left the group still carries the incarnation's token in its environment, and once its parents are dead
it is a child of this daemon (a subreaper), so looking at our own unknown children finds it.

Must never signal a pid it has not proven: a group is signalled only while its leader is unreaped or has
members that carry the token.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

from autohealer.contract import ENV_TOKEN
from autohealer.processes.identity import environment_of
from autohealer.processes.reaper import Reaper


def signal_group(leader_pid: int, number: signal.Signals) -> None:
    """Signal a process group whose leader is not reaped yet; a no-op when it is empty."""
    try:
        os.killpg(leader_pid, number)
    except (ProcessLookupError, PermissionError):
        # EPERM: nothing left in it but what changed its user; the sweep for the token reports that.
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


def own_children() -> list[int]:
    """The pids of this process's children, read from the kernel in one go."""
    pid = os.getpid()
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(child) for child in text.split()]


def strays_of(token: str, reaper: Reaper) -> list[int]:
    """Our children that nobody watches and that carry an incarnation's token."""
    return [
        pid for pid in own_children() if not reaper.is_watched(pid) and carries_token(pid, token)
    ]


def members_of(token: str) -> list[int]:
    """Every live process on this host that carries a token (zombies do not: their environment is gone)."""
    return [pid for pid in psutil.pids() if carries_token(pid, token)]


def carries_token(pid: int, token: str) -> bool:
    """Whether a process's environment holds an incarnation's token."""
    return environment_of(pid).get(ENV_TOKEN) == token
