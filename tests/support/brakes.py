"""What holds of all groups of one daemon together: their brakes, which count the losses of all against what all want.

Theory of operation. Each group has a history of its own, and is judged by it like one that is alone, but for mass
losses (`alone_of`) and with word of what disturbs the others (`history_of`), since a brake holds all. Then all
is told as one history, in which slots of different groups have numbers that lie apart, and the oracle's books are
kept over that: of what they find only I4 and the brake of I12 count, since the rest was judged group by group. What
befalls the daemon, its session and the store stands in every history, at one time.

Limits: all groups have the policy of `rules` as far as brakes go. Who is ended while unfit as well as sick is not held
against the brake of health where some group's workers are registered by the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace

from autohealer.core.model import Incarnation
from tests.support import ailments, oracle
from tests.support import history as tale
from tests.support.ledgers import Life, Rules

APART = 10_000
"""Between the numbers of two groups' first slots."""
NO_BRAKE = 1_000_000
ELSEWHERE = "elsewhere"

Chronicle = Sequence[tuple[int, tale.Record]]
"""What happened to all groups, in order, each record with the number of its group."""

Disturbing = tale.Wanted | tale.Respecified | tale.Fault | tale.Relief


def alone_of(rules: Rules) -> Rules:
    """The rules for one of several groups: its losses alone are no mass loss, however many."""
    return replace(rules, policy=replace(rules.policy, brake_min=NO_BRAKE))


def history_of(group: int, chronicle: Chronicle) -> Iterator[tale.Record]:
    """A group's own history, with word of whatever disturbed another."""
    for number, record in chronicle:
        if number == group:
            yield record
        elif isinstance(record, Disturbing):
            yield tale.Fault(record.at, ELSEWHERE, tale.Harm.DISTURBS)


def violations_of_brakes(chronicle: Chronicle, rules: Rules) -> list[str]:
    """Every broken promise about what many groups lose, or ail from, together."""
    losses, care = _Losses(rules), _Care(rules)
    for group, record in chronicle:
        losses.take(group, _renamed(group, record))
        care.take(group, _renamed(group, record))
    return [*losses.violations, *care.said]


def _renamed(group: int, record: tale.Record) -> tale.Record:
    """With slots that are no other group's."""
    changed = {
        field.name: Incarnation(it.slot + group * APART, it.generation)
        for field in fields(record)
        if isinstance(it := getattr(record, field.name), Incarnation)
    }
    if not changed:
        return record
    told = {field.name: getattr(record, field.name) for field in fields(record)}
    change: Callable[..., tale.Record] = type(record)
    return change(**(told | changed))


class _Wants:
    """What each group wants."""

    def __init__(self) -> None:
        self._replicas: dict[int, int] = {}

    def told(self, group: int, record: tale.Record) -> tale.Record:
        """A record that tells what is wanted tells what all want from now on."""
        if not isinstance(record, tale.Wanted):
            return record
        self._replicas[group] = record.replicas
        return tale.Wanted(record.at, sum(self._replicas.values()))

    def wants(self, slot: int) -> bool:
        """Whether a group wants a slot of its own filled."""
        return slot % APART < self._replicas.get(slot // APART, 0)


class _Losses(oracle.Judge):
    """Finds fault with endings alone."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self._wants = _Wants()
        self._revisions: dict[int, str] = {}

    def take(self, group: int, record: tale.Record) -> None:
        """One group's next record."""
        if isinstance(record, tale.Respecified):
            self._revisions[group] = record.revision
        self.witness(self._wants.told(group, record))

    def _say(self, invariant: str, sentence: str) -> None:
        if invariant == "I4":
            super()._say(invariant, f"{sentence} (of all groups, {APART} slots apart)")

    def _judge_calm(self) -> None:
        """Each group's own history tells that."""

    def _note_wholeness(self) -> None:
        """Each group's own history tells that."""

    def _is_outdated(self, life: Life) -> bool:
        return life.revision != self._revisions.get(life.name.slot // APART)

    def _is_surplus(self, life: Life) -> bool:
        slot = life.name.slot
        return not self._wants.wants(slot) or (life.found and self._census.had_surplus(slot))


class _Care(ailments.Judge):
    """Finds fault with endings of many that ail together."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(replace(rules, registers_the_ready=False))
        self._wants = _Wants()
        self.said: list[str] = []

    def take(self, group: int, record: tale.Record) -> None:
        """One group's next record."""
        self.said += self.witness(self._wants.told(group, record))

    def _is_wanted(self, slot: int) -> bool:
        return self._wants.wants(slot)

    def _spared(self) -> Iterator[str]:
        """Each group's own history tells that."""
        yield from ()

    def _kept(self) -> Iterator[str]:
        """Each group's own history tells that."""
        yield from ()
