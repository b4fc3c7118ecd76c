"""Which process is which: pid, start time and boot id name one process for ever; what proves it ours.

A pid alone proves nothing, it is reused. Start time (clock ticks since boot) and boot id make it unique. That it is
ours is proven by any of: the note of its launch (`ledger`); `AUTOHEALER_TOKEN` in its environment, an HMAC only
this state directory's secret can make; the control group we put it in; the proof in its registration, made with its
token. What none of them proves is not thereby somebody else's: an environment can be overwritten or hidden. So there
are three verdicts, and who is unprovable holds its slot, is left alone and reported.

Whoever wants to signal opens a pidfd first and verifies afterwards: the pidfd pins the process that was verified.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from autohealer.contract import (
    ENV_GENERATION,
    ENV_GROUP,
    ENV_SLOT,
    ENV_TOKEN,
    ZnodeName,
    adoption_token,
)
from autohealer.core.model import Incarnation
from autohealer.processes.procfs import Stat, exists, raw_environment_of, stat_of

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

ENV_LAUNCHED = "AUTOHEALER_LAUNCHED"
"""When the daemon launched the worker, in clock ticks since boot; between daemons only."""

LAUNCH_S = 0.5
"""A leader starts this soon after its launch was noted, even on a busy machine."""


class Verdict(Enum):
    """Whether a process is an incarnation that a daemon of this state directory launched."""

    OURS = "ours"
    NOT_OURS = "not ours"
    UNPROVABLE = "unprovable"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a process's environment says it is, not yet proven."""

    group: str
    name: Incarnation
    token: str
    launched_ticks: int | None = None


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none. Raises `OSError`."""
    stat = stat_of(pid)
    return None if stat is None else stat.start_ticks


def is_running(pid: int, started_ticks: int) -> bool | None:
    """Whether the process that got a pid at that time lives; None when it is hidden from us. Raises `OSError`.

    A zombie that nobody has reaped yet does not live, unless other threads of it do.
    """
    stat = stat_of(pid)
    if stat is None:
        return None if exists(pid) else False
    return stat.start_ticks == started_ticks and stat.is_alive


def ticks_now() -> int:
    """The clock that start times are read from, in clock ticks since boot."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S)


def age_s(pid: int) -> float:
    """How long ago a process started, in seconds; 0 when it is gone or cannot be looked at."""
    try:
        ticks = start_ticks(pid)
    except OSError:
        return 0.0
    return 0.0 if ticks is None else max(0.0, (ticks_now() - ticks) / TICKS_PER_S)


def parse_environment(raw: bytes) -> dict[str, str]:
    """Read an environment as the kernel shows it."""
    pairs = (entry.decode(errors="replace").partition("=") for entry in raw.split(b"\0"))
    return {key: value for key, _, value in pairs if key}


def environment_of(pid: int) -> dict[str, str]:
    """A process's environment as it was exec'd; empty when it is gone or not ours to read. Raises `OSError`."""
    return parse_environment(raw_environment_of(pid) or b"")


def claim_of(pid: int) -> Claim | None:
    """Which incarnation a process claims to be. Raises `OSError`."""
    environment = environment_of(pid)
    try:
        name = Incarnation(int(environment[ENV_SLOT]), int(environment[ENV_GENERATION]))
        launched = environment.get(ENV_LAUNCHED)
        return Claim(
            environment[ENV_GROUP],
            name,
            environment[ENV_TOKEN],
            None if launched is None else int(launched),
        )
    except (KeyError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who of an incarnation's processes the daemon launched itself, as far as its token can tell."""

    pid: int
    verdict: Verdict


def leader_among(pids: Sequence[int], claim: Claim) -> Candidate | None:
    """Of the processes with one token, in the order of their start, the leader; None if it is gone. Raises `OSError`.

    What the worker starts may lead a session of its own too. It starts later, or at least after the session that
    those started at the launch are in; pids are given out in order, and few are in half a second. One that leads a
    session and started later than a launch takes may be either: that is unprovable by the token alone.
    """
    stats = [stat for pid in pids if (stat := stat_of(pid)) is not None]
    early = {stat.session for stat in stats if _is_from_the_launch(stat, claim)}
    orphaned = [session for session in early if not _is_alive(session)]
    leaders = [stat for stat in stats if stat.session == stat.pid and stat.is_alive]
    for stat in leaders:
        if claim.launched_ticks is None or _is_from_the_launch(stat, claim):
            if any(_precedes(session, stat.pid) for session in orphaned):
                return None
            return Candidate(stat.pid, Verdict.OURS)
    if leaders and not orphaned:
        return Candidate(leaders[0].pid, Verdict.UNPROVABLE)
    return None


def _is_from_the_launch(stat: Stat, claim: Claim) -> bool:
    if claim.launched_ticks is None:
        return False
    return stat.start_ticks <= claim.launched_ticks + LAUNCH_S * TICKS_PER_S


def _is_alive(pid: int) -> bool:
    stat = stat_of(pid)
    return exists(pid) if stat is None else stat.is_alive


def _precedes(pid: int, other: int) -> bool:
    """Whether a pid was given out before another one of about the same time."""
    pids = int(Path("/proc/sys/kernel/pid_max").read_text(encoding="ascii"))
    return 0 < (other - pid) % pids < pids // 2


def token_of(secret: bytes, group: str, name: Incarnation) -> str:
    """The proof given to an incarnation at its launch."""
    return adoption_token(secret, str(ZnodeName(group, name.slot, name.generation)))


def is_proven(claim: Claim, secret: bytes) -> bool:
    """Whether a claim was made by a daemon holding the same secret."""
    expected = token_of(secret, claim.group, claim.name)
    return hmac.compare_digest(claim.token.encode(), expected.encode())
