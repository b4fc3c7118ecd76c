"""A command that changes a group waits until it is as asked: not a moment shorter, and not for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autohealer.cli.reached import SETTLED, STOPPED, Overruled, all_in, restarted, scaled, started
from autohealer.control.records import SlotRecord, StatusRecord
from tests.support.statuses import SLOT, STATUS


def slot(number: int, phase: str = "ready", generation: int = 17) -> SlotRecord:
    """A slot in a phase; ready where it can be."""
    pid = None if phase in {"stopped", "backoff", "done"} else 7
    is_ready = phase == "ready"
    return replace(SLOT, slot=number, phase=phase, ready=is_ready, pid=pid, generation=generation)


def status(*slots: SlotRecord, replicas: int | None = None) -> StatusRecord:
    """A group with these slots."""
    ready = sum(it.ready for it in slots)
    wanted = len(slots) if replicas is None else replicas
    return replace(STATUS, slots=slots, ready=ready, desired=wanted, replicas=wanted)


@pytest.mark.parametrize(
    ("seen", "missing"),
    [
        (status(slot(0), slot(1)), None),
        (status(slot(0), slot(1, "stopped")), None),
        (status(slot(0), slot(1, "done")), None),
        (status(slot(0), replicas=2), "1 to come: 1/2 ready"),
        (status(slot(0), slot(1), slot(2, "draining"), replicas=2), "1 to go: 2/2 ready"),
        (status(slot(0), slot(-1), slot(1), replicas=2), "1 to go: 3/2 ready"),
        (
            status(slot(0), slot(1, "starting")),
            "1/2 ready; slot 1 is starting: exited with code 3",
        ),
        (
            status(slot(0), replace(slot(1), ready=False)),
            "1/2 ready; slot 1 is ready: exited with code 3",
        ),
    ],
)
def test_what_is_missing_until_two_are_kept(seen: StatusRecord, missing: str | None) -> None:
    """A script would go on although the new workers do not serve yet, or the old ones still do."""
    assert scaled(seen, 2) == missing


def test_who_is_overruled_is_told_at_once() -> None:
    """One would wait ten minutes for a size that nobody wants any more."""
    with pytest.raises(Overruled, match="somebody else wants 3 by now"):
        scaled(status(slot(0), slot(1), slot(2)), 2)


def test_only_slots_that_are_meant_are_waited_for() -> None:
    """Stopping one slot would wait for another one that is broken."""
    seen = status(slot(0, "stopped"), slot(1, "backoff"))
    assert all_in(seen, STOPPED, frozenset({0})) is None
    assert (
        all_in(seen, SETTLED, frozenset({1}))
        == "0/2 ready, 1 stopped; slot 1 is backoff: exited with code 3"
    )
    assert all_in(seen, STOPPED, None) is not None


def test_a_restart_is_over_when_nobody_of_before_is_left() -> None:
    """A certificate would be called renewed everywhere while old workers still serve."""
    before = {0: 17, 1: 17}
    assert restarted(status(slot(0), slot(1)), before) == "2 to be replaced: 2/2 ready"
    assert restarted(status(slot(0, generation=18), slot(1)), before) is not None
    starting = status(slot(0, generation=18), slot(1, "starting", 18))
    assert restarted(starting, before) == "1/2 ready; slot 1 is starting: exited with code 3"
    assert restarted(status(slot(0, generation=18), slot(1, generation=18)), before) is None
    assert restarted(status(slot(0, generation=18)), before) is None, "scaled away meanwhile"
    resting = status(slot(0, generation=18), slot(1, "stopped"))
    assert restarted(resting, before) is None


def test_a_job_that_is_started_again_is_waited_for() -> None:
    """One would be told that a job is done that has not begun."""
    finished = {1: 17}
    done = status(slot(0), slot(1, "done"))
    assert started(done, None, finished) == "1 to run again: 1/2 ready"
    assert started(status(slot(0), slot(1, "done", 18)), None, finished) is None
    assert started(done, frozenset({0}), {}) is None


def test_of_many_that_are_late_some_are_named() -> None:
    """A line about a thousand slots would be read by nobody."""
    missing = scaled(status(*(slot(number, "backoff") for number in range(5))), 5)
    assert missing is not None
    assert missing.endswith(" and 2 more")
