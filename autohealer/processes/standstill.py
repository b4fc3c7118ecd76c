"""Notice workers that stand still: stopped by a signal, so that they neither work nor end.

Theory of operation. Who registers itself loses its session when it is stopped; a program that knows nothing of
ZooKeeper shows it only in its state, which is looked at every `LOOK_S`. One found stopped in looks that span `LOOK_S`
is told of, and once more when it goes on. One that a debugger holds is not stopped by itself: a person looks at it.

Costs some 10 µs per worker and look. Must never know: what follows from it. Limits: used from the event loop's thread
only; it looks at the process that was launched, not at what that has started.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from autohealer.core.events import HealthReported
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Incarnation
from autohealer.daemon.ports import Post
from autohealer.processes.procfs import stat_of

LOOK_S = 2.0
AT_ONCE = 50
"""Looked at in one turn of the loop: half a millisecond's worth."""

_TRACER = re.compile(r"^TracerPid:\s*(\d+)$", re.MULTILINE)


@dataclass(slots=True)
class _Worker:
    name: Incarnation
    pid: int
    stopped_since: float | None = None
    is_told: bool = False


class Standstill:
    """Watches the workers of one group."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._loop = asyncio.get_running_loop()
        self._workers: dict[Incarnation, _Worker] = {}
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, name: Incarnation, pid: int) -> None:
        """Look at a worker from now on."""
        self._workers[name] = _Worker(name, pid)
        if self._timer is None:
            self._look_later()

    def forget(self, name: Incarnation) -> None:
        """It has ended, or is about to."""
        self._workers.pop(name, None)

    def close(self) -> None:
        """Look at nobody any more."""
        self._workers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        turns = max(1, -(-len(self._workers) // AT_ONCE))
        self._timer = self._loop.call_later(LOOK_S / turns, self._look)

    def _look(self) -> None:
        """At those not looked at for longest; the order of the dictionary is that of the looks."""
        self._timer = None
        if not self._workers:
            return
        for worker in list(islice(self._workers.values(), AT_ONCE)):
            self._look_at(worker)
            self._workers[worker.name] = self._workers.pop(worker.name)
        self._look_later()

    def _look_at(self, worker: _Worker) -> None:
        now = self._loop.time()
        if not _is_stopped(worker.pid):
            worker.stopped_since = None
            if worker.is_told:
                worker.is_told = False
                self._post(HealthReported(worker.name, Check.RUNNING, Verdict.WELL))
        elif worker.stopped_since is None:
            worker.stopped_since = now
        elif not worker.is_told and now - worker.stopped_since >= LOOK_S / 2:
            worker.is_told = True
            why = "its process stands still"
            self._post(HealthReported(worker.name, Check.RUNNING, Verdict.UNHEALTHY, why))


def _is_stopped(pid: int) -> bool:
    """Whether a signal has stopped a process, and no debugger; no as long as one cannot look."""
    try:
        stat = stat_of(pid)
        if stat is None or stat.state != "T":
            return False
        traced = _TRACER.search(Path(f"/proc/{pid}/status").read_text(errors="replace"))
    except OSError:
        return False
    return traced is None or traced[1] == "0"
