"""A story: one seed's faults, the calm after them, an ending, and the oracle's verdict.

Theory of operation. The seed decides everything. Faults come in bursts and with pauses, some of them long
enough for the group to be whole in between. Then no fault comes any more, newborns behave, and what lasts passes; the
bound is waited for, and quiet after it. At the end the daemon stays, is detached, stopped, or stopped twice. The
history written meanwhile goes to `tests.support.oracle`, with no tolerance but the age a list may have.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autohealer.daemon.ports import Observer
from tests.simulation.faults import DEAF_S, FAULTS, LAG_MAX_S, REPLICAS_MAX, recovery_bound_s
from tests.simulation.stage import POLICY, Stage
from tests.support.history import Closed, Record
from tests.support.ledgers import Rules
from tests.support.oracle import violations_of
from tests.support.virtual_time import pass_time, run_virtually

PAUSES_S = (0.0, 0.0, 0.0001, 0.02, 0.5, 0.6, 1.5, 4.3, 6.2, 15.0)
LONG_PAUSE_S = 60.0
QUIET_S = 40.0
FACT_LATE_S = 0.031
"""A fact about a process comes within this (see `daemons.LATE_S`)."""
LASTS_S = max(DEAF_S)
"""No fault lasts longer than this, except of workers, which are replaced."""

BOUND_S = recovery_bound_s(REPLICAS_MAX)
RULES = Rules(
    policy=POLICY,
    whole_within_s=BOUND_S,
    stop_within_s=POLICY.grace_s + 3 * POLICY.kill_retry_s,
    prompt_s=FACT_LATE_S,
    quiet_s=QUIET_S,
    sight_s=LAG_MAX_S,
)

_NAMES = list(FAULTS)
_WEIGHTS = [weight for weight, _ in FAULTS.values()]

Tell = Callable[[float, str], None]
"""Somebody who is told what strikes when."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed."""

    seed: int
    violations: tuple[str, ...]
    faults: Counter[str]
    history: tuple[Record, ...]


def play(
    seed: int, observers: Sequence[Observer] = (), tell: Tell = lambda _at, _what: None
) -> Outcome:
    """Play one seed to its end and judge it."""
    return run_virtually(_Story(seed, observers, tell).run())


class _Story:
    def __init__(self, seed: int, observers: Sequence[Observer], tell: Tell) -> None:
        self._seed = seed
        self._rng = random.Random(seed)
        self._tell = tell
        self._observers = observers
        self._faults: Counter[str] = Counter()

    async def run(self) -> Outcome:
        rng = self._rng
        world_rng = random.Random(rng.random())
        stage = Stage(world_rng, rng.randint(1, REPLICAS_MAX), self._observers)
        stage.start_daemon()
        await pass_time(rng.choice((0.0, 0.1, 5.0, LONG_PAUSE_S)))
        for _ in range(rng.randint(1, 25)):
            self._strike(stage, rng.choices(_NAMES, _WEIGHTS)[0])
            pause_s = LONG_PAUSE_S if rng.random() < 0.05 else rng.choice(PAUSES_S)
            await pass_time(pause_s)
        await self._calm(stage)
        await self._end(stage)
        stage.world.tell(Closed(stage.now))
        if stage.daemon is not None:
            stage.daemon.die()
        history = tuple(stage.world.history)
        violations = (*stage.accidents, *violations_of(history, RULES))
        return Outcome(self._seed, violations, self._faults, history)

    def _strike(self, stage: Stage, name: str) -> None:
        self._faults[name] += 1
        self._tell(stage.now, f"FAULT {name}")
        _, strike = FAULTS[name]
        strike(stage, self._rng)

    async def _calm(self, stage: Stage) -> None:
        """No fault comes any more; what lasts passes, then the bound and the quiet."""
        stage.world.tempers.clear()
        if stage.daemon is not None:
            stage.daemon.fuse.actions_left = None
        self._tell(stage.now, "no more faults")
        await pass_time(LASTS_S + BOUND_S + QUIET_S + 1.0)

    async def _end(self, stage: Stage) -> None:
        ending = self._rng.choice(("stay", "detach", "stop", "stop twice"))
        self._tell(stage.now, f"the operator wants: {ending}")
        match ending:
            case "detach":
                stage.detach()
                await pass_time(BOUND_S + QUIET_S)
            case "stop":
                stage.stop()
                await pass_time(60.0)
            case "stop twice":
                stage.stop()
                await pass_time(self._rng.uniform(0.0, 3.0))
                stage.stop(force=self._rng.random() < 0.5)
                await pass_time(60.0)
