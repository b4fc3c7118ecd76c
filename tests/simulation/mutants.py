"""Deliberate bugs in the production code, by name: the simulation must notice each, or a check of it is worth nothing.

Theory of operation. A mutant replaces functions by versions with a bug; everything else is the real thing. What the
core's own property tests have put a name to already is taken from there. The core's check of its own plans is switched
off with each, so that the oracle has to see by itself what comes of the bug.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autohealer.core import (
    adoption,
    binding,
    brake,
    completion,
    epidemic,
    evolve,
    held,
    membership,
    ordering,
    readiness,
    reconcile,
    registrations,
    replacing,
    slots,
    storeroom,
    wanting,
)
from autohealer.core.actions import Action, Discard, Drain, Plan
from autohealer.core.brake import release_if_whole, review_losses
from autohealer.core.children import Awaited, Child
from autohealer.core.events import WorkerAdopted
from autohealer.core.firstfill import Gate
from autohealer.core.health import Health
from autohealer.core.intensity import Rate, rate_of
from autohealer.core.model import (
    NEVER,
    Brake,
    Budget,
    Death,
    Ending,
    Exit,
    Incarnation,
    Occupant,
    Phase,
    Slot,
    Stop,
    Store,
    View,
)
from autohealer.core.policy import Policy
from autohealer.core.reconcile import _registry_work as registry_work
from autohealer.core.restarts import after_death
from autohealer.core.slots import put
from autohealer.daemon import loop
from autohealer.daemon.executor import Executor
from autohealer.daemon.ports import Gone, Unreadable
from tests.simulation.mutants_of_care import MUTANTS as OF_CARE
from tests.simulation.mutants_of_operation import MUTANTS as OF_OPERATION
from tests.unit.core.test_mutants import MUTANTS as OF_THE_CORE
from tests.unit.core.test_mutants import Patch

ADOPTED = adoption.adopted
EXITED = evolve._exited
ENDING = reconcile._ending
LAUNCH_ORDERED = ordering._launch_ordered
STORE_CHANGED = storeroom.store_changed
TURN = readiness._turn
WEIGHED = replacing.weighed


def _checks_nothing(view: View, plan: Plan) -> tuple[str, ...]:
    """Finds every plan sound."""
    return ()


def _never_brakes(view: View) -> None:
    """Takes a mass loss for as many deaths."""


def _misses_only_its_own(slot: Slot) -> bool:
    """Thinks that an adopted worker that is not registered has never been."""
    return slot.phase is Phase.READY and slot.occupant is not None and not slot.occupant.listed


def _does_not_hold_again(view: View, key: int) -> None:
    """Goes on with those that may just be coming back."""
    if view.brake.replacing.pop(view.place(key), None) is not None:
        view.brake.at_once += 1


def _never_releases(view: View) -> None:
    """Holds without end."""
    review_losses(view)
    if view.brake.on:
        view.brake.hold_until = float("inf")


def _has_places_for_all(view: View) -> int:
    """Ends everybody who is still missing as soon as the hold is over."""
    return len(view.missing)


def _discards_a_live_one(view: View) -> tuple[Action, ...]:
    """Deletes the registration of one that lives, together with that of one that died."""
    work = registry_work(view)
    if view.store is not Store.CONNECTED or not any(isinstance(a, Discard) for a in work):
        return work
    return (*work, *(Discard(name) for name in sorted(view.listed & view.key_of.keys())[:1]))


def _never_forgives(view: View, empty: Slot, death: Death) -> Slot:
    """Lets every restart wait, however stable the worker had been."""
    if death.occupant.ready_at is not None:
        newly_ready = replace(death.occupant, ready_at=view.now)
        death, empty = replace(death, occupant=newly_ready), replace(empty, quick_restarts=1)
    return after_death(view, empty, death)


def _ignores_the_tree(
    view: View, name: Incarnation, exit_: Exit, jitter: float, *, tree_empty: bool
) -> None:
    """Fills a slot while children of its last worker live."""
    EXITED(view, name, exit_, jitter, tree_empty=True)


def _forgets_the_launch(view: View, slot: Slot, name: Incarnation, reason: str) -> None:
    """Does not remember that a launch is under way."""
    LAUNCH_ORDERED(view, slot, name, reason)
    put(view, replace(view.slots[slot.key], occupant=None))


def _is_always_full(budget: Budget, now: float, rate: Rate) -> Budget:
    """Never charges a restart to the group's budget."""
    return Budget(rate.burst, now)


def _spends_as_nine(policy: Policy, replicas: int) -> Rate:
    """Gives every group the budget of a large one."""
    return rate_of(policy, 9)


def _never_looks_again(view: View) -> float | None:
    """Wakes for facts only."""
    return None


async def _adopts_without_proof(self: Executor, name: Incarnation | str) -> None:
    """Believes every registration that looks like one of ours."""
    try:
        record = await self._registry.read(name)
    except (Gone, Unreadable):
        return
    if isinstance(name, Incarnation):
        self._post(WorkerAdopted(name, record.pid, age_s=60.0))


