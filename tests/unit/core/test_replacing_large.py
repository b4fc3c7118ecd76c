"""Who uses more memory than it may is replaced one at a time; neighbours only delay it, its own need slows it down."""

from __future__ import annotations

from functools import partial

from autohealer.core.events import (
    HealthReported,
    MemoryReported,
    OverridesSet,
    ReplicasSet,
    SpecSet,
    StopRequested,
)
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Budget, Ending, Phase
from autohealer.core.overrides import Overrides
from autohealer.core.policy import Policy, Restart
from autohealer.core.reasons import OUTDATED, OVERSIZED_HOLD
from autohealer.core.reconcile import next_wake, reconcile
from tests.unit.core.notation import Scene

MIB = 2**20
POLICY = Policy(memory_restart_bytes=400 * MIB)
LARGE = "uses 450 MiB of memory, more than the 400 MiB it may"
DRAIN_0, DRAIN_1 = f"drain 0: {LARGE}", f"drain 1: {LARGE}"

scene = partial(Scene, policy=POLICY)
"""A group whose workers may use 400 MiB."""


def grows(group: Scene, key: int, mib: int = 450) -> MemoryReported:
    """What fills a slot is found to use so much."""
    return MemoryReported(group.name(key), mib * MIB)


def replaced(group: Scene, key: int, *, after_s: float = 0.0) -> list[str]:
    """What was asked to end ends, and its successor is registered at once; what follows from its end."""
    said = group.after(after_s, group.lists(without=[key]), group.dies(key, number=15))
    if group.view.slots[key].occupant is not None:
        group.decide(group.spawned(key), group.lists(group.name(key)))
    return said


def test_one_is_replaced_and_the_next_only_when_its_successor_has_served() -> None:
    """A leak that all workers share would take the whole group down at once."""
    group = scene("0:ready(600s) 1:ready(600s)")
    assert group.decide(grows(group, 0), grows(group, 1)) == [DRAIN_0]
    assert OVERSIZED_HOLD in reconcile(group.view).holds
    assert group.view.slots[0].ending is Ending.MEMORY
    assert f"spawn 0: {LARGE}" in replaced(group, 0)
    assert group.after(0.9) == []
    assert next_wake(group.view) == group.view.now + 0.1
    assert group.after(0.1) == [DRAIN_1]
    assert OVERSIZED_HOLD not in reconcile(group.view).holds


def test_one_that_lets_go_of_its_memory_is_left() -> None:
    """A worker that was large for a moment would be ended for what it was."""
    group = scene("0:ready(600s) 1:ready(600s)")
    group.decide(grows(group, 0), grows(group, 1))
    assert group.decide(grows(group, 1, mib=300)) == []
    replaced(group, 0)
    assert group.after(60.0) == []


def test_a_higher_limit_lets_it_live_and_a_lower_one_does_not() -> None:
    """A reload would replace workers by a limit that is no more, or not by the one that is."""
    group = scene("0:ready 1:starting")
    group.decide(grows(group, 0))
    group.decide(SpecSet("", Policy(memory_restart_bytes=500 * MIB)))
    assert group.after(90.0, group.lists(group.name(1))) == []
    assert group.decide(SpecSet("", POLICY)) == [DRAIN_0]


def test_without_a_limit_nobody_is_replaced() -> None:
    """Large workers would be ended although nobody asked for it."""
    group = Scene("0:ready")
    assert group.decide(grows(group, 0, mib=10**6)) == []


def test_one_that_starts_is_left_to_it() -> None:
    """A program that needs more while it loads would never come up."""
    patient = Policy(memory_restart_bytes=400 * MIB, registration_timeout_s=300.0)
    group = scene("0:starting(1s)", policy=patient)
    assert group.decide(grows(group, 0)) == []
    assert group.after(2 * patient.memory_patience_s) == []
    group.decide(group.lists(group.name(0)))
    assert str(group) == "0:draining(0s)"


