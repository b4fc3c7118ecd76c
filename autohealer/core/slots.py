"""Keep everything that is derived from slots in step with them, and each slot in agreement with itself.

Every change of a slot goes through `put`: phase counts, launches in flight and waiting, the index by incarnation, the
deadline heap and the set of touched slots are right after it, at a cost that does not depend on N. A slot that
contradicts itself is a fault of the rules: it is noted, and the next decision freezes everything (see `invariants`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from heapq import heappop, heappush

from autohealer.core.ailing import LIVING, ailment_deadline, ailment_of
from autohealer.core.membership import absence_deadline, is_missed
from autohealer.core.model import Incarnation, Occupant, Phase, Slot, View
from autohealer.core.policy import Registrar
from autohealer.core.reasons import STOPPED
from autohealer.core.turns import note_awaited


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


def is_launchable(slot: Slot, view: View) -> bool:
    """Whether a slot should be filled now, pacing and budget aside."""
    if slot.occupant is not None or slot.phase is Phase.DONE or not view.wants(slot.key):
        return False
    return slot.deadline is None or slot.deadline <= view.now


def is_to_leave(slot: Slot, view: View) -> bool:
    """Whether what fills a slot is to be asked to end now, its turn aside."""
    if slot.occupant is None or view.wants(slot.key):
        return False
    return slot.phase not in {Phase.DRAINING, Phase.HELD}


def is_outdated(slot: Slot, view: View) -> bool:
    """Whether what fills a wanted slot is to be replaced although it is well: for its revision, or as was asked.

    One that does not say which revision it runs counts as current.
    """
    if slot.occupant is None or slot.phase not in LIVING or not view.wants(slot.key):
        return False
    return runs_another(slot.occupant, view) or is_expired(slot.occupant, view)


def runs_another(occupant: Occupant, view: View) -> bool:
    """Whether an incarnation was launched from another revision than is wanted, and says so."""
    runs, wanted = occupant.revision, view.desired.revision
    return bool(runs and wanted) and runs != wanted


def is_expired(occupant: Occupant, view: View) -> bool:
    """Whether the operator asked for another one in its place."""
    return occupant.name.generation <= newest_expired(view, occupant.name.slot)


def newest_expired(view: View, number: int) -> int:
    """The newest generation that the operator wants replaced in a slot; 0 where that is none."""
    return view.desired.overrides.renew.get(number, 0)


def is_oversized(slot: Slot, view: View) -> bool:
    """Whether what serves, or has served, in a slot uses more memory than it may; who starts is left to it."""
    limit_bytes = view.policy.memory_restart_bytes
    if slot.occupant is None or slot.phase not in {Phase.READY, Phase.UNREADY}:
        return False
    return limit_bytes is not None and slot.occupant.rss_bytes > limit_bytes


OWN_MAX = 32
"""Own generations remembered by slot: more than can still be registered; an older one is looked into like any other."""


def note_own(view: View, name: Incarnation) -> None:
    """This daemon launched or adopted an incarnation: what is registered under that name is its own."""
    known = view.own.get(name.slot, ())
    if name.generation not in known:
        view.own[name.slot] = (*known, name.generation)[-OWN_MAX:]


def disown(view: View, name: Incarnation) -> None:
    """A launch came to nothing: there never was such an incarnation."""
    known = view.own.get(name.slot, ())
    view.own[name.slot] = tuple(number for number in known if number != name.generation)


def is_own(view: View, name: Incarnation) -> bool:
    """Whether this daemon launched or adopted an incarnation, as far as it remembers."""
    return name.generation in view.own.get(name.slot, ())


def put(view: View, slot: Slot) -> None:
    """Store a slot and everything derived from it."""
    old = view.slots.get(slot.key)
    if old is not None:
        _unindex(view, old)
    deadline = _deadline_of(view, slot)
    if deadline != slot.deadline:
        slot = replace(slot, deadline=deadline)
    view.slots[slot.key] = slot
    view.contradictions += _contradictions_of(slot)
    _index(view, slot)
    _hold_registration(view, old, slot)
    note_awaited(view, slot.key, slot)
    view.touched.add(slot.key)
    if slot.deadline is not None and (old is None or old.deadline != slot.deadline):
        heappush(view.alarms, (slot.deadline, slot.key))


def forget(view: View, key: int) -> None:
    """Give a slot up, remembering where its generations ended."""
    slot = view.slots.pop(key)
    _unindex(view, slot)
    note_awaited(view, key, None)
    view.touched.discard(key)
    if key >= 0:
        view.retired[key] = slot.generation


def vacate(view: View, key: int) -> None:
    """An empty slot is not wanted: the operator has stopped it, or it is given up."""
    slot = view.slots[key]
    if not view.rests(key):
        forget(view, key)
    elif slot.phase is not Phase.STOPPED:
        put(
            view,
            replace(
                slot,
                phase=Phase.STOPPED,
                phase_since=view.now,
                deadline=None,
                unregistered_death=None,
                reason=STOPPED,
            ),
        )


def held_registration(slot: Slot | None) -> Incarnation | None:
    """For whom the daemon holds a registration: a program that does not register itself, while it is ready."""
    if slot is None or slot.occupant is None or slot.phase is not Phase.READY:
        return None
    return slot.occupant.name if slot.occupant.registrar is Registrar.AGENT else None


def _hold_registration(view: View, old: Slot | None, new: Slot) -> None:
    before, now = held_registration(old), held_registration(new)
    if before == now:
        return
    if before is not None:
        view.to_register.discard(before)
        view.registering.pop(before, None)
        view.to_withdraw.add(before)
    if now is not None:
        view.to_withdraw.discard(now)
        view.to_register.add(now)


def _index(view: View, slot: Slot) -> None:
    view.counts[slot.phase] += 1
    if not is_launchable(slot, view):
        view.waiting.pop(slot.key, None)
        view.waiting_again.pop(slot.key, None)
    if not is_to_leave(slot, view):
        view.staying.pop(slot.key, None)
    if slot.occupant is None:
        return
    view.key_of[slot.occupant.name] = slot.key
    if slot.phase is Phase.READY and view.wants(slot.key):
        view.serving.add(slot.key)
    _index_renewable(view, slot)
    if is_missed(slot):
        view.missing.add(slot.key)
        if not view.violations:
            view.room.missing.add(view.place(slot.key))
    if ailment_of(slot) is not None:
        view.ailing.add(slot.key)
        if not view.violations:
            view.room.epidemic.ailing.add(view.place(slot.key))
    if slot.occupant.set_aside:
        return
    if slot.phase is Phase.STARTING:
        view.launches.under_way.add(slot.key)
    elif slot.phase is Phase.DRAINING and not slot.killing and slot.occupant.exit is None:
        view.endings.under_way.add(slot.key)


def _index_renewable(view: View, slot: Slot) -> None:
    if is_outdated(slot, view):
        view.outdated.add(slot.key)
    if is_oversized(slot, view):
        view.oversized.add(slot.key)


def _unindex(view: View, slot: Slot) -> None:
    view.counts[slot.phase] -= 1
    view.launches.under_way.discard(slot.key)
    view.endings.under_way.discard(slot.key)
    view.serving.discard(slot.key)
    view.outdated.discard(slot.key)
    view.oversized.discard(slot.key)
    view.missing.discard(slot.key)
    view.room.missing.discard(view.place(slot.key))
    view.ailing.discard(slot.key)
    view.room.epidemic.ailing.discard(view.place(slot.key))
    view.suspects.pop(slot.key, None)
    if slot.occupant is not None and view.key_of.get(slot.occupant.name) == slot.key:
        del view.key_of[slot.occupant.name]


_EMPTY = frozenset({Phase.VACANT, Phase.BACKOFF, Phase.QUARANTINED, Phase.DONE, Phase.STOPPED})
_TIMED = frozenset({Phase.DRAINING, Phase.BACKOFF, Phase.QUARANTINED})


def _contradictions_of(slot: Slot) -> Iterator[str]:
    """What of a slot cannot be true together."""
    occupant, phase = slot.occupant, slot.phase
    if (occupant is None) != (phase in _EMPTY):
        yield f"slot {slot.key} is {phase.value} and holds {occupant.name if occupant else 'nobody'}"
    if phase in _TIMED and slot.deadline is None:
        yield f"slot {slot.key} is {phase.value} without a deadline"
    if phase is not Phase.DRAINING and (slot.killing or slot.ending or slot.holdouts):
        yield f"slot {slot.key} is {phase.value} and told to end"
    if occupant is None:
        return
    if phase in LIVING and (occupant.ready_at is None) is not (phase is Phase.STARTING):
        yield f"slot {slot.key} is {phase.value} and its worker was ready at {occupant.ready_at}"
    name = occupant.name
    if slot.key >= 0 and (name.slot != slot.key or name.generation > slot.generation):
        yield f"slot {slot.key} at generation {slot.generation} holds {occupant.name}"


def _deadline_of(view: View, slot: Slot) -> float | None:
    """The one instant a slot waits for, given its phase."""
    if slot.phase in _TIMED:
        return slot.deadline
    due = (absence_deadline(slot, view), ailment_deadline(slot, view))
    return min((at for at in due if at is not None), default=None)


def renew_alarms(view: View) -> None:
    """Those looked at wait for what they wait for now: it may have been put off when their alarm had gone off."""
    for key in tuple(view.touched):
        slot = view.slots[key]
        if _deadline_of(view, slot) != slot.deadline:
            put(view, slot)


def drop_stale_alarms(view: View) -> None:
    """Take alarms off the top of the heap that no slot waits for any more, so that nobody wakes for them."""
    while view.alarms:
        at, key = view.alarms[0]
        slot = view.slots.get(key)
        if slot is not None and slot.deadline == at:
            return
        heappop(view.alarms)
