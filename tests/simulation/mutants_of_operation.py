"""Deliberate bugs in what the operator changes of slots, to be noticed like the other ones."""

from __future__ import annotations

from collections.abc import Iterable

from autohealer.core import completion, reconcile, replacing, slots, wanting
from autohealer.core.model import Occupant, Phase, Slot, View
from autohealer.core.overrides import Overrides
from tests.unit.core.test_mutants import Patch

IS_TO_LEAVE = slots.is_to_leave
OVERRIDES_SET = wanting.overrides_set


def _is_filled_by_anybody(view: View, unfit: int) -> bool:
    """Takes whoever is there for one that serves."""
    return len(view.slots) == view.desired.replicas


def _begins_without_overrides(view: View, overrides: Overrides) -> None:
    """Does not hear what was wanted before it began."""
    if view.desired.replicas:
        OVERRIDES_SET(view, overrides)


def _is_older_than_asked(occupant: Occupant, view: View) -> bool:
    """Leaves whoever was there when the operator asked."""
    return occupant.name.generation < slots.newest_expired(view, occupant.name.slot)


def _leaves_the_stopped(slot: Slot, view: View) -> bool:
    """Fills a stopped slot no more, and lets who is in it be."""
    return IS_TO_LEAVE(slot, view) and not view.rests(slot.key)


def _starts_nobody_again(view: View, overrides: Overrides) -> None:
    """Lets a slot rest for good."""
    still = {slot.key for slot in view.slots.values() if slot.phase is Phase.STOPPED}
    stopped = overrides.stopped | still
    OVERRIDES_SET(view, Overrides(overrides.all_stopped, frozenset(stopped), overrides.renew))


def _tries_nothing_again(view: View, keys: Iterable[int]) -> None:
    """Keeps what is done as it is."""


MUTANTS: dict[str, list[Patch]] = {
    "restarts before the last successor is ready": [
        (replacing, "_is_filled", _is_filled_by_anybody)
    ],
    "begins without what was stopped": [(wanting, "overrides_set", _begins_without_overrides)],
    "restarts only who is older": [
        (slots, "is_expired", _is_older_than_asked),
        (completion, "is_expired", _is_older_than_asked),
    ],
    "leaves who was stopped": [
        (slots, "is_to_leave", _leaves_the_stopped),
        (reconcile, "is_to_leave", _leaves_the_stopped),
    ],
    "starts nobody again": [(wanting, "overrides_set", _starts_nobody_again)],
    "tries nothing again": [(wanting, "retry_asked", _tries_nothing_again)],
}
