"""How many launches may be under way: slow start."""

from __future__ import annotations

import pytest

from autohealer.core.events import ReplicasSet
from autohealer.core.model import Phase, Policy
from autohealer.core.pacing import allowance, grown, shrunk
from tests.unit.core.notation import Scene


@pytest.mark.parametrize(("window", "after"), [(1, 2), (2, 3), (31, 32), (32, 32)])
def test_a_success_grows_the_window_up_to_its_limit(window: int, after: int) -> None:
    """A large group would never start faster than one by one, or start without bound."""
    assert grown(window, Policy(in_flight_max=32)) == after


@pytest.mark.parametrize(("window", "after"), [(32, 16), (3, 1), (2, 1), (1, 1)])
def test_a_failure_halves_the_window_down_to_one(window: int, after: int) -> None:
    """A program that cannot start would be launched by the dozen, or never again."""
    assert shrunk(window) == after


@pytest.mark.parametrize(
    ("window", "in_flight", "more"), [(4, 0, 4), (4, 3, 1), (4, 4, 0), (1, 5, 0)]
)
def test_launches_under_way_are_counted(window: int, in_flight: int, more: int) -> None:
    """Every decision would launch a whole window on top of the last one."""
    assert allowance(window, in_flight) == more


def _launch_rounds(scene: Scene) -> list[int]:
    """How many launches each round makes while everything launched registers at once."""
    rounds = []
    lines = scene.decide()
    while launched := sum(line.startswith("spawn") for line in lines):
        rounds.append(launched)
        starting = [k for k, s in scene.view.slots.items() if s.phase is Phase.STARTING]
        lines = scene.after(0.1, scene.lists(*map(scene.name, starting)))
    return rounds


def test_rounds_of_a_first_start_double() -> None:
    """A hundred workers would start one by one, or all at once."""
    assert _launch_rounds(Scene("", replicas=100)) == [1, 2, 4, 8, 16, 32, 32, 5]


def test_a_failed_launch_halves_the_window() -> None:
    """A group whose program broke would keep launching as many as when it worked."""
    scene = Scene(" ".join(f"{key}:ready" for key in range(7)))
    assert scene.view.window == 8
    scene.decide(ReplicasSet(8))
    scene.decide(scene.fails_to_start(7))
    assert scene.view.window == 4


def test_a_worker_that_had_served_does_not_shrink_the_window() -> None:
    """A crash of a good worker would slow every later start."""
    scene = Scene("0:ready 1:ready 2:ready")
    scene.decide(scene.dies(0))
    assert scene.view.window == 4


def test_ending_a_worker_on_purpose_does_not_shrink_the_window() -> None:
    """Scaling down would slow the next scaling up."""
    scene = Scene("0:ready 1:starting(0.1s)")
    window = scene.view.window
    scene.decide(ReplicasSet(1))
    scene.decide(scene.dies(1))
    assert scene.view.window == window


def test_surviving_probation_and_then_registering_counts_once() -> None:
    """The window would open twice as fast as launches succeed."""
    scene = Scene("0:starting")
    scene.after(1.0)
    assert scene.view.window == 2
    scene.after(1.0, scene.lists(scene.name(0)))
    assert scene.view.window == 2


def test_an_adopted_worker_is_no_launch() -> None:
    """A restarted daemon would think its launches succeed before it made one."""
    scene = Scene("0:ready* 1:ready* 2:starting*(0.1s)")
    assert scene.view.window == 1
    assert scene.view.in_flight == set()
