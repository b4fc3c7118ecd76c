"""The nouns of the decision: what is wanted, what a slot is, what the view of the world holds.

Theory of operation. A *slot* is a stable place 0..N-1 that outlives the processes filling it; an
*incarnation* is one process that filled it, named by slot and generation. Slot records are frozen
and replaced whole; the `View` that holds them is owned by one loop and changed only by `evolve`,
which marks the slots it touched so that a decision costs the slots changed, not N.

Times are seconds on one monotonic clock that the shell supplies as `View.now`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from autohealer.core.children import Bindings, Nursery
from autohealer.core.health import NOTHING_ASKED, Epidemic, Health
from autohealer.core.overrides import NO_OVERRIDES, Overrides
from autohealer.core.policy import Limits, Policy, Registrar
from autohealer.core.strangers import Stranger

NEVER = float("-inf")
NO_CONNECTION = -1


class Incarnation(NamedTuple):
    """One process that filled a slot; the pair is never used twice."""

    slot: int
    generation: int

    def __str__(self) -> str:
        return f"slot {self.slot} generation {self.generation}"


class Phase(Enum):
    """Where a slot stands.

    Of `unready` tells `readiness`. `held` is filled by a live process that cannot be proven to be ours; `done` is not
    filled again, by the policy, and `stopped` is not filled until the operator starts it.
    """

    VACANT = "vacant"
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    DRAINING = "draining"
    BACKOFF = "backoff"
    QUARANTINED = "quarantined"
    HELD = "held"
    DONE = "done"
    STOPPED = "stopped"


class Presence(Enum):
    """What may be said of a registration; unknown is not absent."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class Store(Enum):
    """The daemon's own session with ZooKeeper."""

    CONNECTED = "connected"
    SUSPENDED = "suspended"
    LOST = "lost"


class Stop(Enum):
    """How far the operator wants us gone: `detach` means only the daemon, workers run on for the next one."""

    NO = "no"
    DETACH = "detach"
    DRAIN = "drain"
    KILL = "kill"


class Ending(Enum):
    """Why we end an incarnation ourselves."""

    STOPPED = "stopped"
    SURPLUS = "surplus"
    OUTDATED = "outdated"
    RESTARTED = "restarted"
    NEVER_REGISTERED = "never_registered"
    REGISTRATION_LOST = "registration_lost"
    UNHEALTHY = "unhealthy"
    WATCHDOG = "watchdog"
    FROZEN = "frozen"
    MEMORY = "memory"

    @property
    def is_blameless(self) -> bool:
        """Whether it says nothing about the worker's health."""
        return self in {
            *(Ending.STOPPED, Ending.SURPLUS),
            *(Ending.OUTDATED, Ending.RESTARTED, Ending.MEMORY),
        }


