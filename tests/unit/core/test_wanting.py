"""What the operator changes of slots while the group runs: stopped, started again, tried again."""

from __future__ import annotations

import pytest

from autohealer.core.events import (
    OverridesSet,
    ReplicasSet,
    RetryAsked,
    StopRequested,
    WorkerAdopted,
    WorkerExited,
    WorkerHeld,
    WorkerWasDone,
)
from autohealer.core.membership import have_served, is_failed, is_whole
from autohealer.core.model import Exit, Incarnation, StoreRoom
from autohealer.core.overrides import Overrides
from autohealer.core.policy import Policy, Restart
from autohealer.core.reasons import RESTARTED, RETRIED, STARTED_AGAIN, STOPPED
from autohealer.core.reconcile import next_wake, reconcile
from tests.unit.core.notation import BASE, Scene
from tests.unit.core.wishes import ALL_STOPPED, AS_BEFORE, WELL, goes, phases, stops

# --- stopped and started ------------------------------------------------------------------------


def test_one_that_is_stopped_ends_and_is_not_replaced() -> None:
    """What was stopped would come back by itself."""
    at = Scene("0:ready 1:ready")
    assert at.decide(stops(1)) == [f"drain 1: {STOPPED}"]
    assert goes(at, 1) == []
    assert at.after(3600.0) == []
    assert phases(at) == "ready stopped"
    assert at.reason(1) == STOPPED
    assert next_wake(at.view) is None


def test_one_that_does_not_obey_is_killed_after_its_grace() -> None:
    """A stopped worker that ignores TERM would run on."""
    at = Scene("0:ready")
    at.decide(ALL_STOPPED)
    assert at.after(at.policy.grace_s) == [f"kill 0: {STOPPED}"]
    assert at.decide(at.dies(0)) == ["discard 0.100"]
    assert phases(at) == "stopped"


def test_all_are_stopped_and_stay_so_and_start_again() -> None:
    """A group that is stopped would go on, or could not be started again."""
    at = Scene("0:ready 1:starting(1s) 2:-")
    assert at.decide(ALL_STOPPED) == [f"drain 0: {STOPPED}", f"drain 1: {STOPPED}"]
    at.decide(at.dies(0, number=15), at.dies(1, number=15))
    assert phases(at) == "stopped stopped stopped"
    assert not reconcile(at.view).finished
    assert at.decide(AS_BEFORE, at.lists())[:1] == [f"spawn 0: {STARTED_AGAIN}"]


@pytest.mark.parametrize("slot", ["0:backoff(20s)", "0:quarantined(20s)"])
def test_one_that_waits_is_stopped_at_once_and_starts_without_a_past(slot: str) -> None:
    """A stopped slot would be tried all the same, or go on waiting when it is started."""
    at = Scene(slot)
    assert at.decide(stops(0)) == []
    assert phases(at) == "stopped"
    assert at.after(60.0) == []
    assert at.decide(AS_BEFORE) == [f"spawn 0: {STARTED_AGAIN}"]
    assert at.view.slots[0].failures == 0


def test_one_that_is_done_can_be_stopped_and_runs_again_when_it_is_started() -> None:
    """A job could not be run once more but by stopping all."""
    at = Scene("0:ready 1:ready", policy=Policy(restart=Restart.NEVER))
    at.decide(WorkerExited(at.name(0), WELL, True, 0.0))
    at.decide(stops(0))
    assert phases(at) == "stopped ready"
    at.decide(at.lists())
    assert at.decide(AS_BEFORE) == [f"spawn 0: {STARTED_AGAIN}"]


def test_one_that_ends_by_itself_while_it_is_stopped_is_not_done() -> None:
    """A job that was stopped in the middle would pass for done."""
    at = Scene("0:ready", policy=Policy(restart=Restart.NEVER))
    at.decide(stops(0))
    at.decide(WorkerExited(at.name(0), WELL, True, 0.0))
    assert phases(at) == "stopped"
    assert not at.view.is_done()


