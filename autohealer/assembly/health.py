"""What looks after the health of one group's workers: the adapters that ask them, wired to each other.

Must never know: what is decided from what they find.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path

from autohealer.core.actions import Drain, Kill, Plan
from autohealer.core.events import (
    Event,
    SpawnFailed,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkerSpawned,
)
from autohealer.core.model import Incarnation, Registrar, View
from autohealer.daemon.ports import Post
from autohealer.probes.asking import Ran
from autohealer.probes.notify import Listener, NotifyRules
from autohealer.probes.rounds import Rounds
from autohealer.probes.sockets import NotifyFolder
from autohealer.processes.beside import Beside
from autohealer.processes.identity import environment_of
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
        folder: Path,
        said: Callable[[str], None],
    ) -> None:
        """`start` runs something in the background, `folder` is the group's; `said` is told what is odd, in words."""
        self._listener = _listener(settings, processes, post, folder / "notify", said)
        if self._listener is not None:
            processes.launcher.also_told = self._listener.environment_for
        self._is_swept = False
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
                case WorkerSpawned(name, pid):
                    self._begin(name, pid, None)
                case WorkerAdopted(name, pid):
                    self._begin(name, pid, _environment_of(pid))
                case WorkerExited(name) | TreeEmptied(name) | SpawnFailed(name):
                    self._end(name)
                case _:
                    pass
        self._sweep(view)
        for action in plan.actions:
            if isinstance(action, Drain | Kill):
                self._told_to_end(action.name)

    def _begin(self, name: Incarnation, pid: int, given: Mapping[str, str] | None) -> None:
        """`given` is the environment of one that an earlier daemon launched."""
        if self._standstill is not None:
            self._standstill.watch(name, pid)
        if self._listener is None:
            return
        if given is None:
            self._listener.launched(name, pid)
        else:
            self._listener.adopted(name, pid, given)

    def _told_to_end(self, name: Incarnation) -> None:
        if self._standstill is not None:
            self._standstill.forget(name)
        if self._listener is not None:
            self._listener.quiet(name)

    def _end(self, name: Incarnation) -> None:
        if self._standstill is not None:
            self._standstill.forget(name)
        if self._listener is not None:
            self._listener.ended(name)

    def _sweep(self, view: View) -> None:
        """Once, when it is known who lives; those that are just being launched are among them."""
        if not self._is_swept and self._listener is not None:
            self._listener.sweep(set(view.key_of))
        self._is_swept = True

    def says(self, name: Incarnation) -> str:
        """What a worker last said of itself, harmless to show."""
        return "" if self._listener is None else self._listener.statuses.get(name, "")

    def close(self) -> None:
        """Ask nobody any more."""
        self._rounds.close()
        if self._listener is not None:
            self._listener.close()
        if self._standstill is not None:
            self._standstill.close()
        self._beside.close(CLOSE_S)


def _listener(
    settings: GroupSettings,
    processes: LocalProcesses,
    post: Post,
    folder: Path,
    said: Callable[[str], None],
) -> Listener | None:
    """Where workers are to say something of themselves, what hears them."""
    launch = settings.launch
    if not launch.notify and launch.watchdog_s is None:
        return None
    return Listener(
        NotifyFolder(folder, for_others=bool(launch.user or launch.group)),
        NotifyRules(launch.notify, settings.registration_timeout_s, launch.watchdog_s),
        processes.is_of,
        post,
        said,
    )


def _environment_of(pid: int) -> Mapping[str, str]:
    """What a worker was given; one that cannot be looked at is taken for one that may speak."""
    try:
        return environment_of(pid)
    except OSError:
        return {"NOTIFY_SOCKET": ""}


class _Commands:
    """The port of the probes, by commands beside workers."""

    def __init__(self, beside: Beside) -> None:
        self._beside = beside

    async def run(self, name: Incarnation, argv: tuple[str, ...]) -> Ran:
        done = await self._beside.run(name, argv)
        return Ran(done.exit.code, done.exit.signal, done.last_line)