def test_a_quarantined_neighbour_delays_it_for_a_while_only() -> None:
    """One broken worker would switch the limit off for all others."""
    group = scene("0:ready(600s) 1:ready(600s) 2:starting")
    group.decide(group.fails_to_start(2))
    assert group.decide(grows(group, 0)) == []
    began = group.view.now
    while group.view.slots[0].phase is Phase.READY:
        wake_at = next_wake(group.view)
        assert wake_at is not None
        said = group.after(wake_at - group.view.now, grows(group, 0, 500))
        if group.view.slots[2].occupant is not None:
            group.decide(group.fails_to_start(2))
    assert said == ["drain 0: uses 500 MiB of memory, more than the 400 MiB it may"]
    assert group.view.now - began == POLICY.memory_patience_s


def test_a_successor_that_fails_puts_the_next_one_off_for_long() -> None:
    """A program that does not start any more would cost one worker after the other."""
    group = scene("0:ready(600s) 1:ready(600s)")
    group.decide(grows(group, 0), grows(group, 1))
    group.decide(group.lists(without=[0]), group.dies(0, number=15))
    group.decide(group.fails_to_start(0))
    for _ in range(9):
        group.after(30.0)
        if group.view.slots[0].occupant is not None:
            group.decide(group.fails_to_start(0))
    assert group.view.slots[1].phase is Phase.READY
    assert DRAIN_1 in group.after(30.1)


def test_a_successor_that_nobody_wants_any_more_puts_nobody_off() -> None:
    """A slot that the operator stops would keep the others too large for minutes."""
    group = scene("0:ready(600s) 1:ready(600s)")
    group.decide(grows(group, 0), grows(group, 1))
    assert group.decide(OverridesSet(Overrides(stopped=frozenset({0})))) == [DRAIN_1]


def test_nobody_is_replaced_while_nothing_is_known_of_registrations() -> None:
    """In an outage the group would shrink, for nobody could register."""
    group = scene("0:ready 1:ready", store="suspended(3s)")
    assert group.decide(grows(group, 0)) == []
    assert group.after(3600.0) == []
    settling = scene("0:ready 1:ready", store="reconnected(1s)")
    settling.decide(settling.same_list())
    assert settling.decide(grows(settling, 0)) == []
    assert settling.after(4.0) == [DRAIN_0]


def test_nobody_is_replaced_under_a_brake() -> None:
    """A mass loss would be made worse by endings that can wait."""
    group = scene("0:ready 1:ready 2:ready 3:ready 4:ready")
    group.decide(grows(group, 4))
    sound = scene("0:ready 1:ready 2:ready 3:ready 4:ready")
    sound.decide(sound.lists(without=[0, 1, 2]))
    assert sound.view.brake.on
    assert sound.decide(grows(sound, 4)) == []
    sick = scene("0:ready 1:ready 2:ready 3:ready 4:ready")
    for key in range(3):
        sick.decide(HealthReported(sick.name(key), Check.LIVENESS, Verdict.UNHEALTHY, "why"))
    assert sick.view.room.epidemic.on
    assert sick.decide(grows(sick, 4)) == []


def test_nobody_is_replaced_while_the_budget_cannot_pay_for_a_successor() -> None:
    """A slot would stay empty although its worker could have lived on."""
    group = scene("0:ready 1:ready")
    group.view.budget = Budget(0.0, group.view.now)
    assert group.decide(grows(group, 0)) == []
    assert group.after(0.3) == [DRAIN_0]


def _put_off(group: Scene) -> None:
    """All but an instant of the time is over for which the large one waits, because slot 2 does not come up."""
    group.decide(group.fails_to_start(2))
    group.decide(grows(group, 0))
    for _ in range(30):
        group.after((POLICY.memory_patience_s - 0.1) / 30)
        if group.view.slots[2].occupant is not None:
            group.decide(group.fails_to_start(2))


def test_one_that_is_missing_is_ended_for_that_if_at_all() -> None:
    """A worker that is about to register again would be ended, or have two orders at once and freeze the group."""
    group = scene("0:ready(600s) 1:ready(600s) 2:starting")
    _put_off(group)
    assert group.decide(group.lists(without=[0])) == []
    assert group.after(0.2) == []
    assert any(line.startswith("kill 0: registration gone") for line in group.after(0.3))


