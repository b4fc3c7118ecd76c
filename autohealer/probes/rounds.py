"""When each worker of a group is asked what; what changes becomes a fact.

Theory of operation. An observer of decisions: who was launched or adopted is asked from then on, until it ended or was
told to. Readiness and liveness are not asked before the startup probe went well once and the worker said READY=1, where
it is to. Each question of each worker is one timer of the event loop; when it is due a task asks, at most `AT_ONCE` of
a group at a time, and sets the next one. Periods are jittered, so that workers launched together are not asked together
for ever.

Must never know: what will be decided. Limits: used from the event loop's thread only; a group of workers that all hang
is asked less often than it should be.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from autohealer.core.actions import Drain, Kill, Plan
from autohealer.core.events import (
    Event,
    HealthReported,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkerSpawned,
)
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Incarnation, View
from autohealer.daemon.ports import Post
from autohealer.healthspec import HealthSpec, ProbeSpec
from autohealer.probes.answers import Answer, CouldNotAsk, Tally
from autohealer.probes.asking import Commands, ask

AT_ONCE = 128
"""Questions under way in a group: a thousand workers that all hang for a second are still asked every ten."""

EAGER_S = 0.1
"""Between the first questions to one that was never well; doubled from one to the next, up to its period."""

JITTER_SHARE = 0.1
TOGETHER_S, TOGETHER_FROM_S = 0.1, 1.0
"""Those due in the same tenth of a second are asked together, if that puts nobody off by more than a tenth: a processor
that is woken for each of them spends most of its time on waking up."""

ADOPTED_SPREAD_S = 1.0
"""Over which the first questions to those are spread that an earlier daemon left."""

Start = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]


@dataclass(slots=True)
class _Question:
    """One probe of one worker; `asked` counts those before it was ever well, `counted_at` is when one was due last."""

    name: Incarnation
    values: Mapping[str, str]
    tally: Tally
    asked: int = 0
    counted_at: float | None = None
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None

    def end(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.task is not None:
            self.task.cancel()


class Rounds:
    """The probes of one group."""

    def __init__(
        self,
        spec: HealthSpec,
        values_of: Callable[[Incarnation], Mapping[str, str]],
        commands: Commands,
        post: Post,
        start: Start,
        rng: random.Random,
        *,
        awaits_notify: bool,
    ) -> None:
        """`values_of` tells what placeholders stand for; `awaits_notify`: workers say themselves when they started."""
        self._spec = dict(spec.probes())
        self._values_of = values_of
        self._commands = commands
        self._post = post
        self._start = start
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(AT_ONCE)
        notify = {Check.NOTIFY} if awaits_notify else set()
        self._gates = frozenset({Check.STARTUP} & self._spec.keys() | notify)
        self._shut: dict[Incarnation, set[Check]] = {}
        self._questions: dict[Incarnation, list[_Question]] = {}

    def observe(self, facts: Sequence[Event], plan: Plan, _view: View) -> None:
        """After a round."""
        for fact in facts:
            match fact:
                case WorkerSpawned(name, _):
                    self._begin(name, 0.0)
                case WorkerAdopted(name, _, _):
                    self._begin(name, self._rng.random() * ADOPTED_SPREAD_S)
                case WorkerExited(name) | TreeEmptied(name):
                    self._end(name)
                case HealthReported(name, check, Verdict.WELL):
                    self._went_well(name, check)
                case _:
                    pass
        for action in plan.actions:
            if isinstance(action, Drain | Kill):
                self._end(action.name)

    def close(self) -> dict[Incarnation, frozenset[Check]]:
        """Ask nobody any more; who was asked, and what each is still to do before it has started."""
        awaited = {name: frozenset(shut) for name, shut in self._shut.items()}
        for name in list(self._questions):
            self._end(name)
        return awaited

    def take_over(self, awaited: Mapping[Incarnation, frozenset[Check]]) -> None:
        """Ask those that others asked until now."""
        for name, shut in awaited.items():
            self._begin(name, self._rng.random() * ADOPTED_SPREAD_S, self._gates & shut)

    def _begin(
        self, name: Incarnation, spread_s: float, shut: frozenset[Check] | None = None
    ) -> None:
        if name in self._questions:
            return
        self._questions[name] = []
        self._shut[name] = set(self._gates if shut is None else shut)
        spec = self._spec.get(Check.STARTUP)
        if spec is not None and Check.STARTUP in self._shut[name]:
            self._ask_from_now_on(name, Check.STARTUP, spec, spread_s)
        self._open_if_started(name, spread_s)

    def _end(self, name: Incarnation) -> None:
        self._shut.pop(name, None)
        for question in self._questions.pop(name, ()):
            question.end()

    def _went_well(self, name: Incarnation, check: Check) -> None:
        if name in self._shut and check in self._shut[name]:
            self._shut[name].discard(check)
            self._open_if_started(name, 0.0)

    def _open_if_started(self, name: Incarnation, spread_s: float) -> None:
        if self._shut[name]:
            return
        for check in (Check.READINESS, Check.LIVENESS):
            if (spec := self._spec.get(check)) is not None:
                self._ask_from_now_on(name, check, spec, spread_s)

    def _ask_from_now_on(
        self, name: Incarnation, check: Check, spec: ProbeSpec, spread_s: float
    ) -> None:
        question = _Question(name, self._values_of(name), Tally(check, spec))
        self._questions[name].append(question)
        # Who was found running has had its delay.
        self._set_timer(question, spread_s or spec.delay_s)

    def _set_timer(self, question: _Question, delay_s: float) -> None:
        at = self._loop.time() + max(0.0, delay_s)
        if delay_s >= TOGETHER_FROM_S:
            at = ceil(at / TOGETHER_S) * TOGETHER_S
        question.timer = self._loop.call_at(at, self._due, question)

    def _due(self, question: _Question) -> None:
        question.timer = None
        question.task = self._start(self._ask(question))

    async def _ask(self, question: _Question) -> None:
        tally, spec = question.tally, question.tally.spec
        async with self._places:
            began = self._loop.time()
            try:
                answer = await ask(
                    spec.target, question.name, question.values, spec.timeout_s, self._commands
                )
            except CouldNotAsk:
                answer = None  # it is asked again, and nothing concluded
        if answer is not None:
            is_due = self._due_in_s(question, began) <= JITTER_SHARE * spec.period_s
            self._tell(question, answer, counts=is_due or tally.was_well)
            question.counted_at = began if is_due else question.counted_at
        if tally.check is Check.STARTUP and tally.said is Verdict.WELL:
            return
        self._set_timer(question, began + self._pause_s(question, began) - self._loop.time())

    def _tell(self, question: _Question, answer: Answer, *, counts: bool) -> None:
        tally = question.tally
        verdict = tally.count(answer, counts=counts)
        if verdict is not None:
            why = "" if verdict is Verdict.WELL else tally.told(answer)
            self._post(HealthReported(question.name, tally.check, verdict, why))

    def _pause_s(self, question: _Question, began: float) -> float:
        """From one question to the next, which is no later than the one that counts again."""
        spec = question.tally.spec
        jitter = 1.0 + JITTER_SHARE * (2.0 * self._rng.random() - 1.0)
        if question.tally.was_well or question.tally.check is Check.LIVENESS:
            return spec.period_s * jitter
        eager_s = EAGER_S * 2.0 ** min(question.asked, 32)
        question.asked += 1
        return min(eager_s * jitter, max(EAGER_S, self._due_in_s(question, began)))

    def _due_in_s(self, question: _Question, now: float) -> float:
        """In how long it is due again, what is asked in between aside."""
        if question.counted_at is None:
            return 0.0
        return question.counted_at + question.tally.spec.period_s - now
