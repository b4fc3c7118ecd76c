"""Fold what the operator wants: how many, which slots stand still, who is to be replaced or tried again, and the end.

Theory of operation. All but one of these facts say how things are to be, so they may be told again, to this daemon or
to the next one: nothing changes where it is so already. What a change of them makes of a slot is the same as what a
start makes of it: whoever is wanted is launched, whoever is not is asked to end, and an empty slot that is not wanted
rests or is given up. Who is to be replaced and is gone already leaves nothing to wait for: his slot is filled now, be
it that he kept failing or was done. Only `RetryAsked` is of a moment: what waits for a pause waits no more.

Must never know: clocks, I/O, who the operator is, what will be decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from autohealer.core.intensity import rate_of, resized
from autohealer.core.model import Phase, Slot, Stop, View
from autohealer.core.overrides import Overrides
from autohealer.core.reasons import RESTARTED, RETRIED, STARTED_AGAIN
from autohealer.core.replacing import PAUSED, pardoned
from autohealer.core.slots import put, slot_for, vacate


def replicas_set(view: View, replicas: int) -> None:
    """So many slots are to be filled."""
    if replicas != view.desired.replicas:
        before = rate_of(view.policy, view.desired.replicas)
        view.budget = resized(view.budget, view.now, before, rate_of(view.policy, replicas))
    view.desired = replace(view.desired, replicas=replicas)
    for key in range(replicas):
        if key not in view.slots:
            put(view, slot_for(view, key))
    _review(view)


def overrides_set(view: View, overrides: Overrides) -> None:
    """These slots are stopped, and these incarnations are to be replaced; all others are as by themselves."""
    before = view.desired.overrides
    view.desired = replace(view.desired, overrides=overrides)
    for slot in list(view.slots.values()):
        if slot.phase in PAUSED and _is_newly_asked(slot, before, overrides):
            put(view, replace(pardoned(view, slot), reason=RESTARTED))
    _review(view)


def _is_newly_asked(slot: Slot, before: Overrides, overrides: Overrides) -> bool:
    """Whether whoever was in a slot last is to be replaced, and was not before."""
    asked_before, asked = before.renew.get(slot.key, 0), overrides.renew.get(slot.key, 0)
    return asked_before < slot.generation <= asked


def retry_asked(view: View, keys: Iterable[int]) -> None:
    """Slots that are wanted and wait for a pause, or are done, are filled now, and nothing is held against them."""
    for key in keys:
        slot = view.slots.get(key)
        if slot is not None and slot.phase in PAUSED and view.wants(key):
            put(view, replace(pardoned(view, slot), reason=RETRIED))


def stop_requested(view: View, *, force: bool) -> None:
    """Everything is to end; asked again, at once."""
    again = view.desired.stop in {Stop.DRAIN, Stop.KILL}
    view.desired = replace(view.desired, stop=Stop.KILL if force or again else Stop.DRAIN)
    _review(view)


def detach_requested(view: View) -> None:
    """The daemon is to go and leave its workers, unless they are being stopped."""
    if view.desired.stop is Stop.NO:
        view.desired = replace(view.desired, stop=Stop.DETACH)


def _review(view: View) -> None:
    """Look again at every slot: whether it is wanted, rests, or is given up."""
    view.room.replicas[view.group] = view.desired.kept
    for key in [key for key in view.staying if view.wants(key)]:
        del view.staying[key]
    for key, slot in list(view.slots.items()):
        if not view.wants(key):
            _not_wanted(view, key)
        elif slot.phase is Phase.STOPPED:
            fresh = replace(pardoned(view, slot), phase=Phase.VACANT, phase_since=view.now)
            put(view, replace(fresh, reason=STARTED_AGAIN))
        else:
            put(view, slot)  # whether it serves, or is outdated, depends on whether it is wanted


def _not_wanted(view: View, key: int) -> None:
    view.waiting.pop(key, None)
    view.waiting_again.pop(key, None)
    if view.slots[key].occupant is None:
        vacate(view, key)
    elif view.desired.stop is Stop.NO:
        put(view, view.slots[key])  # it serves no more, and is not to be replaced
    else:
        view.touched.add(key)  # a stop of all replaces nobody, and nothing counts who serves
