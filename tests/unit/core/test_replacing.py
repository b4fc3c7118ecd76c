"""Who runs another revision than is wanted is replaced one at a time, and only while nobody else is missed."""

from __future__ import annotations

from functools import partial

from autohealer.core.events import (
    DetachRequested,
    HealthReported,
    ReplicasSet,
    SpecSet,
    StoreChanged,
)
from autohealer.core.health import Check, HealthRules, Verdict
from autohealer.core.model import Phase, Store, StoreRoom
from autohealer.core.policy import Policy, Registrar
from autohealer.core.reasons import OUTDATED, RENEWAL_HOLD
from autohealer.core.reconcile import next_wake, reconcile
from tests.unit.core.notation import Scene

DRAIN_0, DRAIN_1 = f"drain 0: {OUTDATED}", f"drain 1: {OUTDATED}"
NEW = SpecSet("new", Policy())


scene = partial(Scene, revision="old")
"""A group that was launched from an old revision."""


def test_one_is_replaced_and_the_next_only_when_its_successor_has_served() -> None:
    """A reload would take the whole group down at once."""
    group = scene("0:ready 1:ready")
    assert group.decide(NEW) == [DRAIN_0]
    assert group.after(1.0, group.lists(without=[0])) == []
    assert group.decide(group.dies(0, number=15)) == [f"spawn 0: {OUTDATED}"]
    assert group.decide(group.spawned(0)) == []
    assert group.decide(group.lists(group.name(0))) == []
    assert group.after(0.9) == []
    assert next_wake(group.view) == group.view.now + 0.1
    assert group.after(0.1) == [DRAIN_1]
    assert RENEWAL_HOLD not in reconcile(group.view).holds


def test_a_new_program_that_fails_halts_the_replacing() -> None:
    """A broken program would replace one worker after the other."""
    group = scene("0:ready 1:ready")
    group.decide(NEW)
    group.decide(group.dies(0, number=15))
    group.decide(group.spawned(0))
    group.after(0.1, group.dies(0, code=1))
    assert not any(line.startswith("drain") for line in group.after(60.0))
    assert RENEWAL_HOLD in reconcile(group.view).holds
    assert group.view.slots[1].phase is Phase.READY


def test_one_that_has_become_unready_is_replaced_before_the_others() -> None:
    """A program whose readiness probe fails for good would keep its mended version out for ever."""
    asked = Policy(health=HealthRules(frozenset({Check.READINESS})))
    group = scene("0:ready 1:ready 2:ready", policy=asked)
    group.decide(
        *(HealthReported(group.name(key), Check.READINESS, Verdict.WELL) for key in range(3))
    )
    group.decide(HealthReported(group.name(1), Check.READINESS, Verdict.UNREADY, "answered 503"))
    assert group.decide(SpecSet("new", asked)) == [DRAIN_1]


def test_what_failed_before_is_not_held_against_another_program() -> None:
    """The mended program would wait for the back-off of the broken one."""
    group = scene("0:backoff(20s) 1:quarantined(20s)")
    assert [line.split(":")[0] for line in group.decide(NEW)] == ["spawn 0", "wait 1"]
    assert str(group) == "0:starting(0s) 1:-"


def test_the_same_program_pardons_nothing() -> None:
    """A reload that changed only the grace would launch what was put off for good reason."""
    group = scene("0:backoff(20s)")
    assert group.decide(SpecSet("old", Policy(grace_s=1.0))) == []
    assert group.view.policy.grace_s == 1.0


def test_nobody_is_replaced_while_anybody_is_missed() -> None:
    """A reload would add to what is missing already."""
    for slots in ("0:ready 1:starting", "0:ready 1:absent(0.1s)", "0:ready 1:draining(1s)"):
        group = scene(slots)
        assert group.decide(NEW) == [], slots
        assert RENEWAL_HOLD in reconcile(group.view).holds


def test_nobody_is_replaced_while_nothing_is_known_of_registrations() -> None:
    """In an outage no successor could register, so the group would shrink."""
    group = scene("0:ready 1:ready", store="suspended(3s)")
    assert group.decide(NEW) == []
    settling = scene("0:ready 1:ready", store="reconnected(1s)")
    settling.decide(settling.same_list())
    assert settling.decide(NEW) == []
    assert settling.after(4.0) == [DRAIN_0]


def test_a_connection_lost_in_between_holds_the_next() -> None:
    """The same, with one exchanged already."""
    group = scene("0:ready 1:ready")
    group.decide(NEW)
    group.decide(group.lists(without=[0]), group.dies(0, number=15))
    group.decide(group.spawned(0))
    group.decide(group.lists(group.name(0)))
    assert group.after(1.0, StoreChanged(Store.SUSPENDED)) == []


def test_a_program_that_does_not_register_itself_is_replaced_when_its_successor_is_registered() -> (
    None
):
    """Whoever finds programs by their registrations would find none for a moment."""
    policy = Policy(registrar=Registrar.AGENT)
    group = scene("0:- 1:-", policy=policy)
    group.decide()
    group.decide(group.spawned(0), group.spawned(1))
    group.decide(group.lists(group.name(0), group.name(1)))
    assert group.after(5.0, SpecSet("new", policy)) == [DRAIN_0]
    assert group.decide(group.lists(without=[0])) == ["withdraw 0.100"]
    group.decide(group.dies(0, number=15))
    assert group.decide(group.spawned(0)) == ["register 0.101"]
    assert group.after(5.0) == []
    assert group.after(5.0, group.lists(group.name(0))) == [DRAIN_1]


def test_surplus_goes_before_anybody_is_replaced() -> None:
    """More workers would be told to end at once than one."""
    group = scene("0:ready 1:ready")
    assert group.decide(NEW, ReplicasSet(1)) == ["drain 1: surplus: 1 wanted"]
    assert group.decide(group.dies(1, number=15)) == [DRAIN_0, "discard 1.100"]


def test_a_stop_or_a_detach_replaces_nobody() -> None:
    """A worker would be launched anew for a daemon that is about to be gone."""
    group = scene("0:ready 1:ready")
    assert group.decide(NEW, DetachRequested()) == []


def test_one_that_does_not_say_what_it_runs_is_left() -> None:
    """Workers of a version that told no revision would be replaced at an upgrade."""
    group = Scene("0:ready 1:ready")
    assert group.decide(NEW) == []


def test_one_group_of_several_replaces_its_own() -> None:
    """A reload of one group would exchange the workers of another."""
    room = StoreRoom()
    one = scene("0:ready", group="one", room=room)
    two = scene("0:ready", group="two", room=room)
    assert one.decide(NEW) == [DRAIN_0]
    assert two.decide() == []
