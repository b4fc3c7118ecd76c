"""How many restarts are allowed: a slot's own within a period, and the group's out of one budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.core.events import ReplicasSet
from autohealer.core.intensity import (
    Rate,
    may_restart_at_once,
    rate_of,
    recent,
    refilled,
    seconds_to_token,
)
from autohealer.core.model import Budget, Phase
from autohealer.core.policy import Policy
from tests.unit.core.notation import Scene

POLICY = Policy(intensity=3, intensity_period_s=10.0)
RATE = Rate(burst=10.0, per_s=2.0)


@pytest.mark.parametrize(
    ("restarts", "allowed"),
    [
        ((), True),
        ((99.0, 98.0), True),
        ((99.0, 98.0, 97.0), False),
        ((90.0, 89.0, 99.0, 98.0), True),
    ],
)
def test_a_slot_may_restart_so_often_in_a_period(
    restarts: tuple[float, ...], allowed: bool
) -> None:
    """A worker that crashes every second would be restarted at once for ever."""
    assert may_restart_at_once(restarts, 100.0, POLICY) is allowed


def test_restarts_of_long_ago_are_forgotten() -> None:
    """The record of a slot would grow without bound."""
    assert recent((80.0, 90.0, 90.1, 99.0), 100.0, POLICY) == (90.1, 99.0)


@pytest.mark.parametrize(
    ("tokens", "seconds", "full"), [(0.0, 0.5, 1.0), (9.5, 9.0, 10.0), (-3.0, 1.0, -1.0)]
)
def test_the_budget_refills_at_its_rate_up_to_its_burst(
    tokens: float, seconds: float, full: float
) -> None:
    """A quiet night would save up a storm of restarts, or a spent budget never recover."""
    assert refilled(Budget(tokens, at=100.0), 100.0 + seconds, RATE).tokens == full


def test_a_budget_never_used_is_full() -> None:
    """The first restarts of a daemon would wait."""
    assert refilled(Budget(0.0), 0.0, RATE).tokens == 10.0


@given(st.floats(-50.0, 10.0))
def test_the_wait_for_a_token_is_as_long_as_said(tokens: float) -> None:
    """The daemon would wake too early and spin, or too late."""
    wait_s = seconds_to_token(Budget(tokens, at=0.0), RATE)
    assert wait_s >= 0.0
    assert refilled(Budget(tokens, at=0.0), wait_s, RATE).tokens >= 1.0 - 1e-9


@pytest.mark.parametrize(("replicas", "rate"), [(0, Rate(10.0, 1.0)), (10, Rate(40.0, 10.0))])
def test_the_budget_is_that_of_the_number_wanted(replicas: int, rate: Rate) -> None:
    """A group scaled from one to a hundred would be restarted at the pace of one."""
    policy = Policy(budget_burst=10, budget_burst_each=3, budget_per_s=1.0, budget_per_s_each=1.0)
    assert rate_of(policy, replicas) == rate


def test_a_scaled_group_has_the_budget_of_its_new_number() -> None:
    """Scaled up, a group would go on being restarted as if it were still small."""
    policy = Policy(
        budget_burst=0, budget_burst_each=1, budget_per_s=0.001, budget_per_s_each=0.001
    )
    scene = Scene("0:ready 1:ready", policy=policy)
    scene.decide(ReplicasSet(4))
    for _ in range(4):
        living = [slot.occupant.name for slot in scene.view.slots.values() if slot.occupant]
        scene.after(3600.0, scene.lists(*living))
    lines = scene.after(1.0, *(scene.dies(key) for key in range(4)))
    assert [line.split(":")[0] for line in lines if line.startswith("s")] == [
        f"spawn {key}" for key in range(4)
    ]


def _crash_again(scene: Scene, key: int) -> None:
    """Let a slot's worker register, live a second and die."""
    scene.decide(scene.lists(scene.name(key)))
    scene.after(1.0, scene.dies(key))


def test_the_sixth_crash_in_ten_seconds_waits() -> None:
    """A worker that serves a second and crashes would use the machine up."""
    scene = Scene("0:ready")
    phases = []
    for _ in range(6):
        _crash_again(scene, 0)
        phases.append(scene.view.slots[0].phase)
    assert phases == [Phase.STARTING] * 5 + [Phase.BACKOFF]


def test_one_slot_that_crashes_does_not_slow_the_others() -> None:
    """A poisoned worker would take its healthy neighbours down with it."""
    scene = Scene("0:ready 1:ready")
    for _ in range(6):
        _crash_again(scene, 0)
    lines = scene.decide(scene.dies(1))
    assert lines[0].startswith("spawn 1")
