"""What may be concluded about a registration: present, absent or unknown.

Only a fresh list proves absence. While the session is not connected, or before the first list after it
came back, everything is unknown; after a reconnect, and after an adoption, a missing znode counts from
`trust_from` on, so that workers whose sessions went with the same outage have time to register again.
"""

from __future__ import annotations

from autohealer.core.model import NEVER, Occupant, Phase, Presence, Slot, View


def presence_of(occupant: Occupant, view: View) -> Presence:
    """What is known of an incarnation's znode."""
    if not view.fresh:
        return Presence.UNKNOWN
    return Presence.PRESENT if occupant.listed else Presence.ABSENT


def presence_since(occupant: Occupant, view: View) -> float:
    """Since when that has been so; `NEVER` when it was never observed."""
    return occupant.listed_changed if view.fresh else view.store_since


def absence_deadline(slot: Slot, view: View) -> float | None:
    """When a slot's missing registration becomes a verdict; None while it is present, unknown or not expected."""
    occupant = slot.occupant
    if occupant is None or occupant.listed or not view.fresh:
        return None
    if slot.phase is Phase.READY:
        held_until = view.brake.hold_until if view.brake.on else NEVER
        return (
            max(occupant.listed_changed, view.trust_from, held_until) + view.policy.rejoin_grace_s
        )
    if slot.phase is Phase.STARTING:
        return max(slot.phase_since, view.trust_from) + view.policy.registration_timeout_s
    return None
