"""Fold the adoption of a live incarnation: into its slot, beside the one that is there, or in place of that.

Theory of operation. Of two that fill one slot the lesser (see `victims`) gets a place of its own below zero, from which
it is drained. What held the slot and could not be proven makes way.

Must never know: clocks, I/O, what will be decided.
"""

from __future__ import annotations

from dataclasses import replace

from autohealer.core import held, storeroom
from autohealer.core.brake import review_losses
from autohealer.core.health import Health
from autohealer.core.model import Incarnation, Occupant, Phase, Slot, View
from autohealer.core.policy import Registrar
from autohealer.core.slots import note_own, put, slot_for
from autohealer.core.victims import pick_victim


def adopted(view: View, name: Incarnation, pid: int, age_s: float, revision: str) -> None:
    """A live process was proven to be an incarnation that an earlier daemon launched `age_s` ago."""
    if name in view.key_of and view.slots[view.key_of[name]].phase is not Phase.HELD:
        return
    if name.generation in view.gone.get(name.slot, ()):
        return  # a late word of one that has ended
    slot = slot_for(view, name.slot)
    slot = replace(slot, generation=max(slot.generation, name.generation))
    listed = name in view.listed
    health = Health(view.policy.health.checks)
    is_up = listed or view.policy.registrar is Registrar.AGENT
    newcomer = Occupant(
        name=name,
        pid=pid,
        since=view.now - age_s,
        registrar=view.policy.registrar,
        revision=revision,
        adopted=True,
        set_aside=True,
        listed=listed,
        listed_changed=view.now,
        ready_at=view.now if is_up and health.is_fit else None,
        health=health,
    )
    if slot.occupant is None or slot.phase is Phase.HELD:
        put(view, _filled(slot, newcomer, view.now))
        held.report_ousted(view, slot, newcomer)
    elif pick_victim(slot.occupant, newcomer) is newcomer:
        put(view, slot)
        put(view, _filled(Slot(key=_surplus_key(view)), newcomer, view.now))
    else:
        put(view, replace(slot, key=_surplus_key(view)))
        relieved = replace(slot, deadline=None, killing=False, ending=None, holdouts=())
        put(view, _filled(relieved, newcomer, view.now))
    note_own(view, name)
    view.claims.pop(name, None)
    view.strangers.pop(name, None)
    view.to_inspect.discard(name)
    storeroom.note_found(view)
    if view.fresh:
        review_losses(view)


def _filled(slot: Slot, newcomer: Occupant, now: float) -> Slot:
    return replace(
        slot,
        phase=Phase.STARTING if newcomer.ready_at is None else Phase.READY,
        phase_since=now,
        occupant=newcomer,
        generation=max(slot.generation, newcomer.name.generation),
        reason="adopted from an earlier daemon",
    )


def _surplus_key(view: View) -> int:
    """A place of its own for a surplus incarnation, below zero, from which it will be drained."""
    return min(0, *view.slots) - 1
