"""What is said of a detachment."""

from __future__ import annotations

import pytest

from autohealer.cli.ending import left_running, why_not


@pytest.mark.parametrize(
    ("workers", "words"),
    [(0, "no worker of it"), (1, "its worker runs on"), (2, "its 2 workers run on")],
)
def test_workers_are_counted_as_people_do(workers: int, words: str) -> None:
    """One would read of `its 1 workers`, or be told to adopt nobody."""
    assert words in left_running(workers)
    assert ("adopt" in left_running(workers)) is (workers > 0)


def test_only_the_first_process_must_not_detach() -> None:
    """Every daemon would refuse, or one in a container would take its workers along."""
    assert why_not(4711) is None
    assert "PID 1" in str(why_not(1))
