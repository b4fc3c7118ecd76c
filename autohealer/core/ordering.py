"""Fold a plan into the view: what was ordered counts from the moment in which it was decided.

Theory of operation. A launch fills its slot and an ending empties it in time, whatever the world says later; what a
plan put off queues up. Orders are not carried out here.

Must never know: clocks, I/O, what will be decided.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from autohealer.core import (
    binding,
    epidemic,
    readiness,
)
from autohealer.core.actions import (
    Action,
    Discard,
    Drain,
    Inspect,
    Kill,
    Plan,
    Register,
    Relist,
    Remember,
    Spawn,
    Withdraw,
)
from autohealer.core.brake import note_loss
from autohealer.core.intensity import rate_of, refilled
from autohealer.core.model import (
    Budget,
    Ending,
    Incarnation,
    Occupant,
    Phase,
    Slot,
    View,
)
from autohealer.core.replacing import RENEWALS
from autohealer.core.slots import (
    drop_stale_alarms,
    is_launchable,
    is_to_leave,
    note_own,
    put,
    renew_alarms,
)
from autohealer.core.strangers import Standing, Stranger
from autohealer.core.turns import is_anonymous


def decided(view: View, plan: Plan) -> None:
    """A plan was made and is being carried out."""
    # Who is not ended now, on the list that was asked for it, is ended on a newer one if at all.
    view.suspects = {key: at for key, at in view.suspects.items() if view.listed_at < at}
    for action in plan.actions:
        _ordered(view, action)
    for key in plan.deferred:
        if not is_launchable(view.slots[key], view):
            view.contradictions.append(f"slot {key} waits to be launched and may not be")
        (view.waiting_again if view.slots[key].generation else view.waiting).setdefault(key)
    for key in plan.staying:
        if not is_to_leave(view.slots[key], view):
            view.contradictions.append(f"slot {key} waits to be asked to end and may not be")
        view.staying.setdefault(key)
    renew_alarms(view)
    view.touched.clear()
    drop_stale_alarms(view)


def _ordered(view: View, action: Action) -> None:  # noqa: C901, PLR0912 - one arm per action
    match action:
        case Spawn(key, name, reason):
            _launch_ordered(view, view.slots[key], name, reason)
        case Drain(key, _, reason, ending):
            if ending in RENEWALS:
                view.renewed, view.renewed_at = key, view.now
            _end_ordered(view, key, reason, view.policy.grace_s, ending, killing=False)
        case Kill(key, _, reason, ending):
            _end_ordered(view, key, reason, view.policy.kill_retry_s, ending, killing=True)
        case Register(name):
            view.to_register.discard(name)
            if name not in view.to_withdraw:  # the same plan may end it
                view.registering[name] = view.now
        case Withdraw(name):
            view.to_withdraw.discard(name)
        case Discard(name):
            view.to_discard.discard(name)
        case Remember():
            view.bindings.is_changed = False
        case Inspect(name):
            view.to_inspect.discard(name)
            if name not in view.key_of:
                view.strangers[name] = Stranger(str(name), Standing.UNREAD)
        case Relist(keys):
            view.bindings.relisted_at = view.now
            view.suspects.update(dict.fromkeys(keys, view.now))
        case _:
            assert_never(action)


def _launch_ordered(view: View, slot: Slot, name: Incarnation, reason: str) -> None:
    note_own(view, name)
    if is_anonymous(view):
        binding.launched(view, name)
    again = view.replaced_last = slot.generation != 0
    if again:
        budget = refilled(view.budget, view.now, rate_of(view.policy, view.desired.replicas))
        view.budget = Budget(budget.tokens - 1.0, budget.at)
    put(
        view,
        replace(
            slot,
            phase=Phase.STARTING,
            phase_since=view.now,
            occupant=readiness.newcomer(view, name),
            generation=name.generation,
            restarts=slot.restarts + again,
            unregistered_death=None,
            reason=reason,
        ),
    )


def _on_its_way(slot: Slot) -> Occupant | None:
    """Who is asked to end takes a place among those who are, whatever became of its launch."""
    if slot.phase is Phase.DRAINING or slot.occupant is None:
        return slot.occupant
    return replace(slot.occupant, set_aside=False)


def _end_ordered(
    view: View, key: int, reason: str, patience_s: float, ending: Ending | None, *, killing: bool
) -> None:
    slot = view.slots[key]
    if ending is Ending.REGISTRATION_LOST and slot.phase is not Phase.DRAINING:
        note_loss(view, key)
    epidemic.note_ended(view, slot, ending)
    put(
        view,
        replace(
            slot,
            phase=Phase.DRAINING,
            phase_since=view.now if slot.phase is not Phase.DRAINING else slot.phase_since,
            deadline=view.now + patience_s,
            killing=killing,
            ending=ending,
            occupant=_on_its_way(slot),
            reason=reason,
        ),
    )
