"""The book of replacements for being outdated: whose turn may come when.

Theory of operation. Who is outdated and well may be ended only once the last one that was ended for it has a successor
that has registered, and while nobody else is gone but who is done, as far as the daemon can know: of a death it hears
within `late_s`.
A new daemon begins a new book: what it finds it has to judge by itself.

Must never know: the daemon's view, its decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autohealer.core.model import Incarnation
    from tests.support.ledgers import Census, Life


@dataclass(slots=True)
class Renewals:
    """`last` is whose turn came last, `died_at` when somebody last ended in each slot."""

    census: Census
    late_s: float
    last: Incarnation | None = None
    died_at: dict[int, float] = field(default_factory=dict)

    def begin(self) -> None:
        """Another daemon runs."""
        self.last = None

    def died(self, life: Life, at: float) -> None:
        """One has ended."""
        self.died_at[life.name.slot] = at

    def next(self, life: Life, at: float, replicas: int) -> str:
        """One is ended for being outdated; what is wrong with that, if anything."""
        before, self.last = self.last, life.name
        known = [
            slot
            for slot in set(range(replicas)) - self.census.excused
            if at - self.died_at.get(slot, at) > self.late_s
        ]
        if before is not None and before.slot in known and not self._has_successor(before, at):
            return f"before the successor of {before} was ready"
        empty = [slot for slot in known if not self.census.present.get(slot)]
        return f"while slot {empty[0]} was empty" if empty else ""

    def _has_successor(self, name: Incarnation, at: float) -> bool:
        """Whether its slot is filled by one that has registered, of whatever revision was wanted when it began.

        Or by one that is outdated, too, and that nobody misses because it was never fit to serve.
        """
        lives = self.census.present.get(name.slot, [])
        return any(
            life.name != name and (life.was_registered or self._is_missed_by_nobody(life, at))
            for life in lives
        )

    def _is_missed_by_nobody(self, life: Life, at: float) -> bool:
        return life.revision != self.census.revision and life.fit_from > at
