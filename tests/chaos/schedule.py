"""What is done to a group and when: a pure function of a seed.

Theory of operation: every kind of fault occurs at least once, the rest are drawn by weight; then all are
shuffled. Only the mass loss comes first, because what it asks of the daemon can be told in calm alone. A step
says how long after the one before it begins and how long a lasting fault lasts, so most faults land while
earlier ones are still being healed. Now and then the group is left in peace until it is whole.

Must never know: processes, servers, clocks.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum


class Where(Enum):
    """What a fault needs for itself: two faults of one place never overlap, except on workers."""

    WORKERS = "workers"
    DAEMON = "daemon"
    STORE = "store"
    BOTH = "daemon and store"

    def overlaps(self, other: Where) -> bool:
        """Whether two faults, one of each, would be in each other's way."""
        return self is other or (self is Where.BOTH) != (other is Where.BOTH)


class Kind(Enum):
    """A kind of fault: its name, where it strikes, and how often it is drawn."""

    KILL = ("kill one", Where.WORKERS, 20)
    SEGFAULT = ("segfault one", Where.WORKERS, 5)
    TERM = ("terminate one", Where.WORKERS, 5)
    KILL_SEVERAL = ("kill several", Where.WORKERS, 6)
    KILL_ALL = ("kill all", Where.WORKERS, 2)
    BURST = ("burst of kills", Where.WORKERS, 3)
    FREEZE = ("freeze one", Where.WORKERS, 4)
    FREEZE_BRIEFLY = ("freeze one, thaw within its session", Where.WORKERS, 4)
    FREEZE_AND_THAW = ("freeze one, thaw after its session", Where.WORKERS, 3)
    HOLD_GIL = ("hold the interpreter's lock", Where.WORKERS, 4)
    TREE = ("die leaving a tree of 35", Where.WORKERS, 5)
    UNREGISTER = ("delete a znode", Where.STORE, 2)
    UNREGISTER_HALF = ("delete half the znodes", Where.STORE, 1)
    KILL_DAEMON = ("kill the daemon", Where.DAEMON, 5)
    KILL_DAEMON_IN_BURST = ("kill workers and daemon", Where.DAEMON, 3)
    FREEZE_DAEMON = ("freeze the daemon", Where.DAEMON, 3)
    DETACH = ("detach", Where.DAEMON, 3)
    KILL_STORE = ("kill ZooKeeper", Where.STORE, 4)
    FREEZE_STORE = ("freeze ZooKeeper", Where.STORE, 3)
    WIPE_STORE = ("kill and wipe ZooKeeper", Where.STORE, 2)
    RESET_CONNECTIONS = ("reset all connections", Where.STORE, 3)
    CUT_OFF = ("refuse all connections", Where.STORE, 2)
    SILENCE = ("silent network", Where.STORE, 2)
    SLOW = ("slow network", Where.STORE, 3)
    CUT_OFF_HALF = ("expire half the sessions", Where.STORE, 2)
    KILL_BOTH = ("kill daemon and ZooKeeper", Where.BOTH, 2)

    def __init__(self, label: str, where: Where, weight: int) -> None:
        self.label = label
        self.where = where
        self.weight = weight

    @property
    def hits_chosen_workers(self) -> bool:
        """Whether it needs workers to choose from."""
        chooses = {Kind.UNREGISTER, Kind.UNREGISTER_HALF, Kind.KILL_DAEMON_IN_BURST}
        return self.where is Where.WORKERS or self in chooses


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: how long after the one before, how long it lasts, and a draw of its own for whom it hits."""

    kind: Kind
    after_s: float
    lasts_s: float
    draw: int
    peace_before: bool


_LAST_S: dict[Kind, tuple[float, float]] = {
    Kind.FREEZE_BRIEFLY: (0.1, 0.4),
    Kind.FREEZE_AND_THAW: (1.3, 2.0),
    Kind.KILL_DAEMON: (0.0, 0.4),
    Kind.KILL_DAEMON_IN_BURST: (0.0, 0.4),
    Kind.FREEZE_DAEMON: (0.1, 1.0),
    Kind.DETACH: (0.0, 0.2),
    Kind.KILL_STORE: (0.1, 0.7),
    Kind.FREEZE_STORE: (0.1, 0.7),
    Kind.WIPE_STORE: (0.1, 0.4),
    Kind.CUT_OFF: (0.1, 0.7),
    Kind.SILENCE: (0.1, 0.7),
    Kind.SLOW: (0.2, 0.8),
    Kind.CUT_OFF_HALF: (1.3, 1.6),
    Kind.KILL_BOTH: (0.1, 0.5),
}
"""How long lasting faults last, in session timeouts."""
_LONGER_S = (1.2, 1.6)
_LONGER_SHARE = 0.3
_LONGEST_S = (2.5, 3.0)
_LONGEST_SHARE = 0.05
_OUTAGES = (Kind.KILL_STORE, Kind.FREEZE_STORE, Kind.CUT_OFF, Kind.SILENCE)
"""Some outlast the sessions, a few by far."""
_CALM_S: dict[Kind, float] = {Kind.UNREGISTER_HALF: 3.0}
"""Only of workers that have been registered for a while is it expected that a mass loss is seen as one."""
_PEACE_SHARE = 0.04
_MEAN_GAP_S = 0.5


def schedule_of(seed: int, faults: int, session_timeout_s: float) -> list[Step]:
    """The schedule of a seed; it holds every kind at least once if it is long enough."""
    rng = random.Random(seed)
    kinds = list(Kind)
    drawn = rng.sample(kinds, min(faults, len(kinds)))
    drawn += rng.choices(kinds, [kind.weight for kind in kinds], k=faults - len(drawn))
    rng.shuffle(drawn)
    if Kind.UNREGISTER_HALF in drawn:
        drawn.insert(0, drawn.pop(drawn.index(Kind.UNREGISTER_HALF)))
    return [
        Step(
            kind=kind,
            after_s=min(rng.expovariate(1 / _MEAN_GAP_S), 5 * _MEAN_GAP_S) + _CALM_S.get(kind, 0.0),
            lasts_s=_lasts(kind, rng) * session_timeout_s,
            draw=rng.getrandbits(32),
            peace_before=rng.random() < _PEACE_SHARE,
        )
        for kind in drawn
    ]


def _lasts(kind: Kind, rng: random.Random) -> float:
    between = _LAST_S.get(kind, (0.0, 0.0))
    if kind in _OUTAGES:
        (between,) = rng.choices(
            (between, _LONGER_S, _LONGEST_S),
            (1 - _LONGER_SHARE - _LONGEST_SHARE, _LONGER_SHARE, _LONGEST_SHARE),
        )
    return rng.uniform(*between)
