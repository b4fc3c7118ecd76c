"""What looks at how much memory the workers of a simulated daemon use.

Theory of operation. The world knows what each uses; whoever looks knows of a change within `KNOWN_WITHIN_S`, and a new
daemon of all that it adopts. What is told is how it is at that moment, so an old look is harmless.

Must never know: plans, the oracle.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from autohealer.core.events import MemoryReported, WorkerAdopted
from tests.simulation.world import KNOWN_WITHIN_S
from tests.support.history import Fault, Harm, Relief
from tests.support.sizes import OVERSIZED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autohealer.core.actions import Plan
    from autohealer.core.events import Event
    from autohealer.core.model import View
    from autohealer.daemon.ports import Post
    from tests.simulation.stage import Stage
    from tests.simulation.world import World
    from tests.support.fakehost import FakeProcess

LARGE_BYTES = 2**30


class Weigher:
    """Looks for one daemon."""

    def __init__(self, world: World, post: Post) -> None:
        self._world = world
        self._post = post

    def observe(self, facts: Sequence[Event], _plan: Plan, _view: View) -> None:
        """After a round: who was adopted is looked at."""
        adopted = {fact.name for fact in facts if isinstance(fact, WorkerAdopted)}
        for process in self._world.workers() if adopted else ():
            if process.name in adopted and process.rss_bytes:
                self._world.later(KNOWN_WITHIN_S / 2, partial(self.weigh, process))

    def weigh(self, process: FakeProcess) -> None:
        """Tell what a worker uses now."""
        if process.alive:
            self._post(MemoryReported(process.name, process.rss_bytes))


def grow(stage: Stage, process: FakeProcess, for_s: float | None) -> None:
    """A worker uses too much memory from now on, for a time or for ever."""
    if process.rss_bytes or not process.alive:
        return
    world, process.rss_bytes = stage.world, LARGE_BYTES
    world.tell(Fault(world.now, OVERSIZED, Harm.UNREGISTERS, process.name))
    _look(stage, process)
    if for_s is not None:
        world.later(for_s, partial(_shrink, stage, process))


def _shrink(stage: Stage, process: FakeProcess) -> None:
    process.rss_bytes = 0
    _look(stage, process)
    stage.world.later(KNOWN_WITHIN_S, partial(_known_to_fit, stage, process))


def _known_to_fit(stage: Stage, process: FakeProcess) -> None:
    if process.alive and not process.rss_bytes:
        stage.world.tell(Relief(stage.now, OVERSIZED, process.name))


def _look(stage: Stage, process: FakeProcess) -> None:
    """Whoever looks then tells it."""
    delay_s = stage.world.luck.between(0.0, 0.9 * KNOWN_WITHIN_S, "weighed", process.name)
    stage.world.later(delay_s, partial(_weighed, stage, process))


def _weighed(stage: Stage, process: FakeProcess) -> None:
    if stage.daemon is not None:
        stage.daemon.weigher.weigh(process)
