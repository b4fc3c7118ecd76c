"""Keep everything that is derived from slots in step with them.

Every change of a slot goes through `put`: phase counts, launches in flight, the index by incarnation, the
deadline heap and the set of touched slots are right after it, at a cost that does not depend on N.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush

from autohealer.core.membership import absence_deadline, is_missed
from autohealer.core.model import Incarnation, Occupant, Phase, Slot, View


def occupied_by(view: View, name: Incarnation) -> tuple[Slot, Occupant] | tuple[None, None]:
    """The slot an incarnation fills now; two Nones when it fills none (any more)."""
    key = view.key_of.get(name)
    if key is None:
        return None, None
    slot = view.slots[key]
    assert slot.occupant is not None, f"{name} is indexed at slot {key}, which is empty"
    return slot, slot.occupant


def slot_for(view: View, key: int) -> Slot:
    """A slot as it is, or a vacant one; one wanted again goes on where its generations ended."""
    if key in view.slots:
        return view.slots[key]
    if key not in view.retired:
        return Slot(key=key, phase_since=view.now)
    return Slot(key=key, phase_since=view.now, generation=view.retired[key], reason="wanted again")


def newest_generation(view: View, number: int) -> int:
    """The last generation given out for a slot, held or given up; 0 when there was none."""
    slot = view.slots.get(number)
    return slot.generation if slot is not None else view.retired.get(number, 0)


def put(view: View, slot: Slot) -> None:
    """Store a slot and everything derived from it."""
    old = view.slots.get(slot.key)
    if old is not None:
        _unindex(view, old)
    slot = replace(slot, deadline=_deadline_of(view, slot))
    view.slots[slot.key] = slot
    _index(view, slot)
    view.touched.add(slot.key)
    if slot.deadline is not None and (old is None or old.deadline != slot.deadline):
        heappush(view.alarms, (slot.deadline, slot.key))


def forget(view: View, key: int) -> None:
    """Give a slot up, remembering where its generations ended."""
    slot = view.slots.pop(key)
    _unindex(view, slot)
    view.touched.discard(key)
    if key >= 0:
        view.retired[key] = slot.generation


def _index(view: View, slot: Slot) -> None:
    view.counts[slot.phase] += 1
    if slot.occupant is None:
        return
    view.key_of[slot.occupant.name] = slot.key
    view.waiting.pop(slot.key, None)
    if is_missed(slot):
        view.missing.add(slot.key)
        if not view.violations:
            view.room.missing.add(view.place(slot.key))
    if slot.phase is Phase.STARTING and not slot.occupant.launch_ok:
        view.in_flight.add(slot.key)


def _unindex(view: View, slot: Slot) -> None:
    view.counts[slot.phase] -= 1
    view.in_flight.discard(slot.key)
    view.missing.discard(slot.key)
    view.room.missing.discard(view.place(slot.key))
    view.suspects.pop(slot.key, None)
    if slot.occupant is not None and view.key_of.get(slot.occupant.name) == slot.key:
        del view.key_of[slot.occupant.name]


def _deadline_of(view: View, slot: Slot) -> float | None:
    """The one instant a slot waits for, given its phase."""
    if slot.phase in {Phase.DRAINING, Phase.BACKOFF, Phase.QUARANTINED}:
        return slot.deadline
    due = absence_deadline(slot, view)
    occupant = slot.occupant
    if slot.phase is Phase.STARTING and occupant is not None and not occupant.launch_ok:
        probation = occupant.since + view.policy.probation_s
        return probation if due is None else min(probation, due)
    return due


def drop_stale_alarms(view: View) -> None:
    """Take alarms off the top of the heap that no slot waits for any more, so that nobody wakes for them."""
    while view.alarms:
        at, key = view.alarms[0]
        slot = view.slots.get(key)
        if slot is not None and slot.deadline == at:
            return
        heappop(view.alarms)
