"""Stories of an operator that once showed a fault, by what it was: each is played again by every run of the tests.

What "would" be is no fault that was found, but one that few drawn stories would show.
"""

from __future__ import annotations

from autohealer.core.model import Exit
from autohealer.core.policy import Restart
from tests.simulation.faults import Crash
from tests.simulation.operating import RestartSlots, RetrySlots, StartSlots, StopSlots
from tests.simulation.script import At, Script
from tests.simulation.surroundings import KillDaemon

DONE = At(5.0, Crash((0,), Exit(code=0)))
DIES_UNSEEN = At(20.0, KillDaemon(1.0, (0,), 0.5))

KEPT_OPERATED = {
    "one that was to be restarted and was stopped was ended twice in one plan, which froze the group": Script(
        replicas=4,
        troubles=(
            At(10.0, Crash((1,))),
            At(10.01, RestartSlots()),
            At(10.01, StopSlots((0,))),
        ),
    ),
    "a job that was tried again would be taken for done by the next daemon": Script(
        replicas=1,
        restart=Restart.ON_FAILURE,
        troubles=(DONE, At(10.0, RetrySlots()), DIES_UNSEEN),
    ),
    "a job that was stopped and started again would be taken for done by the next daemon": Script(
        replicas=1,
        restart=Restart.ON_FAILURE,
        troubles=(DONE, At(10.0, StopSlots()), At(11.0, StartSlots()), DIES_UNSEEN),
    ),
    "the oracle forgot that nobody heard of a retry when something else was wanted in the same moment": Script(
        replicas=1,
        restart=Restart.NEVER,
        troubles=(DONE, At(10.0, RetrySlots()), At(10.0, StartSlots()), At(10.0, KillDaemon(0.0))),
    ),
    "the oracle took a retry for heard of one that had ended in that moment": Script(
        replicas=1,
        restart=Restart.NEVER,
        troubles=(At(10.0, Crash((0,))), At(10.0, RetrySlots())),
    ),
    "a job that was restarted was left as done": Script(
        replicas=1,
        restart=Restart.ON_FAILURE,
        troubles=(DONE, At(10.0, RestartSlots())),
    ),
}
