"""A story: a script's troubles, the calm after them, an ending, and the oracle's verdict.

Theory of operation. The script decides everything. Troubles strike at their times. Then none comes any more, newborns
behave, and what lasts passes; the bound is waited for, and quiet after it. At the end the daemon stays, is detached,
stopped, or stopped twice; a hasty end does not wait for calm. The history written meanwhile goes to
`tests.support.oracle`, with no tolerance but the age a list may have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from autohealer.core.policy import Policy, Registrar, Restart
from autohealer.daemon.ports import Observer
from tests.simulation.ailing import Grow
from tests.simulation.drawing import LAG_MAX_S, LASTS_S
from tests.simulation.luck import Luck
from tests.simulation.operating import RestartSlots
from tests.simulation.script import Ending, Script, in_python
from tests.simulation.stage import POLICY, Stage
from tests.simulation.surroundings import Respecify, Scale
from tests.simulation.witnessed import WitnessedStore
from tests.simulation.world import KNOWN_WITHIN_S, REJOINS_WITHIN_S, SESSION_S
from tests.support.history import Record
from tests.support.ledgers import Rules
from tests.support.oracle import violations_of
from tests.support.virtual_time import pass_time, run_virtually

QUIET_S = 40.0
FACT_LATE_S = 0.031
"""A fact about a process comes within this (see `daemons.LATE_S`)."""
RENEWED_S = POLICY.min_ready_s + 1.0
"""From the launch of one that behaves until it has served."""
STOPPED_S = 100.0
"""A stop is over by then, whatever resists."""

Tell = Callable[[float, str], None]
"""Somebody who is told what strikes when."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a script."""

    script: Script
    violations: tuple[str, ...]
    troubles: Counter[str]
    history: tuple[Record, ...]


def play(
    script: Script, observers: Sequence[Observer] = (), tell: Tell = lambda _at, _what: None
) -> Outcome:
    """Play one to its end and judge it."""
    return run_virtually(_played(script, observers, tell))


async def _played(script: Script, observers: Sequence[Observer], tell: Tell) -> Outcome:
    return await _Story(script, observers, tell).run()


class _Story:
    def __init__(self, script: Script, observers: Sequence[Observer], tell: Tell) -> None:
        self._script = script
        self._tell = tell
        self._bound_s = recovery_bound_s(
            replicas_max(script),
            script.registrar,
            renews=renews(script),
            restart=script.restart,
        )
        self._stage = set_stage(script, Luck(script.luck), observers)

    async def run(self) -> Outcome:
        stage, script = self._stage, self._script
        began = stage.now
        stage.start_daemon()
        for at in sorted(script.troubles, key=lambda at: at.at_s):
            await _until(stage, began + at.at_s)
            self._tell(stage.now, f"TROUBLE {in_python(at.trouble)}")
            at.trouble.strike(stage)
        if not script.hasty:
            await self._calm()
        await self._end()
        stage.close()
        history = tuple(stage.world.history)
        violations = (
            *stage.accidents,
            *violations_of(history, rules(self._bound_s, script.registrar, script.restart)),
        )
        names = Counter(type(at.trouble).__name__ for at in script.troubles)
        return Outcome(script, violations, names, history)

    async def _calm(self) -> None:
        """No trouble comes any more; what lasts passes, then the bound and the quiet."""
        self._no_more_troubles()
        await pass_time(LASTS_S[1] + self._bound_s + QUIET_S + 1.0)

    def _no_more_troubles(self) -> None:
        no_more_troubles(self._stage)
        self._tell(self._stage.now, "no more troubles")

    async def _end(self) -> None:
        stage, script = self._stage, self._script
        self._tell(stage.now, f"the operator wants: {script.ending.value}")
        match script.ending:
            case Ending.STAY:
                pass
            case Ending.DETACH:
                stage.detach(1.0)
            case Ending.STOP:
                stage.stop()
            case Ending.STOP_TWICE | Ending.STOP_BY_FORCE:
                stage.stop()
                await pass_time(script.again_after_s)
                stage.stop(force=script.ending is Ending.STOP_BY_FORCE)
        if script.hasty or script.ending in {Ending.STAY, Ending.DETACH}:
            await self._calm()
        else:
            await pass_time(STOPPED_S)


