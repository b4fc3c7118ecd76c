"""Where a worker is said to serve."""

from __future__ import annotations

import pytest

from autohealer.assembly.answer import address_of
from autohealer.core.model import Incarnation, Occupant, Phase, Slot

NAME = Incarnation(3, 17)
SERVED = Slot(key=3, phase=Phase.READY, occupant=Occupant(NAME, pid=7, since=0.0))


@pytest.mark.parametrize(
    ("published", "first_port", "told"),
    [
        ({NAME: "10.0.0.1:80"}, 8080, "10.0.0.1:80"),
        ({}, 8080, ":8083"),
        ({Incarnation(3, 16): "10.0.0.1:80"}, None, ""),
    ],
)
def test_a_worker_serves_where_it_says_or_else_at_the_port_it_was_given(
    published: dict[Incarnation, str], first_port: int | None, told: str
) -> None:
    """Somebody would be sent to where another worker serves, or did."""
    assert address_of(SERVED, published, first_port) == told


def test_nobody_serves_in_an_empty_slot() -> None:
    """A port at which nobody listens would be told for one that is dead."""
    assert address_of(Slot(key=3), {}, 8080) == ""
