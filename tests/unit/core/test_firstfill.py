"""The first launch into a slot waits, for a while, for news of who is there; from an exit to its heir nothing does."""

from __future__ import annotations

from autohealer.core.actions import Plan, Spawn
from autohealer.core.events import (
    Event,
    ListFailed,
    RegistrationRead,
    RegistryWiped,
    ReplicasSet,
    StopRequested,
    StoreChanged,
    Ticked,
    WorkerAdopted,
    WorkerExited,
    WorkerHeld,
    WorkersListed,
)
from autohealer.core.evolve import evolve
from autohealer.core.invariants import violations_of
from autohealer.core.model import Budget, Exit, Incarnation, Store
from autohealer.core.policy import Policy
from autohealer.core.reconcile import next_wake, reconcile
from autohealer.core.strangers import Standing
from tests.unit.core.notation import NOW_S, Scene

IT = Incarnation(0, 7)
WAITS_FOR_A_LIST = "first launches wait for ZooKeeper to list who is registered already"
WAITS_FOR_A_LOOK = (
    "a first launch waits until a registration that claims its slot has been looked into"
)


def _begun(*facts: Event, replicas: int = 2) -> Scene:
    """A daemon that has just started, with nothing in its view but these facts."""
    scene = Scene(listed=False)
    scene.decide(ReplicasSet(replicas), *facts)
    return scene


CONNECTED = StoreChanged(Store.CONNECTED)


def test_nothing_is_launched_before_the_first_list() -> None:
    """A worker that is registered, but was not found among processes, would be doubled at each start."""
    scene = _begun(CONNECTED)
    assert reconcile(scene.view).holds[0] == WAITS_FOR_A_LIST
    assert scene.after(0.5) == []
    assert scene.decide(scene.lists())[0] == "spawn 0: first start"


def test_a_store_that_never_lists_delays_a_start_and_no_more() -> None:
    """A ZooKeeper that is connected and answers nothing would prevent every start, without a word."""
    scene = _begun(CONNECTED)
    assert next_wake(scene.view) == scene.view.now + scene.policy.first_list_s
    assert scene.after(scene.policy.first_list_s)[0] == "spawn 0: first start"
    assert "connected but does not answer" in reconcile(scene.view).holds[-1]


def test_a_list_that_fails_delays_a_start_and_no_more() -> None:
    """Workers that may not be listed would never be launched."""
    scene = _begun(CONNECTED, ListFailed("/workers may not be read"))
    assert scene.after(scene.policy.first_list_s)[0] == "spawn 0: first start"


def test_without_a_store_nothing_waits() -> None:
    """An outage would hold up a start beside the workers it found."""
    scene = Scene(listed=False)
    plan = scene.decide(ReplicasSet(2), WorkerAdopted(IT, 9, 60.0))
    assert plan == ["spawn 1: first start"]


def test_an_exit_waits_for_no_list() -> None:
    """The death of an adopted worker would be healed only once ZooKeeper has answered."""
    scene = _begun(CONNECTED, WorkerAdopted(IT, 9, 60.0), replicas=1)
    spawn = scene.decide(WorkerExited(IT, Exit(signal=9), True, 0.0))
    assert spawn == []  # it was not registered, so there is a pause: as for any other
    assert [line[:7] for line in scene.after(0.1)] == ["spawn 0"]


def _claimed() -> Scene:
    """The first list shows somebody in slot 0 whom nobody knows."""
    scene = _begun(CONNECTED)
    assert scene.decide(scene.lists(IT)) == ["spawn 1: first start", "inspect 0.7"]
    return scene


def test_a_claimed_slot_is_not_filled_before_a_look() -> None:
    """A worker that only its registration shows would be doubled."""
    scene = _claimed()
    assert WAITS_FOR_A_LOOK in reconcile(scene.view).holds
    assert scene.after(1.0) == []
    assert scene.decide(WorkerAdopted(IT, 9, 60.0)) == []
    assert str(scene).startswith("0:ready*")


def test_what_cannot_be_proven_then_holds_the_slot() -> None:
    """The verdict would come after the double."""
    scene = _claimed()
    facts = (WorkerHeld(IT, 9, "cannot be read"), RegistrationRead(IT, Standing.UNPROVABLE, 9))
    assert scene.after(1.0, *facts) == []
    assert scene.after(20.0) == []


def test_a_slot_is_filled_once_it_is_known_that_the_claim_is_not_ours() -> None:
    """A foreign registration could keep a slot empty."""
    scene = _claimed()
    plan = scene.after(1.0, RegistrationRead(IT, Standing.ELSEWHERE, 9, "there"))
    assert plan == ["spawn 0: first start"]


