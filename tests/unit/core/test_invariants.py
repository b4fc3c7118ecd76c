"""Promises checked before anything is done: each breach is named, and freezes everything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autohealer.core.actions import Action, Discard, Drain, Inspect, Kill, Plan, Spawn
from autohealer.core.events import Decided, InvariantBroken, ReplicasSet
from autohealer.core.evolve import evolve
from autohealer.core.invariants import violations_of
from autohealer.core.model import Ending, Incarnation, Occupant, Phase, Slot
from autohealer.core.policy import Policy
from autohealer.core.reconcile import reconcile
from autohealer.core.slots import put
from tests.unit.core.notation import BASE, Scene

LIVE = Incarnation(0, BASE)


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (Spawn(0, Incarnation(0, BASE + 1), "why"), "slot 0 is to be filled but holds"),
        (Spawn(1, Incarnation(1, BASE), "why"), "would reuse a generation"),
        (Spawn(3, Incarnation(3, BASE), "why"), "slot 3 is to be filled but not wanted"),
        (Kill(0, Incarnation(0, 7), "why", Ending.REGISTRATION_LOST), "does not fill slot 0"),
        (Drain(1, LIVE, "why", Ending.REGISTRATION_LOST), "does not fill slot 1"),
        (Discard(LIVE), "registration of the live"),
        (Spawn(1, Incarnation(1, BASE + 9), "why"), "before its pause is over"),
        (Inspect(LIVE), "is ours but is to be inspected"),
    ],
)
def test_an_action_that_breaks_a_promise_is_named(action: Action, says: str) -> None:
    """A fault of the decider would reach a process before anybody noticed."""
    scene = Scene("0:ready 1:backoff(0.1s) 2:- 3:draining(1s)")
    scene.decide(ReplicasSet(3))
    assert says in "; ".join(violations_of(scene.view, Plan((action,))))


def test_two_actions_for_one_slot_are_named() -> None:
    """A worker would be ended and its slot filled in one breath."""
    scene = Scene("0:ready")
    both = (
        Drain(0, LIVE, "a", Ending.SURPLUS),
        Kill(0, LIVE, "b", Ending.SURPLUS),
    )
    assert violations_of(scene.view, Plan(both)) == ("two actions for slot 0 in one plan",)


def test_too_many_launches_at_once_are_named() -> None:
    """A fault in pacing would launch a whole group at once."""
    scene = Scene("0:starting(0.1s) 1:- 2:-", policy=Policy(in_flight_max=2))
    spawns = tuple(Spawn(key, Incarnation(key, BASE), "why") for key in (1, 2))
    assert violations_of(scene.view, Plan(spawns)) == ("3 launches under way, more than 2",)


def test_counts_that_do_not_add_up_are_named() -> None:
    """Status would lie and pacing go wrong, unnoticed."""
    scene = Scene("0:ready 1:-")
    scene.view.counts[Phase.READY] += 1
    scene.view.counts[Phase.VACANT] -= 3
    said = "; ".join(violations_of(scene.view, Plan()))
    assert "do not add up to 2 slots" in said
    assert "negative" in said


NOBODY = Slot(0, generation=BASE)
WORKER = Occupant(LIVE, 7, 0.0)


@pytest.mark.parametrize(
    ("slot", "says"),
    [
        (replace(NOBODY, phase=Phase.READY), "is ready and holds nobody"),
        (replace(NOBODY, occupant=WORKER), f"is vacant and holds {LIVE}"),
        (replace(NOBODY, phase=Phase.BACKOFF), "is backoff without a deadline"),
        (replace(NOBODY, killing=True), "is vacant and told to end"),
        (replace(NOBODY, phase=Phase.READY, occupant=WORKER), "was ready at None"),
        (
            replace(NOBODY, phase=Phase.STARTING, occupant=replace(WORKER, ready_at=1.0)),
            "is starting and its worker was ready at 1.0",
        ),
        (
            replace(NOBODY, phase=Phase.STARTING, occupant=WORKER, generation=1),
            f"at generation 1 holds {LIVE}",
        ),
    ],
)
def test_a_slot_that_contradicts_itself_is_named(slot: Slot, says: str) -> None:
    """A fault of the rules would show only in what it does to a worker."""
    scene = Scene("0:-")
    scene.decide()
    put(scene.view, slot)
    assert says in "; ".join(violations_of(scene.view, Plan()))


def test_a_launch_that_waits_and_may_not_be_is_named() -> None:
    """A slot would be filled beside its worker, or before its pause is over, when its turn comes."""
    scene = Scene("0:ready")
    scene.decide()
    evolve(scene.view, Decided(Plan(deferred=(0,))))
    assert "slot 0 waits to be launched and may not be" in violations_of(scene.view, Plan())


def test_a_sound_plan_breaks_nothing() -> None:
    """A healthy daemon would freeze."""
    scene = Scene("0:absent(1s) 1:- 2:draining(10s)")
    plan = reconcile(scene.view, every_slot=True)
    assert len(plan.actions) == 3
    assert violations_of(scene.view, plan) == ()


def test_a_broken_promise_freezes_all_action_and_says_so() -> None:
    """A daemon whose model is wrong would go on guessing with live processes."""
    scene = Scene("0:absent(1s) 1:- 2:draining(10s)")
    assert scene.decide(InvariantBroken(("slot 9 is two",))) == []
    assert scene.after(3600.0, scene.dies(2)) == []
    plan = reconcile(scene.view)
    assert plan.holds == ("all actions frozen, workers left as they are: slot 9 is two",)
