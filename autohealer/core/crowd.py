"""Who is under way: launches that have not registered, and what was asked to end and has not; who is set aside.

Theory of operation. `slots` keeps both crowds in step with the slots; here what happens to them changes their pace, and
while others wait for their places they are reviewed. One that is set aside takes no place any more; it is watched as
before.

Must never know: clocks, I/O, what will be decided.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autohealer.core import pacing
from autohealer.core.model import Crowd, Slot, View
from autohealer.core.slots import put


def places_left(crowd: Crowd) -> int:
    """How many more may begin now."""
    return pacing.allowance(crowd.pace.window, len(crowd.under_way))


def note_through(view: View, crowd: Crowd, slot: Slot) -> None:
    """What was under way in a slot got through; from what was set aside it is not told how long that takes."""
    if slot.key in crowd.under_way:
        took_s = view.now - slot.phase_since
        crowd.pace = pacing.through(crowd.pace, crowd.limits, took_s, view.now)


def next_review(view: View) -> float | None:
    """When to look at those under way although nothing happens; None while nobody waits for their places."""
    return min((_review_at(view, crowd) for crowd in _awaited(view)), default=None)


def review(view: View, idle: float | None) -> None:
    """Set aside those that hold others back, if it is time to look; `idle` is the share of idle processors."""
    for crowd in _awaited(view):
        if _review_at(view, crowd) > view.now:
            continue
        by_age = sorted((view.slots[key] for key in crowd.under_way), key=_began_at)
        crowd.pace, count = pacing.reviewed(
            crowd.pace, crowd.limits, _began_at(by_age[0]), view.now, idle
        )
        for slot in by_age[:count]:
            if view.now - _began_at(slot) >= crowd.limits.look_s:
                _set_aside(view, slot)


def _awaited(view: View) -> Iterator[Crowd]:
    """Those without a place for one more, although others wait."""
    if (view.waiting or view.waiting_again) and not places_left(view.launches):
        yield view.launches
    if view.staying and not places_left(view.endings):
        yield view.endings


def _review_at(view: View, crowd: Crowd) -> float:
    oldest = min(_began_at(view.slots[key]) for key in crowd.under_way)
    return pacing.review_at(crowd.pace, crowd.limits, oldest)


def _began_at(slot: Slot) -> float:
    return slot.phase_since


def _set_aside(view: View, slot: Slot) -> None:
    assert slot.occupant is not None, f"slot {slot.key} is under way and holds nobody"
    put(view, replace(slot, occupant=replace(slot.occupant, set_aside=True)))