def test_one_that_is_started_while_it_still_ends_is_filled_when_it_has() -> None:
    """Two of one slot would live, or the slot stay empty; a worker that was told to end would count as failed."""
    at = Scene("0:starting(1s)")
    at.decide(stops(0))
    assert at.decide(AS_BEFORE) == []
    assert at.decide(at.dies(0, number=15)) == [f"spawn 0: {STARTED_AGAIN}"]
    assert at.view.slots[0].failures == 0


def test_who_waits_for_a_turn_to_end_is_left_when_it_is_started_again() -> None:
    """A stop that was taken back at once would end everybody all the same."""
    policy = Policy(endings_min=1, endings_max=1)
    at = Scene("0:ready 1:ready 2:ready", policy=policy)
    assert at.decide(ALL_STOPPED) == [f"drain 0: {STOPPED}"]
    assert at.decide(AS_BEFORE) == []
    assert at.decide(at.lists(without=[0]), at.dies(0, number=15)) == [f"spawn 0: {STARTED_AGAIN}"]
    assert phases(at) == "starting ready ready"


def test_told_again_a_stop_changes_nothing() -> None:
    """Each daemon, which is told again, would begin the grace anew."""
    at = Scene("0:ready 1:ready 2:-")
    at.decide(stops(1, 2))
    at.after(1.0)
    deadline = at.view.slots[1].deadline
    assert at.decide(stops(1, 2), at.lists()) == []
    assert at.view.slots[1].deadline == deadline
    assert phases(at) == "ready draining stopped"


def test_one_that_is_ended_for_another_reason_rests_when_it_is_gone() -> None:
    """A slot that is stopped while its worker is replaced would be filled once more."""
    for slots in ("0:draining(1s)", "0:killing(0.1s)"):
        at = Scene(slots)
        at.decide(stops(0))
        at.decide(at.lists(), at.dies(0))
        assert phases(at) == "stopped", slots


def test_what_was_launched_and_came_to_nothing_is_not_tried_again() -> None:
    """A slot stopped in the moment of its launch would be filled."""
    at = Scene("0:starting")
    at.decide(stops(0), at.fails_to_start(0))
    assert phases(at) == "stopped"
    assert at.after(60.0) == []


# --- stopped and scaled -------------------------------------------------------------------------


def test_a_stopped_slot_is_scaled_away_and_is_stopped_when_it_is_wanted_again() -> None:
    """`scale` would start what the operator has stopped, or forget the slot."""
    at = Scene("0:ready 1:ready 2:ready")
    at.decide(stops(2))
    goes(at, 2)
    assert at.decide(ReplicasSet(2)) == []
    assert phases(at) == "ready ready"
    assert at.decide(ReplicasSet(4)) == ["spawn 3: first start"]
    assert phases(at) == "ready ready stopped starting"
    assert at.decide(AS_BEFORE)[-1] == f"spawn 2: {STARTED_AGAIN}"
    assert at.name(2).generation > BASE


def test_a_stopped_slot_that_is_surplus_is_drained_as_that_and_forgotten() -> None:
    """A slot that is not wanted in any case would be kept for ever."""
    at = Scene("0:ready 1:ready")
    assert at.decide(ReplicasSet(1), stops(1)) == ["drain 1: surplus: 1 wanted"]
    assert goes(at, 1) == []
    assert phases(at) == "ready"


def test_a_group_that_is_stopped_grows_and_nobody_is_launched() -> None:
    """`scale` of a stopped group would start it."""
    at = Scene("0:ready")
    at.decide(ALL_STOPPED)
    at.decide(ReplicasSet(3), at.lists())
    assert phases(at) == "draining stopped stopped"
    goes(at, 0)
    assert at.decide(ReplicasSet(0)) == []
    assert at.view.slots == {}


# --- stopped, and what else there is ------------------------------------------------------------


def test_who_is_adopted_into_a_stopped_slot_is_drained() -> None:
    """A stop that the daemon did not live to see through would be forgotten by the next one."""
    at = Scene("", replicas=0)
    facts = (stops(0), WorkerAdopted(Incarnation(0, 7), 1, 60.0), ReplicasSet(2))
    assert f"drain 0: {STOPPED}" in at.decide(*facts)
    assert at.decide(WorkerExited(Incarnation(0, 7), WELL, True, 0.0)) == []
    assert phases(at) == "stopped starting"


