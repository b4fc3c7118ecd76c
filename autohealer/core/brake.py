"""The mass-loss brake: many registrations gone at once while their processes live are one event, not many deaths.

Theory of operation. A registration that vanishes alone means a frozen worker or a lost session, and the
worker is replaced after a short grace. When more of them than `loss_limit` vanish within one settle time, whatever
became of the first ones, a fault of the store or the network is likelier than as many deaths, and replacing
everybody would make it worse. So nobody is ended until one settle time has passed, in which healthy workers register
again. Then one of those still missing is replaced; the next ones only as replacements register, one more at a time
for each that does (1, 2, 4 …), which proves that the store takes registrations at all. The first that does is
followed by one more settle time: what it could reach the others can reach only now, too. A replacement that does
not register makes the next one wait for as long as a registration may take.

All groups that look at one store share one brake: their losses are counted together, against what they want
together, since ten groups of two that lose all are one event as well. What a group changes of it the others hear of by
`StoreRoom.turns`; a deadline they computed before that only makes them look too early, never act.

An adopted worker counts from the first list on: nobody knows what it lost while no daemon ran.
The brake is off again when no registration is missing. It never touches what is proven dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import nsmallest

from autohealer.core.membership import absence_deadline, is_overdue
from autohealer.core.model import Brake, Ending, Slot, View
from autohealer.core.policy import Policy
from autohealer.core.slots import put


def loss_limit(policy: Policy, replicas: int) -> int:
    """How many registrations may vanish within one settle time before it counts as a mass loss."""
    return max(policy.brake_min, int(policy.brake_share * replicas))


def release_if_whole(view: View) -> None:
    """Take the brake off when nothing is missing any more."""
    room = view.room
    if room.brake.on and not room.missing:
        room.brake = Brake(losses=room.brake.losses)
        room.turns += 1


def review_losses(view: View) -> None:
    """Put the brake on or take it off, after a list; a mass loss under the brake begins it anew."""
    release_if_whole(view)
    room, settle_s = view.room, view.policy.settle_s
    brake = room.brake
    brake.losses = {place: at for place, at in brake.losses.items() if view.now - at < settle_s}
    recent = {place for place, at in brake.losses.items() if at > brake.since}
    lost = len(recent if brake.on else recent | room.missing)
    if room.missing and lost > loss_limit(view.policy, sum(room.replicas.values())):
        room.brake = replace(brake, on=True, lost=lost, since=view.now, at_once=1)
        _hold(view)


def _hold(view: View) -> None:
    """Nobody is ended for a lost registration for one settle time from now."""
    view.brake.hold_until = view.now + view.policy.settle_s
    view.room.turns += 1
    _put_off(view)


def _put_off(view: View) -> None:
    """What all that are missing wait for has changed: let each wait for it."""
    for key in tuple(view.missing):
        put(view, view.slots[key])


def note_vanished(view: View, keys: Sequence[int]) -> None:
    """Remember that the registrations of these slots' live incarnations vanished now."""
    view.room.vanished_at = view.now
    view.brake.losses |= dict.fromkeys(map(view.place, keys), view.now)
    _put_off(view)


def note_death(view: View, slot: Slot) -> None:
    """A registration whose owner died by itself was not lost: it went with its owner."""
    if slot.ending is not Ending.REGISTRATION_LOST:
        view.brake.losses.pop(view.place(slot.key), None)


def note_loss(view: View, key: int) -> None:
    """Remember that a slot's incarnation is ended for its lost registration."""
    brake = view.brake
    if brake.on:
        brake.replacing[view.place(key)] = view.now + view.policy.registration_timeout_s
        view.room.turns += 1
    else:
        brake.losses[view.place(key)] = view.now


def note_registered(view: View, key: int) -> None:
    """A replacement registered: the store takes registrations, so one more may be replaced at a time."""
    brake = view.brake
    if brake.replacing.pop(view.place(key), None) is None:
        return
    if brake.at_once == 1:
        _hold(view)
    brake.at_once += 1
    view.room.turns += 1


def stop_counting(view: View) -> None:
    """A group that is frozen ends nobody: those it misses hold up no other group."""
    view.room.missing -= {view.place(key) for key in view.missing}
    release_if_whole(view)


def replaceable_under_brake(view: View) -> list[int]:
    """The missing slots whose turn it is now, lowest first."""
    places = _places(view)
    if not places or view.now < view.brake.hold_until:
        return []
    due = (k for k in view.missing if view.wants(k) and is_overdue(view.slots[k], view))
    return nsmallest(places, due)


def next_turn(view: View) -> float | None:
    """When the next one's turn comes although no replacement registered; None when nobody waits for that.

    Where there is a place, who takes it may have been put off since it was woken, by another group too.
    """
    if not view.brake.on or not view.missing:
        return None
    if not _places(view):
        return min(until for until in view.brake.replacing.values() if until > view.now)
    if view.now < view.brake.hold_until:
        return view.brake.hold_until + view.policy.rejoin_grace_s  # nobody's is sooner
    due = (absence_deadline(view.slots[key], view) for key in view.missing if view.wants(key))
    return min((at for at in due if at is not None and at > view.now), default=None)


def _places(view: View) -> int:
    """How many more may be replaced now."""
    brake = view.brake
    if not brake.on:
        return 0
    return max(0, brake.at_once - sum(until > view.now for until in brake.replacing.values()))
