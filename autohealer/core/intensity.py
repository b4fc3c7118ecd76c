"""How many restarts are allowed: per slot within a period, and for the group out of one budget.

The words are Erlang/OTP's (`intensity` restarts per `period`); the group's bucket bounds the work a
storm of deaths can cause, whatever the slots do.
"""

from __future__ import annotations

from autohealer.core.model import Budget, Policy

ROUNDING_S = 1e-6


def recent(restarts: tuple[float, ...], now: float, policy: Policy) -> tuple[float, ...]:
    """The immediate restarts that still count at `now`."""
    return tuple(at for at in restarts if now - at < policy.intensity_period_s)


def may_restart_at_once(restarts: tuple[float, ...], now: float, policy: Policy) -> bool:
    """Whether a slot that had been ready may be launched again without a pause."""
    return len(recent(restarts, now, policy)) < policy.intensity


def refilled(budget: Budget, now: float, policy: Policy) -> Budget:
    """The group's bucket as of `now`."""
    earned = max(0.0, now - budget.at) * policy.budget_per_s
    return Budget(tokens=min(float(policy.budget_burst), budget.tokens + earned), at=now)


def seconds_to_token(budget: Budget, policy: Policy) -> float:
    """How long until one more restart may be paid for, and a little longer, lest rounding wake us too early."""
    return max(0.0, 1.0 - budget.tokens) / policy.budget_per_s + ROUNDING_S
