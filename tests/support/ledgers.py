"""The books the oracle keeps over a history: each incarnation's life, all of them, the restart budget.

Theory of operation. Each ledger is told what happened, in order, and answers one question: is this worker healthy,
was this restart paid for. They are written from the promises in
the documents, not from the code that keeps them, so that a fault in one does not excuse itself in the other.

Must never know: the daemon's view, its decisions, how records are gathered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from autohealer.core.model import Incarnation
from autohealer.core.policy import Policy
from tests.support.history import UNPROVABLE
from tests.support.wishes import Wishes

NEVER, ALWAYS = float("-inf"), float("inf")


@dataclass(frozen=True, slots=True)
class Rules:
    """The bounds, and how far the witnesses may be off.

    `quiet_s`: how long the group must have been whole at the end. `sight_s`: how long the daemon may take to see
    what is registered. `overlap_s`: how long two incarnations of a slot may seem to overlap to a witness that polls.
    `clock_s`: how late a record may be. `one_at_a_time`: nobody is launched beside one that has never registered.
    `asked_within_s`: how long it takes to ask a worker and to act upon it. `registers_the_ready`: the daemon registers
    workers, and only while they are ready.
    """

    policy: Policy
    whole_within_s: float
    stop_within_s: float
    prompt_s: float = 0.0
    quiet_s: float = 0.0
    sight_s: float = 0.0
    overlap_s: float = 0.0
    clock_s: float = 0.0
    asked_within_s: float = 0.0
    one_at_a_time: bool = False
    registers_the_ready: bool = False


@dataclass(slots=True)
class Life:
    """What is known of one incarnation.

    `lost_at` is when its registration went last, `ailments` are the lasting faults it suffers from, `well_from` is when
    it is healthy (again), `serves_from` when the daemon can have known that it serves, `seen_from` when it can have
    known of the registration whose loss would be news to it, `doomed` says that a fault ends it, `signalled` that the
    daemon does, `asked_at` when this daemon asked it to end, `adopted` that this daemon did not launch it, `unprovable`
    that no later daemon can tell that it is ours, `overlooked` that the next daemon does not find it among processes,
    `fit_from` is when it was first fit to serve, where it is asked for that.
    """

    name: Incarnation
    since: float
    found: bool
    revision: str = ""
    alive: bool = True
    registered_at: float | None = None
    lost_at: float = NEVER
    was_registered: bool = False
    doomed: bool = False
    signalled: bool = False
    asked_at: float = NEVER
    adopted: bool = False
    unprovable: bool = False
    overlooked: bool = False
    ailments: set[str] = field(default_factory=set)
    unfit: set[str] = field(default_factory=set)
    well_from: float = NEVER
    serves_from: float | None = None
    seen_from: float | None = None
    fit_from: float = NEVER

    @property
    def is_missing(self) -> bool:
        """Whether it lives and has lost its registration, and may be ended for it."""
        return (
            not self.unprovable
            and self.alive
            and self.was_registered
            and self.registered_at is None
        )

    @property
    def is_known(self) -> bool:
        """Whether it was seen registered, or is as soon as the daemon sees anything, and nobody has ended it."""
        is_there = self.registered_at is not None or self.serves_from is not None
        return is_there and self.alive and not self.signalled

    def is_expected(self, at: float) -> bool:
        """Whether the daemon misses its registration where there is none: it knows of one, or did not see its launch.

        Who was launched here, and came and went unseen, has not registered yet as far as it knows.
        """
        known = self.serves_from is not None and self.serves_from <= at
        return known or self.found or self.adopted

    def is_news(self, at: float) -> bool:
        """Whether the daemon can know that it is registered, so that it sees a loss now for what it is."""
        return self.seen_from is not None and self.seen_from <= at

    def is_told(self, at: float, patience_s: float, *, kill: bool) -> str:
        """The daemon signals it; what is wrong with that, if anything: who was asked to end has its grace for it."""
        if not kill:
            self.asked_at = max(self.asked_at, at)
        early = kill and at - self.asked_at < patience_s - 1e-6
        return f"{at - self.asked_at:.3f} s after it had been asked to end" if early else ""

    def fall_ill(self, kind: str) -> None:
        """A fault may cost its registration from now on."""
        self.ailments.add(kind)
        self.well_from = ALWAYS

    def cannot_serve(self, kind: str) -> None:
        """It is not fit, perhaps for the first time in its life."""
        self.unfit.add(kind)
        if self.serves_from is None:
            self.fit_from = ALWAYS

    def get_over(self, kind: str, *, known_at: float) -> None:
        """A lasting fault is over, as is known then."""
        self.ailments.discard(kind)
        self.unprovable = self.unprovable and kind != UNPROVABLE
        self.unfit.discard(kind)
        if self.fit_from == ALWAYS and not self.unfit:
            self.fit_from = known_at

    def served_s(self, at: float) -> float:
        """How long it has served, as far as the daemon can know."""
        return 0.0 if self.serves_from is None else at - max(self.serves_from, self.fit_from)

    def recover(self, seen_at: float) -> None:
        """Registered and rid of what ailed it: healthy as soon as the daemon can know."""
        if self.well_from == ALWAYS and self.registered_at is not None and not self.ailments:
            self.well_from = seen_at

    def note_seen(self, at: float) -> None:
        """The daemon can know from `at` on that it is registered."""
        self.serves_from = at if self.serves_from is None else self.serves_from
        self.seen_from = at if self.seen_from is None else self.seen_from

    def unless_seen_by(self, at: float) -> None:
        """The daemon sees no more from now on: what it cannot have seen yet it does not know."""
        if self.serves_from is not None and self.serves_from > at:
            self.serves_from = None
        if self.seen_from is not None and self.seen_from > at:
            self.seen_from = None

    def __str__(self) -> str:
        state = "alive" if self.alive else "tree left"
        return f"{self.name} {state} {'un' * (self.registered_at is None)}registered"


@dataclass(slots=True)
class Census:
    """Every incarnation there ever was, which of them fill which slot (trees count), and what is registered.

    `revision` is what is wanted of each; the slots that are `excused` need not be filled.
    """

    revision: str = ""
    lives: dict[Incarnation, Life] = field(default_factory=dict)
    present: dict[int, list[Life]] = field(default_factory=dict)
    registered: set[Incarnation] = field(default_factory=set)
    excused: set[int] = field(default_factory=set)

    def add(self, life: Life) -> None:
        """One fills a slot."""
        self.lives[life.name] = life
        self.present.setdefault(life.name.slot, []).append(life)

    def remove(self, life: Life) -> None:
        """One and all it started are gone."""
        left = [other for other in self.present.pop(life.name.slot, []) if other is not life]
        if left:
            self.present[life.name.slot] = left

    def all_present(self) -> Iterator[Life]:
        """Those of which anything is left."""
        return (life for lives in self.present.values() for life in lives)

    def visible_slots(self) -> set[int]:
        """The slots in which a daemon that starts now finds somebody."""
        return {life.name.slot for life in self.all_present() if not life.overlooked}

    def unregistered(self) -> Iterator[Life]:
        """Those that live and are not registered, and may be ended for it."""
        return (
            life
            for life in self.all_present()
            if life.alive and life.registered_at is None and not life.unprovable
        )

    def newborn(self) -> list[Life]:
        """Those alive that this daemon launched and that have never registered."""
        return [
            life
            for life in self.all_present()
            if life.alive and not life.found and not life.adopted and not life.was_registered
        ]

    def had_surplus(self, slot: int) -> bool:
        """Whether more than one incarnation was found in a slot; one of them has to go, and may take its time."""
        return sum(life.found for name, life in self.lives.items() if name.slot == slot) > 1

    def flaws(self, wishes: Wishes) -> Iterator[str]:
        """Why the group is not whole: exactly the wanted slots serve, nothing else lives or is registered.

        Those `excused` may be empty.
        """
        for slot, lives in self.present.items():
            if not wishes.wants(slot):
                yield f"slot {slot} is not wanted and holds {', '.join(map(str, lives))}"
        for slot in wishes.wanted:
            lives = self.present.get(slot, [])
            if not lives and slot in self.excused:
                continue
            if [life.alive and life.registered_at is not None for life in lives] != [True]:
                yield f"slot {slot} holds {', '.join(map(str, lives)) or 'nobody'}"
            elif lives[0].revision != self.revision:
                yield f"slot {slot} holds {lives[0]} of revision {lives[0].revision!r}"
            elif wishes.asks(lives[0].name):
                yield f"slot {slot} holds {lives[0]}, which was to be restarted"
        yield from self.dead_registrations()

    def dead_registrations(self) -> Iterator[str]:
        """Registrations of incarnations that are known and gone."""
        for name in self.registered:
            if (life := self.lives.get(name)) is not None and not life.alive:
                yield f"{name} is dead and registered"


@dataclass(slots=True)
class RestartLedger:
    """The group's token bucket in one daemon's life; its first launch into a slot it found empty is no restart."""

    policy: Policy
    slack_s: float = 0.0
    known_slots: set[int] = field(default_factory=set)
    tokens: float = 0.0
    at: float = NEVER
    burst: float = 0.0
    per_s: float = 0.0

    @property
    def slack(self) -> float:
        """How much may be missing because records are late."""
        return 1e-6 + self.per_s * self.slack_s

    def open(self, at: float, held_slots: set[int], replicas: int) -> None:
        """A daemon starts with a full bucket."""
        self.known_slots = set(held_slots)
        self.at = NEVER
        self.scale(at, replicas)

    def scale(self, at: float, replicas: int) -> None:
        """The bucket and what flows into it are those of another number from now on."""
        spent = 0.0 if self.at == NEVER else self.burst - self.balance(at)
        policy = self.policy
        self.burst = float(policy.budget_burst + policy.budget_burst_each * replicas)
        self.per_s = max(policy.budget_per_s, policy.budget_per_s_each * replicas)
        self.tokens, self.at = max(0.0, self.burst - spent), at

    def charge(self, slot: int, at: float) -> bool:
        """Pay for a launch; whether there was enough."""
        if slot not in self.known_slots:
            self.known_slots.add(slot)
            return True
        self.tokens, self.at = self.balance(at) - 1.0, at
        return self.tokens >= -self.slack

    def balance(self, at: float) -> float:
        """How many restarts could be paid for."""
        return min(self.burst, self.tokens + (at - self.at) * self.per_s)
