"""The trouble of a daemon of several groups: one group's decider finds that it has broken a rule, and acts no more.

Must never know: plans, the oracle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.daemons import SimulatedDaemon
    from tests.simulation.stage import Stage

BACK_S = 0.1


@dataclass(frozen=True, slots=True)
class BreakRules:
    """The group is frozen; after a time the daemon is killed, as by a watchdog, and another one comes."""

    lasts_s: float

    def strike(self, stage: Stage) -> None:
        """Freeze it."""
        if stage.daemon is not None and stage.break_rules():
            stage.world.later(self.lasts_s, partial(_bite, stage, stage.daemon))


def _bite(stage: Stage, daemon: SimulatedDaemon) -> None:
    if stage.daemon is daemon:
        stage.kill_daemon(BACK_S)
