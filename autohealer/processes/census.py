"""Who carries which incarnation's token: one look at all processes, shared by all who ask at that moment.

Theory of operation. A list of processes is no snapshot: a process may fork after the list was made and end
before it is looked at. So lists are made until one shows nobody new, or until several in a row showed nobody new who
could matter. In the middle of an exec a process shows no environment: then its session, and else its parent, tell
whose it is, because nobody gets into a session but by birth. A look that met one of whom nothing can be told is not
settled for those it could belong to, which are only those that are older.

Costs about 10 µs per process. Must never conclude from a look that failed: it raises.

Limits: somebody whose parents died, who left their session and is in the middle of an exec is waited for, whoever it
is; one that cleared its environment carries no token (see `Sighting.loose`). A parent that adopts orphans of others (a
subreaper that is no ancestor of ours) is taken for their parent.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from autohealer.contract import ENV_TOKEN
from autohealer.processes.identity import parse_environment, start_ticks
from autohealer.processes.procfs import (
    Stat,
    all_pids,
    own_children,
    raw_environment_of,
    stat_of,
)

LISTS_MAX = 20
"""Lists made at most: a tree of ours that still grows by then is not settled."""

QUIET_LISTS = 3
"""After so many lists in a row with nobody new who carries a token or could, others' forks are nobody's business."""

SETTLE_LOOKS = 20
"""Looks made at most until it is known what each process is; an exec takes a fraction of one."""

_TOKEN_VARIABLE = f"{ENV_TOKEN}=".encode()


@dataclass(frozen=True, slots=True)
class Sighting:
    """The processes that carry a token, by token, in the order of their start.

    `unknown` are those of whom nothing can be told yet; `loose` those that carry no token. `grows`: carriers appeared
    until the end.
    """

    by_token: dict[str, list[int]]
    unknown: tuple[Stat, ...] = ()
    loose: tuple[int, ...] = ()
    grows: bool = False

    def members(self, token: str) -> list[int]:
        """The processes that carry one token."""
        return self.by_token.get(token, [])

    def is_settled_since(self, start_ticks: int) -> bool:
        """Whether nobody unknown is young enough to descend from a process that started then."""
        return not self.grows and all(stat.start_ticks < start_ticks for stat in self.unknown)


class Census:
    """Looks at processes."""

    def __init__(self, is_known: Callable[[int], bool]) -> None:
        """`is_known` says whose pids are held already, so that nobody has to wonder what they are."""
        self._is_known = is_known

    def of_all(self) -> Sighting:
        """Look at every process of this host. Raises `OSError`."""
        return self._take(all_pids)

    def of_children(self) -> Sighting:
        """Look at those of this process's own children that are not known. Raises `OSError`."""
        return self._take(lambda: [pid for pid in own_children() if not self._is_known(pid)])

    def of_all_settled(self) -> Sighting:
        """Look at every process until it is known what each is, but not for ever. Raises `OSError`."""
        for _ in range(SETTLE_LOOKS):
            if (sighting := self.of_all()).is_settled_since(0):
                break
            os.sched_yield()
        return sighting

    def _take(self, listed: Callable[[], list[int]]) -> Sighting:
        look = _Look(self._is_known)
        quiet = 0
        for _ in range(LISTS_MAX):
            fresh = [pid for pid in listed() if pid not in look.seen]
            if not fresh:
                break
            quiet = 0 if look.at(fresh) else quiet + 1
            if quiet == QUIET_LISTS:
                break
        else:
            look.grows = True
        return look.sighting()


@dataclass(slots=True)
class _Look:
    """One look under way: what each process was found to carry, and those that showed nothing yet."""

    is_known: Callable[[int], bool]
    seen: set[int] = field(default_factory=set)
    tokens: dict[int, str] = field(default_factory=dict)
    blank: list[Stat] = field(default_factory=list)
    grows: bool = False

    def at(self, fresh: list[int]) -> bool:
        """Look at processes that were not listed before; whether one carries a token or could."""
        self.seen.update(fresh)
        blank = len(self.blank)
        found = False
        for pid in fresh:
            raw = raw_environment_of(pid)
            if raw:
                token = _token_in(raw)
                self.tokens[pid] = token
                found = found or bool(token)
            elif raw is not None and not self.is_known(pid):
                self._note_blank(pid)
        return found or len(self.blank) > blank

    def _note_blank(self, pid: int) -> None:
        stat = stat_of(pid)
        if stat is None:
            return
        if stat.is_exec_under_way:
            self.blank.append(stat)
        elif stat.is_alive:
            self.tokens[pid] = ""

    def sighting(self) -> Sighting:
        """What came of it."""
        unknown = []
        for stat in self.blank:
            token = self._inherited(stat)
            if token is None:
                unknown.append(stat)
            else:
                self.tokens[stat.pid] = token
        by_token: dict[str, list[int]] = {}
        carriers = sorted(
            (start_ticks(pid) or 0, pid) for pid, token in self.tokens.items() if token
        )
        for _, pid in carriers:
            by_token.setdefault(self.tokens[pid], []).append(pid)
        loose = tuple(pid for pid, token in self.tokens.items() if not token)
        return Sighting(by_token, tuple(unknown), loose, self.grows)

    def _inherited(self, stat: Stat) -> str | None:
        """What one in the middle of an exec carries, by its birth; None when that cannot be told."""
        if stat.session not in {0, stat.pid}:
            return self._token_of(stat.session)
        if stat.parent in adopters():
            return None
        return self._token_of(stat.parent)

    def _token_of(self, pid: int) -> str | None:
        # Whose process is held already has not ended; what descends from it is looked for when it has.
        return "" if self.is_known(pid) else self.tokens.get(pid)


def _token_in(raw: bytes) -> str:
    return parse_environment(raw).get(ENV_TOKEN, "") if _TOKEN_VARIABLE in raw else ""


def adopters() -> frozenset[int]:
    """Who takes in orphans of what we started, or init: being their child says nothing of one's birth."""
    line, pid = {0, 1}, os.getpid()
    while pid not in line:
        line.add(pid)
        stat = stat_of(pid)
        if stat is None:
            break
        pid = stat.parent
    return frozenset(line)
