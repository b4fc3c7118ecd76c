"""Slots that the operator has stopped: nobody is left in one for longer than an ending may take (I14).

Theory of operation. That nobody is launched there is for the oracle's other judge, as of slots that are not wanted.
Here it counts how long somebody is still there after the operator stopped the slot, or anything else happened, while a
daemon runs and nothing is in its way. A history is replayed once, beside that one.

Must never know: processes, plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autohealer.core.model import Incarnation
from tests.support.history import (
    DaemonEnded,
    DaemonStarted,
    Disturbing,
    Emptied,
    Ended,
    Fault,
    Found,
    Harm,
    Launched,
    Overridden,
    Record,
    Relief,
    StopAsked,
    Wanted,
)
from tests.support.ledgers import NEVER, Rules
from tests.support.wishes import Wishes


def violations_of_stops(history: Iterable[Record], rules: Rules) -> list[str]:
    """Every stop of a slot that was not seen through."""
    judge = _Judge(rules)
    return [sentence for record in history for sentence in judge.witness(record)]


@dataclass(slots=True)
class _Judge:
    rules: Rules
    at: float = NEVER
    wishes: Wishes = field(default_factory=Wishes)
    present: set[Incarnation] = field(default_factory=set)
    impaired: set[tuple[str, Incarnation | None]] = field(default_factory=set)
    alone: bool = True
    """Whether nobody would end anybody for it: no daemon, or one that is being stopped."""
    disturbed_at: float = NEVER

    def witness(self, record: Record) -> Iterator[str]:
        """What is wrong with what was until then."""
        self.at = max(self.at, record.at)
        yield from self._left()
        if isinstance(record, Disturbing):
            self.disturbed_at = self.at
        match record:
            case Wanted() | Overridden():
                self.wishes.take(record)
            case Launched(_, name) | Found(_, name):
                self.present.add(name)
            case Ended(_, name, 0) | Emptied(_, name):
                self.present.discard(name)
                self.impaired = {it for it in self.impaired if it[1] != name}
            case Fault(_, kind, Harm.IMPAIRS, target):
                self.impaired.add((kind, target))
            case Relief(_, kind, target):
                self.impaired.discard((kind, target))
            case DaemonStarted():
                self.alone = False
            case DaemonEnded() | StopAsked():
                self.alone = True
            case _:
                pass

    def _left(self) -> Iterator[str]:
        patience_s = self.rules.stop_within_s + self.rules.clock_s
        if self.alone or self.impaired or self.at - self.disturbed_at <= patience_s:
            return
        for name in sorted(self.present):
            if self.wishes.rests(name.slot):
                self.present.discard(name)
                yield f"I14 at {self.at:.3f}: {name} is there {patience_s:g} s after its slot was stopped"
