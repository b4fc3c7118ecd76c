"""What asks the workers of a simulated daemon for their health: the probes, and the look at who stands still.

Theory of operation. As the real ones it is an observer of decisions: who was launched or adopted is asked soon, and
then every `ASKED_EVERY_S`; what has changed is told.

Must never know: plans but for who is told to end, the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autohealer.core.actions import Drain, Kill
from autohealer.core.events import (
    HealthReported,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkerSpawned,
)
from autohealer.core.health import Check, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.core.actions import Plan
    from autohealer.core.events import Event
    from autohealer.core.model import Incarnation, View
    from autohealer.daemon.ports import Post
    from tests.simulation.world import World
    from tests.support.fakehost import FakeProcess

ASKED_EVERY_S = 1.0
SOON_S = 0.2


@dataclass(slots=True)
class _Answers:
    """What one worker answered last, and how it was then: as long as it is so it answers the same."""

    said: dict[Check, Verdict]
    was: tuple[bool, ...] = ()


class Asker:
    """Asks for one daemon, until it is closed."""

    def __init__(self, world: World, post: Post) -> None:
        self._world = world
        self._post = post
        self._answers: dict[Incarnation, _Answers] = {}
        self._every_s: dict[Incarnation, float] = {}
        self._unsaid: set[Incarnation] = set()
        """Those not to be asked before they have said that they are ready."""

    def observe(self, facts: Sequence[Event], plan: Plan, _view: View) -> None:
        """After a round."""
        for fact in facts:
            match fact:
                case WorkerSpawned(name) | WorkerAdopted(name):
                    self._begin(name)
                case HealthReported(name, Check.NOTIFY, Verdict.WELL):
                    self._unsaid.discard(name)
                    self._later(name, SOON_S * self._world.luck.share("ready", name), once=True)
                case WorkerExited(name) | TreeEmptied(name):
                    self._answers.pop(name, None)
                case _:
                    pass
        for action in plan.actions:
            if isinstance(action, Drain | Kill):
                self._answers.pop(action.name, None)

    def close(self) -> None:
        """The daemon is gone."""
        self._answers.clear()

    def _begin(self, name: Incarnation) -> None:
        if name not in self._answers:
            self._answers[name] = _Answers({Check.RUNNING: Verdict.WELL})
            self._every_s[name] = ASKED_EVERY_S * self._world.luck.between(0.9, 1.0, "every", name)
            if self._world.voices is not None and self._world.voices.rules.is_awaited:
                self._unsaid.add(name)
            self._later(name, SOON_S * self._world.luck.share("asked", name))

    def _later(self, name: Incarnation, delay_s: float, *, once: bool = False) -> None:
        self._world.later(delay_s, lambda: self._ask(name, once=once))

    def _ask(self, name: Incarnation, *, once: bool) -> None:
        answers = self._answers.get(name)
        if answers is None:
            return
        process = self._world.host.leader(name)
        if process is not None:
            is_now = (process.frozen, process.sick, process.unfit, name in self._unsaid)
            if is_now != answers.was:
                answers.was = is_now
                self._hear(process, answers.said)
        if not once:
            self._later(name, self._every_s[name])

    def _hear(self, process: FakeProcess, said: dict[Check, Verdict]) -> None:
        found: dict[Check, Verdict] = {}
        is_agents = self._world.agent is not None
        if is_agents:
            found[Check.RUNNING] = Verdict.UNHEALTHY if process.frozen else Verdict.WELL
        if self._is_asked(process):
            is_mute = process.frozen  # it does not answer in time
            found[Check.LIVENESS] = Verdict.UNHEALTHY if process.sick or is_mute else Verdict.WELL
            found[Check.READINESS] = Verdict.UNREADY if process.unfit or is_mute else Verdict.WELL
        for check, verdict in found.items():
            if said.get(check) is not verdict:
                said[check] = verdict
                why = "" if verdict is Verdict.WELL else f"it is {check.value} no more"
                self._post(HealthReported(process.name, check, verdict, why))

    def _is_asked(self, process: FakeProcess) -> bool:
        if not self._world.asked or process.name in self._unsaid:
            return False
        return not (process.frozen and self._world.agent is not None)  # that is seen otherwise
