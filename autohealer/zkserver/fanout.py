"""Who gets how much of one transaction's events.

Theory of operation. As long as all events to all connections together stay within the bound, everybody
gets everything and nothing is counted singly. Beyond it a connection gets what its equal share holds;
who would get more is named, to be dropped: it comes back and asks for the state as it is, which a gap
in its events would never make it do.

Must never know: what an event says, how it is sent, who watches what.
Limits: `event_bytes_max` twice over, since shares add up to it once more.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from autohealer.zkserver.limits import EVENT_BYTES_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence


class Fanout:
    """The events of one transaction so far; `share_bytes` is what each connection always gets."""

    def __init__(self, bytes_max: int, share_bytes: int) -> None:
        self._bytes_max = bytes_max
        self._share_bytes = share_bytes
        self._told: list[tuple[Sequence[int], int]] = []
        self._told_bytes = 0
        self._single: Counter[int] | None = None

    def split(
        self, connections: Sequence[int], event_bytes: int
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Take one more event to some connections; returns those to tell and those to drop instead."""
        cost_bytes = max(event_bytes, EVENT_BYTES_MIN)
        if self._single is None:
            self._told_bytes += cost_bytes * len(connections)
            if self._told_bytes <= self._bytes_max:
                self._told.append((connections, cost_bytes))
                return connections, ()
            self._single = self._count_singly()
        told: list[int] = []
        beyond: list[int] = []
        for connection in connections:
            self._single[connection] += cost_bytes
            fits = self._single[connection] <= self._share_bytes
            (told if fits else beyond).append(connection)
        return told, beyond

    def _count_singly(self) -> Counter[int]:
        single: Counter[int] = Counter()
        for connections, cost_bytes in self._told:
            for connection in connections:
                single[connection] += cost_bytes
        return single
