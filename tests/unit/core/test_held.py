"""Slots held by what cannot be proven to be ours: nobody is ended, nobody doubled, and nobody waited for."""

from __future__ import annotations

import pytest

from autohealer.core.actions import Drain, Inspect, Kill, Plan, Spawn
from autohealer.core.events import (
    DetachRequested,
    Event,
    RegistrantDead,
    RegistrationRead,
    ReplicasSet,
    StopRequested,
    StoreChanged,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkerHeld,
)
from autohealer.core.invariants import violations_of
from autohealer.core.model import Ending, Exit, Incarnation, Phase, Store
from autohealer.core.reconcile import reconcile
from autohealer.core.strangers import Standing
from tests.unit.core.notation import BASE, Scene

IT, OTHER = Incarnation(0, 7), Incarnation(0, 8)
WHY = "the environment of pid 9 cannot be read"


def _held(text: str = "0:- 1:ready", *, name: Incarnation = IT) -> Scene:
    scene = Scene(text)
    assert scene.decide(WorkerHeld(name, 9, WHY)) == []
    return scene


def _ends(name: Incarnation = IT, *, tree_empty: bool = True) -> WorkerExited:
    return WorkerExited(name, Exit(), tree_empty, 0.0)


def test_it_is_neither_ended_nor_doubled_however_long_it_lives() -> None:
    """A worker whose environment cannot be read would be killed, or run twice."""
    scene = _held()
    assert scene.view.slots[0].phase is Phase.HELD
    assert scene.reason(0) == WHY
    assert scene.after(3600.0, scene.same_list()) == []
    assert scene.view.ready_count() == 1


@pytest.mark.parametrize("text", ["0:backoff(0.1s)", "0:quarantined(0.1s)"])
def test_it_holds_a_slot_that_waits_to_be_filled(text: str) -> None:
    """A pause after a failure would end in a double."""
    scene = Scene(text)
    scene.decide(WorkerHeld(IT, 9, WHY))
    assert scene.after(3600.0) == []


def test_its_end_frees_the_slot() -> None:
    """The slot would stay empty for ever."""
    scene = _held()
    (spawn,) = scene.after(60.0, _ends())
    assert spawn == (
        "spawn 0: exited (status unknown: not a child of this daemon): "
        "what held the slot could not be proven to be its worker"
    )
    assert scene.name(0).generation >= BASE


def test_a_late_word_of_one_that_ended_holds_nothing() -> None:
    """A slot would stay empty for ever, held by a process that is gone."""
    scene = _held("0:-")
    (spawn,) = scene.after(60.0, _ends(), WorkerHeld(IT, 9, WHY))
    assert spawn.startswith("spawn 0")


def test_its_slot_is_not_filled_while_what_it_started_lives() -> None:
    """Children of a worker that could not be proven would hold the port its replacement needs."""
    scene = _held()
    assert scene.decide(_ends(tree_empty=False)) == []
    assert scene.after(3600.0) == []
    assert len(scene.decide(TreeEmptied(IT, 0.0))) == 1


def test_a_proof_makes_it_a_worker_like_any_other() -> None:
    """A worker that has been proven would go on being called unprovable, and never be replaced."""
    scene = _held()
    assert scene.decide(WorkerAdopted(IT, 9, 60.0)) == []
    assert str(scene).startswith("0:starting*")
    scene.decide(scene.lists(IT))
    assert scene.view.slots[0].phase is Phase.READY
    assert [line[:5] for line in scene.decide(scene.dies(0))] == ["spawn", "disca"]


def test_its_registration_is_looked_into_for_the_proof() -> None:
    """What it says of itself would never be asked."""
    scene = _held()
    assert scene.decide(scene.lists(IT)) == ["inspect 0.7"]
    assert scene.decide(RegistrationRead(IT, Standing.UNPROVABLE, 9)) == []
    assert scene.view.strangers == {}
    scene.after(1.0, StoreChanged(Store.SUSPENDED))
    assert scene.after(1.0, StoreChanged(Store.CONNECTED), scene.same_list()) == ["inspect 0.7"]


