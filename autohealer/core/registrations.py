"""Fold what the store says of registrations: the list of `/workers`, and whose the unfamiliar ones are.

Theory of operation. A list is complete and fresh; it is compared with the last one, so only its changes
cost. What appears belongs to a live incarnation (which is ready then), to one that died before a list showed it (whose
death is judged again, and whose registration is left over and to be deleted), or to nobody known here (looked into).

Must never know: clocks, I/O, what will be decided.
"""

from __future__ import annotations

from dataclasses import replace

from autohealer.core import reasons
from autohealer.core.brake import note_vanished, release_if_whole, review_losses
from autohealer.core.firstfill import drop_old_claims
from autohealer.core.membership import is_missed
from autohealer.core.model import Death, Incarnation, Occupant, Phase, Slot, Store, View
from autohealer.core.pacing import pardoned
from autohealer.core.readiness import review
from autohealer.core.restarts import after_death
from autohealer.core.slots import held_registration, is_own, occupied_by, put
from autohealer.core.strangers import Standing, Stranger

_NO_ANSWER = frozenset({Standing.UNREAD, Standing.UNPROVABLE})
"""Could not be told yet; or is told by `WorkerHeld`."""

STRANGERS_MAX = 1000
"""Registrations of others kept for the status page; more than this are counted by nobody."""


def listed(
    view: View, ours: frozenset[Incarnation], strange: frozenset[str], asked_at: float
) -> None:
    """A complete list of what is registered, asked for at `asked_at`."""
    if not is_current(view):
        return
    # The last one missing may have been ended since: then what this list lacks is a new event.
    release_if_whole(view)
    came_back = not view.fresh
    view.listed_under, view.list_failed = view.connection, ""
    view.listed_at = max(view.listed_at, asked_at)
    view.touched.update(view.suspects)
    news, vanished = ours - view.listed, view.listed - ours
    view.listed = ours
    for name in sorted(news):
        appeared(view, name)
    _note_gone(view, vanished)
    view.to_discard |= view.leftovers
    _review_registering(view, asked_at)
    drop_old_claims(view)
    _strange_listed(view, strange)
    if came_back:
        _resume_judgement(view)
    if view.counts[Phase.HELD]:
        _look_into_held(view, again=came_back)
    review_losses(view)


def is_current(view: View) -> bool:
    """Whether an answer is of this connection, and has not outlived it."""
    return view.store is Store.CONNECTED and view.connection == view.room.changes


def appeared(view: View, name: Incarnation) -> None:
    """A registration is there that was not."""
    slot, occupant = occupied_by(view, name)
    if slot is not None and occupant is not None:
        _registered(view, slot, occupant)
    elif is_own(view, name):
        mark_leftover(view, name)
        _registered_after_all(view, name)
    elif len(view.strangers) < STRANGERS_MAX:
        look_into(view, name)


def _registered(view: View, slot: Slot, occupant: Occupant) -> None:
    occupant = replace(occupant, listed=True, listed_changed=view.now)
    if slot.phase is Phase.HELD:
        view.to_inspect.add(occupant.name)
    review(view, slot, occupant)


def _note_gone(view: View, names: frozenset[Incarnation]) -> None:
    if missed := [key for name in sorted(names) if (key := _vanished(view, name)) is not None]:
        note_vanished(view, missed)


def disappeared(view: View, name: Incarnation) -> None:
    """What was taken for a registration is none."""
    view.listed -= {name}
    _note_gone(view, frozenset({name}))


def _vanished(view: View, name: Incarnation) -> int | None:
    """A registration is gone; the slot that misses it, if one does."""
    view.leftovers.discard(name)
    view.to_discard.discard(name)
    view.to_inspect.discard(name)
    view.strangers.pop(name, None)
    slot, occupant = occupied_by(view, name)
    if slot is None or occupant is None:
        return None
    slot = replace(slot, occupant=replace(occupant, listed=False, listed_changed=view.now))
    put(view, slot)
    if held_registration(slot) is not None:
        view.to_register.add(name)  # it was lost, and its program is well
    return slot.key if is_missed(slot) else None


def _review_registering(view: View, asked_at: float) -> None:
    """What was registered from here and is not listed went before any list showed it: it is made again."""
    for name, ordered_at in list(view.registering.items()):
        if name in view.listed:
            del view.registering[name]
        elif asked_at - ordered_at >= view.policy.rejoin_grace_s:
            del view.registering[name]
            view.to_register.add(name)


def _strange_listed(view: View, strange: frozenset[str]) -> None:
    for label in view.strange - strange:
        view.strangers.pop(label, None)
        view.to_inspect.discard(label)
    for label in strange - view.strange:
        if len(view.strangers) + len(view.to_inspect) < STRANGERS_MAX:
            view.to_inspect.add(label)
    view.strange = strange


def _look_into_held(view: View, *, again: bool) -> None:
    """What holds a slot may prove whose it is by what it registered; that it registered anew may have gone unseen."""
    if not again and view.now - view.held_looked_at < view.policy.settle_s:
        return
    view.held_looked_at = view.now
    for name, key in view.key_of.items():
        if view.slots[key].phase is Phase.HELD and name in view.listed:
            view.to_inspect.add(name)


def _resume_judgement(view: View) -> None:
    """The first list of a connection: what is missing from it counts from now on, what was unread is read again."""
    for key in list(view.key_of.values()):
        slot = view.slots[key]
        if slot.occupant is not None and not slot.occupant.listed:
            put(view, slot)
    view.to_inspect |= {n for n, s in view.strangers.items() if s.standing is Standing.UNREAD}


def registration_read(view: View, name: Incarnation | str, stranger: Stranger) -> None:
    """Whose an unfamiliar registration is."""
    if isinstance(name, Incarnation) and stranger.standing not in _NO_ANSWER:
        view.claims.pop(name, None)
    if name not in view.key_of and (name in view.listed or name in view.strange):
        view.strangers[name] = stranger


def look_into(view: View, name: Incarnation) -> None:
    """An unfamiliar registration claims a slot: it is to be found out whose it is."""
    view.to_inspect.add(name)
    view.claims[name] = view.now


def mark_leftover(view: View, name: Incarnation) -> None:
    """Remember a registration whose process is proven dead until it is gone; one withdrawn already is going."""
    view.strangers.pop(name, None)
    view.leftovers.add(name)
    if name not in view.to_withdraw:
        view.to_discard.add(name)


def registrant_dead(view: View, name: Incarnation) -> None:
    """The process behind an unfamiliar registration is gone: so must it be."""
    view.claims.pop(name, None)
    if name in view.listed and name not in view.key_of:
        mark_leftover(view, name)


def _registered_after_all(view: View, name: Incarnation) -> None:
    """The list that shows a registration came after its owner's death: judge it again, as one that served.

    One that lived too short for that failed in any case.
    """
    slot = view.slots.get(name.slot)
    if (
        slot is None
        or slot.occupant is not None
        or slot.unregistered_death is None
        or slot.unregistered_death.occupant.name != name
        or slot.phase_since - slot.unregistered_death.occupant.since < view.policy.min_ready_s
    ):
        return
    ready_at = view.now - view.policy.min_ready_s
    occupant = replace(slot.unregistered_death.occupant, ready_at=ready_at)
    death = Death(
        occupant,
        reasons.of_late_registration(slot.unregistered_death.cause),
        slot.unregistered_death.jitter,
    )
    vacant = replace(slot, phase=Phase.VACANT, deadline=None, unregistered_death=None)
    view.launches.pace = pardoned(view.launches.pace, view.launches.limits)
    put(view, after_death(view, vacant, death))
