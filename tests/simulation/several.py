"""Stories of several groups that one daemon keeps: told as one group's are, and judged group by group and together.

Theory of operation. Each group has a script, whose troubles strike it alone; what strikes the daemon, its session or
the store strikes every group's stage at one moment. The daemon is one: a loop for each group, of which all share the
session and what neighbours tell each other, and which die and are started together. The endings of the groups' own
scripts do not count.

Limits: groups run on machines of their own, with pids of their own: none ever sees another's processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from autohealer.core.policy import Registrar, Restart
from autohealer.daemon.ports import Observer
from tests.simulation.breaking import BreakRules
from tests.simulation.drawing import LASTS_S
from tests.simulation.luck import Luck
from tests.simulation.script import At, Ending, Script, in_python
from tests.simulation.stage import Stage, share_daemon
from tests.simulation.story import (
    QUIET_S,
    STOPPED_S,
    no_more_troubles,
    recovery_bound_s,
    renews,
    replicas_max,
    rules,
    set_stage,
)
from tests.simulation.witnessed import WitnessedStore
from tests.support.brakes import alone_of, history_of, violations_of_all
from tests.support.history import Record
from tests.support.oracle import violations_of
from tests.support.virtual_time import pass_time, run_virtually

PIDS_APART = 100_000
Tell = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Several:
    """One story of several groups; `troubles` strike all, those of each of `groups` only that one."""

    groups: tuple[Script, ...]
    troubles: tuple[At, ...] = ()
    ending: Ending = Ending.STAY
    hasty: bool = False
    again_after_s: float = 1.0
    luck: int = 0


@dataclass(frozen=True, slots=True)
class OutcomeOfSeveral:
    """What came of it; `of_groups` are each one's own violations, `violations` all there are."""

    violations: tuple[str, ...]
    of_groups: tuple[tuple[str, ...], ...]
    troubles: Counter[str]
    histories: tuple[tuple[Record, ...], ...]


def play_several(
    script: Several, observers: Sequence[Observer] = (), tell: Tell = lambda _at, _what: None
) -> OutcomeOfSeveral:
    """Play one to its end and judge it."""
    return run_virtually(_played(script, observers, tell))


async def _played(script: Several, observers: Sequence[Observer], tell: Tell) -> OutcomeOfSeveral:
    return await _Story(script, observers, tell).run()


def bound_of_several_s(script: Several) -> float:
    """How long healing may take: as that of one group of all workers, where each has what only some of them have."""
    groups = script.groups
    is_anonymous = any(it.registrar is Registrar.ANONYMOUS for it in groups)
    are_left = any(it.restart is Restart.NEVER for it in groups)
    return recovery_bound_s(
        sum(map(replicas_max, groups)),
        Registrar.ANONYMOUS if is_anonymous else Registrar.SELF,
        renews=any(map(renews, groups)),
        restart=Restart.NEVER if are_left else Restart.ALWAYS,
    )


class _Story:
    def __init__(self, script: Several, observers: Sequence[Observer], tell: Tell) -> None:
        self._script = script
        self._tell = tell
        self._bound_s = bound_of_several_s(script)
        luck = Luck(script.luck)
        store = WitnessedStore()
        self._stages = [
            set_stage(it, luck, observers, f"g{number}", store)
            for number, it in enumerate(script.groups)
        ]
        for number, stage in enumerate(self._stages):
            stage.world.host.last_pid += number * PIDS_APART
        share_daemon(self._stages)
        self._chronicle: list[tuple[int, Record]] = []
        for number, stage in enumerate(self._stages):
            self._chronicle += ((number, record) for record in stage.world.history)
            stage.world.told = partial(self._note, number)

    def _note(self, number: int, record: Record) -> None:
        self._chronicle.append((number, record))

    async def run(self) -> OutcomeOfSeveral:
        began = self._stages[0].now
        self._stages[0].start_daemon()
        for at, stages in self._troubles():
            await self._until(began + at.at_s)
            names = ", ".join(stage.group for stage in stages)
            self._tell(self._stages[0].now, f"TROUBLE {in_python(at.trouble)} of {names}")
            for stage in stages:
                at.trouble.strike(stage)
        if not self._script.hasty:
            await self._calm()
        await self._end()
        for stage in self._stages:
            stage.close()
        return self._judged()

    @property
    def _frozen_s(self) -> float:
        """How long a group may be frozen."""
        troubles = [at.trouble for at, _ in self._troubles()]
        return max((it.lasts_s for it in troubles if isinstance(it, BreakRules)), default=0.0)

    def _troubles(self) -> list[tuple[At, list[Stage]]]:
        told = [(at, self._stages) for at in self._script.troubles]
        for stage, script in zip(self._stages, self._script.groups, strict=True):
            told += [(at, [stage]) for at in script.troubles]
        return sorted(told, key=lambda pair: pair[0].at_s)

    async def _until(self, at: float) -> None:
        if at > self._stages[0].now:
            await pass_time(at - self._stages[0].now)

    async def _calm(self) -> None:
        for stage in self._stages:
            no_more_troubles(stage)
        self._tell(self._stages[0].now, "no more troubles")
        await pass_time(max(LASTS_S[1], self._frozen_s) + self._bound_s + QUIET_S + 1.0)

    async def _end(self) -> None:
        script = self._script
        self._tell(self._stages[0].now, f"the operator wants: {script.ending.value}")
        stops = script.ending in {Ending.STOP, Ending.STOP_TWICE, Ending.STOP_BY_FORCE}
        for stage in self._stages:
            if stops:
                stage.stop()
            elif script.ending is Ending.DETACH:
                stage.detach(1.0)
        if stops and script.ending is not Ending.STOP:
            await pass_time(script.again_after_s)
            for stage in self._stages:
                stage.stop(force=script.ending is Ending.STOP_BY_FORCE)
        if script.hasty or not stops:
            await self._calm()
        else:
            await pass_time(STOPPED_S)

    def _judged(self) -> OutcomeOfSeveral:
        of_groups = []
        for number, (stage, script) in enumerate(
            zip(self._stages, self._script.groups, strict=True)
        ):
            own = alone_of(rules(self._bound_s, script.registrar, script.restart))
            history = history_of(number, self._chronicle)
            of_groups.append((*stage.accidents, *violations_of(history, own)))
        told = [
            f"{violation} (group {stage.group})"
            for stage, violations in zip(self._stages, of_groups, strict=True)
            for violation in violations
        ]
        anonymous = {
            number
            for number, script in enumerate(self._script.groups)
            if script.registrar is Registrar.ANONYMOUS
        }
        together = violations_of_all(self._chronicle, rules(self._bound_s), anonymous)
        own_troubles = [at for script in self._script.groups for at in script.troubles]
        return OutcomeOfSeveral(
            (*told, *together),
            tuple(of_groups),
            Counter(type(at.trouble).__name__ for at in (*self._script.troubles, *own_troubles)),
            tuple(tuple(stage.world.history) for stage in self._stages),
        )
