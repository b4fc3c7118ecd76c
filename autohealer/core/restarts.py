"""When a slot may be filled again after a death: at once, or after which pause, and in which phase it waits.

At once if it had served, unless that happened too often lately; else back-off. Served means ready for a moment: who
dies of its first piece of work has only failed a little later. A stable run wipes the slate. Who is replaced for its
memory has done nothing wrong, unless it used too much soon after its launch: then the next life will hardly be another.
Nothing is ever given up: a slot that keeps failing is quarantined, which is a long pause with a loud name.
"""

from __future__ import annotations

from dataclasses import replace

from autohealer.core import reasons
from autohealer.core.backoff import backoff_s, restart_pause_s
from autohealer.core.intensity import may_restart_at_once, recent
from autohealer.core.model import Death, Ending, Phase, Slot, View
from autohealer.core.slots import runs_another


def after_death(view: View, empty: Slot, death: Death) -> Slot:
    """At once if it had served, unless that gets too frequent; else after a growing pause."""
    served_s = death.occupant.served_s(view.now)
    if served_s is None or served_s < view.policy.min_ready_s:
        return _after_failed_start(view, empty, death)
    empty = replace(empty, failures=0)
    if served_s >= view.policy.stable_s:
        empty = replace(empty, quick_restarts=0)
    restarts = recent(empty.recent_restarts, view.now, view.policy)
    if not empty.quick_restarts and may_restart_at_once(restarts, view.now, view.policy):
        return replace(empty, recent_restarts=(*restarts, view.now), reason=death.cause)
    quick_restarts = empty.quick_restarts + 1
    delay_s = restart_pause_s(view.policy, quick_restarts, death.jitter)
    parked = quick_restarts > view.policy.restart_pauses
    say = reasons.of_quarantine if parked else reasons.of_quick_restarts
    return replace(
        _parked(view, empty, delay_s, parked=parked),
        quick_restarts=quick_restarts,
        reason=say(death.cause, quick_restarts),
    )


def after_ending(view: View, empty: Slot, ending: Ending | None, death: Death) -> Slot:
    """At once where we ended it for no fault of its own, unless it outgrows its memory again and again."""
    if ending is Ending.STOPPED:
        fresh = replace(empty, failures=0, quick_restarts=0, outgrown=0)
        return replace(fresh, reason=reasons.STARTED_AGAIN)
    if ending is not Ending.MEMORY:
        return replace(empty, reason=death.cause)
    grew_s = death.occupant.rss_at - death.occupant.since
    if grew_s > view.policy.memory_soon_s or runs_another(death.occupant, view):
        fresh = replace(empty, failures=0, quick_restarts=0, outgrown=0)
        return replace(fresh, recent_restarts=(), reason=death.cause)
    outgrown = empty.outgrown + 1
    delay_s = backoff_s(view.policy, outgrown, death.jitter)
    parked = outgrown >= view.policy.quarantine_failures
    reason = reasons.of_outgrown(death.cause, outgrown, view.policy)
    return replace(_parked(view, empty, delay_s, parked=parked), outgrown=outgrown, reason=reason)


def _after_failed_start(view: View, empty: Slot, death: Death) -> Slot:
    failures = empty.failures + 1
    delay_s = backoff_s(view.policy, failures, death.jitter)
    parked = failures >= view.policy.quarantine_failures
    say = reasons.of_quarantine if parked else reasons.of_backoff
    return replace(
        _parked(view, empty, delay_s, parked=parked),
        failures=failures,
        unregistered_death=death,
        reason=say(death.cause, failures),
    )


def _parked(view: View, empty: Slot, delay_s: float, *, parked: bool) -> Slot:
    phase = Phase.QUARANTINED if parked else Phase.BACKOFF
    return replace(empty, phase=phase, deadline=view.now + delay_s)
