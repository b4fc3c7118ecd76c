"""Who stays when two incarnations claim one slot."""

from __future__ import annotations

import pytest

from autohealer.core.model import Incarnation, Occupant
from autohealer.core.victims import pick_victim


def _occupant(generation: int, *, ready: bool = False, listed: bool = False) -> Occupant:
    ready_at = 1.0 if ready else None
    return Occupant(Incarnation(0, generation), 7, 0.0, listed=listed, ready_at=ready_at)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (_occupant(1, ready=True, listed=True), _occupant(2)),
        (_occupant(1, ready=True), _occupant(2, listed=True)),
        (_occupant(1, listed=True), _occupant(2)),
        (_occupant(2), _occupant(1)),
        (_occupant(2, ready=True, listed=True), _occupant(1, ready=True, listed=True)),
    ],
)
def test_the_one_that_serves_stays(better: Occupant, worse: Occupant) -> None:
    """The worker that serves would be ended for one that does not."""
    assert pick_victim(better, worse) is worse
    assert pick_victim(worse, better) is worse
