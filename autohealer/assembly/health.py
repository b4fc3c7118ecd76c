"""What looks after the health of one group's workers: the adapters that ask them, wired to each other.

Must never know: what is decided from what they find.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from autohealer.assembly.shared import Shared
from autohealer.core.actions import Drain, Kill, Plan
from autohealer.core.events import (
    Event,
    SpawnFailed,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkerSpawned,
)
from autohealer.core.model import Incarnation, View
from autohealer.core.policy import Registrar
from autohealer.daemon.ports import Post
from autohealer.probes.asking import Ran
from autohealer.probes.notify import Listener, NotifyRules
from autohealer.probes.rounds import Rounds
from autohealer.probes.sockets import NotifyFolder
from autohealer.processes.beside import Beside
from autohealer.processes.identity import environment_of
from autohealer.processes.local import LocalProcesses
from autohealer.processes.sizes import Weigher
from autohealer.processes.standstill import Standstill
from autohealer.processes.tree import is_in_tree
from autohealer.settings import GroupSettings

CLOSE_S = 1.0
"""How long the end waits for a command that is just being launched."""


class HealthCare:
    """An observer of decisions."""

    def __init__(
        self,
        settings: GroupSettings,
        processes: LocalProcesses,
        shared: Shared,
        post: Post,
        folder: Path,
    ) -> None:
        """`folder` is the group's."""
        self._settings, self._processes, self._post = settings, processes, post
        self._start = shared.unforeseen.start
        self._logger = shared.logger
        self._folder = folder / "notify"
        self._listener: Listener | None = None
        self._standstill: Standstill | None = None
        self._is_swept = False
        self._scales = shared.scales
        self._weigher = Weigher(post, processes.leader_of)
        self._weigher.limit_bytes = settings.memory_restart_bytes
        self._beside = Beside(lambda: processes.launcher, shared.reaper)
        self._listen()
        self._rounds = self._new_rounds()

    def apply(self, settings: GroupSettings) -> None:
        """From now on this is asked; `processes` have been told already how to launch."""
        before, self._settings = self._settings, settings
        self._weigher.limit_bytes = settings.memory_restart_bytes
        self._weigh()
        self._listen()
        asked = (settings.health, settings.launch.notify, settings.launch.port)
        if asked != (before.health, before.launch.notify, before.launch.port):
            awaited = self._rounds.close()
            self._rounds = self._new_rounds()
            self._rounds.take_over(awaited)

    def _listen(self) -> None:
        """Have what hears workers, and looks at who stands still, as far as it is wanted."""
        launch = self._settings.launch
        if launch.registrar is Registrar.AGENT and self._standstill is None:
            self._standstill = Standstill(self._post)
        is_heard = launch.notify or launch.watchdog_s is not None
        rules = NotifyRules(launch.notify, self._settings.registration_timeout_s, launch.watchdog_s)
        if self._listener is not None:
            self._listener.rules = rules
        elif is_heard:
            folder = NotifyFolder(self._folder, for_others=bool(launch.user or launch.group))
            self._listener = Listener(folder, rules, self._is_of, self._post, self._said)
        self._processes.launcher.also_told = (
            self._listener.environment_for
            if self._listener is not None and is_heard
            else lambda _name: {}
        )

    def _said(self, sentence: str) -> None:
        self._logger.warning("notify_trouble", why=sentence)

    def _is_of(self, name: Incarnation, pid: int) -> bool:
        """Whether a process is one of a live incarnation's, as far as one can look."""
        leader = self._processes.leader_of(name)
        try:
            return leader is not None and pid > 0 and is_in_tree(leader, pid)
        except OSError:
            return False

    def _new_rounds(self) -> Rounds:
        return Rounds(
            self._settings.health,
            self._processes.launcher.values_for,
            _Commands(self._beside),
            self._post,
            self._start,
            random.Random(),
            awaits_notify=self._settings.launch.notify,
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
        self._weigher.watch(name)
        self._weigh()
        if self._standstill is not None:
            self._standstill.watch(name, pid)
        if self._listener is None:
            return
        if given is None:
            self._listener.launched(name, pid)
        else:
            self._listener.adopted(name, pid, given)

    def _weigh(self) -> None:
        """Only where there is a limit: no other daemon wakes up for it."""
        if self._weigher.limit_bytes is None:
            self._scales.remove(self._weigher)
        else:
            self._scales.add(self._weigher)

    def _told_to_end(self, name: Incarnation) -> None:
        self._weigher.forget(name)
        if self._standstill is not None:
            self._standstill.forget(name)
        if self._listener is not None:
            self._listener.quiet(name)

    def _end(self, name: Incarnation) -> None:
        self._weigher.forget(name)
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
        self._scales.remove(self._weigher)
        if self._listener is not None:
            self._listener.close()
        if self._standstill is not None:
            self._standstill.close()
        self._beside.close(CLOSE_S)


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