def test_one_that_ails_is_ended_for_that_if_at_all() -> None:
    """A worker that is about to be well would be ended, and its illness never be told of."""
    group = scene("0:ready(600s) 1:ready(600s) 2:starting")
    _put_off(group)
    sick = HealthReported(group.name(0), Check.LIVENESS, Verdict.UNHEALTHY, "answered 500")
    assert group.decide(sick) == []
    assert group.after(0.2) == []
    assert "drain 0: answered 500" in group.after(0.8)


def test_one_that_cannot_serve_is_missed_by_nobody() -> None:
    """The group would wait for its large worker to serve again before it replaced it."""
    group = scene("0:ready 1:ready")
    group.decide(HealthReported(group.name(0), Check.READINESS, Verdict.UNREADY, "answered 503"))
    assert group.decide(grows(group, 0)) == [DRAIN_0]


def test_a_stop_and_surplus_come_first() -> None:
    """A worker would be launched anew for a group that is to be gone, or smaller."""
    group = scene("0:ready 1:ready")
    assert group.decide(ReplicasSet(1), grows(group, 1)) == ["drain 1: surplus: 1 wanted"]
    stopping = scene("0:ready")
    assert stopping.decide(StopRequested(), grows(stopping, 0)) == ["drain 0: stopping"]


def test_it_goes_before_those_that_are_outdated() -> None:
    """A long replacement of a whole group would let a worker grow until the kernel ends it."""
    group = scene("0:ready(600s) 1:ready(600s)", revision="old")
    facts = (SpecSet("new", POLICY), grows(group, 1))
    assert group.decide(*facts) == [DRAIN_1]
    assert f"spawn 1: {LARGE}" in replaced(group, 1)
    assert group.after(1.0) == [f"drain 0: {OUTDATED}"]


def test_its_successor_begins_with_a_clean_record() -> None:
    """What a slot did wrong long ago would be held against a worker that only grew."""
    group = scene("0:ready(1s)")
    group.decide(group.dies(0))
    group.decide(group.spawned(0), group.lists(group.name(0)))
    group.after(0.1, group.dies(0))
    group.after(2.0)
    group.decide(group.lists(group.name(0)))
    group.after(POLICY.memory_soon_s + 1.0, grows(group, 0))
    replaced(group, 0)
    slot = group.view.slots[0]
    assert (slot.phase, slot.failures, slot.quick_restarts, slot.outgrown) == (
        Phase.READY,
        0,
        0,
        0,
    )


def test_one_that_needs_more_waits_longer_each_time_and_is_told_of() -> None:
    """A limit that the program cannot keep would restart it for ever without a pause."""
    group = scene("0:ready(600s)", store="connected")
    group.decide(grows(group, 0))
    replaced(group, 0)
    pauses = []
    for _ in range(10):
        assert group.after(60.0, grows(group, 0)) == [DRAIN_0]
        group.decide(group.lists(without=[0]), group.dies(0, number=15))
        slot = group.view.slots[0]
        assert slot.deadline is not None
        pauses.append(slot.deadline - group.view.now)
        phase = slot.phase
        assert group.after(pauses[-1])[0].startswith("spawn 0")
        group.decide(group.spawned(0), group.lists(group.name(0)))
    assert [round(pause_s, 1) for pause_s in pauses] == [
        *(0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0),
    ]
    assert phase is Phase.QUARANTINED
    assert group.reason(0) == (
        f"{LARGE}, within 300 s of its launch, 10 in a row: it probably needs more than that (memory_restart)"
    )


def test_what_another_program_needed_is_not_held_against_this_one() -> None:
    """The mended program would wait for the pauses of the one that needed too much."""
    group = scene("0:ready(1s)")
    group.decide(grows(group, 0))
    group.decide(group.dies(0, number=15))
    assert group.view.slots[0].outgrown == 1
    assert group.decide(SpecSet("another", POLICY)) == [f"spawn 0: {group.reason(0)}"]
    assert group.view.slots[0].outgrown == 0


def test_one_is_replaced_under_every_policy() -> None:
    """A group that restarts nobody would lose each worker that grows."""
    group = scene("0:ready(600s)", policy=Policy(memory_restart_bytes=1, restart=Restart.NEVER))
    group.decide(grows(group, 0))
    assert group.decide(group.dies(0, code=0))[0].startswith("spawn 0")