def test_a_claim_that_goes_before_its_answer_is_waited_for_all_the_same() -> None:
    """A worker that loses its session at that moment would be doubled."""
    scene = _claimed()
    assert scene.after(1.0, WorkersListed(frozenset(), frozenset())) == []
    assert scene.after(0.01, WorkerAdopted(IT, 9, 60.0)) == []


def test_a_claim_that_goes_unanswered_delays_a_launch_and_no_more() -> None:
    """A registration that vanished before it was read would keep its slot empty for ever."""
    scene = _claimed()
    scene.after(1.0, WorkersListed(frozenset(), frozenset()))
    assert scene.after(scene.policy.settle_s - 1.0) == ["spawn 0: first start"]


def test_a_look_that_never_ends_delays_a_launch_and_no_more() -> None:
    """A registration that cannot be read would keep its slot empty for ever."""
    scene = _claimed()
    wake_at = next_wake(scene.view)
    assert wake_at is not None
    assert wake_at <= scene.view.now + scene.policy.settle_s
    scene.after(scene.policy.settle_s - 0.5, RegistrationRead(IT, Standing.UNREAD))
    assert scene.after(0.4) == []
    assert scene.after(0.1) == ["spawn 0: first start"]


def test_a_slot_filled_before_waits_for_no_look() -> None:
    """Anybody could hold up healing with a registration of the right name."""
    scene = Scene("0:ready")
    scene.decide()
    plan = scene.decide(scene.lists(Incarnation(0, 10**6)), scene.dies(0))
    assert plan[0].startswith("spawn 0: ended by signal 9")


def test_a_slot_wanted_later_is_looked_into_as_well() -> None:
    """Scaling up would double what an earlier daemon left in the new slot."""
    scene = Scene("0:ready")
    scene.decide()
    plan = scene.decide(ReplicasSet(2), scene.lists(Incarnation(1, 7)))
    assert plan == ["inspect 1.7", "wait 1"]


def test_a_stop_before_the_first_list_ends_who_only_that_shows() -> None:
    """A worker would outlive the stop, unknown to everybody."""
    scene = _begun(CONNECTED)
    assert scene.decide(StopRequested()) == []
    assert not scene.is_finished()
    assert scene.decide(scene.lists(IT)) == ["inspect 0.7"]
    assert not scene.is_finished()
    assert scene.decide(WorkerAdopted(IT, 9, 60.0)) == ["drain 0: stopping"]


def test_a_stop_waits_for_no_news_that_never_comes() -> None:
    """A daemon could not be stopped while ZooKeeper is connected and silent, or a registration cannot be read."""
    scene = _begun(CONNECTED)
    scene.decide(StopRequested())
    assert next_wake(scene.view) == scene.view.now + scene.policy.first_list_s
    scene.after(scene.policy.first_list_s)
    assert scene.is_finished()
    claimed = _claimed()
    claimed.decide(StopRequested())
    wake_at = next_wake(claimed.view)
    assert wake_at is not None
    assert wake_at <= claimed.view.now + claimed.policy.settle_s
    claimed.after(claimed.policy.settle_s, claimed.dies(1))
    assert claimed.is_finished()


def test_waiting_costs_no_rounds() -> None:
    """A start that waits would keep a processor busy."""
    scene = _claimed()
    for _ in range(3):
        scene.after(0.01)
        assert (next_wake(scene.view) or 0.0) > scene.view.now + 0.5


def test_a_replacement_that_waits_for_a_look_costs_no_rounds_either() -> None:
    """Where a held process ended while the store was away the daemon would keep a processor busy for seconds."""
    scene = _claimed()
    scene.after(0.1, WorkerHeld(IT, 9, "unreadable"), RegistrationRead(IT, Standing.UNPROVABLE, 9))
    ended = WorkerExited(IT, Exit(), tree_empty=True, jitter=0.0)
    assert scene.after(1.0, StoreChanged(Store.SUSPENDED), ended) == ["wait 0"]
    assert (next_wake(scene.view) or 0.0) > scene.view.now + 0.5


def test_who_waits_for_a_look_takes_no_token_from_the_others() -> None:
    """The last token would be kept for one that may not be launched, and a processor busy for nothing meanwhile."""
    scene = _claimed()
    scene.after(0.1, WorkerHeld(IT, 9, "unreadable"), RegistrationRead(IT, Standing.UNPROVABLE, 9))
    scene.after(1.0, scene.spawned(1), scene.lists(scene.name(1)))
    scene.view.budget = Budget(tokens=1.0, at=scene.view.now + 60.0)
    ended = WorkerExited(IT, Exit(), tree_empty=True, jitter=0.0)
    assert scene.after(60.0, StoreChanged(Store.SUSPENDED), ended) == ["wait 0"]
    (spawned,) = scene.decide(scene.dies(1))
    assert spawned.startswith("spawn 1: ended by signal 9")
    assert (next_wake(scene.view) or 0.0) > scene.view.now + 0.1


