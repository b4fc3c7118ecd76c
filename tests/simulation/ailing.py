"""Troubles of workers that are asked for their health: they fail, cannot serve, or stand still; or use too much memory.

Must never know: plans, the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from tests.simulation.script import Whom, chosen
from tests.simulation.weighing import grow

if TYPE_CHECKING:
    from tests.simulation.stage import Stage


@dataclass(frozen=True, slots=True)
class Sicken:
    """Workers fail their liveness probe, for a time, one for each, or for ever."""

    whom: Whom
    for_s: tuple[float | None, ...] = (None,)

    def strike(self, stage: Stage) -> None:
        """Make them ill."""
        world = stage.world
        for worker, for_s in zip(
            chosen(world.workers(), self.whom), cycle(self.for_s), strict=False
        ):
            if world.sicken(worker) and for_s is not None:
                world.later(for_s, partial(world.cure, worker))


@dataclass(frozen=True, slots=True)
class CannotServe:
    """Workers fail their readiness probe for a time, one for each."""

    whom: Whom
    for_s: tuple[float, ...]

    def strike(self, stage: Stage) -> None:
        """Keep them from serving."""
        world = stage.world
        for worker, for_s in zip(
            chosen(world.workers(), self.whom), cycle(self.for_s), strict=False
        ):
            if world.unfit(worker):
                world.later(for_s, partial(world.fit, worker))


@dataclass(frozen=True, slots=True)
class Grow:
    """Workers use more memory than they may, for a time, one for each, or for ever."""

    whom: Whom
    for_s: tuple[float | None, ...] = (None,)

    def strike(self, stage: Stage) -> None:
        """Make them large."""
        for worker, for_s in zip(
            chosen(stage.world.workers(), self.whom), cycle(self.for_s), strict=False
        ):
            grow(stage, worker, for_s)