def test_what_an_earlier_daemon_saw_done_rests_where_it_is_stopped() -> None:
    """It would count as done, and could not be run again by a start."""
    at = Scene("", replicas=0, policy=Policy(restart=Restart.NEVER))
    at.decide(stops(0), WorkerWasDone(Incarnation(0, 7), "done"), ReplicasSet(1))
    assert phases(at) == "stopped"
    assert at.decide(AS_BEFORE) == [f"spawn 0: {STARTED_AGAIN}"]


def test_what_holds_a_stopped_slot_is_left_alone_and_the_slot_rests_after_it() -> None:
    """Somebody else's process would be ended, or the slot filled when it has."""
    at = Scene("0:-")
    at.decide(WorkerHeld(Incarnation(0, 7), 42, "no proof"))
    assert at.decide(stops(0)) == []
    assert phases(at) == "held"
    at.decide(WorkerExited(Incarnation(0, 7), WELL, True, 0.0))
    assert phases(at) == "stopped"
    at.decide(WorkerHeld(Incarnation(0, 8), 43, "no proof"))
    assert phases(at) == "held"


def test_one_that_is_found_beside_another_is_drained_whatever_is_stopped() -> None:
    """A double would live on in a slot that is stopped."""
    at = Scene("0:ready 1:ready")
    at.decide(stops(0), WorkerAdopted(Incarnation(0, 7), 42, 60.0))
    assert phases(at) == "draining draining ready"
    at.decide(WorkerExited(Incarnation(0, 7), WELL, True, 0.0))
    goes(at, 0)
    assert phases(at) == "stopped ready"


def test_a_group_is_whole_without_those_that_are_stopped() -> None:
    """Groups that come after it would wait for ever, and so would who waits for a stop to be over."""
    at = Scene("0:ready 1:ready 2:starting(1s)")
    assert not is_whole(at.view)
    at.decide(stops(2))
    assert is_whole(at.view)
    assert have_served(at.view, at.view.now)
    at.decide(AS_BEFORE)
    assert not is_whole(at.view)


def test_who_is_about_to_be_stopped_makes_up_for_nobody() -> None:
    """A group would count as whole, and have another one ended, while one that is wanted is missing."""
    policy = Policy(endings_min=1, endings_max=1)
    at = Scene("0:ready 1:backoff(20s) 2:ready 3:ready", policy=policy)
    at.decide(stops(2, 3))
    assert phases(at) == "ready backoff draining ready"
    assert not is_whole(at.view)
    assert (
        at.decide(OverridesSet(Overrides(stopped=frozenset({2, 3}), renew={0: BASE, 3: BASE})))
        == []
    )


def test_one_that_is_to_be_replaced_and_stopped_is_told_to_end_once() -> None:
    """The decider would find two orders for one slot, and freeze."""
    at = Scene("0:ready 1:ready")
    asked = Overrides(stopped=frozenset({0}), renew={0: BASE, 1: BASE})
    assert at.decide(OverridesSet(asked)) == [f"drain 0: {STOPPED}", f"drain 1: {RESTARTED}"]


def test_one_that_is_started_while_it_waits_to_end_is_restarted_as_asked() -> None:
    """Whoever was stopped for a moment would be left out of a restart, and not be counted among those that serve."""
    policy = Policy(endings_min=1, endings_max=1)
    at = Scene("0:ready 1:ready 2:ready", policy=policy)
    at.decide(OverridesSet(Overrides(stopped=frozenset({0, 1}), renew={1: BASE})))
    assert phases(at) == "draining ready ready"
    left = OverridesSet(Overrides(stopped=frozenset({0}), renew={1: BASE}))
    assert at.decide(left) == [f"drain 1: {RESTARTED}"]