def _ends_whom_it_cannot_prove(slot: Slot, view: View) -> Action | None:
    """Takes what holds a slot for a worker of its own that has to go."""
    if slot.phase is Phase.HELD and slot.occupant is not None:
        return Drain(slot.key, slot.occupant.name, "not proven", Ending.SURPLUS)
    return ENDING(slot, view)


def _doubles_the_unprovable(view: View, name: Incarnation, pid: int, why: str) -> None:
    """Only reports what it cannot prove, and fills the slot beside it."""
    held._report(view, name, pid)


def _waits_for_nobody(view: View) -> Gate:
    """Launches before it knows who is there."""
    return Gate(view.own, NEVER, {})


def _haunts_by_interval(view: View, name: Incarnation) -> bool:
    """Takes every number between its first and its newest generation for its own."""
    slot = view.slots.get(name.slot)
    return slot is not None and view.generation_base <= name.generation <= slot.generation


def _hurries_what_its_leader_left(
    view: View, name: Incarnation, exit_: Exit, jitter: float, *, tree_empty: bool
) -> None:
    """Kills what a leader that was asked to end left, as if it had died by itself."""
    EXITED(view, name, exit_, jitter, tree_empty=tree_empty)
    key = view.key_of.get(name)
    if key is not None and view.slots[key].phase is Phase.DRAINING:
        soon = view.now + view.policy.kill_retry_s
        put(view, replace(view.slots[key], deadline=soon, killing=True))


def _ignores_the_wipe(view: View) -> None:
    """Misses at once whoever was registered in a registry that was deleted."""


def _forgets_the_brake(view: View, store: Store, number: int) -> None:
    """Takes a mass loss for over when its own connection goes."""
    STORE_CHANGED(view, store, number)
    view.room.brake = Brake()


def _never_begins_anew(view: View) -> None:
    """Takes as many gone again while the brake is on for what has begun already."""
    if view.brake.on:
        release_if_whole(view)
    else:
        review_losses(view)


def _counts_only_what_it_saw_go(view: View) -> None:
    """Takes who is missing since before its connection for no part of a loss."""
    if view.brake.on or view.brake.losses:
        review_losses(view)


def _never_brakes_after_a_cut(view: View) -> None:
    """Takes what the first list of a connection lacks for as many losses as there are, not for one."""
    if view.now - view.store_since > 2 * view.policy.settle_s:
        review_losses(view)


def _settles_after_reconnects_only(view: View, store: Store, number: int) -> None:
    """Gives nobody time at its first connection, though workers that it found lived through an outage."""
    found, view.key_of = view.key_of, {}
    STORE_CHANGED(view, store, number)
    view.key_of = found


def _never_withdraws(view: View, old: Slot | None, new: Slot) -> None:
    """Registers for programs and never takes that back."""
    before, now = slots.held_registration(old), slots.held_registration(new)
    if now is not None and now != before:
        view.to_register.add(now)


def _leaves_it(view: View, name: Incarnation) -> None:
    """Leaves the registrations of the dead to their sessions, of which the daemon's never ends."""


def _holds_nothing(slot: Slot | None) -> Incarnation | None:
    """Takes no notice of a registration that goes."""
    return None


def _exchanges_all(view: View) -> int | None:
    """Replaces who is outdated whatever becomes of the others."""
    return min(view.outdated, default=None) if view.desired.stop is Stop.NO else None


def _replaces_all_that_are_large(view: View) -> int | None:
    """Replaces who uses too much memory whatever becomes of the others."""
    return min(view.oversized, default=None) if view.desired.stop is Stop.NO else None


def _forgets_no_size(view: View, name: Incarnation, rss_bytes: int) -> None:
    """Replaces who was too large once, although it is not any more."""
    if rss_bytes:
        WEIGHED(view, name, rss_bytes)


def _takes_for_current(
    view: View, name: Incarnation, pid: int, age_s: float, revision: str
) -> None:
    """Believes that whatever an earlier daemon left runs what is wanted now."""
    ADOPTED(view, name, pid, age_s, view.desired.revision)


def _registers_once(view: View, asked_at: float) -> None:
    """Takes a registration that was ordered for one that is there."""


def _asks_nothing(health: Health) -> bool:
    """Takes every worker for fit."""
    return True


def _stays_ready(view: View, slot: Slot, occupant: Occupant, phase: Phase) -> None:
    """Takes who was ready once for ready."""
    phase = Phase.READY if phase is Phase.UNREADY else phase
    TURN(view, slot, occupant, phase)


def _never_counts_the_sick(view: View) -> None:
    """Takes each sick worker for the only one."""


def _takes_foreigners(view: View, awaited: Awaited) -> Iterator[Child]:
    """Takes any new child for one's, whoever is proven to have made it."""
    bound = view.room.nursery.bound
    return (
        sight.child
        for sight in view.bindings.sights.values()
        if sight.child.label not in bound and sight.child.czxid > awaited.floor
    )


