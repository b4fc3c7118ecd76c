"""What independent witnesses tell of a daemon and its workers: the records of a history.

Theory of operation. A history is a list of frozen records in the order in which things happened, timed in
seconds on one clock. Records say what is true of processes, registrations, the store and faults; what the
daemon believes is no part of them. The simulation and the chaos suite both write them, and
`tests.support.oracle` judges them.

Limits: one daemon at a time, one host, one group.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autohealer.core.model import Exit, Incarnation
from autohealer.core.overrides import Overrides

UNPROVABLE = "unprovable"
"""The kind of a fault that leaves no later daemon a proof of whose a process is."""


NO_LIST = "no list"
"""How the kind of a fault begins that keeps a connected daemon from any list of what is registered."""


FROZEN = "frozen decider"
"""The kind of a fault that keeps the daemon from acting for a group at all, until it ends."""


class Harm(Enum):
    """What a fault may do to its target."""

    KILLS = "kills"
    """Its process may end of it."""
    UNREGISTERS = "unregisters"
    """It may lose its registration or come late with it; healthy again once the fault is over and it is registered."""
    WITHHOLDS = "withholds"
    """It cannot serve, which is no reason to end it."""
    HIDES = "hides"
    """The store: nothing need be whole before the relief, but who dies is replaced all the same."""
    IMPAIRS = "impairs"
    """Launches (no target), or the end of a worker's tree (target): nothing need be replaced before the relief."""
    DISTURBS = "disturbs"
    """Nobody, it only starts the clock of I2 again; a target is overlooked by the next daemon's look at processes."""


class Farewell(Enum):
    """How a daemon ended."""

    CRASHED = "crashed"
    DETACHED = "detached"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The operator wants `replicas` slots filled; the first record of a history."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class Overridden:
    """The operator wants these slots stopped and these incarnations replaced, and no others."""

    at: float
    overrides: Overrides


@dataclass(frozen=True, slots=True)
class Retried:
    """The operator wants slots filled now that wait for a pause, or are done."""

    at: float
    slots: frozenset[int]


@dataclass(frozen=True, slots=True)
class Respecified:
    """The operator wants workers of this revision."""

    at: float
    revision: str


@dataclass(frozen=True, slots=True)
class Launched:
    """A process of an incarnation was exec'd, from the spec of this revision."""

    at: float
    name: Incarnation
    pid: int
    revision: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """An incarnation was there although this group's daemon did not launch it; two of them in a slot are a surplus."""

    at: float
    name: Incarnation
    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The process of an incarnation is gone, how, if that is known; `left` others of its tree are not."""

    at: float
    name: Incarnation
    left: int = 0
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class Emptied:
    """The last process of an ended incarnation's tree is gone."""

    at: float
    name: Incarnation


@dataclass(frozen=True, slots=True)
class Registered:
    """An incarnation's znode appeared."""

    at: float
    name: Incarnation


@dataclass(frozen=True, slots=True)
class Deregistered:
    """An incarnation's znode vanished."""

    at: float
    name: Incarnation


@dataclass(frozen=True, slots=True)
class StoreIs:
    """Whether the daemon can reach the store: as its session has it or, to a witness outside, as it is."""

    at: float
    up: bool


@dataclass(frozen=True, slots=True)
class DaemonStarted:
    """A daemon runs, and has looked for what an earlier one left."""

    at: float


@dataclass(frozen=True, slots=True)
class DaemonEnded:
    """The daemon is gone."""

    at: float
    farewell: Farewell


@dataclass(frozen=True, slots=True)
class StopAsked:
    """The operator wants everything gone; with `force`, at once."""

    at: float
    force: bool = False


@dataclass(frozen=True, slots=True)
class Signalled:
    """The daemon sent a signal meant for an incarnation; `reached` is whose process got it, None a bystander's.

    A process that the daemon cannot prove to be its worker is a bystander. `kill`: it was KILL.
    """

    at: float
    name: Incarnation
    reached: Incarnation | None
    kill: bool = False


@dataclass(frozen=True, slots=True)
class Discarded:
    """The daemon deletes a registration."""

    at: float
    name: Incarnation


@dataclass(frozen=True, slots=True)
class BystanderEnded:
    """A process that is nobody's worker ended although no witness ended it."""

    at: float
    pid: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something was done to a worker, or (no target) to the surroundings."""

    at: float
    kind: str
    harm: Harm
    target: Incarnation | None = None


@dataclass(frozen=True, slots=True)
class Relief:
    """A lasting fault is over."""

    at: float
    kind: str
    target: Incarnation | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """The witnesses stop looking; the last record of a history."""

    at: float


Record = (
    Wanted
    | Overridden
    | Retried
    | Respecified
    | Launched
    | Found
    | Ended
    | Emptied
    | Registered
    | Deregistered
    | StoreIs
    | DaemonStarted
    | DaemonEnded
    | StopAsked
    | Signalled
    | Discarded
    | BystanderEnded
    | Fault
    | Relief
    | Closed
)

Disturbing = Wanted | Overridden | Respecified | Fault | Relief | DaemonStarted | StoreIs
"""After these a daemon is given its time anew, by whoever judges what it has to get done."""