def test_all_that_are_kept_are_done() -> None:
    """A job would never be over because a worker of it was stopped."""
    at = Scene("0:ready 1:ready", policy=Policy(restart=Restart.NEVER))
    at.decide(stops(1))
    goes(at, 1)
    assert not at.view.is_done()
    at.decide(WorkerExited(at.name(0), WELL, True, 0.0))
    assert at.view.is_done()


def test_a_group_that_is_stopped_is_not_done() -> None:
    """A daemon would end because its only group was stopped, and nobody could start that again."""
    at = Scene("0:ready")
    at.decide(ALL_STOPPED)
    goes(at, 0)
    assert not at.view.is_done()


def test_a_stop_of_everything_leaves_nothing_whatever_was_stopped() -> None:
    """A daemon would never end for slots that stand still."""
    at = Scene("0:ready 1:ready")
    at.decide(stops(1))
    assert at.decide(StopRequested()) == ["drain 0: stopping"]
    at.decide(at.dies(0, number=15), at.dies(1, number=15))
    assert at.is_finished()
    assert at.view.slots == {}


# --- brakes -------------------------------------------------------------------------------------


def lose(at: Scene, *keys: int) -> list[str]:
    """The registrations of some vanish, and a rejoin grace passes."""
    at.decide(at.lists(without=keys))
    return at.after(at.policy.rejoin_grace_s + 0.01)


def test_who_is_stopped_is_no_lost_registration() -> None:
    """A stop would put the brake on, and nobody who is frozen be replaced."""
    at = Scene("0:ready 1:ready 2:ready 3:ready 4:ready 5:ready")
    at.decide(stops(0, 1, 2, 3))
    at.decide(at.lists(without=[0, 1, 2, 3]), *(at.dies(key, number=15) for key in range(4)))
    assert not at.view.brake.on
    assert lose(at, 4)[0].startswith("kill 4: registration gone")


def test_what_is_many_is_counted_of_those_that_are_kept() -> None:
    """Five of six that are left would be ended together, because many others were stopped."""
    at = Scene(" ".join(f"{key}:ready" for key in range(30)))
    at.decide(stops(*range(6, 30)))
    for key in range(6, 30):
        at.decide(at.lists(without=[key]), at.dies(key, number=15))
    assert at.view.room.replicas == {"": 6}
    assert lose(at, 0, 1, 2, 3, 4) == []
    assert at.view.brake.on


def test_one_group_that_is_stopped_leaves_the_brake_of_all() -> None:
    """What the others lose would be measured against a group that wants nothing."""
    room = StoreRoom()
    one, two = (
        Scene("0:ready 1:ready", group="one", room=room),
        Scene("0:ready", group="two", room=room),
    )
    one.decide(ALL_STOPPED)
    assert room.replicas == {"one": 0, "two": 1}
    one.decide(AS_BEFORE)
    assert room.replicas == {"one": 2, "two": 1}
    assert two.decide() == []


# --- tried again --------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", ["0:backoff(20s)", "0:quarantined(20s)"])
def test_one_that_waits_is_tried_now(slot: str) -> None:
    """The operator who has mended the machine would have to wait for the pause."""
    at = Scene(slot)
    assert at.decide(RetryAsked(frozenset({0, 7}))) == [f"spawn 0: {RETRIED}"]
    at.decide(at.fails_to_start(0))
    assert at.view.slots[0].failures == 1


def test_one_that_is_done_is_tried_again() -> None:
    """A job that has failed could not be run once more."""
    at = Scene("0:ready", policy=Policy(restart=Restart.NEVER))
    at.decide(WorkerExited(at.name(0), Exit(code=3), True, 0.0), at.lists())
    assert at.decide(RetryAsked(frozenset({0}))) == [f"spawn 0: {RETRIED}"]
    assert not is_failed(at.view.slots[0])


def test_who_lives_and_who_is_stopped_is_not_touched_by_another_try() -> None:
    """`start` of all would end who is well, or start what the operator has stopped since."""
    at = Scene("0:ready 1:starting(1s) 2:backoff(20s)")
    at.decide(stops(2))
    assert at.decide(RetryAsked(frozenset({0, 1, 2}))) == []
    assert phases(at) == "ready starting stopped"
