"""How many restarts are allowed: per slot within a period, and for the group out of one budget.

The words are Erlang/OTP's (`intensity` restarts per `period`); the group's bucket bounds the work a
storm of deaths can cause, whatever the slots do.
"""

from __future__ import annotations

from dataclasses import dataclass

from autohealer.core.model import Budget
from autohealer.core.policy import Policy

ROUNDING_S = 1e-6


def recent(restarts: tuple[float, ...], now: float, policy: Policy) -> tuple[float, ...]:
    """The immediate restarts that still count at `now`."""
    return tuple(at for at in restarts if now - at < policy.intensity_period_s)


def may_restart_at_once(restarts: tuple[float, ...], now: float, policy: Policy) -> bool:
    """Whether a slot that had been ready may be launched again without a pause."""
    return len(recent(restarts, now, policy)) < policy.intensity


@dataclass(frozen=True, slots=True)
class Rate:
    """How many restarts a group may make at once, and how many a second after that."""

    burst: float
    per_s: float


def rate_of(policy: Policy, replicas: int) -> Rate:
    """What a group of `replicas` may spend."""
    return Rate(
        burst=float(policy.budget_burst + policy.budget_burst_each * replicas),
        per_s=max(policy.budget_per_s, policy.budget_per_s_each * replicas),
    )


def refilled(budget: Budget, now: float, rate: Rate) -> Budget:
    """The group's bucket as of `now`; one that was never looked at is full."""
    earned = max(0.0, now - budget.at) * rate.per_s
    return Budget(tokens=min(rate.burst, budget.tokens + earned), at=now)


def resized(budget: Budget, now: float, before: Rate, after: Rate) -> Budget:
    """The bucket of another number of slots: what was spent stays spent, as far as the new one can hold that."""
    tokens = refilled(budget, now, before).tokens + after.burst - before.burst
    return Budget(tokens=max(0.0, tokens), at=now)


def seconds_to_token(budget: Budget, rate: Rate) -> float:
    """How long until one more restart may be paid for, and a little longer, lest rounding wake us too early."""
    return max(0.0, 1.0 - budget.tokens) / rate.per_s + ROUNDING_S
