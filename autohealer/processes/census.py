"""Who carries which incarnation's token: one look at all processes, shared by all who ask at that moment.

Theory of operation. A list of processes is no snapshot: a process may fork after the list was made and end
before it is looked at. So lists are made until one shows nobody new, and only then is the look complete. In
the middle of an exec a process shows no environment for an instant; until it has shown none for `BLANK_S`
nobody knows what it is, and a look that met one is not settled.

Costs about 10 µs per process. Must never conclude from a look that failed: it raises.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from autohealer.contract import ENV_TOKEN
from autohealer.processes.identity import parse_environment
from autohealer.processes.procfs import all_pids, own_children, raw_environment_of, stat_of

BLANK_S = 0.1
"""Longer than any exec leaves a process without environment, but for one whose program comes from a slow disk."""

LISTS_MAX = 20
"""A machine that forks faster than it can be looked at is not settled."""

_TOKEN_VARIABLE = f"{ENV_TOKEN}=".encode()


@dataclass(frozen=True, slots=True)
class Sighting:
    """The processes that carry a token, by token, in the order of their start; `settled`: there are no others."""

    by_token: dict[str, list[int]]
    settled: bool

    def members(self, token: str) -> list[int]:
        """The processes that carry one token."""
        return self.by_token.get(token, [])


class Census:
    """Looks at processes; remembers which of them have no environment for good."""

    def __init__(
        self, is_known: Callable[[int], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`is_known` says whose pids are held already, so that nobody has to wonder what they are."""
        self._is_known = is_known
        self._clock = clock
        self._blank: dict[int, tuple[int, float]] = {}

    def of_all(self) -> Sighting:
        """Look at every process of this host. Raises `OSError`."""
        return self._take(all_pids)

    def of_children(self) -> Sighting:
        """Look at those of this process's own children that are not known. Raises `OSError`."""
        return self._take(lambda: [pid for pid in own_children() if not self._is_known(pid)])

    def of_all_settled(self) -> Sighting:
        """Look at every process until it is known what each is, but no longer than it may take. Raises `OSError`."""
        until = self._clock() + 2 * BLANK_S
        while not (sighting := self.of_all()).settled and self._clock() < until:
            os.sched_yield()
        return sighting

    def _take(self, listed: Callable[[], list[int]]) -> Sighting:
        carriers: list[tuple[int, int, str]] = []
        seen: set[int] = set()
        settled = True
        for _ in range(LISTS_MAX):
            fresh = [pid for pid in listed() if pid not in seen]
            if not fresh:
                break
            seen.update(fresh)
            for pid in fresh:
                token = self._token_of(pid)
                if token is None:
                    settled = False
                elif token:
                    carriers.append((_start(pid), pid, token))
        else:
            settled = False
        by_token: dict[str, list[int]] = {}
        for _, pid, token in sorted(carriers):
            by_token.setdefault(token, []).append(pid)
        return Sighting(by_token, settled)

    def _token_of(self, pid: int) -> str | None:
        """The token a process carries, empty when it carries none; None when that cannot be told yet."""
        raw = raw_environment_of(pid)
        if raw:
            return parse_environment(raw).get(ENV_TOKEN, "") if _TOKEN_VARIABLE in raw else ""
        is_settled = raw is None or self._is_known(pid) or self._is_blank_for_good(pid)
        return "" if is_settled else None

    def _is_blank_for_good(self, pid: int) -> bool:
        stat = stat_of(pid)
        if stat is None or not stat.has_environment:
            self._blank.pop(pid, None)
            return True
        start_ticks, since = self._blank.get(pid, (None, 0.0))
        if start_ticks != stat.start_ticks:
            self._blank[pid] = (stat.start_ticks, self._clock())
            return False
        return self._clock() - since > BLANK_S


def _start(pid: int) -> int:
    stat = stat_of(pid)
    return 0 if stat is None else stat.start_ticks
