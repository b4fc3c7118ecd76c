"""Troubles that the operator makes: slots are stopped and started, workers restarted, what waits is tried again.

Theory of operation. What is stopped, and who is to be replaced, is known to whatever daemon comes next, as the file in
a group's folder tells it. Who is meant is told by number, counted round among the slots that are wanted.

Must never know: plans, the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autohealer.core.overrides import Overrides
from tests.support.history import Launched

if TYPE_CHECKING:
    from tests.simulation.script import Whom
    from tests.simulation.stage import Stage


def _slots(stage: Stage, whom: Whom) -> frozenset[int]:
    """Those that are meant; nobody in particular means all."""
    if not whom:
        return frozenset(range(stage.replicas))
    return frozenset(number % stage.replicas for number in whom) if stage.replicas else frozenset()


@dataclass(frozen=True, slots=True)
class StopSlots:
    """Nobody is to be kept in some slots; whoever it is in, where nobody in particular is meant."""

    whom: Whom = ()

    def strike(self, stage: Stage) -> None:
        """Ask for it."""
        was = stage.overrides
        if self.whom:
            stage.override(replace(was, stopped=was.stopped | _slots(stage, self.whom)))
        else:
            stage.override(replace(was, all_stopped=True))


@dataclass(frozen=True, slots=True)
class StartSlots:
    """What was stopped is to be kept again, some of it or all."""

    whom: Whom = ()

    def strike(self, stage: Stage) -> None:
        """Ask for it."""
        was = stage.overrides
        if not self.whom:
            stage.override(Overrides(renew=was.renew))
            return
        stopped = was.stopped | (_slots(stage, ()) if was.all_stopped else frozenset())
        left = stopped - _slots(stage, self.whom)
        stage.override(Overrides(stopped=left, renew=was.renew))


@dataclass(frozen=True, slots=True)
class RestartSlots:
    """Whoever was launched last in some slots, or in all, is to be replaced."""

    whom: Whom = ()

    def strike(self, stage: Stage) -> None:
        """Ask for it."""
        names = [it.name for it in stage.world.history if isinstance(it, Launched)]
        slots = _slots(stage, self.whom)
        asked = {name.slot: name.generation for name in names if name.slot in slots}
        was = stage.overrides
        stage.override(replace(was, renew={**was.renew, **asked}))


@dataclass(frozen=True, slots=True)
class RetrySlots:
    """What waits for a pause, or is done, in some slots or in all, is to be tried now."""

    whom: Whom = ()

    def strike(self, stage: Stage) -> None:
        """Ask for it."""
        stage.retry(_slots(stage, self.whom))
