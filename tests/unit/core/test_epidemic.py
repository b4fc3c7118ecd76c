"""Who is ended for its health, and that many who ail at once are one event."""

from __future__ import annotations

import pytest

from autohealer.core import ailing, epidemic
from autohealer.core.actions import Drain, Plan
from autohealer.core.events import HealthReported, InvariantBroken
from autohealer.core.health import Check, HealthRules, Verdict
from autohealer.core.invariants import violations_of
from autohealer.core.model import Ending, Incarnation, Phase, StoreRoom
from autohealer.core.policy import Policy, Registrar
from tests.unit.core.notation import BASE, Scene

SPREAD_S = 2.0
WHY = "liveness probe failed 3 times: GET http://127.0.0.1:8000/ answered 500"
POLICY = Policy(
    registrar=Registrar.AGENT,
    health=HealthRules(frozenset({Check.LIVENESS}), SPREAD_S),
    budget_burst=100,
)


def _well(key: int, generation: int = BASE) -> HealthReported:
    return HealthReported(Incarnation(key, generation), Check.LIVENESS, Verdict.WELL)


def _sick(key: int, check: Check = Check.LIVENESS, generation: int = BASE) -> HealthReported:
    return HealthReported(Incarnation(key, generation), check, Verdict.UNHEALTHY, WHY)


def _running(replicas: int, policy: Policy = POLICY, room: StoreRoom | None = None) -> Scene:
    """Everybody has been ready and well for a minute."""
    scene = Scene(replicas=replicas, policy=policy, room=room, group="a" if room else "")
    for _ in range(replicas):
        keys = [key for key, slot in scene.view.slots.items() if slot.occupant is not None]
        scene.after(0.1, *(scene.spawned(k) for k in keys), *(_well(key) for key in keys))
    everybody = [Incarnation(key, BASE) for key in range(replicas)]
    scene.after(0.1, *(scene.spawned(k) for k in range(replicas)), scene.lists(*everybody))
    scene.after(60.0)
    assert scene.view.counts[Phase.READY] == replicas
    return scene


def _endings(plan: list[str]) -> list[str]:
    return [line.split(":")[0] for line in plan if line.startswith(("drain", "kill"))]


def test_one_alone_is_ended_at_once() -> None:
    """A single sick worker would wait for others that there are not."""
    scene = _running(1)
    assert scene.after(0.1, _sick(0)) == [f"drain 0: {WHY}"]
    assert scene.view.slots[0].ending is Ending.UNHEALTHY


def test_one_of_many_is_ended_when_the_others_had_time_to_fail_with_it() -> None:
    """The first of many that fail would be ended before anybody knows of the others, or a sick one never."""
    scene = _running(10)
    assert scene.after(0.1, _sick(3)) == []
    assert scene.after(SPREAD_S - 0.1) == []
    assert _endings(scene.after(0.1)) == ["drain 3"]


def test_one_that_recovers_in_time_is_left_alone() -> None:
    """A hiccup would cost a restart."""
    scene = _running(10)
    scene.after(0.1, _sick(3))
    scene.after(1.0, _well(3))
    assert scene.after(60.0) == []


@pytest.mark.parametrize(
    ("check", "order", "ending"),
    [
        (Check.LIVENESS, "drain 0", Ending.UNHEALTHY),
        (Check.STARTUP, "drain 0", Ending.UNHEALTHY),
        (Check.WATCHDOG, "drain 0", Ending.WATCHDOG),
        (Check.RUNNING, "kill 0", Ending.FROZEN),
    ],
)
def test_each_is_ended_as_its_ailment_calls_for(check: Check, order: str, ending: Ending) -> None:
    """Who stands still would be asked politely; a program that hangs would leave no core behind."""
    scene = _running(1)
    assert _endings(scene.after(0.1, _sick(0, check))) == [order]
    assert scene.view.slots[0].ending is ending


def test_when_all_fail_together_nobody_is_ended_at_first_and_then_one() -> None:
    """A database that is down would have every worker restarted at once."""
    scene = _running(10)
    plans = [scene.after(0.1, _sick(key)) for key in range(10)]
    plans.append(scene.after(POLICY.settle_s - 1.0))
    assert not any(map(_endings, plans))
    assert scene.view.room.epidemic.on
    assert _endings(scene.after(1.1)) == ["drain 0"]
    assert not _endings(scene.after(POLICY.grace_s - 1.0))


def test_more_are_ended_as_replacements_prove_to_be_well() -> None:
    """Workers that a restart does heal would be healed one every half a minute."""
    scene = _running(10)
    scene.after(0.1, *(_sick(key) for key in range(10)))
    assert _endings(scene.after(POLICY.settle_s + 0.1)) == ["drain 0"]
    scene.after(0.1, scene.dies(0))
    scene.after(0.1, scene.spawned(0))
    assert not _endings(scene.after(0.1))
    assert not _endings(scene.after(0.1, _well(0, BASE + 1), _well(3)))
    assert _endings(scene.after(SPREAD_S)) == ["drain 1", "drain 2"]
    assert scene.view.slots[3].phase is Phase.READY


