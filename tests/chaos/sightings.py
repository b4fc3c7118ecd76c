"""Which processes are whose, read from the kernel alone.

Theory of operation: what a daemon launches, and all that it starts in turn, carries the incarnation's name in
its environment. Each process is looked at once, by a pidfd opened before its environment is read, so that
neither can be another process's.

Limits: a process whose environment was replaced is not seen. One that has not been exec'd yet still shows its
parent's environment, so strangers are looked at again until they are `_SETTLED_S` old.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from autohealer.contract import ENV_GENERATION, ENV_GROUP, ENV_SLOT, ENV_TOKEN
from autohealer.core.model import Incarnation

ENV_ARENA = "AUTOHEALER_CHAOS_ARENA"
"""Set by the tests for a daemon, and so for all that it starts: whose it is."""

_PROC = Path("/proc")
_SETTLED_S = 2.0


@dataclass(frozen=True, slots=True)
class Sighting:
    """A live process of an incarnation, held by its pidfd, and when it was started, in clock ticks."""

    name: Incarnation
    pid: int
    pidfd: int
    start: int


class Sightings:
    """Finds each process of one group of one arena once."""

    def __init__(self, arena: str, group: str) -> None:
        self._mark = f"{ENV_ARENA}={arena}"
        self._group = f"{ENV_GROUP}={group}"
        self._known: set[int] = set()
        self._strangers: dict[int, float] = {}

    def new(self) -> list[Sighting]:
        """The processes that were not there the last time, oldest first."""
        pids = {int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()}
        self._known &= pids
        self._strangers = {p: at for p, at in self._strangers.items() if p in pids}
        now = time.monotonic()
        found = []
        for pid in pids - self._known:
            if now - self._strangers.setdefault(pid, now) > _SETTLED_S:
                continue
            if (sighting := self._look_at(pid)) is not None:
                found.append(sighting)
                self._known.add(pid)
                del self._strangers[pid]
        return sorted(found, key=lambda sighting: (sighting.start, sighting.pid))

    def forget(self, sighting: Sighting) -> None:
        """A process is gone: its pid may be another's from now on."""
        self._known.discard(sighting.pid)
        os.close(sighting.pidfd)

    def _look_at(self, pid: int) -> Sighting | None:
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return None
        try:
            settings = (_PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
            start = _start_of(pid)
        except OSError:
            os.close(pidfd)
            return None
        name = self._incarnation_of(settings.split("\0"))
        if name is None:
            os.close(pidfd)
            return None
        return Sighting(name, pid, pidfd, start)

    def _incarnation_of(self, settings: list[str]) -> Incarnation | None:
        if self._mark not in settings or self._group not in settings:
            return None
        given = dict(setting.partition("=")[::2] for setting in settings)
        if ENV_TOKEN not in given:
            return None
        return Incarnation(int(given[ENV_SLOT]), int(given[ENV_GENERATION]))


def _start_of(pid: int) -> int:
    stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    return int(stat.rpartition(")")[2].split()[19])
