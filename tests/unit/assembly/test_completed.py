"""What is noted of those that are done, and for whom it counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from autohealer.assembly.completed import NAME, Completed
from autohealer.core.actions import Plan
from autohealer.core.events import (
    DetachRequested,
    Event,
    OverridesSet,
    ReplicasSet,
    RetryAsked,
    StopRequested,
    WorkerExited,
    WorkerWasDone,
)
from autohealer.core.evolve import evolve
from autohealer.core.model import Exit, Incarnation
from autohealer.core.overrides import Overrides
from autohealer.core.policy import Policy, Restart
from tests.unit.core.notation import BASE, Scene


def notes(folder: Path, revision: str = "") -> Completed:
    """Those of a group's folder."""
    return Completed(folder, revision, pytest.fail)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Slot 0 is done, and that is noted."""
    scene = Scene("0:ready(60s) 1:ready(60s)", policy=Policy(restart=Restart.NEVER))
    fact = WorkerExited(scene.name(0), Exit(code=3), True, 0.0)
    scene.decide(fact)
    completed = notes(tmp_path)
    completed([fact], Plan(), scene.view)
    completed.close()
    return scene


def test_the_next_daemon_is_told(tmp_path: Path, scene: Scene) -> None:
    """It would run again what is done, or take a failure for a success."""
    (fact,) = notes(tmp_path).read()
    why = scene.view.slots[0].reason
    assert fact == WorkerWasDone(Incarnation(0, BASE), why, has_failed=True)


@pytest.mark.usefixtures("scene")
def test_another_program_or_boot_has_done_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new version of a job would not be run, nor any after a reboot."""
    assert notes(tmp_path, "another").read() == []
    monkeypatch.setattr("autohealer.assembly.completed.boot_id", lambda: "another")
    assert notes(tmp_path).read() == []


@pytest.mark.usefixtures("scene")
def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path: Path) -> None:
    """One such line would keep a daemon from starting."""
    with (tmp_path / NAME).open("a") as file:
        file.write('{"boot": "x", "rev')
    assert len(notes(tmp_path).read()) == 1


@pytest.mark.parametrize(("detaches", "left"), [(True, 1), (False, 0)], ids=["detach", "stop"])
def test_after_an_orderly_stop_all_runs_again(
    tmp_path: Path, scene: Scene, *, detaches: bool, left: int
) -> None:
    """`down` and `up` would run nothing; a detachment would run everything once more."""
    evolve(scene.view, DetachRequested() if detaches else StopRequested())
    completed = notes(tmp_path)
    completed([], Plan(finished=True), scene.view)
    completed.close()
    assert len(notes(tmp_path).read()) == left


@pytest.mark.parametrize(("wanted", "left"), [(0, 0), (1, 1)])
def test_a_slot_that_is_not_wanted_is_not_done_any_more(
    tmp_path: Path, scene: Scene, wanted: int, left: int
) -> None:
    """Scaled down and up again, a job would be left undone by the next daemon alone."""
    completed = notes(tmp_path)
    assert len(completed.read()) == 1
    completed([ReplicasSet(wanted), ReplicasSet(2)], Plan(), scene.view)
    completed.close()
    assert len(notes(tmp_path).read()) == left


STOPPED = OverridesSet(Overrides(stopped=frozenset({0})))
STARTED = OverridesSet(Overrides())


@pytest.mark.parametrize(
    "facts",
    [
        [RetryAsked(frozenset({0}))],
        [STOPPED],
        [STOPPED, STARTED],
        [OverridesSet(Overrides(renew={0: BASE}))],
    ],
    ids=["retried", "stopped", "stopped and started", "restarted"],
)
def test_what_the_operator_wants_to_run_again_is_not_done_any_more(
    tmp_path: Path, scene: Scene, facts: list[Event]
) -> None:
    """A job that was run again on purpose would count as done after a crash of the daemon."""
    completed = notes(tmp_path)
    completed.read()
    scene.decide(*facts)
    completed(facts, Plan(), scene.view)
    completed.close()
    assert notes(tmp_path).read() == []


@pytest.mark.parametrize(
    "fact", [OverridesSet(Overrides(stopped=frozenset({1}))), RetryAsked(frozenset({1}))], ids=str
)
def test_what_the_operator_wants_of_others_leaves_it_done(
    tmp_path: Path, scene: Scene, fact: Event
) -> None:
    """A stop of one would run the jobs of all others again."""
    completed = notes(tmp_path)
    completed.read()
    scene.decide(fact)
    completed([fact], Plan(), scene.view)
    completed.close()
    assert len(notes(tmp_path).read()) == 1
