"""Workers that use more memory than they may: when a daemon may replace them, and that it does (I13).

Theory of operation. A worker is *oversized* from a fault on until its relief, when whoever looks knows of it. One that
is ended although nothing else is wrong with it was ended for that: not before the last one that was has a successor
that has registered, or a while has passed, and not at once while a slot is empty. Whether anybody may be ended at all
is for the oracle's other judge, as of those that are well. A history is replayed once, beside that one.

Must never know: processes, plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autohealer.core.model import Incarnation
from autohealer.core.policy import Restart
from tests.support.history import (
    FROZEN,
    Closed,
    DaemonEnded,
    DaemonStarted,
    Deregistered,
    Disturbing,
    Emptied,
    Ended,
    Fault,
    Harm,
    Launched,
    Overridden,
    Record,
    Registered,
    Relief,
    Respecified,
    Signalled,
    StopAsked,
    Wanted,
)
from tests.support.ledgers import NEVER, Rules
from tests.support.wishes import Wishes

OVERSIZED = "oversized"
"""The kind of the fault."""
KNOWN_LATE_S = 2.0
"""What is true for so long the daemon knows."""


def violations_of_size(history: Iterable[Record], rules: Rules) -> list[str]:
    """Every broken promise about workers that use too much memory."""
    judge = _Judge(rules)
    return [sentence for record in history for sentence in judge.witness(record)]


@dataclass(slots=True)
class _Judge:
    rules: Rules
    at: float = NEVER
    wishes: Wishes = field(default_factory=Wishes)
    alone: bool = True
    """Whether nobody looks: no daemon, or one that is being stopped or acts no more."""
    disturbed_at: float = NEVER
    respecified_at: float = NEVER
    born: dict[Incarnation, float] = field(default_factory=dict)
    registered: dict[Incarnation, float] = field(default_factory=dict)
    has_registered: set[Incarnation] = field(default_factory=set)
    ill: set[Incarnation] = field(default_factory=set)
    oversized: dict[Incarnation, float] = field(default_factory=dict)
    told: set[Incarnation] = field(default_factory=set)
    """To end, by the daemon of the moment."""
    emptied_at: dict[int, float] = field(default_factory=dict)
    last: Incarnation | None = None
    last_at: float = NEVER

    def witness(self, record: Record) -> Iterator[str]:
        """What is wrong with it."""
        self.at = max(self.at, record.at)
        if isinstance(record, Disturbing | DaemonEnded | Closed):
            yield from self._kept()
        if isinstance(record, Disturbing):
            self.disturbed_at = self.at
        match record:
            case Fault(_, kind, harm, Incarnation() as name) if harm is not Harm.DISTURBS:
                if kind != OVERSIZED:
                    self.ill.add(name)
                elif name in self.born and name not in self.told:
                    self.oversized[name] = self.at
            case Relief(_, kind, Incarnation() as name) if kind == OVERSIZED:
                self.oversized.pop(name, None)
            case Signalled(_, name):
                yield from self._ended(name)
            case _:
                self._surroundings(record)

    def _surroundings(self, record: Record) -> None:
        match record:
            case Wanted() | Overridden():
                self.wishes.take(record)
            case Respecified():
                self.respecified_at = self.at
            case Launched(_, name):
                self.born[name] = self.at
                self.emptied_at.pop(name.slot, None)
            case Registered(_, name):
                self.registered[name] = self.at
                self.has_registered.add(name)
            case Deregistered(_, name):
                self.registered.pop(name, None)
            case Ended(_, name, left):
                self.oversized.pop(name, None)
                if not left:
                    self.emptied_at[name.slot] = self.at
            case Emptied(_, name):
                self.emptied_at[name.slot] = self.at
            case DaemonStarted():
                self.alone, self.last = False, None
                self.told.clear()
            case DaemonEnded() | StopAsked():
                self.alone = True
            case Fault(_, kind) if kind == FROZEN:
                self.alone = True
            case _:
                pass

    def _ended(self, name: Incarnation) -> Iterator[str]:
        """A daemon signals it."""
        since = self.oversized.pop(name, None)
        self.told.add(name)
        if since is None or not self._is_for_its_size(name):
            return
        before, before_at, self.last, self.last_at = self.last, self.last_at, name, self.at
        policy = self.rules.policy
        is_early = before is not None and self.at - before_at < policy.memory_soon_s
        is_replaced = policy.restart is not Restart.NEVER  # then who is ended is done
        is_missed = before is not None and is_replaced and not self._has_successor(before)
        if is_missed and is_early:
            yield self._said(f"{name} was ended before the successor of {before} was ready")
        empty = [slot for slot, at in self.emptied_at.items() if self.at - at > KNOWN_LATE_S]
        empty = [slot for slot in empty if self.wishes.wants(slot)]
        is_hasty = self.at - since < policy.memory_patience_s
        if empty and is_hasty and policy.restart is Restart.ALWAYS:
            yield self._said(f"{name} was ended at once while slot {empty[0]} was empty")

    def _is_for_its_size(self, name: Incarnation) -> bool:
        """Whether it can have been ended for nothing else."""
        is_wanted = self.wishes.wants(name.slot) and not self.alone and name not in self.ill
        is_current = self.born[name] >= self.respecified_at and not self.wishes.asks(name)
        return (
            is_wanted and is_current and self.at - self.registered.get(name, self.at) > KNOWN_LATE_S
        )

    def _has_successor(self, name: Incarnation) -> bool:
        """Whether another one has registered in its slot since, or none is wanted there."""
        return not self.wishes.wants(name.slot) or any(
            other.slot == name.slot and other.generation > name.generation
            for other in self.has_registered
        )

    def _kept(self) -> Iterator[str]:
        """Whoever was too large, long after anything else happened, has been replaced; each is told of once."""
        long_s = self.rules.whole_within_s
        for name, since in list(self.oversized.items()):
            if not self.alone and self.at - max(since, self.disturbed_at) > long_s:
                del self.oversized[name]
                yield self._said(f"{name} is still there and too large")

    def _said(self, sentence: str) -> str:
        return f"I13 at {self.at:.3f}: {sentence}"
