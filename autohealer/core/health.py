"""What is asked of a live worker beyond its process and its registration, and what was found.

Theory of operation. A *check* is one question that is asked of a worker again and again, by whoever can ask it; only
changes of the answer arrive here. A check that was never answered well is *awaited*. What it found wrong since is a
*finding*: one that only says that the worker cannot serve now, or one that calls for its end.

Must never know: slots, what will be decided, how anything is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

_NEVER = float("-inf")


class Check(Enum):
    """Who is asked what: three probes, two promises of the notify protocol, and the kernel."""

    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"
    NOTIFY = "notify"
    WATCHDOG = "watchdog"
    RUNNING = "running"

    @property
    def gates(self) -> bool:
        """Whether a worker counts as ready only while this is well."""
        return self not in {Check.LIVENESS, Check.WATCHDOG}


class Verdict(Enum):
    """What an answer means: all is well, it cannot serve now, or it is to be ended for it."""

    WELL = "well"
    UNREADY = "unready"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a worker, in words, and since when."""

    check: Check
    verdict: Verdict
    why: str
    since: float


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one worker: checks that were never answered well, and what is wrong now."""

    awaited: frozenset[Check] = frozenset()
    findings: tuple[Finding, ...] = ()

    @property
    def is_fit(self) -> bool:
        """Whether nothing that is asked keeps it from being ready."""
        if not self.awaited and not self.findings:
            return True
        return not any(check.gates for check in (*self.awaited, *(f.check for f in self.findings)))

    @property
    def is_proven(self) -> bool:
        """Whether everything that is asked was answered well, and is."""
        return not self.awaited and not self.findings

    @property
    def ailment(self) -> Finding | None:
        """What it is to be ended for."""
        return next((f for f in self.findings if f.verdict is Verdict.UNHEALTHY), None)

    def told(self, check: Check, verdict: Verdict, why: str, now: float) -> Health:
        """The same after an answer; what was wrong before has been so since then."""
        others = tuple(f for f in self.findings if f.check is not check)
        if verdict is Verdict.WELL:
            return Health(self.awaited - {check}, others)
        before = next((f for f in self.findings if (f.check, f.verdict) == (check, verdict)), None)
        since = now if before is None else before.since
        return replace(self, findings=(*others, Finding(check, verdict, why, since)))


NOTHING_ASKED = Health()


@dataclass(frozen=True, slots=True)
class HealthRules:
    """What is asked of each worker of a group.

    `spread_s` is how long after the first of several that fail together the last one is known to; of those that stand
    still it is `frozen_spread_s`.
    """

    checks: frozenset[Check] = frozenset()
    spread_s: float = 1.0
    frozen_spread_s: float = 1.0


NO_CHECKS = HealthRules()


@dataclass(slots=True)
class Epidemic:
    """What is remembered of workers that ail together, in all groups (see `autohealer.core.epidemic`).

    A place is a group and a slot. `ailing` are those to be ended for what was found; `lately` when such were found, or
    ended for it. Under the brake (`on`, `since` when, for `count` of them) nobody is ended before `hold_until`, then as
    many at a time as `at_once` says; `replacing` are those ended since, each until when it is waited for.
    """

    on: bool = False
    since: float = _NEVER
    count: int = 0
    hold_until: float = _NEVER
    at_once: int = 1
    ailing: set[tuple[str, int]] = field(default_factory=set)
    lately: dict[tuple[str, int], float] = field(default_factory=dict)
    replacing: dict[tuple[str, int], float] = field(default_factory=dict)
