"""Who is replaced although it is well: what is outdated, to be restarted or too large, one at a time.

Theory of operation. One that is outdated is asked to end only while nobody else is missed: all wanted slots are ready,
the list of registrations is fresh, and what was replaced before has served for `min_ready_s` and is registered. So a
new program that does not start, or dies at once, halts the replacing by itself, and the others serve on as they
are. One that cannot serve is replaced before the others, for nobody misses it. Whoever ends by itself meanwhile is
launched anew in any case, and then it is not outdated any more.

So it is with one that is to be restarted because the operator asked for it, and that counts as outdated here, but for
this: it runs the program that is wanted, so that a slot in which that keeps failing, or that is held, says nothing
against it and is not waited for, unless it is the one that was replaced last.

One that uses more memory than it may is replaced in the same way, and before those that are outdated, with one
difference: it may not stay for ever because a neighbour is quarantined, or its predecessor's successor does not come
up. So that others are missed puts it off for `memory_patience_s` only, counted from when it was found too large, and a
successor that does not serve puts the next one off for `memory_soon_s`. Under a brake, while nothing is known of
registrations, or where the restart budget could not pay for its successor, it lives on: too large a worker is better
than an empty slot. Who is missing or ails is ended for that, by the rules for that.

Another revision is another program: what the one before did wrong is not held against it, no slot waits on, and what
that has done is to be done by this one, too.

Must never know: clocks, I/O, what a revision is made of. Limits: one slot short at a time, however many are wanted.
"""

from __future__ import annotations

from dataclasses import replace

from autohealer.core.ailing import LIVING
from autohealer.core.epidemic import unclaimed
from autohealer.core.intensity import ROUNDING_S, rate_of, resized
from autohealer.core.model import Ending, Incarnation, Phase, Slot, Stop, View
from autohealer.core.policy import Policy, Restart
from autohealer.core.readiness import rules_changed
from autohealer.core.slots import is_oversized, occupied_by, put, runs_another

RENEWALS = frozenset({Ending.OUTDATED, Ending.RESTARTED, Ending.MEMORY})
"""Why one that is well is ended to make room for another one in its slot."""

_NOT_READY = frozenset({Phase.STARTING, Phase.UNREADY})
PAUSED = frozenset({Phase.BACKOFF, Phase.QUARANTINED, Phase.DONE})
"""Empty slots that are not filled yet, or any more, by the rules."""


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
        put(view, pardoned(view, slot) if is_another or is_undone else slot)
    rules_changed(view)


def pardoned(view: View, slot: Slot) -> Slot:
    """A slot that may be filled at once: nothing is held against what is wanted in it now."""
    slot = replace(slot, failures=0, quick_restarts=0, outgrown=0, unregistered_death=None)
    if slot.phase not in PAUSED:
        return slot
    return replace(slot, phase=Phase.VACANT, phase_since=view.now, deadline=None)


def weighed(view: View, name: Incarnation, rss_bytes: int) -> None:
    """What a worker's tree uses of memory is more than it may, or is no more."""
    slot, occupant = occupied_by(view, name)
    if slot is None or occupant is None or slot.phase not in LIVING:
        return
    rss_at = occupant.rss_at if is_oversized(slot, view) else view.now
    put(view, replace(slot, occupant=replace(occupant, rss_bytes=rss_bytes, rss_at=rss_at)))


def next_outdated(view: View) -> int | None:
    """The slot whose incarnation is to be replaced now for being outdated; None while none may be."""
    due = _outdated_due(view)
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


def next_oversized(view: View) -> int | None:
    """The slot whose incarnation is to be replaced now for its memory, the longest too large first."""
    due = _oversized_due(view)
    if due is None or view.now < due:
        return None
    return min(_large(view), key=lambda slot: (_too_large_since(slot), slot.key)).key


def next_replacement(view: View) -> float | None:
    """When the next one may be replaced although nothing happens; None where more than time is missing, or nobody."""
    due = (_outdated_due(view), _oversized_due(view))
    return min((at for at in due if at is not None), default=None)


