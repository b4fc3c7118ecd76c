"""Who is replaced because the operator asked for it: one at a time, whatever happens meanwhile."""

from __future__ import annotations

import pytest

from autohealer.core.events import (
    DetachRequested,
    Event,
    OverridesSet,
    ReplicasSet,
    SpecSet,
    StopRequested,
    StoreChanged,
    WorkerAdopted,
    WorkerExited,
    WorkerHeld,
    WorkerWasDone,
)
from autohealer.core.model import Incarnation, Phase, Store
from autohealer.core.overrides import Overrides
from autohealer.core.policy import Policy, Restart
from autohealer.core.reasons import RENEWAL_HOLD, RESTARTED, STARTED_AGAIN
from autohealer.core.reconcile import reconcile
from tests.unit.core.notation import BASE, Scene
from tests.unit.core.wishes import WELL, comes_up, goes, phases, restarts, stops


def test_all_are_restarted_one_at_a_time_each_ready_before_the_next() -> None:
    """A restart would take the whole group down at once, or stop half-way."""
    at = Scene("0:ready 1:ready")
    assert at.decide(restarts(at, 0, 1)) == [f"drain 0: {RESTARTED}"]
    assert goes(at, 0) == [f"spawn 0: {RESTARTED}"]
    assert comes_up(at, 0) == [f"drain 1: {RESTARTED}"]
    assert RENEWAL_HOLD not in reconcile(at.view).holds
    assert goes(at, 1) == [f"spawn 1: {RESTARTED}"]
    assert comes_up(at, 1) == []
    assert at.after(3600.0) == []


def test_told_again_a_restart_replaces_nobody_once_more() -> None:
    """Each daemon, which is told again, would restart everybody."""
    at = Scene("0:ready")
    asked = restarts(at, 0)
    at.decide(asked)
    goes(at, 0)
    comes_up(at, 0)
    assert at.decide(asked) == []
    assert at.decide(restarts(at, 0)) == [f"drain 0: {RESTARTED}"]


def test_whoever_is_older_than_asked_is_replaced_too() -> None:
    """One that was found again after it had been asked for would be left."""
    at = Scene("0:ready* 1:ready")
    assert at.decide(OverridesSet(Overrides(renew={0: BASE}))) == [f"drain 0: {RESTARTED}"]


def test_one_that_ends_by_itself_meanwhile_is_not_restarted_again() -> None:
    """A worker would be ended that was launched after the operator asked."""
    at = Scene("0:ready 1:ready 2:ready")
    asked = restarts(at, 0, 1)
    at.decide(asked)
    at.decide(at.lists(without=[1]), at.dies(1))
    comes_up(at, 1)
    goes(at, 0)
    assert comes_up(at, 0) == []
    assert at.after(60.0, asked) == []
    assert at.view.slots[1].restarts == 1


def test_one_that_fails_meanwhile_waits_as_after_any_death() -> None:
    """A crash loop would have no back-off for as long as a restart is under way."""
    at = Scene("0:ready 1:starting(1s)")
    asked = restarts(at, 0, 1)
    at.decide(asked)
    at.decide(at.dies(1))
    assert at.view.slots[1].phase is Phase.BACKOFF
    assert at.decide(asked) == []
    assert at.view.slots[1].phase is Phase.BACKOFF


def test_a_successor_that_fails_halts_the_restart() -> None:
    """A program that is broken on disk would be put in the place of everybody."""
    at = Scene("0:ready 1:ready")
    at.decide(restarts(at, 0, 1))
    goes(at, 0)
    for _ in range(at.policy.quarantine_failures):
        at.decide(at.fails_to_start(0))
        assert not any(line.startswith("drain") for line in at.after(40.0, at.same_list()))
    assert at.view.slots[0].phase in {Phase.STARTING, Phase.QUARANTINED}
    assert at.view.slots[1].phase is Phase.READY
    assert RENEWAL_HOLD in reconcile(at.view).holds


def test_one_that_keeps_failing_is_tried_again_first_and_does_not_hold_up_the_others() -> None:
    """Restarting the others would wait for ever for a slot that fails for reasons of its own."""
    at = Scene("0:ready 1:quarantined(20s) 2:ready")
    assert at.decide(restarts(at, 0, 1, 2)) == [f"spawn 1: {RESTARTED}"]
    for _ in range(at.policy.quarantine_failures - 1):
        assert at.decide(at.fails_to_start(1)) == []
        at.after(30.0, at.same_list())
    assert at.decide(at.fails_to_start(1)) == [f"drain 0: {RESTARTED}"]
    goes(at, 0)
    assert comes_up(at, 0) == [f"drain 2: {RESTARTED}"]


def test_one_is_restarted_while_another_that_nobody_asked_for_is_quarantined_or_held() -> None:
    """`restart web/0` would wait for slot 1 to be mended."""
    at = Scene("0:ready 1:quarantined(20s) 2:-")
    at.decide(WorkerHeld(Incarnation(2, 7), 42, "no proof"))
    assert at.decide(restarts(at, 0)) == [f"drain 0: {RESTARTED}"]
    assert at.view.slots[1].phase is Phase.QUARANTINED


def test_what_holds_a_slot_that_is_stopped_makes_up_for_nobody() -> None:
    """One would be ended while another one is missed."""
    at = Scene("0:ready 1:starting(1s) 2:-")
    at.decide(WorkerHeld(Incarnation(2, 7), 42, "no proof"))
    asked = Overrides(stopped=frozenset({2}), renew={0: BASE})
    assert at.decide(OverridesSet(asked)) == []


