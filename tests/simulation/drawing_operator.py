"""Draw what the operator does of slots in some stories: on top of what a seed draws already, by a luck of its own.

Theory of operation. He acts close to another trouble, at one moment with it, or some time after all of them; what he
stops he mostly starts again, after as long as an ending may take or sooner.

Must never know: stages, the oracle.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from autohealer.core.policy import Restart
from tests.simulation.operating import RestartSlots, RetrySlots, StartSlots, StopSlots
from tests.simulation.script import At, Script, Trouble, Whom
from tests.simulation.surroundings import KillDaemon

SHARE = 0.35
STARTS_SHARE = 0.8
DIES_SHARE = 0.25
CLOSE_S = (0.0, 0.0, 1e-4, 0.02, 0.3, 1.1, 4.3, 30.0, 32.0)
"""How long after another trouble, or after what he did before."""
ACTS = (StopSlots, RestartSlots, RestartSlots, RetrySlots)
OF_JOBS = (*ACTS, RetrySlots, RetrySlots)
BACK_S = (0.0, 0.1, 1.0, 6.0)


def operated(script: Script, luck: object) -> Script:
    """The same story, in which the operator acts, in some."""
    rng = random.Random(f"operator {luck}")
    if rng.random() >= SHARE:
        return script
    return replace(script, troubles=(*script.troubles, *_acts(rng, script)))


def _acts(rng: random.Random, script: Script) -> Iterator[At]:
    last_s = max((at.at_s for at in script.troubles), default=0.0)
    for _ in range(rng.randint(1, 5)):
        close_s = rng.choice([at.at_s for at in script.troubles] or [5.0]) + rng.choice(CLOSE_S)
        at_s = rng.choice((close_s, rng.uniform(1.0, last_s + 60.0)))
        whom = _whom(rng, script.replicas)
        yield At(at_s, rng.choice(ACTS if script.restart is Restart.ALWAYS else OF_JOBS)(whom))
        if rng.random() < STARTS_SHARE:
            at_s += rng.choice(CLOSE_S)
            yield At(at_s, _next(rng, whom))
        if rng.random() < DIES_SHARE:
            yield At(at_s + rng.choice((0.0, 1e-4, 0.02, 0.5)), KillDaemon(rng.choice(BACK_S)))


def _next(rng: random.Random, whom: Whom) -> Trouble:
    """What follows upon it: mostly that what may be stopped is started again."""
    return rng.choices(
        (StartSlots(()), StartSlots(whom), RestartSlots(()), StopSlots(whom)), (5, 3, 1, 1)
    )[0]


def _whom(rng: random.Random, replicas: int) -> Whom:
    """All, one or several."""
    several = tuple(rng.sample(range(replicas), rng.randint(1, replicas))) if replicas else ()
    return rng.choice(((), (rng.randrange(50),), several))
