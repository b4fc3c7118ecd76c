"""What looks after the health of one group's workers: the adapters that ask them, wired to each other.

Must never know: what is decided from what they find.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence

from autohealer.core.actions import Drain, Kill, Plan
from autohealer.core.events import Event, TreeEmptied, WorkerAdopted, WorkerExited, WorkerSpawned
from autohealer.core.model import Incarnation, Registrar, View
from autohealer.daemon.ports import Post
from autohealer.probes.asking import Ran
from autohealer.probes.rounds import Rounds
from autohealer.processes.beside import Beside
from autohealer.processes.local import LocalProcesses
from autohealer.processes.reaper import Reaper
from autohealer.processes.standstill import Standstill
from autohealer.settings import GroupSettings

CLOSE_S = 1.0
"""How long the end waits for a command that is just being launched."""


class HealthCare:
    """An observer of decisions."""

    def __init__(
        self,
        settings: GroupSettings,
        processes: LocalProcesses,
        reaper: Reaper,
        post: Post,
        start: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        """`start` runs something in the background."""
        self._standstill = (
            Standstill(post) if settings.launch.registrar is Registrar.AGENT else None
        )
        self._beside = Beside(processes.launcher, reaper)
        self._rounds = Rounds(
            settings.health,
            processes.launcher.values_for,
            _Commands(self._beside),
            post,
            start,
            random.Random(),
            awaits_notify=settings.launch.notify,
        )

    def observe(self, facts: Sequence[Event], plan: Plan, view: View) -> None:
        """After a round."""
        self._rounds.observe(facts, plan, view)
        for fact in facts:
            match fact:
                case WorkerSpawned(name, pid) | WorkerAdopted(name, pid):
                    self._begin(name, pid)
                case WorkerExited(name) | TreeEmptied(name):
                    self._end(name)
                case _:
                    pass
        for action in plan.actions:
            if isinstance(action, Drain | Kill) and self._standstill is not None:
                self._standstill.forget(action.name)

    def _begin(self, name: Incarnation, pid: int) -> None:
        if self._standstill is not None:
            self._standstill.watch(name, pid)

    def _end(self, name: Incarnation) -> None:
        if self._standstill is not None:
            self._standstill.forget(name)

    def close(self) -> None:
        """Ask nobody any more."""
        self._rounds.close()
        if self._standstill is not None:
            self._standstill.close()
        self._beside.close(CLOSE_S)


class _Commands:
    """The port of the probes, by commands beside workers."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside

    async def run(self, name: Incarnation, argv: tuple[str, ...]) -> Ran:
        done = await self._beside.run(name, argv)
        return Ran(done.exit.code, done.exit.signal, done.last_line)