def test_another_revision_waits_for_a_slot_in_which_it_fails() -> None:
    """A reload to a broken program would go on from worker to worker."""
    at = Scene("0:ready 1:quarantined(20s)", revision="old")
    at.decide(SpecSet("new", at.policy))
    for _ in range(at.policy.quarantine_failures):
        at.decide(at.fails_to_start(1))
        at.after(29.0, at.same_list())
    assert at.view.slots[1].phase is Phase.QUARANTINED
    assert at.decide(restarts(at, 0)) == []
    assert at.view.slots[0].phase is Phase.READY


def test_a_stopped_slot_is_not_started_by_a_restart_and_does_not_hold_it_up() -> None:
    """`restart` would start what the operator has stopped, or wait for it for ever."""
    at = Scene("0:ready 1:ready")
    at.decide(stops(1))
    goes(at, 1)
    asked = Overrides(stopped=frozenset({1}), renew={0: BASE, 1: BASE + 7})
    assert at.decide(OverridesSet(asked)) == [f"drain 0: {RESTARTED}"]
    assert goes(at, 0) == [f"spawn 0: {RESTARTED}"]
    assert comes_up(at, 0) == []
    assert at.decide(OverridesSet(Overrides(renew=asked.renew))) == [f"spawn 1: {STARTED_AGAIN}"]
    assert at.name(1).generation > BASE + 7
    assert comes_up(at, 1) == []


def test_one_that_is_stopped_in_the_middle_of_a_restart_does_not_hold_up_the_next() -> None:
    """The restart would wait for a successor that nobody wants."""
    at = Scene("0:ready 1:ready")
    both = restarts(at, 0, 1).overrides
    at.decide(OverridesSet(both))
    at.decide(at.lists(without=[0]))
    stopped = OverridesSet(Overrides(stopped=frozenset({0}), renew=both.renew))
    assert at.decide(stopped) == [f"drain 1: {RESTARTED}"]


def test_with_a_clock_gone_back_nobody_is_replaced_for_ever() -> None:
    """The generations of a daemon whose clock is behind would all count as asked for."""
    at = Scene("0:ready")
    at.decide(OverridesSet(Overrides(renew={0: 10**6})))
    goes(at, 0)
    assert at.name(0).generation == 10**6 + 1
    assert comes_up(at, 0) == []
    assert at.after(3600.0) == []


def test_one_that_is_done_runs_again_when_it_is_restarted() -> None:
    """`restart` of a job would do nothing, and say so to nobody."""
    at = Scene("0:ready 1:ready", policy=Policy(restart=Restart.ON_FAILURE))
    at.decide(WorkerExited(at.name(0), WELL, True, 0.0), at.lists(without=[0]))
    assert at.decide(restarts(at, 1)) == [f"drain 1: {RESTARTED}"]
    assert goes(at, 1) == [f"spawn 1: {RESTARTED}"]
    comes_up(at, 1)
    asked = restarts(at, 0)
    assert at.decide(asked) == [f"spawn 0: {RESTARTED}"]
    comes_up(at, 0)
    at.decide(WorkerExited(at.name(0), WELL, True, 0.0), at.lists(without=[0]))
    assert at.decide(asked) == []
    assert phases(at) == "done ready"


def test_one_that_ends_well_before_its_turn_has_another_run() -> None:
    """Whether a job that was to be restarted is run again would hang on whose turn came first."""
    at = Scene("0:ready 1:ready", policy=Policy(restart=Restart.NEVER))
    at.decide(restarts(at, 0, 1))
    at.decide(WorkerExited(at.name(1), WELL, True, 0.0), at.lists(without=[1]))
    assert at.view.slots[1].phase is Phase.STARTING


def test_what_was_done_before_a_restart_was_asked_for_is_not_done_for_the_next_daemon() -> None:
    """A job that was restarted on purpose would count as done after a crash of the daemon."""
    at = Scene("", replicas=0, policy=Policy(restart=Restart.NEVER))
    done = (WorkerWasDone(Incarnation(key, 7), "done") for key in range(2))
    at.decide(OverridesSet(Overrides(renew={0: 7})), *done, ReplicasSet(2))
    assert phases(at) == "starting done"


def test_nobody_is_restarted_while_nothing_is_known_of_registrations() -> None:
    """In an outage no successor could register, so the group would shrink."""
    at = Scene("0:ready 1:ready", store="suspended(3s)")
    assert at.decide(restarts(at, 0, 1)) == []
    assert at.decide(StoreChanged(Store.CONNECTED)) == []
    at.decide(at.same_list())
    assert at.after(at.policy.settle_s) == [f"drain 0: {RESTARTED}"]


@pytest.mark.parametrize("fact", [StopRequested(), DetachRequested()], ids=["stop", "detach"])
def test_a_stop_or_a_detach_in_the_middle_ends_the_restart(fact: Event) -> None:
    """A worker would be launched anew for a daemon that is about to be gone."""
    at = Scene("0:ready 1:ready")
    at.decide(restarts(at, 0, 1))
    at.decide(fact)
    at.decide(at.dies(0, number=15))
    assert not any(slot.phase is Phase.STARTING for slot in at.view.slots.values())


def test_the_next_daemon_goes_on_with_a_restart() -> None:
    """A crash of the daemon would leave a restart half done, or begin it anew."""
    at = Scene("", replicas=0)
    names = [Incarnation(0, BASE + 1), Incarnation(1, 7)]
    plan = at.decide(
        OverridesSet(Overrides(renew={0: 7, 1: 7})),
        *(WorkerAdopted(name, 1, 60.0) for name in names),
        at.lists(*names),
        ReplicasSet(2),
    )
    assert plan == [f"drain 1: {RESTARTED}"]
    assert at.view.slots[0].phase is Phase.READY
