"""How many launches may be under way at once: slow start, as TCP and Kubernetes' ReplicaSet do it.

A window starts at one launch and grows by one with every launch that succeeds, so rounds go 1, 2, 4 …;
a launch that dies before it was ever ready halves it. What cannot start at all is thus found out by one
process, not by a thousand; what starts well is never held back later, because the window stays open.
"""

from __future__ import annotations

from autohealer.core.model import Policy


def grown(window: int, policy: Policy) -> int:
    """The window after one success."""
    return min(window + 1, policy.in_flight_max)


def shrunk(window: int) -> int:
    """The window after one failure."""
    return max(1, window // 2)


def allowance(window: int, in_flight: int) -> int:
    """How many more may be launched now."""
    return max(0, window - in_flight)
