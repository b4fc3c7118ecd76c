"""How long a slot that keeps failing waits, and what it waits for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.core.backoff import backoff_s, restart_pause_s
from autohealer.core.events import WorkerAdopted
from autohealer.core.model import Incarnation, Phase
from autohealer.core.policy import Policy
from tests.unit.core.notation import Scene

POLICY = Policy()


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        (1, 0.1),
        (2, 0.2),
        (3, 0.4),
        (4, 0.8),
        (5, 1.6),
        (9, 25.6),
        (10, 30.0),
        (11, 30.0),
        (10**6, 30.0),
    ],
)
def test_the_wait_doubles_up_to_its_limit(failures: int, seconds: float) -> None:
    """A broken program would be launched without end, or not be tried again for hours."""
    assert backoff_s(POLICY, failures, 0.0) == pytest.approx(seconds)


@given(st.integers(1, 10**9), st.floats(0.0, 1.0, exclude_max=True))
def test_jitter_only_shortens_and_by_half_at_most(failures: int, jitter: float) -> None:
    """Slots that fell together would rise together, or wait longer than status says."""
    whole_s = backoff_s(POLICY, failures, 0.0)
    assert whole_s / 2 <= backoff_s(POLICY, failures, jitter) <= whole_s


def _fail_again(scene: Scene) -> float:
    """Let the launch under way fail; how long the slot waits then, in seconds."""
    scene.decide(scene.fails_to_start(0))
    deadline = scene.view.slots[0].deadline
    assert deadline is not None
    return deadline - scene.view.now


def test_a_slot_that_never_starts_waits_ever_longer_and_is_never_given_up() -> None:
    """A program repaired after an hour would need somebody to restart the daemon."""
    scene = Scene("0:starting")
    waits = []
    for _ in range(14):
        waits.append(round(_fail_again(scene), 3))
        assert len(scene.after(waits[-1])) == 1
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0, 30.0, 30.0]


def test_the_tenth_failure_parks_the_slot_in_quarantine() -> None:
    """Status would not tell a hopeless slot from one that stumbled."""
    scene = Scene("0:starting")
    phases = []
    for _ in range(11):
        _fail_again(scene)
        phases.append(scene.view.slots[0].phase)
        scene.after(30.0)
    assert phases == [Phase.BACKOFF] * 9 + [Phase.QUARANTINED] * 2


def test_nothing_is_launched_before_the_wait_is_over() -> None:
    """The wait would be for show."""
    scene = Scene("0:backoff(0.4s)")
    assert scene.decide() == []
    assert scene.after(0.39) == []
    assert len(scene.after(0.02)) == 1


def test_a_stable_run_wipes_the_slate() -> None:
    """A worker that had trouble last week would be punished for its first crash today."""
    scene = Scene("0:quarantined(0.5s)")
    scene.after(1.0)
    scene.decide(scene.lists(scene.name(0)))
    lines = scene.after(10.0, scene.dies(0))
    assert lines[0].startswith("spawn 0: ended by signal 9")
    assert scene.view.slots[0].failures == 0


def test_serving_ends_a_streak_of_failed_starts() -> None:
    """A worker that had trouble starting would be slow to come back when it crashes later."""
    scene = Scene("0:backoff(0.4s)")
    scene.after(0.5)
    scene.decide(scene.lists(scene.name(0)))
    lines = scene.after(1.0, scene.dies(0))
    assert lines[0].startswith("spawn 0")
    assert scene.view.slots[0].failures == 0


def test_a_moment_of_being_ready_is_a_failed_start() -> None:
    """A worker that registers and dies of its first piece of work would be launched again and again without pause."""
    scene = Scene("0:starting")
    waits = []
    for _ in range(11):
        scene.after(0.1, scene.lists(scene.name(0)))
        scene.after(0.9, scene.dies(0))
        slot = scene.view.slots[0]
        assert slot.deadline is not None
        waits.append(round(slot.deadline - scene.view.now, 3))
        assert "was ready for 0.90 s only; " in scene.reason(0)
        scene.after(waits[-1])
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]
    assert slot.phase is Phase.QUARANTINED


def test_an_adopted_worker_has_served_for_as_long_as_it_lives() -> None:
    """Workers that die right after a daemon's upgrade would be taken for ones that cannot start."""
    scene = Scene("0:-")
    name = Incarnation(0, 7)
    scene.decide(WorkerAdopted(name, 9, 60.0), scene.lists(name))
    assert scene.after(0.1, scene.dies(0))[0].startswith("spawn 0")


def _serve_and_die(scene: Scene, lived_s: float) -> int:
    """One life: registers, serves a while, dies, and waits long enough; how many quick restarts the slot is then."""
    scene.decide(scene.lists(scene.name(0)))
    scene.after(lived_s, scene.dies(0))
    quick_restarts = scene.view.slots[0].quick_restarts
    scene.after(1.0)
    return quick_restarts


def test_only_a_stable_run_ends_a_streak_of_crashes() -> None:
    """A worker that registers and dies at once would spin for ever without a pause."""
    scene = Scene("0:ready", policy=Policy(intensity=3))
    assert [_serve_and_die(scene, 1.0) for _ in range(5)][-2:] == [1, 2]
    assert _serve_and_die(scene, 9.0) == 3
    assert _serve_and_die(scene, 10.0) == 0


def test_a_worker_that_never_registered_waits_even_after_long_life() -> None:
    """A program that never registers would be killed and relaunched without a pause."""
    scene = Scene("0:starting(29s)")
    scene.decide(scene.dies(0))
    assert scene.view.slots[0].phase is Phase.BACKOFF


@pytest.mark.parametrize(
    ("quick_restarts", "seconds"),
    [(1, 1.0), (20, 1.0), (21, 2.0), (24, 16.0), (25, 30.0), (999, 30.0)],
)
def test_a_ready_worker_waits_a_second_until_the_streak_is_long(
    quick_restarts: int, seconds: float
) -> None:
    """A storm of kills would leave slots empty for half a minute, or a crash loop would never slow down."""
    assert restart_pause_s(Policy(), quick_restarts, 0.0) == pytest.approx(seconds)


def test_a_worker_killed_just_after_it_registered_is_back_at_once() -> None:
    """A death in the moment between registering and being seen would count as a failed start."""
    scene = Scene("0:starting(1s)")
    name = scene.name(0)
    scene.decide(scene.dies(0))
    assert scene.view.slots[0].phase is Phase.BACKOFF
    lines = scene.decide(scene.lists(name))
    assert lines[0].startswith("spawn 0: ended by signal 9")
    assert scene.view.slots[0].failures == 0