def test_one_that_does_not_prove_it_makes_the_next_one_wait() -> None:
    """While the database stays down restarts would go on as fast as they can."""
    scene = _running(10)
    scene.after(0.1, *(_sick(key) for key in range(10)))
    scene.after(POLICY.settle_s + 0.1)
    scene.after(0.1, scene.dies(0))
    scene.after(0.1, scene.spawned(0))
    assert not _endings(scene.after(POLICY.registration_timeout_s - 1.0))
    assert _endings(scene.after(1.0)) == ["drain 1"]


def test_it_is_over_when_all_have_recovered() -> None:
    """The first sick worker of next week would wait for a fault that was mended."""
    scene = _running(10)
    scene.after(0.1, *(_sick(key) for key in range(10)))
    scene.after(1.0, *(_well(key) for key in range(10)))
    assert not scene.view.room.epidemic.on
    assert scene.after(3600.0) == []


def test_many_that_ail_anew_under_the_brake_are_another_event() -> None:
    """A database that is mended and down again would have as many restarted together as had proved well before."""
    scene = _running(10)
    scene.after(0.1, *(_sick(key) for key in range(10)))
    scene.after(POLICY.settle_s + 0.1)
    scene.after(0.1, scene.dies(0))
    scene.after(0.1, scene.spawned(0))
    scene.after(60.0, _well(0, BASE + 1), *(_well(key) for key in range(2, 10)))
    assert scene.view.room.epidemic.on
    assert scene.view.room.epidemic.at_once == 2
    began = scene.view.now
    scene.after(0.1, *(_sick(key) for key in range(2, 10)))
    while not (ended := _endings(scene.after(0.5))):
        assert scene.view.now < began + 2 * POLICY.settle_s
    assert scene.view.now >= began + POLICY.settle_s
    assert ended == ["drain 1"]


def test_groups_are_counted_together() -> None:
    """Ten groups of two would each be restarted as if it were alone."""
    room = StoreRoom()
    room.replicas["b"] = 18
    scene = _running(2, room=room)
    room.epidemic.ailing |= {("b", key) for key in range(8)}
    scene.after(0.1, _sick(0))
    assert room.epidemic.on
    assert not _endings(scene.after(SPREAD_S + 0.1))


def test_a_frozen_group_holds_up_no_other() -> None:
    """Sick workers of a group that acts no more would keep the too large ones of all others alive."""
    room = StoreRoom()
    scene = _running(3, room=room)
    scene.after(0.1, *(_sick(key) for key in range(3)))
    assert scene.view.room.epidemic.on
    turns = room.turns
    scene.decide(InvariantBroken(("a promise",)))
    assert not room.epidemic.on
    assert room.turns > turns, "the others are told"


def test_who_ails_beside_a_frozen_group_still_counts() -> None:
    """All that are left of many that fail together would be ended at once as soon as one group freezes."""
    room = StoreRoom()
    room.epidemic.ailing |= {("b", 0)}
    scene = _running(3, room=room)
    scene.after(0.1, *(_sick(key) for key in range(3)))
    scene.decide(InvariantBroken(("a promise",)))
    assert room.epidemic.ailing == {("b", 0)}
    assert room.epidemic.on


def test_what_cannot_be_paid_for_is_not_ended() -> None:
    """A sick worker would be ended, and its slot stay empty for want of a restart."""
    scene = _running(10)
    scene.view.budget = type(scene.view.budget)(0.0, scene.view.now)
    scene.after(0.01, _sick(3))
    held = type(scene.view.budget)(-60.0, scene.view.now)
    scene.view.budget = held
    assert not _endings(scene.after(SPREAD_S + 0.1))
    at = epidemic.next_turn(scene.view)
    assert at is not None
    assert at > scene.view.now
    assert _endings(scene.after(at - scene.view.now + 0.001)) == ["drain 3"]


def test_what_contradicts_the_rules_is_stopped() -> None:
    """A bug could end healthy workers for their health, or all at once under the brake."""
    scene = _running(10)
    order = Plan((Drain(3, Incarnation(3, BASE), WHY, Ending.UNHEALTHY),))
    assert "nothing is wrong with it" in violations_of(scene.view, order)[0]
    scene.after(0.1, *(_sick(key) for key in range(10)))
    assert "many ail together" in violations_of(scene.view, order)[0]


def test_nobody_ails_who_is_not_wanted() -> None:
    """A stop would begin with restarts."""
    scene = _running(1)
    slot = scene.view.slots[0]
    assert ailing.ailment_deadline(slot, scene.view) is None
