"""Fold one fact into the view.

Theory of operation. Every change of a slot goes through `slots.put`, which keeps what is derived from it in
step; what a death means for the next launch is for `restarts` to say. News about an incarnation that no
longer fills a slot is ignored, so late and repeated facts are harmless; a list of registrations is compared
with the last one, so only its changes cost.

Must never know: clocks, I/O, randomness, what will be decided. Nothing here orders anything.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop
from typing import assert_never

from autohealer.core import events, reasons
from autohealer.core.actions import Action, Discard, Drain, Inspect, Kill, Plan, Spawn
from autohealer.core.intensity import refilled
from autohealer.core.model import (
    Budget,
    Death,
    Exit,
    Incarnation,
    Occupant,
    Phase,
    Slot,
    Standing,
    Stop,
    Store,
    Stranger,
    View,
)
from autohealer.core.pacing import grown, shrunk
from autohealer.core.restarts import after_death
from autohealer.core.slots import (
    drop_stale_alarms,
    forget,
    newest_generation,
    occupied_by,
    put,
)
from autohealer.core.victims import pick_victim

STRANGERS_MAX = 1000
"""Registrations of others kept for the status page; more than this are counted by nobody."""


def evolve(view: View, event: events.Event) -> None:  # noqa: C901, PLR0912 - one arm per fact
    """Change `view` to what it is after `event`."""
    match event:
        case events.Ticked(now):
            _ticked(view, now)
        case events.ReplicasSet(replicas):
            _replicas_set(view, replicas)
        case events.StopRequested(force):
            _stop_requested(view, force=force)
        case events.WorkerAdopted(name, pid, age_s):
            _adopted(view, name, pid, age_s)
        case events.WorkerSpawned(name, pid):
            _spawned(view, name, pid)
        case events.SpawnFailed(name, error, jitter):
            _spawn_failed(view, name, error, jitter)
        case events.WorkerExited(name, exit_, tree_empty, jitter, _):
            _exited(view, name, exit_, jitter, tree_empty=tree_empty)
        case events.TreeEmptied(name, jitter):
            _tree_emptied(view, name, jitter)
        case events.StoreChanged(store):
            _store_changed(view, store)
        case events.WorkersListed(ours, strange):
            _listed(view, ours, strange)
        case events.RegistrationRead(name, standing, pid, host):
            _registration_read(view, name, Stranger(str(name), standing, pid, host))
        case events.RegistrantDead(name):
            if name in view.listed and name not in view.key_of:
                _haunt(view, name)
        case events.InvariantBroken(violations):
            view.violations = violations
        case events.Decided(plan):
            _decided(view, plan)
        case _:
            assert_never(event)


# --- the clock and the operator ---------------------------------------------------------------


def _ticked(view: View, now: float) -> None:
    view.now = max(view.now, now)
    while view.alarms and view.alarms[0][0] <= view.now:
        at, key = heappop(view.alarms)
        slot = view.slots.get(key)
        if slot is not None and slot.deadline == at:
            put(view, _past_probation(view, slot))


def _past_probation(view: View, slot: Slot) -> Slot:
    """A launch that lives this long is a success for pacing, registered or not."""
    occupant = slot.occupant
    if slot.phase is not Phase.STARTING or occupant is None or occupant.proven:
        return slot
    view.window = grown(view.window, view.policy)
    return replace(slot, occupant=replace(occupant, proven=True))


def _replicas_set(view: View, replicas: int) -> None:
    view.desired = replace(view.desired, replicas=replicas)
    for key in range(replicas):
        if key not in view.slots:
            put(view, _new_slot(view, key))
    _review_wants(view)


def _new_slot(view: View, key: int) -> Slot:
    """A vacant slot; one wanted again goes on where its generations ended."""
    if key not in view.retired:
        return Slot(key=key, phase_since=view.now)
    return Slot(key=key, phase_since=view.now, generation=view.retired[key], reason="wanted again")


def _stop_requested(view: View, *, force: bool) -> None:
    again = view.desired.stop is not Stop.NO
    view.desired = replace(view.desired, stop=Stop.KILL if force or again else Stop.DRAIN)
    _review_wants(view)


def _review_wants(view: View) -> None:
    """Look again at every slot that is not wanted; forget those that hold nothing."""
    for key in [key for key in view.slots if not view.wants(key)]:
        view.waiting.pop(key, None)
        if view.slots[key].occupant is not None:
            view.touched.add(key)
        else:
            forget(view, key)


# --- processes --------------------------------------------------------------------------------


def _adopted(view: View, name: Incarnation, pid: int, age_s: float) -> None:
    if name in view.key_of:
        return
    slot = view.slots.get(name.slot) or _new_slot(view, name.slot)
    slot = replace(slot, generation=max(slot.generation, name.generation))
    listed = name in view.listed
    newcomer = Occupant(
        name=name,
        pid=pid,
        since=view.now - age_s,
        adopted=True,
        proven=True,
        listed=listed,
        listed_changed=view.now,
        ready_at=view.now if listed else None,
    )
    if slot.occupant is None:
        put(view, _filled(slot, newcomer, view.now))
    elif pick_victim(slot.occupant, newcomer) is newcomer:
        put(view, slot)
        put(view, _filled(Slot(key=_berth_key(view)), newcomer, view.now))
    else:
        put(view, replace(slot, key=_berth_key(view)))
        relieved = replace(slot, deadline=None, killing=False, blameless=False)
        put(view, _filled(relieved, newcomer, view.now))
    view.strangers.pop(name, None)
    view.to_inspect.discard(name)


def _filled(slot: Slot, adopted: Occupant, now: float) -> Slot:
    return replace(
        slot,
        phase=Phase.READY if adopted.listed else Phase.STARTING,
        phase_since=now,
        occupant=adopted,
        generation=max(slot.generation, adopted.name.generation),
        reason="adopted from an earlier daemon",
    )


def _berth_key(view: View) -> int:
    """A place of its own for a surplus incarnation, below zero, from which it will be drained."""
    return min(0, *view.slots) - 1


def _spawned(view: View, name: Incarnation, pid: int) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is not None and occupant is not None:
        put(view, replace(slot, occupant=replace(occupant, pid=pid, since=view.now)))


def _spawn_failed(view: View, name: Incarnation, error: str, jitter: float) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is not None and occupant is not None:
        _vacate(view, slot, occupant, f"could not be launched: {error}", jitter)


def _exited(view: View, name: Incarnation, exit_: Exit, jitter: float, *, tree_empty: bool) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is None or occupant is None:
        return
    cause = (
        slot.reason if slot.phase is Phase.DRAINING else reasons.of_death(occupant, exit_, view.now)
    )
    if tree_empty:
        _vacate(view, slot, occupant, cause, jitter)
        return
    put(
        view,
        replace(
            slot,
            phase=Phase.DRAINING,
            phase_since=view.now,
            deadline=view.now + view.policy.kill_retry_s,
            killing=True,
            occupant=replace(occupant, exit=exit_),
            reason=cause,
        ),
    )


def _tree_emptied(view: View, name: Incarnation, jitter: float) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is not None and occupant is not None:
        _vacate(view, slot, occupant, slot.reason, jitter)


def _vacate(view: View, slot: Slot, occupant: Occupant, cause: str, jitter: float) -> None:
    """The incarnation and all it started are gone: free the slot and say when it may be filled again."""
    if occupant.name in view.listed:
        _haunt(view, occupant.name)
    if occupant.ready_at is None and not slot.blameless:
        view.window = shrunk(view.window)
    empty = replace(
        slot,
        occupant=None,
        phase=Phase.VACANT,
        phase_since=view.now,
        deadline=None,
        killing=False,
        blameless=False,
    )
    if not view.wants(slot.key):
        put(view, empty)
        forget(view, slot.key)
    elif slot.blameless:
        put(view, replace(empty, reason=cause))
    else:
        put(view, after_death(view, empty, Death(occupant, cause, jitter)))


def _registered_after_all(view: View, name: Incarnation) -> None:
    """The list that shows a registration came after its owner's death: judge that death again, as a ready worker's."""
    slot = view.slots.get(name.slot)
    if (
        slot is None
        or slot.occupant is not None
        or slot.unseen is None
        or slot.unseen.occupant.name != name
    ):
        return
    occupant = replace(slot.unseen.occupant, ready_at=view.now)
    death = Death(occupant, reasons.of_late_registration(slot.unseen.cause), slot.unseen.jitter)
    vacant = replace(slot, phase=Phase.VACANT, deadline=None, failures=0, unseen=None)
    view.window = grown(view.window, view.policy)
    put(view, after_death(view, vacant, death))


# --- the store --------------------------------------------------------------------------------


def _store_changed(view: View, store: Store) -> None:
    if store is view.store:
        return
    view.store, view.store_since, view.fresh = store, view.now, False
    if store is Store.CONNECTED:
        if view.ever_connected:
            view.trust_from = view.now + view.policy.settle_s
        view.ever_connected = True


def _listed(view: View, ours: frozenset[Incarnation], strange: frozenset[str]) -> None:
    if view.store is not Store.CONNECTED:
        return  # an answer that outlived its connection
    came_back, view.fresh = not view.fresh, True
    appeared, vanished = ours - view.listed, view.listed - ours
    view.listed = ours
    for name in sorted(appeared):
        _appeared(view, name)
    for name in sorted(vanished):
        _vanished(view, name)
    view.doomed |= view.ghosts
    _strange_listed(view, strange)
    if came_back:
        _resume_judgement(view)


def _appeared(view: View, name: Incarnation) -> None:
    slot, occupant = occupied_by(view, name)
    if slot is not None and occupant is not None:
        _registered(view, slot, occupant)
    elif view.generation_base <= name.generation <= newest_generation(view, name.slot):
        _haunt(view, name)
        _registered_after_all(view, name)
    elif len(view.strangers) < STRANGERS_MAX:
        view.to_inspect.add(name)


def _registered(view: View, slot: Slot, occupant: Occupant) -> None:
    if slot.phase is Phase.STARTING:
        if not occupant.proven:
            view.window = grown(view.window, view.policy)
        slot = replace(slot, phase=Phase.READY, phase_since=view.now, failures=0)
        occupant = replace(occupant, proven=True, ready_at=view.now)
    put(view, replace(slot, occupant=replace(occupant, listed=True, listed_changed=view.now)))


def _vanished(view: View, name: Incarnation) -> None:
    view.ghosts.discard(name)
    view.doomed.discard(name)
    view.to_inspect.discard(name)
    view.strangers.pop(name, None)
    slot, occupant = occupied_by(view, name)
    if slot is not None and occupant is not None:
        put(view, replace(slot, occupant=replace(occupant, listed=False, listed_changed=view.now)))


def _strange_listed(view: View, strange: frozenset[str]) -> None:
    for label in view.strange - strange:
        view.strangers.pop(label, None)
        view.to_inspect.discard(label)
    for label in strange - view.strange:
        if len(view.strangers) + len(view.to_inspect) < STRANGERS_MAX:
            view.to_inspect.add(label)
    view.strange = strange


def _resume_judgement(view: View) -> None:
    """The first list of a connection: what is missing from it counts from now on, what was unread is read again."""
    for key in list(view.key_of.values()):
        slot = view.slots[key]
        if slot.occupant is not None and not slot.occupant.listed:
            put(view, slot)
    view.to_inspect |= {n for n, s in view.strangers.items() if s.standing is Standing.UNREAD}


def _registration_read(view: View, name: Incarnation | str, stranger: Stranger) -> None:
    if name in view.listed or name in view.strange:
        view.strangers[name] = stranger


def _haunt(view: View, name: Incarnation) -> None:
    """Remember a registration whose process is proven dead until it is gone."""
    view.strangers.pop(name, None)
    view.ghosts.add(name)
    view.doomed.add(name)


# --- the plan ---------------------------------------------------------------------------------


def _decided(view: View, plan: Plan) -> None:
    for action in plan.actions:
        _ordered(view, action)
    for key in plan.deferred:
        view.waiting.setdefault(key)
    view.touched.clear()
    drop_stale_alarms(view)


def _ordered(view: View, action: Action) -> None:
    match action:
        case Spawn(key, name, reason):
            _launch_ordered(view, view.slots[key], name, reason)
        case Drain(key, _, reason, blameless):
            _end_ordered(view, key, reason, view.policy.grace_s, blameless=blameless, killing=False)
        case Kill(key, _, reason, blameless):
            _end_ordered(
                view, key, reason, view.policy.kill_retry_s, blameless=blameless, killing=True
            )
        case Discard(name):
            view.doomed.discard(name)
        case Inspect(name):
            view.to_inspect.discard(name)
            view.strangers[name] = Stranger(str(name), Standing.UNREAD)
        case _:
            assert_never(action)


def _launch_ordered(view: View, slot: Slot, name: Incarnation, reason: str) -> None:
    again = slot.generation != 0
    if again:
        budget = refilled(view.budget, view.now, view.policy)
        view.budget = Budget(budget.tokens - 1.0, budget.at)
    put(
        view,
        replace(
            slot,
            phase=Phase.STARTING,
            phase_since=view.now,
            occupant=Occupant(name=name, pid=None, since=view.now),
            generation=name.generation,
            restarts=slot.restarts + again,
            unseen=None,
            reason=reason,
        ),
    )


def _end_ordered(
    view: View, key: int, reason: str, patience_s: float, *, blameless: bool, killing: bool
) -> None:
    slot = view.slots[key]
    put(
        view,
        replace(
            slot,
            phase=Phase.DRAINING,
            phase_since=view.now if slot.phase is not Phase.DRAINING else slot.phase_since,
            deadline=view.now + patience_s,
            killing=killing,
            blameless=blameless,
            reason=reason,
        ),
    )
