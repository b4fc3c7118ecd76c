"""What looks after the health of one group's workers: the adapters that ask them, wired to each other.

Must never know: what is decided from what they find.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence

from autohealer.core.actions import Plan
from autohealer.core.events import Event
from autohealer.core.model import Incarnation, View
from autohealer.daemon.ports import Post
from autohealer.probes.asking import Ran
from autohealer.probes.rounds import Rounds
from autohealer.processes.beside import Beside
from autohealer.processes.local import LocalProcesses
from autohealer.processes.reaper import Reaper
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

    def close(self) -> None:
        """Ask nobody any more."""
        self._rounds.close()
        self._beside.close(CLOSE_S)


class _Commands:
    """The port of the probes, by commands beside workers."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside

    async def run(self, name: Incarnation, argv: tuple[str, ...]) -> Ran:
        done = await self._beside.run(name, argv)
        return Ran(done.exit.code, done.exit.signal, done.last_line)
