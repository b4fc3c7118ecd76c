"""The rules that a group is kept by: numbers and choices, none of them observed.

The reasons for the defaults stand in `autohealer.settings`. Must never know: views, slots, what is decided by them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from autohealer.core.health import NO_CHECKS, HealthRules


class Registrar(Enum):
    """Who registers a worker: itself, or the daemon; or itself under a name of its own, knowing nothing of us."""

    SELF = "self"
    AGENT = "agent"
    ANONYMOUS = "anonymous"


class Restart(Enum):
    """When a worker that ended by itself is replaced."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a window; so often those under way are reviewed, and so old one must be at least to be set aside."""

    least: int
    most: int
    look_s: float


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of restarting; the reasons for the defaults stand in `autohealer.settings`.

    `registrar` says who registers what is launched, `restart` who is replaced. As many launches may be under way at
    once as `in_flight_min` says at first, and `in_flight_max` at most; while others wait, they are reviewed every
    `probation_s`. `endings_min` and so on are the same of those asked to end.

    The group's budget of restarts follows N: at once `budget_burst` and `budget_burst_each` more for each wanted slot,
    then `budget_per_s` a second, or `budget_per_s_each` for each wanted slot if that is more.

    Who uses more than `memory_restart_bytes` (None: nobody is asked) is replaced. That others are missed delays it by
    `memory_patience_s` at most; a successor that does not serve delays the next one by `memory_soon_s`, and who uses
    too much within that time of its launch probably needs it.
    """

    registrar: Registrar = Registrar.SELF
    restart: Restart = Restart.ALWAYS
    health: HealthRules = NO_CHECKS
    registration_timeout_s: float = 30.0
    rejoin_grace_s: float = 0.5
    settle_s: float = 5.0
    brake_min: int = 2
    brake_share: float = 0.3
    grace_s: float = 10.0
    kill_retry_s: float = 1.0
    min_ready_s: float = 1.0
    stable_s: float = 10.0
    backoff_initial_s: float = 0.1
    backoff_max_s: float = 30.0
    quarantine_failures: int = 10
    intensity: int = 5
    intensity_period_s: float = 10.0
    restart_pause_s: float = 1.0
    restart_pauses: int = 20
    budget_burst: int = 30
    budget_burst_each: int = 0
    budget_per_s: float = 5.0
    budget_per_s_each: float = 0.0
    in_flight_min: int = 4
    in_flight_max: int = 32
    probation_s: float = 1.0
    endings_min: int = 16
    endings_max: int = 64
    ending_look_s: float = 0.25
    first_list_s: float = 3.0
    memory_restart_bytes: int | None = None
    memory_patience_s: float = 60.0
    memory_soon_s: float = 300.0

    def launches(self) -> Limits:
        """How many launches may be under way."""
        return Limits(self.in_flight_min, self.in_flight_max, self.probation_s)

    def endings(self) -> Limits:
        """How many that we asked to end may be about to."""
        return Limits(self.endings_min, self.endings_max, self.ending_look_s)
