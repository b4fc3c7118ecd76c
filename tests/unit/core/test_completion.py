"""Who is done, and stays so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autohealer.core.completion import is_success
from autohealer.core.events import (
    ReplicasSet,
    SpawnFailed,
    SpecSet,
    TreeEmptied,
    WorkerExited,
    WorkerWasDone,
)
from autohealer.core.membership import is_whole
from autohealer.core.model import Exit, Incarnation, Occupant, Phase
from autohealer.core.policy import Policy, Restart
from tests.unit.core.notation import Scene

WELL, BADLY = Exit(code=0), Exit(code=3)


def scene(text: str, restart: Restart) -> Scene:
    """A scene under a policy."""
    return Scene(text, policy=Policy(restart=restart))


def phase_of(at: Scene, key: int = 0) -> Phase:
    """Where a slot stands."""
    return at.view.slots[key].phase


def exits(at: Scene, exit_: Exit, *, tree_empty: bool = True) -> None:
    """Slot 0's worker ends, and it is decided."""
    at.decide(WorkerExited(at.name(0), exit_, tree_empty, 0.0))


@pytest.mark.parametrize(
    ("exit_", "is_well"),
    [
        (Exit(code=0), True),
        (Exit(code=1), False),
        *((Exit(signal=number), True) for number in (1, 2, 13, 15)),
        *((Exit(signal=number), False) for number in (6, 9, 11)),
        (Exit(), False),
    ],
    ids=str,
)
def test_success_is_what_systemd_calls_so(exit_: Exit, is_well: bool) -> None:
    """A unit's `Restart=on-failure` would mean something else here."""
    assert is_success(exit_) is is_well


@pytest.mark.parametrize(
    ("restart", "exit_", "phase", "reason"),
    [
        (Restart.ON_FAILURE, WELL, Phase.DONE, "done: exited with code 0 after"),
        (Restart.ON_FAILURE, BADLY, Phase.STARTING, "exited with code 3 after"),
        (Restart.ON_FAILURE, Exit(), Phase.STARTING, "exited (status unknown"),
        (Restart.NEVER, WELL, Phase.DONE, "done: exited with code 0 after"),
        (Restart.NEVER, BADLY, Phase.DONE, "done, and failed: exited with code 3 after"),
        (Restart.ALWAYS, WELL, Phase.STARTING, "exited with code 0 after"),
    ],
)
def test_the_policy_says_who_is_replaced(
    restart: Restart, exit_: Exit, phase: Phase, reason: str
) -> None:
    """A job would be done twice, or a server that fell be left lying."""
    at = scene("0:ready(60s)", restart)
    exits(at, exit_)
    slot = at.view.slots[0]
    assert slot.phase is phase
    assert slot.reason.startswith(reason)
    at.after(20.0)
    assert phase_of(at) is phase


def test_one_that_left_others_behind_is_done_when_these_are_gone() -> None:
    """Its slot would be counted as done while processes of it live, or be filled again."""
    at = scene("0:ready(60s)", Restart.ON_FAILURE)
    exits(at, WELL, tree_empty=False)
    assert phase_of(at) is Phase.DRAINING
    at.decide(TreeEmptied(at.name(0), 0.0))
    assert phase_of(at) is Phase.DONE


def test_a_failure_is_retried_as_always_and_success_ends_that() -> None:
    """`on-failure` would give up, or go on after the job is done."""
    at = scene("0:starting(5s)", Restart.ON_FAILURE)
    exits(at, BADLY)
    assert phase_of(at) is Phase.BACKOFF
    at.after(1.0)
    exits(at, WELL)
    assert phase_of(at) is Phase.DONE


def test_a_launch_that_came_to_nothing_is_tried_again_under_every_policy() -> None:
    """A machine that is short of processes for a moment would cost a job for good."""
    at = scene("0:starting", Restart.NEVER)
    at.decide(SpawnFailed(at.name(0), "out of processes", 0.0))
    assert phase_of(at) is Phase.BACKOFF


def test_who_is_ended_for_its_registration_has_failed() -> None:
    """A frozen worker would count as one that did its job, if it then exits with 0."""
    for restart, phase in ((Restart.ON_FAILURE, Phase.STARTING), (Restart.NEVER, Phase.DONE)):
        at = scene("0:absent(60s)", restart)
        at.after(1.0)
        at.decide(at.lists())
        assert phase_of(at) is Phase.DRAINING
        exits(at, WELL)
        assert phase_of(at) is phase
        assert at.view.slots[0].has_failed is (phase is Phase.DONE)


def test_done_is_not_missing_and_failed_is() -> None:
    """Groups that come after a job would wait for ever, or start although it failed."""
    at = scene("0:ready(60s) 1:ready(60s)", Restart.NEVER)
    exits(at, WELL)
    assert is_whole(at.view)
    at.decide(WorkerExited(at.name(1), BADLY, True, 0.0))
    assert not is_whole(at.view)
    assert at.view.is_done()


def test_what_an_earlier_daemon_saw_done_is_not_done_again() -> None:
    """A crash of the daemon would run every job once more."""
    at = scene("", Restart.ON_FAILURE)
    at.decide(WorkerWasDone(Incarnation(0, 7), "done: exited with code 0"))
    at.decide(ReplicasSet(2))
    phases = [phase_of(at, key) for key in (0, 1)]
    assert phases == [Phase.DONE, Phase.STARTING]
    assert at.view.slots[0].generation == 7


def test_under_always_nothing_was_done_for_good() -> None:
    """A group that is to be kept alive again would stay empty."""
    at = scene("", Restart.ALWAYS)
    at.decide(WorkerWasDone(Incarnation(0, 7), "done: exited with code 0"))
    at.decide(ReplicasSet(1))
    assert phase_of(at) is Phase.STARTING


def test_a_slot_that_is_wanted_again_runs_again() -> None:
    """`replicas` to 0 and back would not run a job once more."""
    at = scene("0:ready(60s)", Restart.NEVER)
    exits(at, WELL)
    at.decide(ReplicasSet(0))
    at.decide(ReplicasSet(1))
    assert phase_of(at) is Phase.STARTING
    assert replace(at.view.slots[0], reason="").has_failed is False


def test_who_is_to_be_kept_alive_after_all_is_launched_again() -> None:
    """A reload to `always` would leave what is done lying."""
    at = scene("0:ready(60s)", Restart.NEVER)
    exits(at, WELL)
    at.decide(SpecSet("", Policy(restart=Restart.ON_FAILURE)))
    assert phase_of(at) is Phase.DONE
    at.decide(SpecSet("", Policy()))
    assert phase_of(at) is Phase.STARTING


def test_another_program_has_done_nothing_yet() -> None:
    """A new version of a job would not run because the old one had."""
    at = scene("0:ready(60s) 1:ready(60s)", Restart.NEVER)
    exits(at, WELL)
    at.decide(SpecSet("another", at.view.policy))
    assert phase_of(at) is Phase.STARTING
    at.view.slots[1] = replace(
        at.view.slots[1], occupant=replace(_occupant(at, 1), revision="the one before")
    )
    at.decide(WorkerExited(at.name(1), WELL, True, 0.0))
    assert phase_of(at, 1) is Phase.STARTING


def _occupant(at: Scene, key: int) -> Occupant:
    occupant = at.view.slots[key].occupant
    assert occupant is not None
    return occupant
