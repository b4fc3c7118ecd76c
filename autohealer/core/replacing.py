"""Who is replaced although it is well: what runs another revision than is wanted, one at a time.

Theory of operation. One that is outdated is asked to end only while nobody else is missed: all wanted slots are ready,
the list of registrations is fresh, and what was replaced before has served for `min_ready_s` and is registered. So a
new program that does not start, or dies at once, halts the replacing by itself, and the others serve on as they
are. One that cannot serve is replaced before the others, for nobody misses it. Whoever ends by itself meanwhile is
launched anew in any case, and then it is not outdated any more.

Another revision is another program: what the one before did wrong is not held against it, no slot waits on, and what
that has done is to be done by this one, too.

Must never know: clocks, I/O, what a revision is made of. Limits: one slot short at a time, however many are wanted.
"""

from __future__ import annotations

from dataclasses import replace

from autohealer.core.intensity import rate_of, resized
from autohealer.core.model import Phase, Slot, Stop, View
from autohealer.core.policy import Policy, Restart
from autohealer.core.readiness import rules_changed
from autohealer.core.slots import put

_NOT_READY = frozenset({Phase.STARTING, Phase.UNREADY})
_PAUSED = frozenset({Phase.BACKOFF, Phase.QUARANTINED, Phase.DONE})


def spec_set(view: View, revision: str, policy: Policy) -> None:
    """Workers of this revision are wanted from now on, kept by this policy."""
    is_another = revision != view.desired.revision
    replicas = view.desired.replicas
    before, after = rate_of(view.policy, replicas), rate_of(policy, replicas)
    if before != after:
        view.budget = resized(view.budget, view.now, before, after)
    view.policy = policy
    view.desired = replace(view.desired, revision=revision)
    for slot in list(view.slots.values()):
        is_undone = slot.phase is Phase.DONE and policy.restart is Restart.ALWAYS
        put(view, _pardoned(view, slot) if is_another or is_undone else slot)
    rules_changed(view)


def _pardoned(view: View, slot: Slot) -> Slot:
    """A slot for which another program is wanted: nothing is known against that one."""
    slot = replace(slot, failures=0, quick_restarts=0, unregistered_death=None)
    if slot.phase not in _PAUSED:
        return slot
    return replace(slot, phase=Phase.VACANT, phase_since=view.now, deadline=None)


def next_outdated(view: View) -> int | None:
    """The slot whose incarnation is to be replaced now for being outdated; None while none may be."""
    due = next_replacement(view)
    if due is None or view.now < due:
        return None
    return min(_unfit_outdated(view) or view.outdated)


def _unfit_outdated(view: View) -> list[int]:
    """The outdated ones that cannot serve: nobody misses them, and what is wanted now may mend them."""
    if not any(view.counts[phase] for phase in _NOT_READY):
        return []  # what is asked after each decision must not cost as much as there are
    outdated = [view.slots[key] for key in view.outdated]
    return [
        slot.key
        for slot in outdated
        if slot.phase in _NOT_READY
        and slot.occupant is not None
        and not slot.occupant.health.is_fit
    ]


def next_replacement(view: View) -> float | None:
    """When the next one may be replaced although nothing happens; None where more than time is missing, or nobody."""
    if not view.outdated or not _is_whole(view):
        return None
    served_at = _renewed_serves_at(view)
    return None if served_at is None else max(view.now, served_at)


def _is_whole(view: View) -> bool:
    """Whether nobody who is wanted is missed, as far as it is known, and nobody else is there."""
    there = view.counts[Phase.READY] + view.counts[Phase.DONE] + len(_unfit_outdated(view))
    everybody = there == view.desired.replicas == len(view.slots)
    known = view.fresh and view.now >= view.trust_from
    return (
        view.desired.stop is Stop.NO and everybody and known and not (view.missing or view.brake.on)
    )


def _renewed_serves_at(view: View) -> float | None:
    """From when on the last one that replaced an outdated one has served; None before it is registered."""
    slot = None if view.renewed is None else view.slots.get(view.renewed)
    if slot is None or slot.occupant is None:
        return view.now
    if slot.key in view.outdated and (slot.occupant.listed or slot.phase in _NOT_READY):
        return view.now
    if not slot.occupant.listed or slot.occupant.ready_at is None:
        return None
    return slot.occupant.ready_at + view.policy.min_ready_s
