"""What an operator should know of a group beside its slots, in sentences."""

from __future__ import annotations


def told_of_clipped(asked_s: float, granted_s: float) -> str:
    """A sentence about sessions that last longer or shorter than was asked for."""
    limit = "maxSessionTimeout" if granted_s < asked_s else "minSessionTimeout"
    return (
        f"ZooKeeper grants workers sessions of {granted_s:g} s ({limit} there), not of the {asked_s:g} s that "
        f"--session-timeout asks for: a worker that falls silent is given up after {granted_s:g} s"
    )