def _outdated_due(view: View) -> float | None:
    if not (view.outdated and _is_calm(view)):
        return None
    if not _is_filled(view, len(_unfit_outdated(view)) + _not_waited_for(view)):
        return None
    served_at = _renewed_serves_at(view)
    return None if served_at is None else max(view.now, served_at)


def _not_waited_for(view: View) -> int:
    """How many wanted slots may be without a worker that serves where nobody is replaced but as the operator asked."""
    quarantined, held = view.counts[Phase.QUARANTINED], view.counts[Phase.HELD]
    if not (quarantined or held) or any(_runs_another(view, key) for key in view.outdated):
        return 0
    of_last = view.renewed is not None and _is_in(view, view.renewed, Phase.QUARANTINED)
    resting = sum(_is_in(view, key, Phase.HELD) for key in view.desired.overrides.stopped)
    return quarantined - of_last + held - resting


def _runs_another(view: View, key: int) -> bool:
    occupant = view.slots[key].occupant
    return occupant is not None and runs_another(occupant, view)


def _is_in(view: View, key: int, phase: Phase) -> bool:
    return key in view.slots and view.slots[key].phase is phase


def _oversized_due(view: View) -> float | None:
    """The same of those that use too much memory."""
    if not view.oversized or view.room.epidemic.on or not _is_calm(view):
        return None
    large = _large(view)
    if not large:
        return None
    put_off_until = min(map(_too_large_since, large)) + view.policy.memory_patience_s
    if _is_filled(view, sum(slot.phase is Phase.UNREADY for slot in large)):
        put_off_until = view.now
    return max(view.now, put_off_until, _successor_awaited_until(view), _paid_at(view))


def _large(view: View) -> list[Slot]:
    """Those that use too much memory and are to be ended for nothing else."""
    keys = view.oversized - view.missing - view.ailing
    return [view.slots[key] for key in keys if view.wants(key)]


def _too_large_since(slot: Slot) -> float:
    assert slot.occupant is not None, f"slot {slot.key} is too large and holds nobody"
    return slot.occupant.rss_at


def _successor_awaited_until(view: View) -> float:
    """Until when the next one has to wait for the last one's successor: until that serves, or for a while."""
    slot = None if view.renewed is None else view.slots.get(view.renewed)
    if slot is None or slot.phase is Phase.DONE or not view.wants(slot.key):
        return view.now
    until = view.renewed_at + view.policy.memory_soon_s
    occupant = None if slot.phase is Phase.DRAINING else slot.occupant
    if occupant is None or occupant.ready_at is None or not occupant.listed:
        return until
    return min(until, occupant.ready_at + view.policy.min_ready_s)


def _paid_at(view: View) -> float:
    """When the group's restart budget can pay for one more."""
    left = unclaimed(view)
    if left >= 1.0:
        return view.now
    return view.now + (1.0 - left) / rate_of(view.policy, view.desired.replicas).per_s + ROUNDING_S


def _is_calm(view: View) -> bool:
    """Whether anybody may be ended who is well: it is known who is there, and nothing holds."""
    known = view.fresh and view.now >= view.trust_from
    return view.desired.stop is Stop.NO and known and not view.brake.on


def _is_filled(view: View, unfit: int) -> bool:
    """Whether nobody who is wanted is missed but so many who cannot serve, and nobody surplus is there."""
    there = view.ready_count() + view.counts[Phase.DONE] + unfit
    is_exact = len(view.slots) == view.desired.replicas
    return is_exact and there == view.desired.kept and not view.missing


def _renewed_serves_at(view: View) -> float | None:
    """From when on the last one that replaced an outdated one has served; None before it is registered."""
    slot = None if view.renewed is None else view.slots.get(view.renewed)
    if slot is None or slot.occupant is None or not view.wants(slot.key):
        return view.now
    if slot.key in view.outdated and (slot.occupant.listed or slot.phase in _NOT_READY):
        return view.now
    if not slot.occupant.listed or slot.occupant.ready_at is None:
        return None
    return slot.occupant.ready_at + view.policy.min_ready_s
