"""What holds of all groups of one daemon together: their brakes, which count the losses of all against what all want.

Theory of operation. Each group has a history of its own, and is judged by it like one that is alone, but for mass
losses (`alone_of`) and with word of what disturbs the others (`history_of`), since a brake holds all. Then all is told
as one history, in which slots of different groups have numbers that lie apart, and the oracle's books are kept over
that: of what they find only I4 and the brake of I12 count, since the rest was judged group by group. Beside them stands
whose turn it is of those that register under names of their own, which is one matter of all such groups. What befalls
the daemon, its session and the store stands in every history, at one time.

Limits: while a group's decider is frozen no brake is judged. All groups have the policy of `rules` as far as brakes go.
Who is ended while unfit as well as sick is not held against the brake of health where some group's workers are
registered by the daemon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import fields, replace

from autohealer.core.model import Incarnation
from tests.support import ailments, oracle
from tests.support import history as tale
from tests.support.ledgers import Life, Rules
from tests.support.wishes import Wishes

APART = 10_000
"""Between the numbers of two groups' first slots."""
APARTNESS = f"of all groups, {APART} slots apart"
NO_BRAKE = 1_000_000
ELSEWHERE = "elsewhere"

Chronicle = Sequence[tuple[int, tale.Record]]
"""What happened to all groups, in order, each record with the number of its group."""

Disturbing = tale.Wanted | tale.Overridden | tale.Respecified | tale.Fault | tale.Relief


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


def violations_of_all(chronicle: Chronicle, rules: Rules, anonymous: Set[int]) -> list[str]:
    """Every broken promise about what many groups lose, or ail from, together, and about whose turn it is.

    `anonymous` are the groups whose programs register under names of their own.
    """
    losses, care = _Losses(rules, anonymous), _Care(rules)
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


class _Groups:
    """What each group wants, and whether one is frozen."""

    def __init__(self) -> None:
        self._wishes: dict[int, Wishes] = {}
        self._frozen: set[int] = set()

    @property
    def are_frozen(self) -> bool:
        """Whether some are."""
        return bool(self._frozen)

    def is_frozen(self, group: int) -> bool:
        """Whether one is."""
        return group in self._frozen

    def told(self, group: int, record: tale.Record) -> tale.Record:
        """What a record tells of all: of what is wanted, what all want; of a frozen group, only a disturbance."""
        match record:
            case tale.Wanted(at) | tale.Overridden(at):
                self._wishes.setdefault(group, Wishes()).take(record)
                return tale.Wanted(at, sum(wishes.kept for wishes in self._wishes.values()))
            case tale.Fault(at, kind) if kind == tale.FROZEN:
                self._frozen.add(group)
                return tale.Fault(at, ELSEWHERE, tale.Harm.DISTURBS)
            case tale.DaemonStarted():
                self._frozen.discard(group)
            case _:
                pass
        return record

    def wants(self, slot: int) -> bool:
        """Whether a group wants a slot of its own filled."""
        return self._of(slot).wants(slot % APART)

    def asks(self, name: Incarnation) -> bool:
        """Whether one is to be replaced as its group's operator asked."""
        return self._of(name.slot).asks(Incarnation(name.slot % APART, name.generation))

    def _of(self, slot: int) -> Wishes:
        return self._wishes.get(slot // APART, Wishes())


class _Losses(oracle.Judge):
    """Finds fault with endings, and with launches out of turn."""

    def __init__(self, rules: Rules, anonymous: Set[int]) -> None:
        super().__init__(rules)
        self._anonymous = anonymous
        self._groups = _Groups()
        self._revisions: dict[int, str] = {}

    def take(self, group: int, record: tale.Record) -> None:
        """One group's next record."""
        if isinstance(record, tale.Respecified):
            self._revisions[group] = record.revision
        self.witness(self._groups.told(group, record))
        if self._groups.are_frozen:
            self._losses.daemon_ended()

    def _launched(self, name: Incarnation, revision: str) -> None:
        awaited = [life for life in self._census.newborn() if self._is_awaited(life)]
        if name.slot // APART in self._anonymous and awaited:
            self.violations.append(
                f"I1 at {self._at:.3f}: {name} is launched though {awaited[0]} has not registered yet ({APARTNESS})"
            )
        super()._launched(name, revision)

    def _is_awaited(self, life: Life) -> bool:
        group = life.name.slot // APART
        return group in self._anonymous and not self._groups.is_frozen(group)

    def _say(self, invariant: str, sentence: str) -> None:
        if invariant == "I4":
            super()._say(invariant, f"{sentence} ({APARTNESS})")

    def _judge_calm(self) -> None:
        """Each group's own history tells that."""

    def _note_wholeness(self) -> None:
        """Each group's own history tells that."""

    def _is_outdated(self, life: Life) -> bool:
        is_another = life.revision != self._revisions.get(life.name.slot // APART)
        return is_another or self._groups.asks(life.name)

    def _is_surplus(self, life: Life) -> bool:
        slot = life.name.slot
        return not self._groups.wants(slot) or (life.found and self._census.had_surplus(slot))


class _Care(ailments.Judge):
    """Finds fault with endings of many that ail together."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(replace(rules, registers_the_ready=False))
        self._groups = _Groups()
        self.said: list[str] = []

    def take(self, group: int, record: tale.Record) -> None:
        """One group's next record."""
        self.said += self.witness(self._groups.told(group, record))
        if self._groups.are_frozen:
            self.many_since = None

    def _is_wanted(self, slot: int) -> bool:
        return self._groups.wants(slot)

    def _is_asked(self, name: Incarnation) -> bool:
        return self._groups.asks(name)

    def _spared(self) -> Iterator[str]:
        """Each group's own history tells that."""
        yield from ()

    def _kept(self) -> Iterator[str]:
        """Each group's own history tells that."""
        yield from ()
