"""The sentences users read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autohealer.core import reasons
from autohealer.core.model import Budget, Exit, Incarnation, Occupant, Slot, View
from autohealer.core.policy import Policy
from autohealer.core.strangers import Standing, Stranger
from tests.unit.core.notation import Scene


@pytest.mark.parametrize(
    ("exit_", "sentence"),
    [
        (Exit(code=0), "exited with code 0"),
        (Exit(code=137), "exited with code 137"),
        (Exit(signal=9), "ended by signal 9 (SIGKILL)"),
        (Exit(signal=11), "ended by signal 11 (SIGSEGV)"),
        (Exit(signal=40), "ended by signal 40 (real-time signal)"),
        (Exit(), "exited (status unknown: not a child of this daemon)"),
    ],
)
def test_how_a_process_ended(exit_: Exit, sentence: str) -> None:
    """The log would not say what killed a worker, or crash on an odd signal."""
    assert reasons.of_exit(exit_) == sentence


@pytest.mark.parametrize(
    ("ready_at", "ending"),
    [(21.4, "was ready"), (21.9, "was ready for 0.50 s only"), (None, "not registered")],
)
def test_a_death_tells_age_and_service(ready_at: float | None, ending: str) -> None:
    """A crash at start would look like one in service."""
    occupant = Occupant(Incarnation(3, 1), 7, since=10.0, ready_at=ready_at)
    view = View(policy=Policy(), budget=Budget(0.0), now=22.4)
    sentence = reasons.of_death(occupant, Exit(signal=9), view)
    assert sentence == f"ended by signal 9 (SIGKILL) after 12.4 s, {ending}"


def test_a_wait_tells_its_cause_and_count() -> None:
    """A user would not know why a worker is down, or read of a wait that is long over."""
    assert reasons.of_backoff("it fell", 3) == "it fell; failure 3 in a row"
    assert reasons.of_quick_restarts("it fell", 3) == (
        "it fell; restart 3 in a row too soon after the last"
    )
    assert reasons.of_quarantine("it fell", 10) == (
        "it fell; quarantined after 10 failures in a row"
    )


def test_a_death_judged_again_is_told_in_a_whole_sentence() -> None:
    """The reason would begin with one sentence and end with the tail of another."""
    assert reasons.of_late_registration(
        "ended by signal 9 (SIGKILL) after 0.1 s, not registered"
    ) == (
        "ended by signal 9 (SIGKILL) after 0.1 s, not registered; "
        "the first list after its death showed that it had been registered"
    )


def test_a_lost_registration_tells_for_how_long() -> None:
    """A frozen worker's replacement would look arbitrary."""
    occupant = Occupant(Incarnation(0, 1), 7, since=0.0, listed_changed=99.5, ready_at=1.0)
    assert reasons.of_lost_registration(occupant, 100.0).startswith("registration gone for 0.5 s")
    unseen = replace(occupant, adopted=True, ready_at=None)
    assert reasons.of_lost_registration(unseen, 100.0).startswith(
        "not registered since it was adopted 0.5 s ago while the process lives"
    )


def test_a_missing_registration_tells_what_to_look_for() -> None:
    """A user whose program does not register would not learn that it has to."""
    occupant = Occupant(Incarnation(0, 1), 7, since=70.0)
    view = View(policy=Policy(), budget=Budget(0.0), now=100.0)
    sentence = reasons.of_no_registration(occupant, view)
    assert sentence.startswith("launched 30.0 s ago but never registered")
    assert "AUTOHEALER_ZNODE" in sentence


def test_a_registration_under_another_name_is_named() -> None:
    """A program that registers in a way of its own would be killed for not registering, without a hint at why."""
    occupant = Occupant(Incarnation(0, 1), 7, since=70.0)
    view = View(policy=Policy(), budget=Budget(0.0), now=100.0)
    view.strange = frozenset({"manual-host-7-s1", "worker_0000000003", "worker_0000000004"})
    view.strangers["manual-host-7-s1"] = Stranger("manual-host-7-s1", Standing.MANUAL)
    sentence = reasons.of_no_registration(occupant, view)
    assert "if worker_0000000004 (or one of 1 more) is its registration" in sentence
    view.strange = frozenset({"manual-host-7-s1"})
    assert "is its registration" not in reasons.of_no_registration(occupant, view)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [(-1, "surplus: another incarnation holds its slot"), (4, "surplus: 2 wanted")],
)
def test_a_surplus_tells_of_what(key: int, sentence: str) -> None:
    """A healthy worker that is ended would look like a fault."""
    scene = Scene("0:ready 1:ready")
    assert reasons.of_surplus(Slot(key), scene.view) == sentence


def test_the_reason_of_a_wait_holds_the_reason_of_the_death() -> None:
    """Status would say that a slot waits, but not what for."""
    scene = Scene("0:starting(2s)")
    scene.decide(scene.dies(0, code=3))
    assert scene.reason(0) == ("exited with code 3 after 2.0 s, not registered; failure 1 in a row")
