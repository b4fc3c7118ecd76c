"""The book of incarnations that were launched beside others of their slot: which of them truly overlapped.

A witness that polls may see the end of one later than the launch of the next, so an overlap is judged when it is over,
and only one that lasted for more than `bearable_s` is a fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from autohealer.core.model import Incarnation


@dataclass(slots=True)
class Overlaps:
    """Those that still last: who was launched beside whom, and when."""

    bearable_s: float
    _lasting: dict[Incarnation, tuple[Incarnation, float]] = field(default_factory=dict)

    def begin(self, new: Incarnation, old: Incarnation, at: float) -> None:
        """One is launched beside another."""
        self._lasting[new] = (old, at)

    def end(self, name: Incarnation, at: float) -> Iterator[str]:
        """One and all it started are gone; each overlap of it that lasted too long."""
        for new in [n for n, (old, _) in self._lasting.items() if name in {n, old}]:
            yield from self._judge(new, *self._lasting.pop(new), at)

    def close(self, at: float) -> Iterator[str]:
        """The history is over; each that lasts for too long by then."""
        for new, (old, began) in self._lasting.items():
            yield from self._judge(new, old, began, at)

    def _judge(self, new: Incarnation, old: Incarnation, began: float, at: float) -> Iterator[str]:
        if self.bearable_s and at - began > self.bearable_s:
            yield f"{new} was launched beside {old}"