def test_the_registration_of_one_that_ended_is_deleted_only_on_proof() -> None:
    """Somebody else's registration would be deleted because its name resembles ours."""
    scene = _held()
    scene.decide(scene.lists(IT))
    assert scene.after(1.0, _ends()) == ["inspect 0.7", "wait 0"]
    plan = scene.decide(RegistrantDead(IT))
    assert [line.split(":")[0] for line in plan] == ["spawn 0", "discard 0.7"]


def test_a_second_word_of_it_changes_only_why() -> None:
    """A slot would count twice, or be called held since a moment ago."""
    scene = _held()
    scene.after(5.0, WorkerHeld(IT, 9, "it would not answer"))
    assert scene.reason(0) == "it would not answer"
    assert scene.view.counts[Phase.HELD] == 1
    assert scene.view.now - scene.view.slots[0].phase_since == 5.0


@pytest.mark.parametrize("order", ["held first", "adopted first"])
def test_beside_a_proven_one_it_is_only_reported(order: str) -> None:
    """A healthy worker would be taken for surplus because of a process nobody knows."""
    scene = Scene("0:-")
    facts: list[Event] = [WorkerHeld(IT, 9, WHY), WorkerAdopted(OTHER, 10, 5.0)]
    assert scene.decide(*(facts if order == "held first" else reversed(facts))) == []
    assert scene.name(0) == OTHER
    assert scene.view.strangers[IT].standing is Standing.UNPROVABLE
    scene.decide(_ends())
    assert scene.view.strangers == {}


def test_the_second_of_its_kind_holds_the_slot_after_the_first() -> None:
    """The second of two that cannot be proven would be doubled when the first one ends."""
    scene = _held()
    scene.decide(WorkerHeld(OTHER, 10, WHY))
    assert scene.decide(_ends()) == []
    assert scene.name(0) == OTHER
    assert len(scene.decide(_ends(OTHER))) == 1


def test_a_slot_nobody_wants_is_held_until_it_is_wanted_again() -> None:
    """Scaling down would kill what is not ours, scaling up again would double it."""
    scene = _held("0:ready 1:-", name=Incarnation(1, 7))
    assert scene.decide(ReplicasSet(1)) == []
    assert scene.after(60.0, ReplicasSet(2)) == []
    scene.decide(ReplicasSet(1))
    scene.decide(_ends(Incarnation(1, 7)))
    assert list(scene.view.slots) == [0]


@pytest.mark.parametrize("force", [False, True])
def test_a_stop_does_not_wait_for_it_and_says_what_is_left(force: bool) -> None:
    """A daemon could never be stopped because of a process it may not touch, or would leave it without a word."""
    scene = _held()
    plan = scene.decide(StopRequested(force=force))
    assert [line.split(":")[0] for line in plan] == ["kill 1" if force else "drain 1"]
    scene.decide(scene.dies(1))
    assert scene.is_finished()
    (hold,) = reconcile(scene.view).holds
    assert hold.startswith("a slot held by a process that cannot be proven")


def test_a_detach_says_what_is_left() -> None:
    """Who takes over would not know of it."""
    scene = _held()
    scene.decide(DetachRequested())
    plan = reconcile(scene.view)
    assert plan.finished
    assert len(plan.holds) == 1


@pytest.mark.parametrize(
    ("action", "says"),
    [
        (Drain(0, IT, "why", Ending.SURPLUS), "cannot be proven to be ours"),
        (Kill(0, IT, "why", Ending.REGISTRATION_LOST), "cannot be proven to be ours"),
        (Spawn(0, Incarnation(0, BASE), "why"), "is to be filled but holds"),
    ],
)
def test_a_plan_that_touches_it_is_stopped(action: Drain | Kill | Spawn, says: str) -> None:
    """A fault of the decider would end a process that may be anybody's."""
    assert says in "; ".join(violations_of(_held().view, Plan((action,))))


def test_a_plan_that_looks_into_it_is_sound() -> None:
    """The search for a proof would freeze everything."""
    assert violations_of(_held().view, Plan((Inspect(IT),))) == ()
