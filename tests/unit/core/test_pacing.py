"""How many launches and endings may be under way at once."""

from __future__ import annotations

import pytest

from autohealer.core.events import ReplicasSet, StopRequested, Ticked
from autohealer.core.evolve import evolve
from autohealer.core.model import NEVER, Pace, Phase
from autohealer.core.pacing import allowance, failed, pardoned, reviewed, through
from autohealer.core.policy import Limits, Policy
from autohealer.core.reconcile import next_wake
from tests.unit.core.notation import Scene

LIMITS = Limits(least=4, most=32, look_s=1.0)
CORES = Policy(in_flight_min=4, in_flight_max=8)


# --- the arithmetic -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "took_s", "after"),
    [(4, 1.0, 5), (4, 2.0, 5), (32, 1.0, 32), (8, 3.0, 8), (8, 4.1, 7), (4, 9.0, 4), (1, 9.0, 1)],
)
def test_the_window_follows_how_long_one_takes(window: int, took_s: float, after: int) -> None:
    """Launches would be added to a machine that cannot carry them, or held back on one that could."""
    assert through(Pace(window, best_s=1.0), LIMITS, took_s, now=9.0).window == after


def test_the_fastest_is_remembered() -> None:
    """A first launch from a cold disk would be the measure of all others."""
    pace = through(Pace(4), LIMITS, 3.0, now=9.0)
    assert (pace.window, pace.best_s) == (5, 3.0)
    assert through(pace, LIMITS, 0.5, now=9.0).best_s == 0.5


@pytest.mark.parametrize(("window", "after"), [(32, 16), (3, 1), (2, 1), (1, 1)])
def test_a_failure_halves_the_window_down_to_one(window: int, after: int) -> None:
    """A program that cannot start would be launched by the dozen, or never again."""
    assert failed(Pace(window)).window == after


@pytest.mark.parametrize(("window", "after"), [(2, 3), (32, 32)])
def test_a_failure_that_was_none_gives_one_place_back(window: int, after: int) -> None:
    """A worker that served and died before it was seen would hold up every later start."""
    assert pardoned(Pace(window), LIMITS).window == after


@pytest.mark.parametrize(
    ("window", "under_way", "more"), [(4, 0, 4), (4, 3, 1), (4, 4, 0), (1, 5, 0)]
)
def test_launches_under_way_are_counted(window: int, under_way: int, more: int) -> None:
    """Every decision would launch a whole window on top of the last one."""
    assert allowance(window, under_way) == more


def test_on_an_idle_machine_all_are_set_aside() -> None:
    """Ten workers that each load a model for a minute would be started a few at a time."""
    assert reviewed(Pace(4), LIMITS, 0.0, 1.0, idle=0.5)[1] is None


@pytest.mark.parametrize("idle", [0.49, 0.0, None])
def test_on_a_busy_machine_one_is_set_aside_every_few_seconds(idle: float | None) -> None:
    """A few that never register would hold the others back for ever, or a slow machine would be buried in launches."""
    pace, at, asides = Pace(4), 0.0, []
    while at < 14.0:
        at += LIMITS.look_s
        pace, count = reviewed(pace, LIMITS, 0.0, at, idle)
        asides += [at] * (count or 0)
    assert asides == [4.0, 8.0, 12.0]


def test_a_start_that_takes_long_is_given_longer() -> None:
    """Workers that need half a minute of processor each would be piled up before one of them is there."""
    pace = through(Pace(4), LIMITS, 30.0, now=30.0)
    assert reviewed(pace, LIMITS, 0.0, 119.0, idle=0.0)[1] == 0
    assert reviewed(pace, LIMITS, 0.0, 120.0, idle=0.0)[1] == 1


# --- launches -------------------------------------------------------------------------------------


def _launched(lines: list[str]) -> list[int]:
    return [int(line.split()[1].rstrip(":")) for line in lines if line.startswith("spawn")]


def _starting(scene: Scene) -> list[int]:
    return [k for k, s in scene.view.slots.items() if s.phase is Phase.STARTING]


def test_a_first_start_goes_faster_while_it_goes_well() -> None:
    """A hundred workers would start a few at a time on a machine that could carry more, or all at once."""
    scene = Scene("", replicas=100)
    rounds = []
    lines = scene.decide()
    while launched := _launched(lines):
        rounds.append(len(launched))
        lines = scene.after(0.1, scene.lists(*map(scene.name, _starting(scene))))
    assert rounds == [4, 8, 16, 32, 32, 8]


def test_what_has_not_registered_is_under_way_whatever_its_age() -> None:
    """On a machine that is too slow more and more would be launched, and none would ever get through."""
    scene = Scene("", replicas=100, policy=CORES)
    assert len(_launched(scene.decide())) == 4
    for _ in range(3):
        assert _launched(scene.after(1.0)) == []
    assert len(_launched(scene.after(1.0))) == 1
    assert sum(len(_launched(scene.after(1.0))) for _ in range(26)) == 6


def test_slow_starters_do_not_hold_the_others_back_while_the_machine_is_idle() -> None:
    """Each of ten workers that wait for something else would wait for the four before it."""
    scene = Scene("", replicas=10, policy=CORES)
    scene.decide()
    launched = 4
    for _ in range(2):
        evolve(scene.view, Ticked(scene.view.now + 1.0, idle=0.9))
        launched += len(_launched(scene.decide()))
    assert launched == 10


def test_one_that_registers_makes_room_for_the_next() -> None:
    """A slot would stay empty until the next look at the clock."""
    scene = Scene("", replicas=6, policy=CORES)
    scene.decide()
    assert _launched(scene.after(0.1, scene.lists(scene.name(0)))) == [4, 5]


