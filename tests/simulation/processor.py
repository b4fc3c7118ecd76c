"""A simulated machine's processors: whatever works on them shares them.

Theory of operation. As many tasks as there are cores run at full speed; of more, each gets its equal share, as from a
fair scheduler. All tasks progress at one rate, so each ends when the work that any task could have done since its begin
reaches its own. Time is the event loop's, which is virtual.

Must never know: what the work is.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Processor:
    """So many `cores`; a fraction is a machine that others use, too."""

    def __init__(self, cores: float) -> None:
        self._cores = cores
        self._loop = asyncio.get_running_loop()
        self._numbers = count()
        self._tasks: list[tuple[float, int, Callable[[], None]]] = []
        self._at = self._asked_at = self._loop.time()
        self._progress_s = 0.0
        self._idle_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def work(self, seconds: float, done: Callable[[], None]) -> None:
        """Call `done` when so many seconds of a core have been had."""
        self._advance()
        heappush(self._tasks, (self._progress_s + seconds, next(self._numbers), done))
        self._set_timer()

    def idle(self) -> float | None:
        """The share of the cores that nobody used since this was last asked; None if that is now."""
        self._advance()
        apart_s, self._asked_at = self._at - self._asked_at, self._at
        idle_s, self._idle_s = self._idle_s, 0.0
        return idle_s / (apart_s * self._cores) if apart_s > 0 else None

    @property
    def _rate(self) -> float:
        return min(1.0, self._cores / max(1, len(self._tasks)))

    def _advance(self) -> None:
        passed_s = self._loop.time() - self._at
        self._at += passed_s
        self._progress_s += passed_s * self._rate
        self._idle_s += passed_s * max(0.0, self._cores - len(self._tasks))

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._tasks:
            left_s = max(0.0, self._tasks[0][0] - self._progress_s)
            self._timer = self._loop.call_later(left_s / self._rate, self._tick)

    def _tick(self) -> None:
        self._advance()
        ended = []
        while self._tasks and self._tasks[0][0] <= self._progress_s + 1e-9:
            ended.append(heappop(self._tasks)[2])
        self._set_timer()
        for done in ended:
            done()
