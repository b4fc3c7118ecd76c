"""What came of a campaign, in figures.

Theory of operation: a heal is the time from a fault that hit a worker which then ended, to the registration
of the next incarnation of its slot. It is in *fair weather* if meanwhile the daemon ran and nothing impaired it or the
store; else the outage's own length is part of it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.history import (
    DaemonEnded,
    DaemonStarted,
    Ended,
    Fault,
    Harm,
    Record,
    Registered,
    Relief,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from autohealer.core.model import Incarnation


@dataclass(frozen=True, slots=True)
class Heal:
    """One worker replaced: which kind of fault hit it, how long until its slot served again."""

    kind: str
    took_s: float
    in_fair_weather: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome; `faults` counts them by kind, `hits` the workers they hit."""

    faults: Counter[str]
    hits: int
    lasted_s: float
    heals: list[Heal]
    violations: list[str]

    def __str__(self) -> str:
        by_kind = [f"  {count:5}  {label}" for label, count in self.faults.most_common()]
        return "\n".join(
            [
                f"{self.faults.total()} faults in {self.lasted_s:.0f} s, {self.hits} workers hit:",
                *by_kind,
                f"{len(self.heals)} heals: {_figures(self.heals)}",
                *self._fair_weather(),
                f"{len(self.violations)} violations",
                *self.violations,
            ]
        )

    def _fair_weather(self) -> list[str]:
        fair = [heal for heal in self.heals if heal.in_fair_weather]
        lines = [f"{len(fair)} of them in fair weather: {_figures(fair)}, by kind of fault:"]
        for kind in sorted({heal.kind for heal in fair}):
            of_kind = [heal for heal in fair if heal.kind == kind]
            lines.append(f"  {len(of_kind):5}  {kind}: {_figures(of_kind)}")
        return lines


def _figures(heals: list[Heal]) -> str:
    if not heals:
        return "none"
    worst = max(heals, key=lambda heal: heal.took_s)
    median_s = statistics.median(heal.took_s for heal in heals)
    return f"median {median_s:.3f} s, worst {worst.took_s:.3f} s ({worst.kind})"


@dataclass(slots=True)
class _Wound:
    """A slot whose worker was hit."""

    fault: Fault
    in_fair_weather: bool
    is_mortal: bool = False


def heals_of(history: Iterable[Record]) -> list[Heal]:
    """Every heal of a history, in the order in which they were complete."""
    heals = []
    wounds: dict[Incarnation, _Wound] = {}
    troubles = 0
    for record in history:
        match record:
            case Fault(_, _, Harm.IMPAIRS) | DaemonEnded():
                troubles += 1
                for wound in wounds.values():
                    wound.in_fair_weather = False
            case Relief(_, _, None) | DaemonStarted():
                troubles -= 1
            case Fault(_, _, _, target) if target is not None:
                wounds.setdefault(target, _Wound(record, troubles <= 0))
            case Relief(_, _, target) if target is not None:
                wounds.pop(target, None)
            case Ended(_, name) if name in wounds:
                wounds[name].is_mortal = True
            case Registered(at, name):
                for old in [n for n, w in wounds.items() if n.slot == name.slot and w.is_mortal]:
                    wound = wounds.pop(old)
                    took_s = at - wound.fault.at
                    heals.append(Heal(wound.fault.kind, took_s, wound.in_fair_weather))
            case _:
                continue
    return heals
