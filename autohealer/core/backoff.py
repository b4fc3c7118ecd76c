"""How long to wait before the next launch of a slot that keeps failing.

Two kinds of failing, two pauses. What never gets ready is probably broken: exponential from the start. What
does get ready and dies again and again is worth having back soon, as long as it costs little: a flat
second, and only a long streak of it is treated as broken too.
"""

from __future__ import annotations

from autohealer.core.policy import Policy


def backoff_s(policy: Policy, failures: int, jitter: float) -> float:
    """Seconds to wait after the `failures`-th failure in a row (1, 2, …).

    Doubles from `backoff_initial_s` to `backoff_max_s`; `jitter` (0 <= jitter < 1) takes up to half of it
    away, so that slots that fell together do not rise together.
    """
    doublings = min(failures - 1, 32)
    ceiling_s = min(policy.backoff_max_s, policy.backoff_initial_s * 2.0**doublings)
    return ceiling_s * (1.0 - jitter / 2.0)


def restart_pause_s(policy: Policy, quick_restarts: int, jitter: float) -> float:
    """Seconds to wait before the `quick_restarts`-th restart in a row that came too soon (1, 2, …).

    `restart_pause_s` for the first `restart_pauses` of them, doubling to `backoff_max_s` from there.
    """
    doublings = min(max(0, quick_restarts - policy.restart_pauses), 32)
    ceiling_s = min(policy.backoff_max_s, policy.restart_pause_s * 2.0**doublings)
    return ceiling_s * (1.0 - jitter / 2.0)
