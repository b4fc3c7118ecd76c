"""One helper process of the daemon's own: the embedded ZooKeeper server.

It runs in a session of its own, so it outlives a crashed daemon; the next one finds it by its token and
takes it over. It is not a slot: it has no registration and cannot be scaled. Whoever owns this object
says when to launch it and is told when it ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from autohealer.processes.identity import age_s, environment_of
from autohealer.processes.procfs import all_pids, stat_of
from autohealer.processes.reaper import Reaper, Watched
from autohealer.processes.spawn import spawn_detached

ENV_COMPANION = "AUTOHEALER_COMPANION"
STOP_GRACE_S = 5.0


class Companion:
    """One process or none; used from the event loop's thread only."""

    def __init__(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        token: str,
        output: Callable[[], int],
        reaper: Reaper,
        on_end: Callable[[int, float], None],
    ) -> None:
        """`output` opens what it writes to; `on_end` gets the pid and how long it lived, in seconds."""
        self._argv = list(argv)
        self._environment = dict(environment)
        self._token = token
        self._output = output
        self._reaper = reaper
        self._on_end = on_end
        self._process: Watched | None = None
        self._gone = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process, if it lives."""
        return None if self._process is None else self._process.pid

    def adopt(self) -> bool:
        """Take over one an earlier daemon left behind; one whose daemon lives belongs to that."""
        for pid in all_pids():
            token, _, launcher = environment_of(pid).get(ENV_COMPANION, "").partition(":")
            if token == self._token and not _is_parent(pid, launcher):
                self._hold(pid)
                return True
        return False

    def launch(self) -> None:
        """Start it. Raises `OSError` when it cannot be exec'd."""
        environment = self._environment | {ENV_COMPANION: f"{self._token}:{os.getpid()}"}
        self._hold(spawn_detached(self._argv, environment, self._output()))

    async def stop(self) -> None:
        """TERM, a grace, KILL; returns when it is gone."""
        if self._process is None:
            return
        self._process.signal(signal.SIGTERM)
        self._process.signal(signal.SIGCONT)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                await self._gone.wait()
        except TimeoutError:
            self._process.signal(signal.SIGKILL)
            await self._gone.wait()

    def kill(self) -> None:
        """KILL, without waiting: `on_end` tells when it is gone."""
        if self._process is not None:
            self._process.signal(signal.SIGKILL)

    def release(self) -> None:
        """Leave it running for the next daemon to take over."""
        if self._process is not None:
            self._reaper.forget(self._process)
            self._process = None

    def _hold(self, pid: int) -> None:
        self._gone.clear()
        self._process = self._reaper.watch(pid, self._ended)

    def _ended(self, watched: Watched) -> None:
        lived_s = age_s(watched.pid)
        self._reaper.reap(watched)
        self._process = None
        self._gone.set()
        self._on_end(watched.pid, lived_s)


def _is_parent(pid: int, launcher: str) -> bool:
    """Whether a process is still the child of the daemon that launched it, which therefore lives."""
    stat = stat_of(pid)
    return stat is None or str(stat.parent) == launcher