def _waits_for_no_turn(view: View, places: int) -> int:
    """Launches as many as there are places for."""
    return places


def _is_never_done(*_: object) -> None:
    """Runs again what is done."""


def _is_done_in_any_case(exit_: Exit) -> bool:
    """Takes every end for a good one."""
    return True


def _forgets_what_was_done(view: View, name: Incarnation, why: str, *, has_failed: bool) -> None:
    """Runs again what an earlier daemon saw done."""


MUTANTS: dict[str, list[Patch]] = {
    "registers who is not ready yet": [(Health, "is_fit", property(_asks_nothing))],
    "keeps the name of who is not ready": [(readiness, "_turn", _stays_ready)],
    "ends all who ail together": [(epidemic, "_review", _never_counts_the_sick)],
    "restarts while the store is away": OF_THE_CORE["ignores freshness"],
    "does not settle after a reconnect": OF_THE_CORE["knows no settle time"],
    "reuses a generation": OF_THE_CORE["reuses a generation"],
    "restarts without killing": OF_THE_CORE["restarts without killing"],
    "never escalates": OF_THE_CORE["never escalates"],
    "never looks again": [(loop, "next_wake", _never_looks_again)],
    "forgets launches in flight": [(ordering, "_launch_ordered", _forgets_the_launch)],
    "ignores the tree": [(evolve, "_exited", _ignores_the_tree)],
    "discards a live registration": [(reconcile, "_registry_work", _discards_a_live_one)],
    "never resets its pauses": [
        (evolve, "after_death", _never_forgives),
        (registrations, "after_death", _never_forgives),
    ],
    "spends without a budget": [
        (reconcile, "refilled", _is_always_full),
        (ordering, "refilled", _is_always_full),
    ],
    "spends another number's budget": [
        (reconcile, "rate_of", _spends_as_nine),
        (wanting, "rate_of", _spends_as_nine),
        (ordering, "rate_of", _spends_as_nine),
    ],
    "believes an old list": OF_THE_CORE["believes an old list"],
    "forgets a loss before its start": [
        (slots, "is_missed", _misses_only_its_own),
        (membership, "is_missed", _misses_only_its_own),
        (reconcile, "is_missed", _misses_only_its_own),
    ],
    "lets the others go with the first": [(readiness, "note_registered", _does_not_hold_again)],
    "never brakes": [(registrations, "review_losses", _never_brakes)],
    "never releases the brake": [(registrations, "review_losses", _never_releases)],
    "ends all after the hold": [(brake, "_places", _has_places_for_all)],
    "ends whom it cannot prove": [(reconcile, "_ending", _ends_whom_it_cannot_prove)],
    "doubles the unprovable": [(held, "held", _doubles_the_unprovable)],
    "fills a slot before it has looked": [(reconcile, "gate_of", _waits_for_nobody)],
    "haunts by interval": [(registrations, "is_own", _haunts_by_interval)],
    "kills what a drained leader left": [(evolve, "_exited", _hurries_what_its_leader_left)],
    "misses everybody after a wipe": [(storeroom, "registry_wiped", _ignores_the_wipe)],
    "forgets a mass loss with its connection": [
        (storeroom, "store_changed", _forgets_the_brake),
        (registrations, "review_losses", _counts_only_what_it_saw_go),
    ],
    "does not hold again for as many again": [(registrations, "review_losses", _never_begins_anew)],
    "does not brake what a cut has hidden": [
        (registrations, "review_losses", _never_brakes_after_a_cut)
    ],
    "settles after reconnects only": [(storeroom, "store_changed", _settles_after_reconnects_only)],
    "keeps the names of dead programs": [
        (slots, "_hold_registration", _never_withdraws),
        (evolve, "_left_registered", _leaves_it),
    ],
    "registers a program only once": [
        (registrations, "_review_registering", _registers_once),
        (registrations, "held_registration", _holds_nothing),
    ],
    "exchanges all that is outdated": [(reconcile, "next_outdated", _exchanges_all)],
    "replaces all that are too large": [
        (reconcile, "next_oversized", _replaces_all_that_are_large)
    ],
    "forgets no size": [(evolve, "weighed", _forgets_no_size)],
    "adopts what is outdated as current": [(adoption, "adopted", _takes_for_current)],
    "binds a foreign child": [(binding, "_candidates", _takes_foreigners)],
    "launches two at a time": [(reconcile, "in_turn", _waits_for_no_turn)],
    "does again what is done": [(completion, "completed", _is_never_done)],
    "takes a failure for done": [(completion, "is_success", _is_done_in_any_case)],
    "forgets what was done": [(completion, "was_done", _forgets_what_was_done)],
    "adopts without proof": [(Executor, "_inspect", _adopts_without_proof)],
}

MUTANTS |= OF_CARE | OF_OPERATION

WITHOUT_SELF_CHECK: Patch = (loop, "violations_of", _checks_nothing)
