"""Stories that once showed a fault, each by what it showed; replayed by test_simulation.py.

A story is a value, so it stays what it is however stories are drawn later. Most were cut down from a longer one.
"""

from __future__ import annotations

from tests.simulation.faults import Crash, Freeze, LoseSessions
from tests.simulation.script import At, Script
from tests.simulation.surroundings import (
    CutDaemon,
    KillDaemon,
    LateLists,
    Outage,
)

KEPT: dict[str, Script] = {
    "the oracle took two frozen ones for the rest of a mass loss whose list was cut off on its way": Script(
        replicas=9,
        troubles=(
            At(5.0, Freeze((3,))),
            At(6.5, LateLists(0.1732)),
            At(7.0, LoseSessions((2, 4, 5, 6), (1.1881, 1.382, 1.4, 1.4))),
            At(7.02, CutDaemon(12.0)),
            At(7.0201, Freeze((8, 6, 5), (2.4152, 6.1249, None))),
        ),
    ),
}
KEPT["the oracle gave workers launched since the first connection time to register again"] = Script(
    replicas=4,
    troubles=(
        At(5.0, KillDaemon(6.0)),
        At(10.0, Outage(8.0)),
        At(18.82, Crash((0, 1, 2, 3))),
        At(20.0, Freeze((1, 3))),
    ),
)
