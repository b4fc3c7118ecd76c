"""Which deaths were the kernel's, for want of memory: it does not put that into the exit status.

A leaf of its own counts for its incarnation alone. Where there is none, a KILL that nobody here sent, while the count
of the daemon's own group rose, was probably the kernel's.
"""

from __future__ import annotations

import asyncio
import signal

from autohealer.core.model import NEVER, Exit, Incarnation
from autohealer.processes.cgroup import WorkerCgroups, own_oom_kills

READ_S = 0.01
"""How old the kernel's count of kills for memory may be."""


class OutOfMemory:
    """Attributes the kernel's kills; used from the event loop's thread only."""

    def __init__(self, cgroups: WorkerCgroups | None) -> None:
        self._cgroups = cgroups
        self._attributed = self._read = own_oom_kills()
        self._read_at = NEVER

    def ended(self, name: Incarnation, exit_: Exit) -> bool:
        """Whether an exit that nobody here ordered was the kernel's doing."""
        if exit_.signal != signal.SIGKILL:
            return False
        if self._cgroups is not None and self._cgroups.oom_kills(name):
            return True
        if self._attributed is None or (kills := self._now()) is None or kills <= self._attributed:
            return False
        self._attributed += 1  # one death each: several may have been killed before we look
        return True

    def _now(self) -> int | None:
        """Read once for all who died together: it takes longer than anything else on the way to a replacement."""
        now = asyncio.get_running_loop().time()
        if now - self._read_at > READ_S:
            self._read, self._read_at = own_oom_kills(), now
        return self._read
