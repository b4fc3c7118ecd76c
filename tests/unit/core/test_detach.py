"""Detaching: the daemon goes, everything it started stays."""

from __future__ import annotations

from autohealer.core.events import DetachRequested, StopRequested
from tests.unit.core.notation import Scene

EVERYTHING = "0:ready 1:starting(3s) 2:draining(2s) 3:backoff(0.4s) 4:absent(0.3s)"


def test_detaching_ends_the_loop_and_nobody_else() -> None:
    """An upgrade of the daemon would end workers, or launch some at the last moment."""
    scene = Scene(EVERYTHING)
    assert scene.decide(DetachRequested()) == []
    assert scene.is_finished()
    assert scene.after(60.0) == []


def test_detaching_does_not_undo_a_stop() -> None:
    """A stop in progress would be left half done."""
    scene = Scene("0:ready 1:ready")
    assert scene.decide(StopRequested()) == ["drain 0: stopping", "drain 1: stopping"]
    scene.decide(DetachRequested())
    assert not scene.is_finished()


def test_a_stop_right_after_a_detach_is_the_first_one() -> None:
    """Workers would be killed without their grace by a single TERM that reaches the daemon as it detaches."""
    scene = Scene("0:ready 1:ready")
    plan = scene.decide(DetachRequested(), StopRequested())
    assert plan == ["drain 0: stopping", "drain 1: stopping"]
    assert not scene.is_finished()
