"""Workers that ail or cannot serve: what a daemon that asks them may do, and has to (I12).

Theory of operation. A worker is *sick* (it fails its liveness probe, stands still, or has not said in time what it is
to say), *unfit* (it fails its readiness probe) or *unsaid* (it has not said yet that it is ready) from a fault on until
its relief. Who is sick is ended, however long that may take where nothing else happens; of many that ail together
nobody may be for one settle time. Where the daemon registers workers, who is unfit or unsaid is not to be registered
from its birth on, and who becomes unfit only for as long as it takes to find out and to delete it. A history is
replayed once, beside the oracle's other judge.

Must never know: processes, plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autohealer.core.brake import loss_limit
from autohealer.core.model import Incarnation
from tests.support.history import (
    FROZEN,
    DaemonEnded,
    DaemonStarted,
    Deregistered,
    Disturbing,
    Ended,
    Fault,
    Launched,
    Overridden,
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
from tests.support.wishes import Wishes

SICK, KNOWN_SICK, UNFIT, UNSAID = "sick", "known to be sick", "unfit", "unsaid"
"""Kinds of faults: the second begins with the first, and is over when whoever asks knows that this is."""
WITHHELD = frozenset({UNFIT, UNSAID})
"""Why a daemon itself takes the registration away that it holds for a program."""


def violations_of_health(history: Iterable[Record], rules: Rules) -> list[str]:
    """Every broken promise about workers that are asked for their health."""
    judge = Judge(rules)
    return [sentence for record in history for sentence in judge.witness(record)]


@dataclass
class Judge:
    """Replays a history."""

    rules: Rules
    at: float = NEVER
    wishes: Wishes = field(default_factory=Wishes)
    alone: bool = False
    """Whether nobody looks: no daemon, or one that is being stopped or acts no more."""
    known_from: float = NEVER
    store_up: bool = True
    born: dict[Incarnation, float] = field(default_factory=dict)
    sick: dict[Incarnation, float] = field(default_factory=dict)
    unfit: dict[Incarnation, float] = field(default_factory=dict)
    registered: set[Incarnation] = field(default_factory=set)
    lately: dict[int, float] = field(default_factory=dict)
    """When who fills a slot began to ail last, or was ended for it: for one settle time it counts with the others."""
    many_since: float | None = None
    none_since: float | None = None
    """When nobody ailed any more, and many had: it is over when that is known."""
    unsaid: set[Incarnation] = field(default_factory=set)
    told: set[Incarnation] = field(default_factory=set)
    """To end, by the daemon of the moment."""
    disturbed_at: float = NEVER
    respecified_at: float = NEVER
    """Who was launched before is outdated, and may be ended for that."""

    def witness(self, record: Record) -> Iterator[str]:
        """What is wrong with it, or with what was until then."""
        self.at = max(self.at, record.at)
        yield from self._kept()
        yield from self._spared()
        if isinstance(record, Disturbing):
            self.disturbed_at = self.at
        match record:
            case Wanted() | Overridden():
                self.wishes.take(record)
            case Launched(_, name):
                self.born[name] = self.at
            case Fault(_, kind, _, Incarnation() as name):
                self._fault(kind, name)
            case Relief(_, kind, Incarnation() as name):
                self._over(kind, name)
            case Registered(_, name):
                self.registered.add(name)
                if self.rules.registers_the_ready and self._has_never_been_ready(name):
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
                self.told.clear()
                self.lately.clear()
                self._count()
            case DaemonEnded() | StopAsked():
                self.alone = True
            case Fault(_, kind) if kind == FROZEN:
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
        elif kind == UNSAID:
            self.unsaid.add(name)
        elif kind == SICK and name not in self.told:
            self.sick.setdefault(name, self.at)
            self.lately[name.slot] = self.at
            self._count()

    def _count(self) -> None:
        limit = loss_limit(self.rules.policy, self.wishes.kept)
        if self.none_since is not None:
            if self.at - self.none_since > self.rules.asked_within_s:
                self.many_since = None
            self.none_since = None
        settle_s = self.rules.policy.settle_s
        lately = {slot for slot, at in self.lately.items() if self.at - at < settle_s}
        count = len(lately | {name.slot for name in self.sick})
        if self.many_since is None and count > limit and not self.alone:
            self.many_since = self.at

    def _over(self, kind: str, name: Incarnation) -> None:
        if kind == UNFIT:
            self.unfit.pop(name, None)
        elif kind == UNSAID:
            self._asked_from_now_on(name)
        elif kind == SICK:
            self.sick.pop(name, None)
            if not self.sick and self.none_since is None:
                self.none_since = self.at

    def _asked_from_now_on(self, name: Incarnation) -> None:
        self.unsaid.discard(name)
        if name in self.sick:
            self.sick[name] = self.at

    def _has_never_been_ready(self, name: Incarnation) -> bool:
        is_unfit = name in self.unfit and self.unfit[name] == self.born.get(name)
        return is_unfit or name in self.unsaid

    def _forget(self, name: Incarnation) -> None:
        self.registered.discard(name)
        self.unsaid.discard(name)
        self.told.discard(name)
        for kind in (UNFIT, SICK):
            self._over(kind, name)

    def _spared(self) -> Iterator[str]:
        """Who ails and has not been ended, long after anything else happened; each is told of once."""
        if self.alone or self.at - self.disturbed_at <= self.rules.whole_within_s:
            return
        for name, since in list(self.sick.items()):
            late_s = self.at - max(since, self.disturbed_at)
            if self._is_wanted(name.slot) and late_s > self.rules.whole_within_s:
                del self.sick[name]
                yield self._said(f"{name} has ailed for {late_s:.3f} s and was not ended")

    def _ended(self, name: Incarnation) -> Iterator[str]:
        """A daemon signals it: who is told to end is nobody to be asked any more."""
        is_current = self.born.get(name, NEVER) >= self.respecified_at and not self._is_asked(name)
        is_wanted = self._is_wanted(name.slot) and not self.alone and is_current
        is_wanted = is_wanted and self._is_registered_as_it_should(name)
        if name in self.sick and self.many_since is not None and is_wanted:
            since_s = self.at - self.many_since
            known = sum(
                self.at - it >= self.rules.asked_within_s
                for sick, it in self.sick.items()
                if sick not in self.unsaid
            )
            is_known = known > loss_limit(self.rules.policy, self.wishes.kept)
            if is_known and since_s < self.rules.policy.settle_s:
                yield self._said(f"{name} was ended {since_s:.3f} s after {known} ailed together")
        self.unfit.pop(name, None)
        if self.sick.pop(name, None) is not None:
            self.lately[name.slot] = self.at
        self.told.add(name)

    def _is_wanted(self, slot: int) -> bool:
        return self.wishes.wants(slot)

    def _is_asked(self, name: Incarnation) -> bool:
        """Whether the operator wants it replaced."""
        return self.wishes.asks(name)

    def _is_registered_as_it_should(self, name: Incarnation) -> bool:
        """Whether a worker has not lost a registration of its own: that would be a reason to end it."""
        return self.rules.registers_the_ready or name in self.registered

    def _kept(self) -> Iterator[str]:
        """Who is registered still although it is known that it is not ready; each is told of once."""
        if self.alone or not self.store_up or not self.rules.registers_the_ready:
            return
        for name, since in list(self.unfit.items()):
            late_s = self.at - max(since, self.known_from)
            if name in self.registered and late_s > self.rules.asked_within_s:
                del self.unfit[name]
                yield self._said(f"{name} is registered {late_s:.3f} s after it could not serve")
