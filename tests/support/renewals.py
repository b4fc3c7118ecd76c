"""The book of replacements for being outdated: whose turn may come when.

Theory of operation. Who is outdated and well may be ended only once the last one that was ended for it has a successor
that has registered, and while nobody else is gone but who is done, as far as the daemon can know: of a death it hears
within `prompt_s`.
Where nobody is replaced but as the operator asked, a slot in which one after the other ends soon is not waited for.
A new daemon begins a new book: what it finds it has to judge by itself.

Must never know: the daemon's view, its decisions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.wishes import Wishes

if TYPE_CHECKING:
    from autohealer.core.model import Incarnation
    from tests.support.ledgers import Census, Life, Rules

FAILS_OFTEN = 3
"""So many in a row may be called quarantined, with launches that came to nothing."""


@dataclass(slots=True)
class Renewals:
    """`last` is whose turn came last, `died_at` when somebody last ended in each slot, `failed` how many soon."""

    census: Census
    rules: Rules
    wishes: Wishes = field(default_factory=Wishes)
    last: Incarnation | None = None
    died_at: dict[int, float] = field(default_factory=dict)
    failed: dict[int, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Another daemon runs."""
        self.last = None

    def died(self, life: Life, at: float) -> None:
        """One has ended."""
        self.died_at[life.name.slot] = at
        has_failed = life.served_s(at) < self.rules.policy.stable_s
        self.failed[life.name.slot] = has_failed * (self.failed.get(life.name.slot, 0) + 1)

    def next(self, life: Life, at: float, wishes: Wishes) -> str:
        """One is ended for being outdated, or as the operator asked; what is wrong with that, if anything."""
        before, self.last = self.last, life.name
        self.wishes = wishes
        late_s = self.rules.prompt_s + self.rules.clock_s
        known = [
            slot
            for slot in wishes.wanted
            if slot not in self.census.excused
            if at - self.died_at.get(slot, at) > late_s
        ]
        if before is not None and before.slot in known and not self._has_successor(before, at):
            return f"before the successor of {before} was ready"
        empty = [slot for slot in known if not self.census.present.get(slot)]
        if life.revision == self.census.revision:
            empty = [slot for slot in empty if self.failed.get(slot, 0) < FAILS_OFTEN]
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
        is_due = life.revision != self.census.revision or self.wishes.asks(life.name)
        return is_due and life.fit_from > at
