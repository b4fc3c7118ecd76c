"""Deliberate bugs that one group alone cannot show: what groups of one daemon share, and what is to stay one's own."""

from __future__ import annotations

from collections.abc import Sequence

from autohealer.core import epidemic, evolve, turns
from autohealer.core.actions import Plan
from autohealer.core.children import Awaited, Nursery
from autohealer.core.events import Event, InvariantBroken
from autohealer.core.model import Place, StoreRoom, View
from autohealer.daemon.mailbox import Mailbox
from autohealer.daemon.neighbours import Neighbours
from tests.unit.core.test_mutants import Patch

AWAITED = turns.awaited_now
REVIEWS_SICK = epidemic._review
OBSERVES = Neighbours.observe
CAUGHT = "caught from a neighbour"


def _begins_without_a_room(self: Neighbours) -> None:
    """Has none to share but for what concerns launches."""
    mailboxes: dict[str, Mailbox] = {}
    vars(self).update(_mailboxes=mailboxes, _last=None, nursery=Nursery())


def _has_a_room_for_each(self: Neighbours) -> StoreRoom:
    """Lets each group know of nothing but its own losses."""
    return StoreRoom(nursery=vars(self)["nursery"])


def _tells_everybody(self: Neighbours, facts: Sequence[Event], _plan: Plan, view: View) -> None:
    """Has all look again whatever happened."""
    for group, mailbox in self._mailboxes.items():
        if facts and group != view.group:
            mailbox.wake()


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


def _counts_its_own_sick(view: View) -> None:
    """Takes the sick of other groups for no part of what its own ail from."""
    care = view.room.epidemic
    ailing, lately = care.ailing, care.lately
    care.ailing = {place for place in ailing if place[0] == view.group}
    care.lately = {place: at for place, at in lately.items() if place[0] == view.group}
    REVIEWS_SICK(view)
    care.ailing, care.lately = ailing, lately | care.lately


def _awaits_only_its_own(view: View) -> dict[Place, Awaited]:
    """Launches one at a time, whatever other groups launch."""
    awaited = AWAITED(view)
    return {place: it for place, it in awaited.items() if place[0] == view.group}


def _tells_nobody(self: Neighbours, _facts: Sequence[Event], _plan: Plan, _view: View) -> None:
    """Lets nobody know that what they wait for has changed."""


MUTANTS_OF_SEVERAL: dict[str, list[Patch]] = {
    "each group counts losses for itself alone": [
        (Neighbours, "__init__", _begins_without_a_room),
        (Neighbours, "room", property(_has_a_room_for_each)),
        (Neighbours, "observe", _tells_everybody),
    ],
    "each group counts its sick for itself alone": [(epidemic, "_review", _counts_its_own_sick)],
    "two of different groups that choose their names are launched at once": [
        (turns, "awaited_now", _awaits_only_its_own)
    ],
    "nobody is told when it is another group's turn": [(Neighbours, "observe", _tells_nobody)],
    "a frozen group freezes its neighbours": [(Neighbours, "observe", _infects)],
    "what a frozen group misses holds up the others": [(evolve, "stop_counting", _still_counts)],
    "who ails in a frozen group holds up the others": [(epidemic, "stop_counting", _still_counts)],
}
