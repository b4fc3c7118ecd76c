"""The one task that owns the view: wait, fold, decide once, act, tell.

Theory of operation. A round starts with a fact or the deadline of the last decision, whichever comes
first, and takes every fact there is. The plan is checked against the invariants before anything is
done; a plan that breaks one is thrown away and all action frozen, because a wrong model is worse than
a missing worker. Observers are told after the plan is under way, so nothing slow stands between an
exit and its replacement. There is no polling: no deadline means no wake-up.

`gauge` tells how busy the machine is, which launches and endings that wait for others depend on.

A frozen daemon still answers for its status; under systemd its watchdog is not fed any more, so it is
restarted, and the workers, which are not touched by that, are adopted by a daemon with a fresh view.

`heartbeat_s` (systemd's watchdog) is the one deliberate exception: it makes a round happen at least
that often, so that the watchdog is fed by this loop and by nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from autohealer.core.actions import Plan
from autohealer.core.crowd import next_review
from autohealer.core.events import Decided, Event, InvariantBroken, Ticked
from autohealer.core.evolve import evolve
from autohealer.core.invariants import violations_of
from autohealer.core.model import View
from autohealer.core.reconcile import next_wake, reconcile
from autohealer.daemon.executor import Executor
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.ports import Clock, Gauge, Observer


class Loop:
    """Runs rounds until the operator's stop is complete."""

    def __init__(
        self,
        view: View,
        mailbox: Mailbox,
        executor: Executor,
        clock: Clock,
        observers: Sequence[Observer],
        heartbeat_s: float | None = None,
        gauge: Gauge = lambda: None,
    ) -> None:
        self._view = view
        self._mailbox = mailbox
        self._executor = executor
        self._clock = clock
        self._observers = observers
        self._heartbeat_s = heartbeat_s
        self._gauge = gauge

    async def run(self) -> None:
        """Return when everything is gone, as asked."""
        plan = Plan()
        while not plan.finished:
            facts = await self._mailbox.drain(self._patience_s())
            plan = self._round(facts)

    def _patience_s(self) -> float | None:
        """How long to wait for a fact before looking again."""
        wake_at = next_wake(self._view)
        if wake_at is None:
            return self._heartbeat_s
        due_s = max(0.0, wake_at - self._clock())
        return due_s if self._heartbeat_s is None else min(due_s, self._heartbeat_s)

    def _round(self, facts: Sequence[Event]) -> Plan:
        view = self._view
        # Looked at only while somebody waits for it: nothing stands between an exit and its replacement.
        idle = None if next_review(view) is None else self._gauge()
        evolve(view, Ticked(self._clock(), idle))
        for fact in facts:
            evolve(view, fact)
        plan = reconcile(view)
        if not view.violations and (broken := violations_of(view, plan)):
            freeze = InvariantBroken(broken)
            evolve(view, freeze)
            facts, plan = [*facts, freeze], reconcile(view)
        evolve(view, Decided(plan))
        self._executor.execute(plan)
        for observe in self._observers:
            observe(facts, plan, view)
        return plan
