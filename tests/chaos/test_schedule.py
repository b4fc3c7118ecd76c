"""The schedule is what its seed says, and leaves nothing out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.schedule import Kind, Where, schedule_of


@given(st.integers(), st.integers(0, 200))
def test_a_seed_gives_the_same_schedule_every_time(seed: int, faults: int) -> None:
    """A failure seen in a run could not be replayed."""
    assert schedule_of(seed, faults, 4.0) == schedule_of(seed, faults, 4.0)
    assert len(schedule_of(seed, faults, 4.0)) == faults


@given(st.integers())
def test_every_kind_of_fault_occurs(seed: int) -> None:
    """A kind of fault would be documented and never strike."""
    assert {step.kind for step in schedule_of(seed, len(Kind), 4.0)} == set(Kind)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (Where.STORE, Where.STORE, True),
        (Where.STORE, Where.BOTH, True),
        (Where.BOTH, Where.DAEMON, True),
        (Where.BOTH, Where.BOTH, True),
        (Where.STORE, Where.DAEMON, False),
    ],
)
def test_two_faults_of_one_place_are_in_each_others_way(
    one: Where, other: Where, overlap: bool
) -> None:
    """A server would be started while it is frozen, or two daemons at once."""
    assert one.overlaps(other) is overlap
    assert other.overlaps(one) is overlap
