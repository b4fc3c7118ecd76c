"""Faults the core once had, found by reading it and by random stories; none may come back."""

from __future__ import annotations

import pytest

from autohealer.core.events import (
    Event,
    InvariantBroken,
    RegistrantDead,
    ReplicasSet,
    StopRequested,
    StoreChanged,
    Ticked,
    WorkerAdopted,
    WorkersListed,
)
from autohealer.core.evolve import evolve
from autohealer.core.membership import absence_deadline
from autohealer.core.model import Budget, Incarnation, Phase, Store, View
from autohealer.core.policy import Policy
from autohealer.core.reconcile import next_wake
from tests.unit.core.notation import Scene

OLDER = Incarnation(0, 50)


def test_a_generation_is_not_used_twice_after_scaling_down_and_up() -> None:
    """A dead worker's registration would pass for its replacement's, or the other way round."""
    scene = Scene("0:ready 1:ready")
    first = scene.name(1)
    scene.decide(ReplicasSet(1))
    scene.decide(scene.dies(1))
    scene.decide(ReplicasSet(2))
    assert scene.name(1).generation > first.generation


def test_an_outdated_word_of_a_dead_registrant_does_not_freeze_everything() -> None:
    """One late answer about an adopted worker would break an invariant and end all healing for good."""
    scene = Scene("0:ready*")
    scene.decide()
    assert scene.decide(RegistrantDead(scene.name(0))) == []


def test_a_registration_that_went_before_the_verdict_is_not_deleted_for_ever() -> None:
    """Every list would cause one more useless delete per such worker, for as long as the daemon lives."""
    scene = Scene("0:ready")
    scene.decide(RegistrantDead(Incarnation(3, 7)))
    assert scene.decide(scene.lists()) == []


def test_a_frozen_daemon_does_not_spin() -> None:
    """A daemon that froze with launches waiting would use a whole processor to do nothing."""
    scene = Scene("0:starting 1:-")
    scene.decide()
    scene.decide(InvariantBroken(("a promise",)))
    scene.decide(scene.lists(scene.name(0)))
    wake_at = next_wake(scene.view)
    assert wake_at is None or wake_at > scene.view.now


def test_a_frozen_daemon_ends_when_asked_and_nothing_is_left() -> None:
    """After a broken invariant only SIGKILL would end the daemon, even with every worker gone."""
    scene = Scene("0:ready")
    scene.decide(InvariantBroken(("a promise",)))
    scene.decide(StopRequested(), scene.dies(0))
    assert scene.is_finished()


def test_adopting_a_second_incarnation_does_not_revive_one_that_drains() -> None:
    """A worker asked to end, or dead but for its children, would count as ready, its kill forgotten."""
    scene = Scene("0:draining(2s)")
    scene.decide()
    scene.decide(WorkerAdopted(OLDER, 9, 5.0))
    assert scene.view.slots[0].phase is Phase.DRAINING


def test_adopting_a_second_incarnation_does_not_pardon_a_lost_registration() -> None:
    """A frozen worker would be given half a minute more instead of half a second."""
    scene = Scene("0:absent(0.3s)")
    scene.decide()
    scene.decide(WorkerAdopted(OLDER, 9, 5.0))
    assert any(line.startswith("kill 0: registration gone") for line in scene.after(0.3))


def test_of_two_registered_incarnations_found_the_newer_stays() -> None:
    """The one an earlier daemon had given up would be kept and its replacement ended."""
    scene = Scene("0:-")
    newer = Incarnation(0, 60)
    listed = WorkersListed(frozenset({OLDER, newer}), frozenset())
    scene.decide(listed, WorkerAdopted(OLDER, 9, 5.0), WorkerAdopted(newer, 10, 5.0))
    assert scene.name(0) == newer


def test_a_list_that_comes_while_the_session_is_suspended_proves_nothing() -> None:
    """One answer delivered late would have live workers killed during an outage; only the adapter prevents it."""
    scene = Scene("0:ready", store="suspended(2s)")
    scene.decide()
    scene.decide(WorkersListed(frozenset(), frozenset()))
    assert scene.after(0.6) == []


def test_adopting_a_better_incarnation_does_not_inherit_the_pardon_of_the_worse() -> None:
    """A worker that crashes at start would be launched again at once, because another had been ended on purpose."""
    scene = Scene("0:starting(0.1s)")
    scene.decide(ReplicasSet(0))
    scene.decide(ReplicasSet(1))
    scene.decide(scene.lists(OLDER))
    scene.decide(WorkerAdopted(OLDER, 9, 5.0))
    assert scene.name(0) == OLDER
    assert scene.view.slots[0].ending is None


def test_the_double_of_a_draining_incarnation_is_still_insisted_on() -> None:
    """A worker that ignores TERM would get a second grace, or stay for ever, once a better one was found."""
    scene = Scene("0:starting(0.1s)")
    scene.decide(ReplicasSet(0))
    scene.decide(ReplicasSet(1))
    scene.after(9.0, scene.lists(OLDER))
    scene.decide(WorkerAdopted(OLDER, 9, 5.0))
    assert [line.split(":")[0] for line in scene.after(1.0)] == ["kill -1"]


def test_a_slot_that_has_to_pause_again_does_not_wait_for_its_turn() -> None:
    """It would be launched at once while status says that it waits a second."""
    policy = Policy(budget_burst=1, budget_per_s=0.25, intensity=0)
    scene = Scene("0:starting(1s) 1:starting(1s)", policy=policy)
    dead = scene.name(1)
    scene.decide(scene.dies(0), scene.dies(1))
    assert [line.split(":")[0] for line in scene.after(0.2)] == ["spawn 0", "wait 1"]
    scene.after(3.5, scene.lists(dead))
    assert scene.reason(1).endswith("restart 1 in a row too soon after the last")
    assert not [line for line in scene.after(0.6) if line.startswith("spawn 1")]
    assert [line.split(":")[0] for line in scene.after(0.4)] == ["spawn 1"]


@pytest.mark.parametrize("order", ["adopted first", "connected first", "listed first"])
def test_adopted_workers_have_time_to_register_with_a_store_that_was_away(order: str) -> None:
    """After an outage that the daemon did not outlive, its workers would be ended by the next one."""
    view = View(policy=Policy(), budget=Budget(10.0), generation_base=100, now=50.0)
    name = Incarnation(0, 7)
    adopted, connected = WorkerAdopted(name, 9, 60.0), StoreChanged(Store.CONNECTED)
    listed = WorkersListed(frozenset({name}), frozenset())
    orders: dict[str, tuple[Event, ...]] = {
        "adopted first": (adopted, connected, listed),
        "connected first": (connected, adopted, listed),
        "listed first": (connected, listed, adopted),
    }
    for fact in (Ticked(50.0), ReplicasSet(1), *orders[order], Ticked(51.0)):
        evolve(view, fact)
    evolve(view, WorkersListed(frozenset(), frozenset()))
    due = absence_deadline(view.slots[0], view)
    assert due == 50.0 + view.policy.settle_s + view.policy.rejoin_grace_s
