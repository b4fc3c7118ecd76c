"""Whose turn it is: who has had least comes first, and nobody is forgotten.

Theory of operation. Those who are known share by start-time fair queueing (Goyal, Vin, Cheng 1996). A virtual clock
goes on by the equal share that each of those who wait has in a turn's cost, but never past the start of one who waits.
Who asks for a turn starts at that clock, or where its last turn ended, whichever is later; a turn ends later the more
it cost. So who asks seldom is served next, however many others keep the server busy, and those share it equally. Of
those with one start who was idle comes first, else they are served in the order they asked.

Newcomers stand in a line of their own, oldest first. Where both wait, each side gets half: a thousand newcomers hold
up nobody who works, and a thousand who work no newcomer. Time spent idle is not saved up, by nobody.

Must never know: what a turn is, what time it is.
Limits: none; one entry for each who waits, one number for each who was ever served, until it leaves.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush


class Turns:
    """A queue of numbers; costs are in seconds."""

    def __init__(self) -> None:
        self._known = _Known()
        self._newcomers: deque[int] = deque()
        self._waiting: dict[int, bool] = {}
        self._new_count = 0
        self._spent_s = 0.0
        """What newcomers have cost, minus what the others have."""
        self._was_new = False

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __contains__(self, who: int) -> bool:
        """Whether it waits."""
        return who in self._waiting

    def ask(self, who: int, *, is_new: bool = False) -> None:
        """Wait for a turn; asking again while waiting changes nothing."""
        if who in self._waiting:
            return
        if is_new:
            if not self._new_count:
                self._spent_s = max(self._spent_s, 0.0)
            self._newcomers.append(who)
            self._new_count += 1
        else:
            if len(self._waiting) == self._new_count:
                self._spent_s = min(self._spent_s, 0.0)
            self._known.ask(who)
        self._waiting[who] = is_new

    def take(self) -> int | None:
        """Whose turn it is; None when nobody waits."""
        has_known = len(self._waiting) > self._new_count
        self._was_new = self._new_count > 0 and (not has_known or self._spent_s < 0)
        while self._waiting:
            who = self._newcomers.popleft() if self._was_new else self._known.take()
            if self._waiting.get(who) is self._was_new:
                self._forget(who)
                return who
        return None

    def charge(self, who: int, cost_s: float) -> None:
        """The turn that was taken last cost so much."""
        if self._was_new:
            self._spent_s += cost_s
        else:
            self._spent_s -= cost_s
            self._known.charge(who, cost_s, len(self._waiting) - self._new_count)

    def leave(self, who: int) -> None:
        """It is gone."""
        if who in self._waiting:
            self._forget(who)
        self._known.leave(who)

    def _forget(self, who: int) -> None:
        self._new_count -= self._waiting.pop(who)


class _Known:
    """Start-time fair queueing; who has left while waiting is still handed out."""

    def __init__(self) -> None:
        self._clock = 0.0
        self._heap: list[tuple[float, bool, int, int]] = []
        self._ends: dict[int, float] = {}
        self._asked_count = 0

    def ask(self, who: int) -> None:
        ended = self._ends.get(who, -1.0)
        self._asked_count += 1
        starts, is_busy = max(self._clock, ended), ended >= self._clock
        heappush(self._heap, (starts, is_busy, self._asked_count, who))

    def take(self) -> int:
        starts, _, _, who = heappop(self._heap)
        self._clock = max(self._clock, starts)
        self._ends[who] = starts
        return who

    def charge(self, who: int, cost_s: float, waiting_count: int) -> None:
        if who in self._ends:
            self._ends[who] += cost_s
        share_s = cost_s / (waiting_count + 1)
        next_start = self._heap[0][0] if self._heap else self._clock + share_s
        self._clock = max(self._clock, min(self._clock + share_s, next_start))

    def leave(self, who: int) -> None:
        self._ends.pop(who, None)
