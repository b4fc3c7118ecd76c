"""Starting and stopping many workers on processors they share, and the bugs that bring the collapse back."""

from __future__ import annotations

import pytest

from autohealer import settings
from autohealer.core import pacing
from autohealer.core.model import Pace
from autohealer.core.policy import Limits
from tests.simulation.ramp import Costs, Ramp
from tests.support.virtual_time import pass_time, run_virtually

WORKERS = [10, 200, pytest.param(1000, marks=pytest.mark.thorough)]
CORES = 2.0
LONG_S = 600.0
OVER_FLOOR = 1.2
CONNECTIONS_EACH = 1.05
STEP_S = 1.0
"""What may be lost to looking, beside the share of the floor."""


async def _started(ramp: Ramp) -> float:
    await ramp.begin()
    took_s = await ramp.whole(LONG_S)
    await ramp.end()
    return took_s


async def _stopped(ramp: Ramp) -> float:
    await ramp.begin()
    await ramp.whole(LONG_S)
    took_s = await ramp.stop(LONG_S)
    await ramp.end()
    return took_s


def cold_start(cores: float, workers: int, costs: Costs = Costs()) -> list[str]:  # noqa: B008 - frozen
    """What went wrong in a start of so many."""
    ramp = Ramp(cores, costs, workers)
    took_s = run_virtually(_started(ramp))
    floor_s = costs.start_floor_s(workers, cores)
    wrong = []
    if took_s > OVER_FLOOR * floor_s + STEP_S:
        wrong.append(f"it took {took_s:.1f} s; the processors alone need {floor_s:.1f} s")
    if ramp.handshakes > CONNECTIONS_EACH * workers:
        wrong.append(f"{ramp.handshakes} handshakes for {workers} workers")
    if ramp.launches != workers or ramp.killed:
        wrong.append(f"{ramp.launches} launches, {ramp.killed} killed")
    return wrong


def stop(cores: float, workers: int, costs: Costs = Costs()) -> list[str]:  # noqa: B008 - frozen
    """What went wrong in a stop of so many."""
    ramp = Ramp(cores, costs, workers)
    took_s = run_virtually(_stopped(ramp))
    floor_s = costs.end_floor_s(workers, cores)
    wrong = []
    if took_s > OVER_FLOOR * floor_s + STEP_S:
        wrong.append(f"it took {took_s:.1f} s; the processors alone need {floor_s:.1f} s")
    if ramp.killed:
        wrong.append(f"{ramp.killed} killed that only waited for the processor")
    return wrong


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("cores", [CORES, 8.0])
def test_a_start_does_not_collapse(cores: float, workers: int) -> None:
    """A large group would give up its handshakes and begin them again, for minutes, whenever its machine is started."""
    assert cold_start(cores, workers) == []


def test_a_start_beside_other_work_does_not_collapse() -> None:
    """A machine that is busy with something else, or has a small quota, would never get its group up."""
    assert cold_start(0.3, 100) == []


def test_starts_that_need_much_of_the_processor_are_not_piled_up() -> None:
    """Workers with heavy imports would all be killed for not registering in time, and launched again, for ever."""
    assert cold_start(CORES, 16, Costs(start_work_s=6.0)) == []


def test_starts_that_wait_for_something_else_go_side_by_side() -> None:
    """Forty workers that load something for twenty seconds would be there after minutes."""
    assert cold_start(CORES, 40, Costs(start_wait_s=20.0)) == []


def test_one_that_dies_in_the_middle_of_a_long_start_is_replaced_soon() -> None:
    """It would be missed until the last of a thousand was launched."""

    async def story() -> float:
        ramp = Ramp(CORES, Costs(), 400)
        await ramp.begin()
        await pass_time(5.0)
        slot = ramp.crash().slot
        began_s = ramp.now_s()
        while not ramp.is_filled(slot):
            await pass_time(0.05)
        took_s = ramp.now_s() - began_s
        await ramp.end()
        return took_s

    assert run_virtually(story()) < 1.0


@pytest.mark.parametrize("workers", WORKERS)
def test_a_stop_kills_nobody_who_only_waits_for_the_processor(workers: int) -> None:
    """Healthy workers would lose what they were about to finish."""
    assert stop(CORES, workers) == []


def test_a_stop_on_a_slow_machine_kills_nobody() -> None:
    """The busier the machine, the more workers would be killed at each stop."""
    assert stop(0.2, 200) == []


def test_a_stop_of_workers_that_finish_their_work_takes_one_grace_and_not_many() -> None:
    """Each wave would wait for the one before to finish its work."""
    assert stop(CORES, 200, Costs(end_wait_s=8.0)) == []


# --- deliberate bugs ------------------------------------------------------------------------------


def _takes_a_second_of_life_for_success(
    pace: Pace, limits: Limits, oldest: float, now: float, idle: float | None
) -> tuple[Pace, int | None]:
    """Sets aside all that are old enough, however busy the machine is."""
    return REVIEWED(pace, limits, oldest, now, 1.0)


def _holds_all_back(
    pace: Pace, limits: Limits, oldest: float, now: float, idle: float | None
) -> tuple[Pace, int | None]:
    """Waits for each to get through."""
    return Pace(pace.window, reviewed_at=now), 0


REVIEWED = pacing.reviewed


def test_without_the_window_a_start_collapses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The collapse could come back and no simulated start would tell."""
    monkeypatch.setattr(pacing, "reviewed", _takes_a_second_of_life_for_success)
    monkeypatch.setattr(settings, "LAUNCHES_MIN", 32)
    wrong = cold_start(CORES, 1000)
    assert any("handshakes" in what for what in wrong), wrong


def test_a_daemon_that_takes_life_for_success_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heavy starts would be piled up until all of them are killed, and no simulated start would tell."""
    monkeypatch.setattr(pacing, "reviewed", _takes_a_second_of_life_for_success)
    assert cold_start(CORES, 16, Costs(start_work_s=6.0)) != []


def test_a_daemon_that_holds_all_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow starters, or slow farewells, could hold each other up and no simulated ramp would tell."""
    monkeypatch.setattr(pacing, "reviewed", _holds_all_back)
    assert cold_start(CORES, 40, Costs(start_wait_s=20.0)) != []
    assert stop(CORES, 200, Costs(end_wait_s=8.0)) != []


def test_a_stop_that_asks_all_at_once_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers could be killed while they wait for the processor and no simulated stop would tell."""
    monkeypatch.setattr(settings, "ENDINGS_MIN", 10_000)
    assert stop(0.2, 200) != []
