"""Whose turn it is: who has had least comes first, and nobody is forgotten.

Theory of operation. Start-time fair queueing (Goyal, Vin, Cheng 1996). A virtual clock goes on by the equal share
that each of those who wait has in a turn's cost, but never past the start of one who waits. Who asks for a turn
starts at that clock, or where its last turn ended, whichever is later; a turn ends later the more it cost. So who asks
seldom is served next, however many others keep the server busy, and those share it equally.

A handicap puts a newcomer behind all who would start within it. Of those with one start who was idle comes first and
a newcomer last, else they are served in the order they asked. Time spent idle is not saved up.

Must never know: what a turn is, what time it is.
Limits: none; one entry for each who waits, one number for each who was ever served, until it leaves.
"""

from __future__ import annotations

from heapq import heappop, heappush

_IDLE, _BUSY, _NEWCOMER = range(3)


class Turns:
    """A queue of numbers; costs and handicaps are in seconds."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._heap: list[tuple[float, int, int, int]] = []
        self._waiting: set[int] = set()
        self._ends: dict[int, float] = {}
        self._asked_count = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __contains__(self, who: int) -> bool:
        """Whether it waits."""
        return who in self._waiting

    def ask(self, who: int, handicap_s: float = 0.0) -> None:
        """Wait for a turn; asking again while waiting changes nothing."""
        if who in self._waiting:
            return
        ended = self._ends.get(who, -1.0)
        starts = max(self._clock, ended) + handicap_s
        rank = _NEWCOMER if handicap_s else _BUSY if ended >= self._clock else _IDLE
        self._waiting.add(who)
        self._asked_count += 1
        heappush(self._heap, (starts, rank, self._asked_count, who))

    def take(self) -> int | None:
        """Whose turn it is; None when nobody waits."""
        while self._heap:
            starts, _, _, who = heappop(self._heap)
            if who in self._waiting:
                self._waiting.remove(who)
                self._clock = max(self._clock, starts)
                self._ends[who] = starts
                return who
        return None

    def charge(self, who: int, cost_s: float) -> None:
        """Its turn cost so much."""
        if who in self._ends:
            self._ends[who] += cost_s
        share_s = cost_s / (len(self._waiting) + 1)
        next_start = self._heap[0][0] if self._heap else self._clock + share_s
        self._clock = max(self._clock, min(self._clock + share_s, next_start))

    def leave(self, who: int) -> None:
        """It is gone."""
        self._waiting.discard(who)
        self._ends.pop(who, None)