@dataclass(frozen=True, slots=True)
class Desired:
    """What the operator asked for; `revision` names what a launch depends on, "" where nobody asks."""

    replicas: int = 0
    revision: str = ""
    stop: Stop = Stop.NO
    overrides: Overrides = NO_OVERRIDES

    @property
    def kept(self) -> int:
        """How many are to be alive: all but those that the operator stopped."""
        if self.overrides.all_stopped:
            return 0
        return self.replicas - sum(key < self.replicas for key in self.overrides.stopped)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended; code and signal are None when it was not our child and nobody could tell.

    `oom`: the kernel ended it for want of memory. `frozen`: it was stopped (SIGSTOP) when we ended it.
    """

    code: int | None = None
    signal: int | None = None
    oom: bool = False
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Occupant:
    """The live incarnation of a slot.

    `exit` is set once the process is gone while others of its tree are not; `listed` is what the last list said
    of its znode and `listed_changed` since when; `ready_at` is when it first counted as ready; `set_aside` says that
    it takes no place among those under way. `revision` is what it was launched from, "" where that is not known.
    `rss_bytes` is what its whole tree was last told to use of memory, 0 where nothing was; `rss_at` since when that has
    been more than it may.
    """

    name: Incarnation
    pid: int | None
    since: float
    registrar: Registrar = Registrar.SELF
    revision: str = ""
    adopted: bool = False
    listed: bool = False
    listed_changed: float = NEVER
    ready_at: float | None = None
    set_aside: bool = False
    health: Health = NOTHING_ASKED
    rss_bytes: int = 0
    rss_at: float = NEVER
    exit: Exit | None = None

    def served_s(self, now: float) -> float | None:
        """For how long it has been ready, an adopted one for as long as it lives; None: never."""
        if self.ready_at is None:
            return None
        return now - (self.since if self.adopted else self.ready_at)


@dataclass(frozen=True, slots=True)
class Death:
    """How an incarnation ended, in words, with the random number its back-off may use (0 <= jitter < 1)."""

    occupant: Occupant
    cause: str
    jitter: float


@dataclass(frozen=True, slots=True)
class Obituary:
    """What is known of an incarnation's end; `exit` is None when it could not even be launched.

    `ending` is why it was told to end, None when nobody told it to; `cause` says it all in words.
    """

    occupant: Occupant
    exit: Exit | None
    ending: Ending | None
    cause: str


@dataclass(frozen=True, slots=True)
class Slot:
    """One place to fill. `deadline` is the single instant it waits for, `reason` why it is where it is.

    `ending` is why its incarnation was told to end, if it was; `holdouts` the processes that outlive the kill.
    `failures` counts launches in a row that never served: were not ready, or not for `min_ready_s`. `quick_restarts`
    counts those that came too soon after the ones before, until a stable run. `unregistered_death` is the last death
    before any list showed the registration. `has_failed` says how one that is done ended. `outgrown` counts lives in a
    row that used more memory than they may soon after their launch.
    """

    key: int
    phase: Phase = Phase.VACANT
    phase_since: float = NEVER
    deadline: float | None = None
    occupant: Occupant | None = None
    generation: int = 0
    killing: bool = False
    ending: Ending | None = None
    holdouts: tuple[str, ...] = ()
    failures: int = 0
    quick_restarts: int = 0
    outgrown: int = 0
    unregistered_death: Death | None = None
    recent_restarts: tuple[float, ...] = ()
    restarts: int = 0
    has_failed: bool = False
    reason: str = "first start"


@dataclass(frozen=True, slots=True)
class Budget:
    """A token bucket of restarts for the whole group: `tokens` as of `at`."""

    tokens: float
    at: float = NEVER


@dataclass(frozen=True, slots=True)
class Pace:
    """How many of a kind may be under way at once (`window`), and what that follows (see `autohealer.core.pacing`).

    `best_s` is the shortest time that one took to get through, `last_s` what the last one took and `moved_at` when that
    was, or when some were last set aside although the machine was busy. `reviewed_at` is when those under way were
    reviewed last.
    """

    window: int
    best_s: float = float("inf")
    last_s: float = 0.0
    moved_at: float = NEVER
    reviewed_at: float = NEVER


@dataclass(slots=True)
class Crowd:
    """Slots in which work of one kind is under way, and how much of it may be at once."""

    limits: Limits
    pace: Pace
    under_way: set[int] = field(default_factory=set)


class Place(NamedTuple):
    """A slot among those of all groups of a daemon."""

    group: str
    key: int


@dataclass(slots=True)
class Brake:
    """What is remembered of a mass loss (see `autohealer.core.brake`).

    Nobody is ended for a lost registration before `hold_until`, then as many at a time as `at_once` says; `replacing`
    are the slots ended since then, each until when it is waited for. `losses` are the slots whose registration vanished
    lately, and when, or when their incarnation was ended for it; `lost` is how many of them put the brake on, `since`
    when.
    """

    on: bool = False
    since: float = NEVER
    lost: int = 0
    hold_until: float = NEVER
    at_once: int = 1
    replacing: dict[Place, float] = field(default_factory=dict)
    losses: dict[Place, float] = field(default_factory=dict)


@dataclass(slots=True)
class StoreRoom:
    """What a daemon knows of its ZooKeeper session, and the brake: shared by all groups that look at one store.

    `changes` counts the changes of the session folded so far; `store_since` is when the last one was. A missing
    registration counts from `trust_from` on. `missing` are the places of all groups whose registration is expected and
    was not in the last list, `vanished_at` is when one was lost last. `replicas` is what each group wants. `turns`
    grows whenever the brake or the nursery changes, so that the others can be told to look again.
    """

    store: Store = Store.SUSPENDED
    store_since: float = NEVER
    changes: int = 0
    ever_connected: bool = False
    trust_from: float = NEVER
    brake: Brake = field(default_factory=Brake)
    epidemic: Epidemic = field(default_factory=Epidemic)
    missing: set[Place] = field(default_factory=set)
    vanished_at: float = NEVER
    replicas: dict[str, int] = field(default_factory=dict)
    nursery: Nursery = field(default_factory=Nursery)
    turns: int = 0


@dataclass(slots=True)
class View:
    """Everything observed of one group, owned by its loop and changed only by `evolve`.

    `room` is shared by the groups that look at one store, each under its own name (`group`).

    Slots keyed below zero hold surplus incarnations found at start: never wanted, so drained. `touched` are the
    slots changed since the last decision. `waiting` are those whose first launch was deferred and `waiting_again`
    those whose replacement was, `staying` those whose ending was (first come, first served); `replaced_last` says
    that the last launch was one of the second. `launches` are those launched and not registered, `endings` those
    that were asked to end. `serving` are the wanted slots that are ready, `outdated` those whose incarnation runs
    another revision than is wanted or is to be replaced as asked, `oversized` those whose uses more memory than it
    may; `renewed` is the one that was replaced for either last, and `renewed_at` when. `alarms` is a heap of
    (deadline, key) with stale entries skipped, `missing` the slots whose registration is expected and was not in the
    last list, `ailing` those to be ended for their health, `suspects` those missing that are to be ended unless a
    list asked for since then shows them. `connection` is the change of the session this view knows of,
    `listed_under` that of the newest list, `listed_at` when that was asked for, `list_failed` why there is none, in
    words, and since when; `held_looked_at` is when the registrations of what holds slots were looked into last.
    `leftovers` are registrations of own incarnations that are proven dead, `to_discard` those of them not yet
    ordered away. `to_register` are those for whom a registration is to be held from now on, `to_withdraw` those for
    whom not; `registering` are those for whom that was ordered and no list has shown it yet, and when. `retired`
    keeps the newest generation of slots given up, so that none is used twice when they are wanted again; `own` the
    newest generations that this daemon launched or adopted, by slot. `claims` are unfamiliar registrations that are
    being looked into, and since when; `gone` are the newest that ended as nobody's own. `obituaries` are the deaths
    of this round, for those who tell of them; the next round begins without. `contradictions` are slots that could
    not be as they were put, in words: faults of the rules.
    """

    policy: Policy
    budget: Budget
    group: str = ""
    room: StoreRoom = field(default_factory=StoreRoom)
    generation_base: int = 1
    now: float = 0.0
    desired: Desired = Desired()
    slots: dict[int, Slot] = field(default_factory=dict)
    key_of: dict[Incarnation, int] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    waiting: dict[int, None] = field(default_factory=dict)
    waiting_again: dict[int, None] = field(default_factory=dict)
    staying: dict[int, None] = field(default_factory=dict)
    replaced_last: bool = False
    alarms: list[tuple[float, int]] = field(default_factory=list)
    counts: dict[Phase, int] = field(default_factory=lambda: dict.fromkeys(Phase, 0))
    launches: Crowd = field(init=False)
    endings: Crowd = field(init=False)
    serving: set[int] = field(default_factory=set)
    outdated: set[int] = field(default_factory=set)
    oversized: set[int] = field(default_factory=set)
    renewed: int | None = None
    renewed_at: float = NEVER
    missing: set[int] = field(default_factory=set)
    suspects: dict[int, float] = field(default_factory=dict)
    ailing: set[int] = field(default_factory=set)
    connection: int = 0
    listed_under: int = NO_CONNECTION
    list_failed: str = ""
    list_failed_at: float = NEVER
    listed: frozenset[Incarnation] = frozenset()
    listed_at: float = NEVER
    held_looked_at: float = NEVER
    strange: frozenset[str] = frozenset()
    leftovers: set[Incarnation] = field(default_factory=set)
    to_discard: set[Incarnation] = field(default_factory=set)
    to_inspect: set[Incarnation | str] = field(default_factory=set)
    to_register: set[Incarnation] = field(default_factory=set)
    to_withdraw: set[Incarnation] = field(default_factory=set)
    registering: dict[Incarnation, float] = field(default_factory=dict)
    retired: dict[int, int] = field(default_factory=dict)
    own: dict[int, tuple[int, ...]] = field(default_factory=dict)
    claims: dict[Incarnation, float] = field(default_factory=dict)
    gone: dict[int, tuple[int, ...]] = field(default_factory=dict)
    strangers: dict[Incarnation | str, Stranger] = field(default_factory=dict)
    bindings: Bindings = field(default_factory=Bindings)
    obituaries: list[Obituary] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    violations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Begin with the least of places."""
        launches, endings = self.policy.launches(), self.policy.endings()
        self.launches = Crowd(launches, Pace(launches.least))
        self.endings = Crowd(endings, Pace(endings.least))

    @property
    def store(self) -> Store:
        """The state of the daemon's session."""
        return self.room.store

    @property
    def store_since(self) -> float:
        """Since when it has been so."""
        return self.room.store_since

    @property
    def trust_from(self) -> float:
        """From when on a missing registration counts."""
        return self.room.trust_from

    @property
    def brake(self) -> Brake:
        """The mass-loss brake, which is one for all groups."""
        return self.room.brake

    @property
    def fresh(self) -> bool:
        """Whether the last list is of this connection, and nothing makes it doubtful."""
        known = self.listed_under == self.connection == self.room.changes
        return known and self.room.store is Store.CONNECTED and not self.list_failed

    def place(self, key: int) -> Place:
        """A slot among those of all groups."""
        return Place(self.group, key)

    def wants(self, key: int) -> bool:
        """Whether the slot should be filled."""
        return self._has_place(key) and not self.desired.overrides.stops(key)

    def rests(self, key: int) -> bool:
        """Whether the slot would be filled if the operator had not stopped it."""
        return self._has_place(key) and self.desired.overrides.stops(key)

    def _has_place(self, key: int) -> bool:
        return 0 <= key < self.desired.replicas and self.desired.stop is Stop.NO

    def ready_count(self) -> int:
        """How many wanted slots are ready."""
        return len(self.serving)

    def is_done(self) -> bool:
        """Whether every wanted slot is done, so that nothing will be launched any more."""
        done = self.counts[Phase.DONE]
        return bool(done) and done == self.desired.kept
