"""Carry out a schedule, then let the group come to rest, stop it, and have the history judged.

Theory of operation: one thread strikes; what lasts is undone when its time has come, while further faults strike.
A step waits until its place is free and, if it hits workers, until there is one to hit. Before a time of
peace everything that lasts is undone and the group becomes whole.

Limits: a step that finds nobody to hit for `_PLACE_WITHIN_S` is left out, and not counted.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.arena import REPLICAS
from tests.chaos.blows import Blows
from tests.chaos.report import Report, heals_of
from tests.chaos.schedule import Kind, Step, Where
from tests.support.history import Closed
from tests.support.ledgers import Rules
from tests.support.oracle import violations_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.chaos.arena import Arena
    from tests.support.history import Record

WHOLE_WITHIN_S = 90.0
STOP_WITHIN_S = 40.0
QUIET_S = 3.0
PROMPT_S = 10.0
SIGHT_S = 1.0
CLOCK_S = 1.5
_PLACE_WITHIN_S = 60.0
_TICK_S = 0.01
_BURST_KILLS = 10
_BURST_GAP_S = 0.05
_ALARMS = ("invariant_broken", "Traceback (most recent call last)")


@dataclass(order=True, slots=True)
class _Lasting:
    """A fault that is not over: when it is to end, and how."""

    until: float
    number: int
    where: Where = field(compare=False)
    undo: Callable[[], None] = field(compare=False)


class Campaign:
    """One schedule against one arena."""

    def __init__(self, arena: Arena, say: Callable[[str], None]) -> None:
        self._arena = arena
        self._blows = Blows(arena)
        self._say = say
        self._lasting: list[_Lasting] = []
        self._numbers = itertools.count()
        self._clock = threading.Event()
        self._struck: Counter[str] = Counter()
        self._began = time.monotonic()

    def run(self, schedule: Sequence[Step]) -> Report:
        """Everything, from the first start to the judgement."""
        self._come_to_rest()
        for number, step in enumerate(schedule, 1):
            if step.peace_before:
                self._come_to_rest()
            self._let_pass(step.after_s)
            self._take(step, f"{number}/{len(schedule)}")
        self._come_to_rest()
        self._look_at_rest()
        self._arena.witness.tell(Closed)
        at_rest = self._arena.witness.history
        self._arena.stop_daemon()
        self._look_after_stop()
        self._arena.witness.tell(Closed)
        history = self._arena.witness.history
        return Report(
            faults=self._struck,
            hits=self._blows.hits,
            lasted_s=time.monotonic() - self._began,
            heals=heals_of(history),
            violations=self._judge(at_rest, history),
        )

    # --- striking -------------------------------------------------------------------------------

    def _take(self, step: Step, number: str) -> None:
        """Strike as soon as it can be done."""
        gives_up_at = time.monotonic() + _PLACE_WITHIN_S
        while not self._can_strike(step.kind):
            if time.monotonic() > gives_up_at:
                self._say(f"{number} {step.kind.label}: nobody to hit")
                return
            self._tick()
        self._say(f"{number} at {time.monotonic() - self._began:.3f} s: {step.kind.label}")
        self._struck[step.kind.label] += 1
        if (undo := self._blows.strike(step)) is not None:
            until = time.monotonic() + step.lasts_s
            lasting = _Lasting(until, next(self._numbers), step.kind.where, undo)
            heapq.heappush(self._lasting, lasting)
        for _ in range(_BURST_KILLS - 1 if step.kind is Kind.BURST else 0):
            self._let_pass(_BURST_GAP_S)
            self._blows.strike(step)

    def _can_strike(self, kind: Kind) -> bool:
        """Whether its place is free of lasting faults, and somebody is there to be hit."""
        for lasting in self._lasting:
            if kind.where is not Where.WORKERS and kind.where.overlaps(lasting.where):
                return False
        if kind is Kind.DETACH:
            return self._arena.daemon.status() is not None
        return not kind.hits_chosen_workers or bool(self._arena.witness.targets())

    def _tick(self) -> None:
        """Let a moment pass: end what is due, bring the daemon back."""
        self._clock.wait(_TICK_S)
        while self._lasting and self._lasting[0].until <= time.monotonic():
            heapq.heappop(self._lasting).undo()
        self._arena.keep_daemon()

    def _let_pass(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tick()

    def _come_to_rest(self) -> None:
        """Wait until nothing lasts and the group is whole, or for as long as that may take at most."""
        while self._lasting:
            self._tick()
        until = time.monotonic() + WHOLE_WITHIN_S
        while self._flaws() and time.monotonic() < until:
            self._tick()

    # --- judging --------------------------------------------------------------------------------

    def _flaws(self) -> list[str]:
        return self._arena.witness.flaws(REPLICAS)

    def _complain(self, problems: Iterable[str]) -> None:
        self._arena.witness.complaints += problems

    def _look_at_rest(self) -> None:
        """After the last fault the three witnesses agree: ten serve, ten are registered, the status says so."""
        self._let_pass(QUIET_S)
        self._arena.witness.look()
        self._complain(f"I2: {flaw}" for flaw in self._flaws())
        if not self._arena.daemon.is_whole():
            self._complain([f"the status does not say that the group is whole: {self._status()}"])

    def _look_after_stop(self) -> None:
        """Nothing is left: no process, no registration, and nothing the daemon itself called broken."""
        self._arena.witness.look_carefully()
        left = self._arena.daemon.everything_started()
        self._complain(f"I6: left after the stop: {process}" for process in left)
        self._complain(f"I6: registered after the stop: {name}" for name in self._names())
        output = self._arena.daemon.output.read_text(errors="replace")
        for word in _ALARMS:
            self._complain(line for line in output.splitlines() if word in line)

    def _names(self) -> frozenset[str]:
        """Who is registered, as soon as that can be known."""
        until = time.monotonic() + QUIET_S
        while (names := self._arena.registry.names()) and time.monotonic() < until:
            self._tick()
        return names or frozenset()

    def _status(self) -> str:
        return "\n".join(str(slot) for slot in self._arena.daemon.slots())

    def _judge(self, at_rest: list[Record], history: list[Record]) -> list[str]:
        """What the history up to the rest breaks, and the whole of it, and what the witnesses complain of."""
        rules = Rules(
            policy=self._arena.settings.policy(),
            whole_within_s=WHOLE_WITHIN_S,
            stop_within_s=STOP_WITHIN_S,
            prompt_s=PROMPT_S,
            quiet_s=QUIET_S / 2,
            sight_s=SIGHT_S,
            clock_s=CLOCK_S,
        )
        without_first_end = [r for r in history if r is not at_rest[-1]]
        broken = violations_of(at_rest, rules) + violations_of(without_first_end, rules)
        return [*dict.fromkeys(broken + self._arena.witness.complaints)]
