"""What an operator should know of a group beside its slots, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from autohealer.core.model import Incarnation

SLOTS_SHOWN = 10


def told_of_clipped(asked_s: float, granted_s: float) -> str:
    """A sentence about sessions that last longer or shorter than was asked for."""
    limit = "maxSessionTimeout" if granted_s < asked_s else "minSessionTimeout"
    return (
        f"ZooKeeper grants workers sessions of {granted_s:g} s ({limit} there), not of the {asked_s:g} s that "
        f"--session-timeout asks for: a worker that falls silent is given up after {granted_s:g} s"
    )


def told_of_outdated(names: Sequence[Incarnation]) -> str:
    """A sentence about workers that were launched from another spec than is wanted now; empty without any."""
    if not names:
        return ""
    shown = ", ".join(str(name.slot) for name in names[:SLOTS_SHOWN])
    more = f" and {len(names) - SLOTS_SHOWN} more" if len(names) > SLOTS_SHOWN else ""
    slots, run, are = ("slot", "runs", "it is") if len(names) == 1 else ("slots", "run", "each is")
    return (
        f"{slots} {shown}{more} {run} what an earlier daemon was told to, not what is wanted now "
        f"(another command, environment or limits): {are} replaced when its process ends"
    )