# --- what is ours ----------------------------------------------------------------------------------


def test_a_launch_takes_no_name_that_is_registered() -> None:
    """Somebody's znode of that name would pass for the new worker's registration, or be replaced by it."""
    scene = Scene("0:ready")
    first = scene.name(0)
    taken = [Incarnation(0, first.generation + number) for number in (1, 2)]
    scene.decide(scene.lists(*taken))
    scene.decide(*(RegistrationRead(name, Standing.GARBAGE) for name in taken))
    scene.decide(scene.dies(0))
    assert scene.name(0) == Incarnation(0, first.generation + 3)


def test_a_launch_under_a_registered_name_is_stopped() -> None:
    """A fault of the decider would give two workers one name."""
    scene = Scene("0:-")
    scene.decide(scene.lists(IT))
    plan = Plan((Spawn(0, IT, "why"),))
    assert f"{IT} is registered already" in violations_of(scene.view, plan)


def test_a_name_within_the_interval_of_our_generations_is_not_ours() -> None:
    """Another host's live registration would be deleted because its number lies between two of ours."""
    scene = Scene("0:ready")
    first = scene.name(0)
    between = Incarnation(0, first.generation + 1)
    scene.decide(scene.lists(between), RegistrationRead(between, Standing.ELSEWHERE))
    scene.decide(scene.dies(0))
    assert scene.name(0).generation > between.generation
    scene.decide(WorkersListed(frozenset({first}), frozenset()))
    assert scene.decide(WorkersListed(frozenset({first, between}), frozenset())) == [
        f"discard 0.{first.generation}",
        f"inspect 0.{between.generation}",
    ]


def test_a_launch_that_came_to_nothing_owns_no_registration() -> None:
    """Somebody else's registration under its name would be deleted."""
    scene = Scene("0:ready", store="suspended(9s)")
    scene.decide(scene.dies(0))
    name = scene.name(0)
    scene.decide(scene.fails_to_start(0))
    plan = scene.after(60.0, StoreChanged(Store.CONNECTED), scene.lists(name))
    assert f"inspect 0.{name.generation}" in plan
    assert f"discard 0.{name.generation}" not in plan


def test_a_claim_holds_although_the_store_went_away_right_after_the_list() -> None:
    """A worker that only a list showed would be doubled because the connection was cut at that moment."""
    scene = _begun(CONNECTED)
    assert "wait 0" not in scene.decide(scene.lists(IT), StoreChanged(Store.SUSPENDED))
    assert [line for line in scene.after(1.0) if line.startswith("spawn 0")] == []
    assert "spawn 0: first start" in scene.after(scene.policy.settle_s)


def test_the_registration_of_an_adopted_one_that_died_is_ours_too() -> None:
    """Of a worker that died while it registered, a dead registration would stay for a session timeout."""
    scene = Scene("0:starting*(1s)")
    name = scene.name(0)
    scene.decide(scene.dies(0))
    assert "discard 0.50" in scene.decide(scene.lists(name))


def test_very_old_generations_are_looked_into_like_any_other() -> None:
    """The daemon's memory would grow with every restart."""
    scene = Scene("0:ready", policy=Policy(budget_burst=10**6, intensity=10**6, min_ready_s=0.0))
    first = scene.name(0)
    for _ in range(40):
        scene.after(1.0, scene.lists(scene.name(0)))
        scene.decide(scene.dies(0))
        scene.after(1.0, WorkersListed(frozenset(), frozenset()))
    assert len(scene.view.own[0]) <= 32
    scene.after(60.0)
    assert f"inspect 0.{first.generation}" in scene.decide(
        WorkersListed(frozenset({first}), frozenset())
    )


def test_a_registration_that_no_list_can_show_is_not_missed() -> None:
    """A store whose list fails would cost workers that are registered."""
    scene = Scene("0:ready 1:absent(0.1s) 2:starting(29s)")
    scene.decide(ListFailed("/workers may not be read"))
    assert scene.after(3600.0) == []
    (hold,) = reconcile(scene.view).holds
    assert hold.startswith("/workers may not be read: nothing is concluded")
    assert len(scene.decide(scene.dies(0))) == 2
    scene.decide(scene.same_list())
    assert reconcile(scene.view).holds == ()


def test_after_the_registry_was_wiped_all_have_time_to_come_back() -> None:
    """Who deletes /workers by hand would have every worker killed within a second."""
    scene = Scene("0:ready 1:ready")
    scene.decide()
    names = scene.name(0), scene.name(1)
    scene.decide(RegistryWiped(), scene.lists(without=[0, 1]))
    assert scene.after(scene.policy.settle_s) == []
    assert scene.decide(scene.lists(*names)) == []
    evolve(scene.view, Ticked(NOW_S + 60.0))
    assert scene.decide() == []
