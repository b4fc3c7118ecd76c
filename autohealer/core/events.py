"""Facts: what happened, in the past tense, as the shell reports it to `evolve`.

Random numbers a rule needs (jitter, 0 <= j < 1) are drawn by the shell and arrive with the fact.
"""

from __future__ import annotations

from dataclasses import dataclass

from autohealer.core.actions import Plan
from autohealer.core.children import Bond, Sight
from autohealer.core.health import Check, Verdict
from autohealer.core.model import NEVER, Exit, Incarnation, Store
from autohealer.core.overrides import Overrides
from autohealer.core.policy import Policy
from autohealer.core.strangers import Standing


@dataclass(frozen=True, slots=True)
class Ticked:
    """The clock reads `now`; the first fact of every round.

    `idle` is the share of the processors that had nothing to do lately (0 to 1), None where nobody looked or can tell.
    """

    now: float
    idle: float | None = None


@dataclass(frozen=True, slots=True)
class ReplicasSet:
    """The operator wants `replicas` slots filled."""

    replicas: int


@dataclass(frozen=True, slots=True)
class OverridesSet:
    """The operator wants these slots stopped and these incarnations replaced, and no others."""

    overrides: Overrides


@dataclass(frozen=True, slots=True)
class RetryAsked:
    """The operator wants slots filled now that wait for a pause or are done."""

    keys: frozenset[int]


@dataclass(frozen=True, slots=True)
class SpecSet:
    """The operator wants workers of this revision, kept by this policy."""

    revision: str
    policy: Policy


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The operator wants everything gone; asked twice, at once."""

    force: bool = False


@dataclass(frozen=True, slots=True)
class DetachRequested:
    """The operator wants the daemon gone and its workers left running; ignored once they are being stopped."""


@dataclass(frozen=True, slots=True)
class WorkerAdopted:
    """A live process was proven to be an incarnation launched by an earlier daemon.

    `revision` is what it was launched from, "" where it does not say.
    """

    name: Incarnation
    pid: int
    age_s: float
    revision: str = ""


@dataclass(frozen=True, slots=True)
class WorkerHeld:
    """A live process may be an incarnation of this group, but cannot be proven to be: `why` is a sentence about it.

    It is followed by `WorkerExited` once it is gone, or by `WorkerAdopted` once it is proven after all.
    """

    name: Incarnation
    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class WorkerSpawned:
    """The process of an incarnation was exec'd, from the spec of this revision."""

    name: Incarnation
    pid: int
    revision: str = ""


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """An incarnation could not be launched at all."""

    name: Incarnation
    error: str
    jitter: float


@dataclass(frozen=True, slots=True)
class WorkerExited:
    """The process of an incarnation ended and was reaped; `tree_empty` says whether all it had started is gone too."""

    name: Incarnation
    exit: Exit
    tree_empty: bool
    jitter: float
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerWasDone:
    """An earlier daemon saw an incarnation end that is not to be replaced; `why` is a sentence about it."""

    name: Incarnation
    why: str
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class TreeEmptied:
    """The last process of an ended incarnation's tree is gone."""

    name: Incarnation
    jitter: float


@dataclass(frozen=True, slots=True)
class TreeResists:
    """Processes of an incarnation that live on after a repeated kill, each in words: `pid 7 (disk-sleep, python3)`."""

    name: Incarnation
    holdouts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HealthReported:
    """A check of a live incarnation is answered otherwise than before; `why` says in words what is wrong.

    It is said once for each change, and may be said again.
    """

    name: Incarnation
    check: Check
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True, slots=True)
class MemoryReported:
    """All that a live incarnation started uses so much memory together, itself included.

    It is said when that has been more than it may for a while, again when it grew, and once when it is not any more.
    """

    name: Incarnation
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class MoreTimeAsked:
    """A live incarnation that was asked to end says that it takes so much longer, counted from now."""

    name: Incarnation
    more_s: float


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """The daemon's own ZooKeeper session changed state, for the `number`-th time where several groups hear of it."""

    store: Store
    number: int = 0


@dataclass(frozen=True, slots=True)
class SessionTimeoutGranted:
    """The store lets workers' sessions last longer or shorter than they ask for: what follows from that.

    Both are rules of `Policy`.
    """

    settle_s: float
    rejoin_grace_s: float


@dataclass(frozen=True, slots=True)
class WorkersListed:
    """A complete list of `/workers`: this group's incarnations, and names no daemon gave out.

    It is true of some moment after `asked_at`; `NEVER` where that is not known. `newest` is the zxid of the last change
    below `/workers` that it shows.
    """

    ours: frozenset[Incarnation]
    strange: frozenset[str]
    asked_at: float = NEVER
    newest: int = 0


@dataclass(frozen=True, slots=True)
class ListFailed:
    """The store is connected, but `/workers` cannot be listed; `why` is a sentence. Nothing is known until it can."""

    why: str


@dataclass(frozen=True, slots=True)
class RegistryWiped:
    """`/workers` itself was deleted and made again: every registration went with it, and comes back in time."""


@dataclass(frozen=True, slots=True)
class RegistrationRead:
    """The data of an unfamiliar registration was read and, where it names a process here, looked into."""

    name: Incarnation | str
    standing: Standing
    pid: int | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class RegistrantDead:
    """The process behind an unfamiliar registration of this group is proven gone."""

    name: Incarnation


@dataclass(frozen=True, slots=True)
class ChildExamined:
    """A child that a program made under a name of its own was looked at, and what `RegistrationRead` says of it."""

    sight: Sight
    standing: Standing
    pid: int | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class BondRemembered:
    """An earlier daemon noted which child is an incarnation's; `is_dead`: that one is proven gone."""

    bond: Bond
    is_dead: bool


@dataclass(frozen=True, slots=True)
class InvariantBroken:
    """A plan or the view contradicted the model: every further action is frozen."""

    violations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """A plan was made and is being carried out."""

    plan: Plan


StoreEvent = (
    StoreChanged
    | SessionTimeoutGranted
    | WorkersListed
    | ListFailed
    | RegistryWiped
    | RegistrationRead
    | RegistrantDead
    | ChildExamined
    | BondRemembered
)
"""What ZooKeeper tells, and what is known of who registered."""

Event = (
    Ticked
    | ReplicasSet
    | OverridesSet
    | RetryAsked
    | SpecSet
    | StopRequested
    | DetachRequested
    | WorkerAdopted
    | WorkerHeld
    | WorkerSpawned
    | SpawnFailed
    | WorkerExited
    | WorkerWasDone
    | TreeEmptied
    | TreeResists
    | HealthReported
    | MemoryReported
    | MoreTimeAsked
    | InvariantBroken
    | Decided
    | StoreEvent
)
