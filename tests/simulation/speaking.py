"""Troubles of workers that speak for themselves: they say too late that they are ready, fall silent, or others speak.

Must never know: plans, the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from tests.simulation.faults import crash_now
from tests.simulation.script import Whom, chosen
from tests.simulation.voices import PING, READY

if TYPE_CHECKING:
    from tests.simulation.stage import Stage


@dataclass(frozen=True, slots=True)
class SayReadyLate:
    """The next workers say that they are ready after such a time, or never; some make room for them.

    Strangers may say it in their place.
    """

    after_s: tuple[float | None, ...]
    crash: Whom = ()
    strangers_after_s: float | None = None

    def strike(self, stage: Stage) -> None:
        """Lay out when they will."""
        if stage.world.voices is not None:
            stage.world.voices.ready_after_s.extend(self.after_s)
        crash_now(stage, self.crash)
        if self.strangers_after_s is not None:
            stage.world.later(self.strangers_after_s, partial(_strangers_say, stage, READY))


@dataclass(frozen=True, slots=True)
class FallSilent:
    """Workers ping no more, for a time, one for each, or for ever; strangers may ping in their place."""

    whom: Whom
    for_s: tuple[float | None, ...] = (None,)
    strangers_after_s: float | None = None

    def strike(self, stage: Stage) -> None:
        """Silence them."""
        world = stage.world
        if (voices := world.voices) is None:
            return
        for worker, for_s in zip(
            chosen(world.workers(), self.whom), cycle(self.for_s), strict=False
        ):
            if voices.fall_silent(worker) and for_s is not None:
                world.later(for_s, partial(voices.speak_again, worker))
        if self.strangers_after_s is not None:
            world.later(self.strangers_after_s, partial(_strangers_say, stage, PING))


def _strangers_say(stage: Stage, text: bytes) -> None:
    """Somebody who is none of any worker's processes speaks at every socket."""
    world = stage.world
    stage.disturb("strange message")
    if world.voices is not None:
        for worker in world.workers():
            world.voices.send(worker.name, text, own=False)