def set_stage(
    script: Script,
    luck: Luck,
    observers: Sequence[Observer],
    group: str = "",
    store: WitnessedStore | None = None,
) -> Stage:
    """Where a group's story plays; `group` is its name, and `store` what all look at, where others play beside it."""
    return Stage(
        luck,
        script.replicas,
        observers,
        script.registrar,
        script.restart,
        asked=script.asked,
        notify=script.notify,
        watchdog=script.watchdog,
        group=group,
        store=store,
    )


def no_more_troubles(stage: Stage) -> None:
    """Newborns behave from now on, and the daemon lives."""
    stage.world.tempers.clear()
    if stage.world.voices is not None:
        stage.world.voices.ready_after_s.clear()
    if stage.daemon is not None:
        stage.daemon.fuse.actions_left = None


async def _until(stage: Stage, at: float) -> None:
    if at > stage.now:
        await pass_time(at - stage.now)


def replicas_max(script: Script) -> int:
    """How many workers are ever wanted."""
    scaled = [t.trouble.replicas for t in script.troubles if isinstance(t.trouble, Scale)]
    return max(script.replicas, *scaled) if scaled else script.replicas


def renews(script: Script) -> bool:
    """Whether workers are replaced that do nothing wrong but are outdated or large."""
    return any(isinstance(at.trouble, Respecify | Grow | RestartSlots) for at in script.troubles)


def rules(
    bound_s: float, registrar: Registrar = Registrar.SELF, restart: Restart = Restart.ALWAYS
) -> Rules:
    """What every story is held to; `bound_s` is how long healing may take.

    Programs that choose their names wait for each other, so nothing is promised of when one is replaced.
    """
    is_anonymous = registrar is Registrar.ANONYMOUS
    return Rules(
        policy=replace(POLICY, restart=restart),
        whole_within_s=bound_s,
        stop_within_s=POLICY.grace_s + 3 * POLICY.kill_retry_s,
        prompt_s=bound_s if is_anonymous else FACT_LATE_S,
        one_at_a_time=is_anonymous,
        quiet_s=QUIET_S,
        sight_s=LAG_MAX_S,
        asked_within_s=KNOWN_WITHIN_S + LAG_MAX_S,
        registers_the_ready=registrar is Registrar.AGENT,
    )


def recovery_bound_s(
    replicas: int,
    registrar: Registrar = Registrar.SELF,
    *,
    renews: bool = False,
    restart: Restart = Restart.ALWAYS,
) -> float:
    """How long healing may take once troubles have stopped and newborns behave.

    A frozen worker's session ends; after a reconnect or a mass loss there is a settle time each; what never
    registered has its timeout, what failed its longest back-off, what is told to go its grace and two more kills;
    launches share one window (a second each at worst) and one budget; a resisting tree has been relieved by then.
    Where one after another is replaced (`renews`), each may take its grace to end, and time to register and to serve;
    for its memory perhaps only after a while, and after the back-off of one whose predecessor grew as soon.
    Programs that choose their names wait besides, before each launch, until who lost its child has had its time.
    Where nobody is replaced, after a mass loss each waits for a replacement of the one before that does not come.
    """
    policy = POLICY
    if restart is Restart.NEVER:
        bound_s = recovery_bound_s(replicas, registrar, renews=renews)
        return bound_s + replicas * policy.registration_timeout_s
    turns = replicas if registrar is Registrar.ANONYMOUS else 0
    restarts_per_s = max(policy.budget_per_s, policy.budget_per_s_each * replicas)
    launches_s = (
        replicas * policy.probation_s + (2 * replicas + policy.budget_burst) / restarts_per_s
    )
    waits_s = policy.registration_timeout_s + policy.backoff_max_s + 2 * policy.settle_s
    return (
        SESSION_S
        + waits_s
        + policy.rejoin_grace_s
        + policy.grace_s
        + 2 * policy.kill_retry_s
        + launches_s
        + turns * policy.settle_s
        + 2 * REJOINS_WITHIN_S
        + (_renewed_s(policy, replicas) if renews else 0.0)
    )


def _renewed_s(policy: Policy, replicas: int) -> float:
    each_s = policy.grace_s + 2 * policy.kill_retry_s + RENEWED_S
    return replicas * each_s + policy.memory_patience_s + policy.memory_soon_s