def test_replacements_and_first_launches_take_turns() -> None:
    """A worker that dies during a long start would be missed until its end, or those that die would block the start."""
    scene = Scene("", replicas=20, policy=CORES)
    scene.decide()
    scene.after(0.1, scene.lists(*(scene.name(key) for key in range(4))))
    scene.after(0.1, *(scene.dies(key) for key in range(3)))
    assert _launched(scene.after(0.1, scene.lists(*map(scene.name, (4, 5, 6))))) == [0, 12, 1]
    assert _launched(scene.after(0.1, scene.lists(scene.name(7)))) == [13]
    assert _launched(scene.after(0.1, scene.lists(scene.name(8)))) == [2]


def test_replacements_that_the_budget_does_not_pay_for_hold_no_first_launch_back() -> None:
    """A few workers that crash again and again would keep a thousand others from their first start."""
    policy = Policy(in_flight_min=4, in_flight_max=4, budget_burst=1, budget_per_s=0.01)
    scene = Scene("0:ready 1:ready 2:-", replicas=3, policy=policy)
    assert _launched(scene.decide(scene.dies(0), scene.dies(1))) == [0, 2]
    assert set(scene.view.waiting_again) == {1}


def test_a_failed_launch_halves_the_window() -> None:
    """A group whose program broke would keep launching as many as when it worked."""
    scene = Scene(" ".join(f"{key}:ready" for key in range(4)))
    assert scene.view.launches.pace.window == 8
    scene.decide(ReplicasSet(5))
    scene.decide(scene.fails_to_start(4))
    assert scene.view.launches.pace.window == 4


def test_a_worker_that_had_served_does_not_shrink_the_window() -> None:
    """A crash of a good worker would slow every later start."""
    scene = Scene("0:ready 1:ready 2:ready")
    scene.decide(scene.dies(0))
    assert scene.view.launches.pace.window == 7


def test_ending_a_worker_on_purpose_does_not_shrink_the_window() -> None:
    """Scaling down would slow the next scaling up."""
    scene = Scene("0:ready 1:starting(0.1s)")
    window = scene.view.launches.pace.window
    scene.decide(ReplicasSet(1))
    scene.decide(scene.dies(1))
    assert scene.view.launches.pace.window == window


def test_an_adopted_worker_is_no_launch() -> None:
    """A restarted daemon would think its launches succeed before it made one."""
    scene = Scene("0:ready* 1:ready* 2:starting*(0.1s)")
    assert scene.view.launches.pace.window == scene.policy.in_flight_min
    assert scene.view.launches.under_way == set()


# --- endings --------------------------------------------------------------------------------------

TWO = Policy(endings_min=2, endings_max=4, grace_s=10.0)


def _asked(lines: list[str]) -> list[int]:
    return [int(line.split()[1].rstrip(":")) for line in lines if line.startswith("drain")]


def _all_ready(count: int, policy: Policy = TWO) -> Scene:
    return Scene(" ".join(f"{key}:ready" for key in range(count)), policy=policy)


def test_a_stop_asks_the_next_ones_as_the_first_ones_end() -> None:
    """A thousand workers would all want the processor at once, and those that come last be killed in their farewell."""
    scene = _all_ready(6)
    assert _asked(scene.decide(StopRequested())) == [0, 1]
    assert _asked(scene.after(0.1, scene.dies(0))) == [2, 3]
    assert _asked(scene.after(0.1, scene.dies(1), scene.dies(2))) == [4, 5]
    scene.after(0.1, *(scene.dies(key) for key in (3, 4, 5)))
    assert scene.is_finished()


def test_each_has_its_whole_grace_from_when_it_was_asked() -> None:
    """Who is asked last would be killed first."""
    scene = _all_ready(3)
    scene.decide(StopRequested())
    scene.after(5.0, scene.dies(0))
    deadlines = {key: slot.deadline for key, slot in scene.view.slots.items()}
    assert deadlines == {1: scene.view.now + 5.0, 2: scene.view.now + 10.0}


def test_those_that_finish_their_work_hold_no_other_back_while_the_machine_is_idle() -> None:
    """A stop would take as many graces as there are waves."""
    scene = _all_ready(6)
    scene.decide(StopRequested())
    asked = []
    for _ in range(2):
        evolve(scene.view, Ticked(scene.view.now + 0.25, idle=1.0))
        asked += _asked(scene.decide())
    assert asked == [2, 3, 4, 5]


def test_a_second_stop_ends_all_at_once() -> None:
    """Who is in a hurry would wait for the waves."""
    scene = _all_ready(6)
    scene.decide(StopRequested())
    lines = scene.decide(StopRequested())
    assert sum(line.startswith("kill") for line in lines) == 6
    assert scene.view.staying == {}


def test_one_that_is_wanted_again_before_its_turn_is_left_alone() -> None:
    """Who scales down and up again would lose workers to the first of the two."""
    scene = _all_ready(6)
    scene.decide(ReplicasSet(0))
    scene.decide(ReplicasSet(6))
    assert scene.view.staying == {}
    assert _asked(scene.after(20.0, scene.dies(0), scene.dies(1))) == []


def test_nobody_wakes_for_those_that_wait_for_nothing() -> None:
    """The daemon would look every second at launches that hold nobody back."""
    scene = Scene("0:starting(1s) 1:starting(1s)", policy=CORES)
    scene.decide()
    assert next_wake(scene.view) == scene.view.now + scene.policy.registration_timeout_s - 1.0
    assert scene.view.launches.pace.reviewed_at == NEVER
