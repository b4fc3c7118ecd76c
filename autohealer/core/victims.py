"""Who goes first when two incarnations claim one slot: one rank list, best survivor first."""

from __future__ import annotations

from autohealer.core.model import Occupant


def survival_rank(occupant: Occupant) -> tuple[bool, bool, int]:
    """Sort key, larger survives: ready before unready, registered before not, then the newer generation.

    The newer generation is the one a daemon meant to keep: it was launched because the older was given up.
    """
    return (occupant.ready_at is not None, occupant.listed, occupant.name.generation)


def pick_victim(one: Occupant, other: Occupant) -> Occupant:
    """The one of the two that is drained."""
    return min(one, other, key=survival_rank)
