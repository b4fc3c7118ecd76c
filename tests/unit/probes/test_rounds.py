"""When each worker is asked what, on virtual time, by commands that are answered at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from autohealer.core.actions import Kill, Plan
from autohealer.core.events import Event, HealthReported, WorkerAdopted, WorkerExited, WorkerSpawned
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Budget, Ending, Exit, Incarnation, View
from autohealer.core.policy import Policy
from autohealer.healthspec import ExecTarget, HealthSpec, ProbeSpec
from autohealer.probes.asking import Ran
from autohealer.probes.rounds import AT_ONCE, Rounds
from tests.support.virtual_time import pass_time, run_virtually

ONE, OTHER = Incarnation(0, 5), Incarnation(1, 5)
VIEW = View(Policy(), Budget(1.0))


def _probe(word: str, period_s: float = 10.0, **numbers: int) -> ProbeSpec:
    return ProbeSpec(ExecTarget((word, "{slot}")), period_s=period_s, **numbers)


class World:
    """Rounds of a group, what was asked and when, and the facts that came of it."""

    def __init__(self, spec: HealthSpec, *, awaits_notify: bool = False) -> None:
        self.facts: list[Event] = []
        self.asked: list[tuple[float, str, int]] = []
        self.answers: Callable[[str], int] = lambda _word: 0
        self.hangs = False
        self.most_at_once = self._at_once = 0
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._tasks: set[asyncio.Task[None]] = set()
        self.rounds = Rounds(
            spec,
            lambda name: {"slot": str(name.slot)},
            self,
            self._post,
            self._loop.create_task,
            random.Random(1),
            awaits_notify=awaits_notify,
        )

    async def run(self, name: Incarnation, argv: tuple[str, ...]) -> Ran:
        """The port of commands."""
        assert argv[1] == str(name.slot)
        self.asked.append((self._loop.time() - self._began, argv[0], name.slot))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            if self.hangs:
                await asyncio.Event().wait()
        finally:
            self._at_once -= 1
        return Ran(code=self.answers(argv[0]))

    def _post(self, fact: Event) -> None:
        self.facts.append(fact)
        self._loop.call_soon(self.tell, fact)

    def tell(self, *facts: Event, plan: Plan | None = None) -> None:
        """One round of the loop."""
        self.rounds.observe(facts, plan or Plan(), VIEW)

    def times(self, word: str) -> list[float]:
        """When something was asked."""
        return [at for at, asked, _ in self.asked if asked == word]

    def verdicts(self) -> list[tuple[Check, Verdict]]:
        """What was concluded."""
        return [(f.check, f.verdict) for f in self.facts if isinstance(f, HealthReported)]


def test_readiness_and_liveness_wait_for_the_start() -> None:
    """A worker that starts slowly would be ended before it could answer."""

    async def story() -> None:
        probes = HealthSpec(_probe("start", failures=30), _probe("ready"), _probe("live"))
        world = World(probes, awaits_notify=True)
        world.answers = lambda word: int(word == "start")
        world.tell(WorkerSpawned(ONE, 9))
        await pass_time(60.0)
        assert {word for _, word, _ in world.asked} == {"start"}
        world.answers = lambda _word: 0
        await pass_time(10.5)
        assert world.verdicts() == [(Check.STARTUP, Verdict.WELL)]
        world.tell(HealthReported(ONE, Check.NOTIFY, Verdict.WELL))
        starts = len(world.times("start"))
        await pass_time(30.0)
        assert set(world.verdicts()[1:]) == {
            (Check.READINESS, Verdict.WELL),
            (Check.LIVENESS, Verdict.WELL),
        }
        assert len(world.times("start")) == starts
        world.rounds.close()

    run_virtually(story())


def test_a_start_that_takes_too_long_fails_after_its_periods() -> None:
    """Being asked more often at first, a worker would be given up within a second."""

    async def story() -> None:
        world = World(HealthSpec(startup=_probe("start", failures=3)))
        world.answers = lambda _word: 1
        world.tell(WorkerSpawned(ONE, 9))
        await pass_time(17.0)
        assert world.verdicts() == []
        assert len(world.times("start")) > 5
        await pass_time(6.0)
        assert world.verdicts() == [(Check.STARTUP, Verdict.UNHEALTHY)]
        world.rounds.close()

    run_virtually(story())


def test_who_becomes_ready_is_found_so_soon() -> None:
    """Every start would take a whole period longer than it has to."""

    async def story() -> None:
        world = World(HealthSpec(readiness=_probe("ready")))
        world.answers = lambda _word: int(asyncio.get_running_loop().time() - world._began < 1.0)
        world.tell(WorkerSpawned(ONE, 9))
        await pass_time(2.0)
        assert world.verdicts() == [(Check.READINESS, Verdict.WELL)]
        await pass_time(60.0)
        assert 5 <= len([at for at in world.times("ready") if at > 2.0]) <= 7
        world.rounds.close()

    run_virtually(story())


def test_who_ended_or_is_to_end_is_asked_no_more() -> None:
    """The next worker of a slot would be judged by what the last one answered."""

    async def story() -> None:
        world = World(HealthSpec(liveness=_probe("live")))
        world.tell(WorkerSpawned(ONE, 9), WorkerAdopted(OTHER, 8, 60.0))
        await pass_time(15.0)
        assert {slot for _, _, slot in world.asked} == {0, 1}
        count = len(world.asked)
        world.tell(
            WorkerExited(ONE, Exit(), True, 0.0),
            plan=Plan((Kill(1, OTHER, "why", Ending.STOPPED),)),
        )
        await pass_time(60.0)
        assert len(world.asked) == count

    run_virtually(story())


def test_no_more_are_asked_at_once_than_there_are_places() -> None:
    """A group of workers that all hang would take all descriptors of the daemon."""

    async def story() -> None:
        world = World(HealthSpec(liveness=_probe("live")))
        world.hangs = True
        world.tell(*(WorkerSpawned(Incarnation(slot, 1), 9) for slot in range(3 * AT_ONCE)))
        await pass_time(60.0)
        assert world.most_at_once == AT_ONCE
        assert len({slot for _, _, slot in world.asked}) == 3 * AT_ONCE
        assert world.verdicts().count((Check.LIVENESS, Verdict.UNHEALTHY)) == 3 * AT_ONCE
        world.rounds.close()

    run_virtually(story())


def test_workers_launched_together_are_not_asked_together_for_ever() -> None:
    """Every ten seconds the machine would stand still for a moment."""

    async def story() -> None:
        world = World(HealthSpec(liveness=_probe("live")))
        world.tell(*(WorkerSpawned(Incarnation(slot, 1), 9) for slot in range(100)))
        await pass_time(600.0)
        late = [at % 10.0 for at in world.times("live") if at > 500.0]
        busiest = max(sum(n <= at < n + 1.0 for at in late) for n in range(10))
        assert busiest < len(late) / 3
        world.rounds.close()

    run_virtually(story())
