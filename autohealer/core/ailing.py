"""Who is to be ended for its health, and from when on.

Must never know: clocks, I/O, how many may be ended at a time (that is for `epidemic` to say).
"""

from __future__ import annotations

from autohealer.core.health import Check, Finding
from autohealer.core.model import Ending, Phase, Slot, View

LIVING = frozenset({Phase.STARTING, Phase.READY, Phase.UNREADY})
"""The phases of a live worker that nobody has told to end."""

ENDINGS_OF_HEALTH = frozenset({Ending.UNHEALTHY, Ending.WATCHDOG, Ending.FROZEN})


def ailment_of(slot: Slot) -> Finding | None:
    """What a live worker is to be ended for."""
    if slot.occupant is None or slot.phase not in LIVING or slot.occupant.exit is not None:
        return None
    return slot.occupant.health.ailment


def ending_for(ailment: Finding) -> Ending:
    """As what such an end counts."""
    match ailment.check:
        case Check.WATCHDOG:
            return Ending.WATCHDOG
        case Check.RUNNING:
            return Ending.FROZEN
        case _:
            return Ending.UNHEALTHY


def ailment_deadline(slot: Slot, view: View) -> float | None:
    """From when on what fills a slot may be ended for its health; None where it is not to be."""
    ailment = ailment_of(slot)
    if ailment is None:
        return None
    at = ailment.since + _patience_s(view, ailment)
    return max(at, view.room.epidemic.hold_until) if view.room.epidemic.on else at


def may_end(slot: Slot, view: View) -> bool:
    """Whether a worker may be ended for its health, its turn aside."""
    at = ailment_deadline(slot, view)
    return at is not None and at <= view.now


def _patience_s(view: View, ailment: Finding) -> float:
    """Until it is known whether others ail with it; where there are no others, nobody waits for them."""
    if sum(view.room.replicas.values()) <= view.policy.brake_min:
        return 0.0
    rules = view.policy.health
    return rules.frozen_spread_s if ailment.check is Check.RUNNING else rules.spread_s
