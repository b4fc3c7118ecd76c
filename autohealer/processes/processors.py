"""How many processors this daemon and its workers may use, and how much of them is idle.

Theory of operation. What may be used is the affinity, or the quota of a control group if that is less. How idle they
are follows from counters of the kernel, read twice: without a quota from those of the machine, with one from what the
group used of it, because the machine may have time that the group is not given.

Must never know: what is decided from it.
Limits: the quota of the daemon's own control group and those above it, as far as they can be seen (cgroup 2). Two
readings further apart than `APART_MAX_S` tell nothing of now.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

APART_MIN_S = 0.2
APART_MAX_S = 3.0

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_STAT = Path("/proc/stat")
_IDLE_FIELDS = slice(3, 5)
_KNOWN_FIELDS = slice(0, 8)
"""Of the first line of /proc/stat, without its label: `idle iowait`, and up to `steal`; guests are counted twice."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """Seconds of processor time so far: that nobody used, and all there was."""

    at: float
    idle_s: float
    all_s: float


@dataclass(frozen=True, slots=True)
class _Quota:
    """What a control group may use of the machine's processors."""

    folder: Path
    cores: float


class Processors:
    """A gauge of idleness; used from one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._quota = _smallest_quota()
        allowed = len(os.sched_getaffinity(0))
        self._cores = float(allowed) if self._quota is None else min(allowed, self._quota.cores)
        self._last: _Reading | None = None
        self._idle: float | None = None

    @property
    def cores(self) -> int:
        """How many there are to use, at least one."""
        return max(1, math.ceil(self._cores))

    def idle(self) -> float | None:
        """The share that was idle (0 to 1) since the last reading; None when that was too long ago, or nobody knows."""
        now, last = self._clock(), self._last
        if last is not None and now - last.at < APART_MIN_S:
            return self._idle
        try:
            reading = self._read(now)
        except (OSError, ValueError, IndexError):
            return None
        self._last = reading
        if last is None or reading.at - last.at > APART_MAX_S or reading.all_s <= last.all_s:
            self._idle = None
        else:
            self._idle = (reading.idle_s - last.idle_s) / (reading.all_s - last.all_s)
        return self._idle

    def _read(self, now: float) -> _Reading:
        if self._quota is None:
            ticks = [int(word) for word in _STAT.read_text().split("\n", 1)[0].split()[1:]]
            return _Reading(now, sum(ticks[_IDLE_FIELDS]), sum(ticks[_KNOWN_FIELDS]))
        given_s = now * self._quota.cores
        return _Reading(now, given_s - _used_s(self._quota.folder), given_s)


def _used_s(folder: Path) -> float:
    """What a control group used so far. Raises `OSError`, `ValueError`, `IndexError`."""
    words = (folder / "cpu.stat").read_text().split()
    return int(words[words.index("usage_usec") + 1]) / 1e6


def _smallest_quota() -> _Quota | None:
    """The tightest quota on the way from this process's control group to the top; None without one."""
    try:
        line = next(x for x in _OWN_CGROUP.read_text().splitlines() if x.startswith("0::"))
    except (OSError, StopIteration):
        return None
    own = _CGROUPS / line.removeprefix("0::").lstrip("/")
    folders = [folder for folder in (own, *own.parents) if folder.is_relative_to(_CGROUPS)]
    quotas = [quota for folder in folders if (quota := _quota_of(folder)) is not None]
    return min(quotas, key=lambda quota: quota.cores, default=None)


def _quota_of(folder: Path) -> _Quota | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return _Quota(folder, int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or `max`
        return None
