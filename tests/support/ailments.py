"""Workers that ail or cannot serve: what a daemon that asks them may do, and has to (I12).

Theory of operation. A worker is *sick* (it fails its liveness probe, or stands still) or *unfit* (it fails its
readiness probe) from a fault on until its relief. Of many that ail together nobody may be ended for it for one settle
time. Who is unfit is not to be registered from its birth on, and who becomes so only for as long as it takes to find
out and to delete it. A history is replayed once, beside the oracle's other judge.

Must never know: processes, plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autohealer.core.brake import loss_limit
from autohealer.core.model import Incarnation
from tests.support.history import (
    DaemonEnded,
    DaemonStarted,
    Deregistered,
    Ended,
    Fault,
    Launched,
    Record,
    Registered,
    Relief,
    Respecified,
    Signalled,
    StopAsked,
    StoreIs,
    Wanted,
)
from tests.support.ledgers import NEVER, Rules

SICK, KNOWN_SICK, UNFIT = "sick", "known to be sick", "unfit"
"""Kinds of faults: the second begins with the first, and is over when whoever asks knows that this is."""


def violations_of_health(history: Iterable[Record], rules: Rules) -> list[str]:
    """Every broken promise about workers that are asked for their health."""
    judge = _Judge(rules)
    return [sentence for record in history for sentence in judge.witness(record)]


@dataclass(slots=True)
class _Judge:
    rules: Rules
    at: float = NEVER
    replicas: int = 0
    alone: bool = False
    """Whether nobody looks: no daemon, or one that is being stopped."""
    known_from: float = NEVER
    store_up: bool = True
    born: dict[Incarnation, float] = field(default_factory=dict)
    sick: dict[Incarnation, float] = field(default_factory=dict)
    unfit: dict[Incarnation, float] = field(default_factory=dict)
    registered: set[Incarnation] = field(default_factory=set)
    many_since: float | None = None
    respecified_at: float = NEVER
    """Who was launched before is outdated, and may be ended for that."""

    def witness(self, record: Record) -> Iterator[str]:
        """What is wrong with it, or with what was until then."""
        self.at = max(self.at, record.at)
        yield from self._kept()
        match record:
            case Wanted(_, replicas):
                self.replicas = replicas
            case Launched(_, name):
                self.born[name] = self.at
            case Fault(_, kind, _, Incarnation() as name):
                self._fault(kind, name)
            case Relief(_, kind, Incarnation() as name):
                self._over(kind, name)
            case Registered(_, name):
                self.registered.add(name)
                if name in self.unfit and self.unfit[name] == self.born.get(name):
                    yield self._said(f"{name} is registered and has never been ready")
            case Deregistered(_, name):
                self.registered.discard(name)
            case Signalled(_, name, _, _):
                yield from self._ended(name)
            case Ended(_, name, _):
                self._forget(name)
            case _:
                self._surroundings(record)

    def _surroundings(self, record: Record) -> None:
        match record:
            case DaemonStarted():
                self.alone, self.known_from, self.many_since = False, self.at, None
                self._count()
            case DaemonEnded() | StopAsked():
                self.alone = True
            case Respecified():
                self.respecified_at = self.at
            case StoreIs(_, up):
                if up is not self.store_up:
                    self.known_from = self.at
                self.store_up = up
            case _:
                pass

    def _said(self, sentence: str) -> str:
        return f"I12 at {self.at:.3f}: {sentence}"

    def _fault(self, kind: str, name: Incarnation) -> None:
        if kind == UNFIT:
            self.unfit[name] = self.at
        elif kind == SICK:
            self.sick.setdefault(name, self.at)
            self._count()

    def _count(self) -> None:
        limit = loss_limit(self.rules.policy, self.replicas)
        if self.many_since is None and len(self.sick) > limit and not self.alone:
            self.many_since = self.at

    def _over(self, kind: str, name: Incarnation) -> None:
        if kind == UNFIT:
            self.unfit.pop(name, None)
        elif kind == SICK:
            self.sick.pop(name, None)
            self.many_since = self.many_since if self.sick else None

    def _forget(self, name: Incarnation) -> None:
        self.registered.discard(name)
        for kind in (UNFIT, SICK):
            self._over(kind, name)

    def _ended(self, name: Incarnation) -> Iterator[str]:
        """A daemon signals it: who is told to end is nobody to be asked any more."""
        is_current = self.born.get(name, NEVER) >= self.respecified_at
        is_wanted = name.slot < self.replicas and not self.alone and is_current
        if name in self.sick and self.many_since is not None and is_wanted:
            since_s = self.at - self.many_since
            known = sum(self.at - it >= self.rules.asked_within_s for it in self.sick.values())
            is_known = known > loss_limit(self.rules.policy, self.replicas)
            if is_known and since_s < self.rules.policy.settle_s:
                yield self._said(f"{name} was ended {since_s:.3f} s after {known} ailed together")
        self.unfit.pop(name, None)
        self.sick.pop(name, None)

    def _kept(self) -> Iterator[str]:
        """Who is registered still although it is known that it is not ready; each is told of once."""
        if self.alone or not self.store_up:
            return
        for name, since in list(self.unfit.items()):
            late_s = self.at - max(since, self.known_from)
            if name in self.registered and late_s > self.rules.asked_within_s:
                del self.unfit[name]
                yield self._said(f"{name} is registered {late_s:.3f} s after it could not serve")
