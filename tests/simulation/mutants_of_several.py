"""Deliberate bugs that one group alone cannot show: what groups of one daemon share, and what is to stay one's own."""

from __future__ import annotations

from collections.abc import Sequence

from autohealer.core import epidemic, evolve
from autohealer.core.actions import Plan
from autohealer.core.events import Event, InvariantBroken
from autohealer.core.model import StoreRoom, View
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.neighbours import Neighbours
from tests.unit.core.test_mutants import Patch

OBSERVES = Neighbours.observe
CAUGHT = "caught from a neighbour"


def _begins_without_a_room(self: Neighbours) -> None:
    """Has none to share."""
    mailboxes: dict[str, Mailbox] = {}
    vars(self).update(_mailboxes=mailboxes, _last=None, _turns=0)


def _has_a_room_for_each(self: Neighbours) -> StoreRoom:
    """Lets each group know of nothing but its own losses."""
    return StoreRoom()


def _infects(self: Neighbours, facts: Sequence[Event], plan: Plan, view: View) -> None:
    """Freezes all with the first."""
    OBSERVES(self, facts, plan, view)
    broken = [fact for fact in facts if isinstance(fact, InvariantBroken)]
    if broken and CAUGHT not in view.violations:
        for group, mailbox in self._mailboxes.items():
            if group != view.group:
                mailbox.put(InvariantBroken((CAUGHT,)))


def _still_counts(view: View) -> None:
    """Has what a frozen group misses, or ails from, hold up the others."""


MUTANTS_OF_SEVERAL: dict[str, list[Patch]] = {
    "each group counts losses for itself alone": [
        (Neighbours, "__init__", _begins_without_a_room),
        (Neighbours, "room", property(_has_a_room_for_each)),
    ],
    "a frozen group freezes its neighbours": [(Neighbours, "observe", _infects)],
    "what a frozen group misses holds up the others": [(evolve, "stop_counting", _still_counts)],
    "who ails in a frozen group holds up the others": [(epidemic, "stop_counting", _still_counts)],
}
