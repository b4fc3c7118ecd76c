"""Slots held by live processes that may be incarnations of this group but cannot be proven to be.

Theory of operation. Such a process is neither ended nor doubled: it fills its slot until it ends or is proven ours,
whether or not the slot is wanted, and nobody waits for it at a stop. Where a proven incarnation fills the slot, or
another of its kind, it is only reported; when the one that holds the slot ends, the next of its kind takes its place.

Must never know: clocks, I/O, what will be decided.
"""

from __future__ import annotations

from dataclasses import replace

from autohealer.core.model import Incarnation, Occupant, Phase, Slot, View
from autohealer.core.registrations import look_into
from autohealer.core.slots import OWN_MAX, occupied_by, put, slot_for
from autohealer.core.storeroom import note_found
from autohealer.core.strangers import Standing, Stranger

_ITS_KIND = "another process claims this slot and cannot be proven to be its worker"


def held(view: View, name: Incarnation, pid: int, why: str) -> None:
    """A live process that cannot be proven to be ours claims to be an incarnation."""
    view.claims.pop(name, None)
    if name.generation in view.gone.get(name.slot, ()):
        return  # a late word of one that has ended
    slot, occupant = occupied_by(view, name)
    if slot is not None and occupant is not None:
        if slot.phase is Phase.HELD:
            put(view, replace(slot, occupant=replace(occupant, pid=pid), reason=why))
        return
    vacant = slot_for(view, name.slot)
    if vacant.occupant is not None:
        _report(view, name, pid)
        return
    _hold(view, vacant, name, pid, why)
    note_found(view)


def _hold(view: View, vacant: Slot, name: Incarnation, pid: int, why: str) -> None:
    listed = name in view.listed
    view.strangers.pop(name, None)
    put(
        view,
        replace(
            vacant,
            phase=Phase.HELD,
            phase_since=view.now,
            deadline=None,
            occupant=Occupant(
                name,
                pid,
                view.now,
                adopted=True,
                set_aside=True,
                listed=listed,
                listed_changed=view.now,
            ),
            generation=max(vacant.generation, name.generation),
            reason=why,
        ),
    )


def _report(view: View, name: Incarnation, pid: int | None) -> None:
    view.strangers[name] = Stranger(str(name), Standing.UNPROVABLE, pid)


def report_ousted(view: View, slot: Slot, newcomer: Occupant) -> None:
    """A proven incarnation fills a slot: what held it until now lives beside it and is left alone."""
    if slot.occupant is not None and slot.occupant.name != newcomer.name:
        _report(view, slot.occupant.name, slot.occupant.pid)


def _note_gone(view: View, name: Incarnation) -> None:
    view.gone[name.slot] = (*view.gone.get(name.slot, ()), name.generation)[-OWN_MAX:]


def stranger_ended(view: View, name: Incarnation) -> None:
    """One that was only reported or looked into is gone: a late word of it means nothing any more."""
    if name in view.claims:
        _note_gone(view, name)
    stranger = view.strangers.get(name)
    if stranger is None or stranger.standing is not Standing.UNPROVABLE:
        return
    _note_gone(view, name)
    del view.strangers[name]
    if name in view.listed:
        look_into(view, name)


def ended(view: View, slot: Slot, occupant: Occupant, cause: str) -> Slot:
    """What held a slot is gone: the slot without it; its registration goes once its process is proven dead."""
    _note_gone(view, occupant.name)
    if occupant.name in view.listed:
        look_into(view, occupant.name)
    return replace(slot, occupant=None, phase=Phase.VACANT, phase_since=view.now, reason=cause)


def take_its_place(view: View, number: int) -> bool:
    """Whether another that cannot be proven to be ours claims a slot that was held; it holds it now."""
    heirs = [
        (name, stranger.pid)
        for name, stranger in view.strangers.items()
        if isinstance(name, Incarnation)
        and name.slot == number
        and stranger.standing is Standing.UNPROVABLE
        and stranger.pid is not None
    ]
    for name, pid in heirs[:1]:
        _hold(view, view.slots[number], name, pid, _ITS_KIND)
    return bool(heirs)
