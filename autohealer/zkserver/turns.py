"""Whose turn it is: who asks for little is next, who has had least comes first, and nobody is forgotten.

Theory of operation. There are three lines: those who ask for little, those who were never served, and those who ask for
much, which strangers always do. Where several wait, each line gets an equal part of the server: a thousand newcomers,
or a thousand large requests, hold up nobody's pings for longer than one turn, nor the other way round. How much it will
be is guessed from what the last turns cost and from what is asked for.

Within a line they share by start-time fair queueing (Goyal, Vin, Cheng 1996). A virtual clock goes on by the equal
share that each of those who wait has in a turn's cost, but never past the start of the next. Who asks for a turn starts
at that clock, or where its last turn ended, whichever is later; a turn ends later the more it cost. Those with one
start are served in the order they asked, so newcomers are served oldest first. Time spent idle is not saved up.

Must never know: what a turn is, what time it is.
Limits: none; one entry for each who waits, three numbers for each who was ever served, until it leaves.
"""

from __future__ import annotations

from heapq import heappop, heappush

MUCH_S = 0.001
"""Ordinary requests take a tenth of this; a turn may be sixteen of them."""

_LITTLE, _NEW, _MUCH = range(3)


class Turns:
    """A queue of numbers; costs are in seconds."""

    def __init__(self) -> None:
        self._lines = (_Line(), _Line(), _Line())
        self._waiting: dict[int, int] = {}
        self._costs: dict[int, float] = {}
        self._taken_from = _LITTLE

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def __contains__(self, who: int) -> bool:
        """Whether it waits."""
        return who in self._waiting

    def ask(self, who: int, *, at_least_s: float = 0.0, is_stranger: bool = False) -> None:
        """Wait for a turn that will cost so much at least; asking again while waiting changes nothing."""
        if who in self._waiting:
            return
        if is_stranger or max(at_least_s, self._costs.get(who, 0.0)) > MUCH_S:
            number = _MUCH
        else:
            number = _LITTLE if who in self._costs else _NEW
        line = self._lines[number]
        others = [each.spent_s for each in self._lines if each.count and each is not line]
        if not line.count and others:
            line.spent_s = max(line.spent_s, min(others))
        line.ask(who)
        self._waiting[who] = number

    def take(self) -> int | None:
        """Whose turn it is; None when nobody waits."""
        if not self._waiting:
            return None
        number = min(
            (number for number, line in enumerate(self._lines) if line.count),
            key=lambda number: self._lines[number].spent_s,
        )
        while True:
            who = self._lines[number].take()
            if self._waiting.get(who) == number:
                break
        del self._waiting[who]
        self._lines[number].count -= 1
        self._taken_from = number
        return who

    def charge(self, who: int, cost_s: float, *, is_known: bool = True) -> None:
        """The turn that was taken last cost so much; whether it makes `who` more than a newcomer."""
        line = self._lines[self._taken_from]
        line.charge(who, cost_s)
        if is_known and who in line.ends:
            self._costs[who] = (self._costs.get(who, cost_s) + cost_s) / 2

    def leave(self, who: int) -> None:
        """It is gone."""
        if (number := self._waiting.pop(who, None)) is not None:
            self._lines[number].count -= 1
        for line in self._lines:
            line.ends.pop(who, None)
        self._costs.pop(who, None)


class _Line:
    """Start-time fair queueing; who has left while waiting is still handed out."""

    def __init__(self) -> None:
        self.count = 0
        self.spent_s = 0.0
        self.ends: dict[int, float] = {}
        self._clock = 0.0
        self._heap: list[tuple[float, int, int]] = []
        self._asked_count = 0

    def ask(self, who: int) -> None:
        self.count += 1
        self._asked_count += 1
        starts = max(self._clock, self.ends.get(who, 0.0))
        heappush(self._heap, (starts, self._asked_count, who))

    def take(self) -> int:
        starts, _, who = heappop(self._heap)
        self._clock = max(self._clock, starts)
        self.ends[who] = starts
        return who

    def charge(self, who: int, cost_s: float) -> None:
        self.spent_s += cost_s
        if who in self.ends:
            self.ends[who] += cost_s
        share_s = cost_s / (self.count + 1)
        next_start = self._heap[0][0] if self._heap else self._clock + share_s
        self._clock = max(self._clock, min(self._clock + share_s, next_start))
