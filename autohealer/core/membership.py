"""What may be concluded about a registration: present, absent or unknown, and since when it is a verdict.

Only a fresh list proves absence. While the session is not connected, or before the first list after it
came back, everything is unknown; after a reconnect, and after an adoption, a missing znode counts from
`trust_from` on, so that workers whose sessions went with the same outage have time to register again. Sessions
that are cut together do not end together but over a third of their timeout: so a loss waits for its grace after
the latest loss, not only its own, for up to one settle time.

Even then the last list may be old: its watch may be lost, or the store silent without anybody having noticed. So
nobody is ended but on a list that was asked for after the decision to do so.

Where the daemon registers for a program, a missing registration says nothing of the program: it is made again.
"""

from __future__ import annotations

from autohealer.core.model import NEVER, Occupant, Phase, Presence, Slot, View
from autohealer.core.policy import Registrar


def presence_of(occupant: Occupant, view: View) -> Presence:
    """What is known of an incarnation's znode."""
    if not view.fresh:
        return Presence.UNKNOWN
    return Presence.PRESENT if occupant.listed else Presence.ABSENT


def presence_since(occupant: Occupant, view: View) -> float:
    """Since when that has been so; `NEVER` when it was never observed."""
    return occupant.listed_changed if view.fresh else max(view.store_since, view.list_failed_at)


def is_missed(slot: Slot) -> bool:
    """Whether a registration is missing that was there, or may have been: of the adopted that is not known."""
    occupant = slot.occupant
    if occupant is None or occupant.listed or occupant.registrar is Registrar.AGENT:
        return False
    if slot.phase is Phase.STARTING:
        return occupant.listed_changed != NEVER
    return slot.phase in {Phase.READY, Phase.UNREADY}


def absence_deadline(slot: Slot, view: View) -> float | None:
    """When a slot's missing registration becomes a verdict; None while it is present, unknown or not expected."""
    occupant = slot.occupant
    if occupant is None or occupant.listed or not view.fresh:
        return None
    if occupant.registrar is Registrar.AGENT:
        return None
    if is_missed(slot):
        return max(_loss_deadline(occupant, view), _youth_ends(slot, occupant, view))
    if slot.phase is Phase.STARTING:
        return max(slot.phase_since, view.trust_from) + view.policy.registration_timeout_s
    return None


def _loss_deadline(occupant: Occupant, view: View) -> float:
    lost_at = occupant.listed_changed
    quiet_from = min(max(lost_at, view.room.vanished_at), lost_at + view.policy.settle_s)
    held_until = view.brake.hold_until if view.brake.on else NEVER
    return max(quiet_from, view.trust_from, held_until) + view.policy.rejoin_grace_s


def _youth_ends(slot: Slot, occupant: Occupant, view: View) -> float:
    """Until when one that was never seen registered may still be about to."""
    if slot.phase is not Phase.STARTING or not occupant.adopted:
        return NEVER
    return occupant.since + view.policy.registration_timeout_s


def is_overdue(slot: Slot, view: View) -> bool:
    """Whether what fills a slot is to be ended for its missing registration, the brake aside."""
    due = absence_deadline(slot, view)
    return due is not None and due <= view.now


def is_confirmed(key: int, view: View) -> bool:
    """Whether the newest list was asked for after its slot's ending was decided on."""
    suspected_at = view.suspects.get(key)
    return suspected_at is not None and view.listed_at >= suspected_at


def have_served(view: View, now: float) -> bool:
    """Whether all slots that are wanted are filled by workers that have been ready long enough to count."""
    if not is_whole(view):
        return False
    served = (
        slot.occupant.served_s(now)
        for slot in view.slots.values()
        if slot.occupant is not None and view.wants(slot.key)
    )
    return all(it is not None and it >= view.policy.min_ready_s for it in served)


def is_failed(slot: Slot) -> bool:
    """Whether a slot is done and ended otherwise than it should."""
    return slot.phase is Phase.DONE and slot.has_failed


def is_whole(view: View) -> bool:
    """Whether every slot that is wanted is ready, or done without having failed."""
    done = view.counts[Phase.DONE]
    if view.ready_count() + done < view.desired.kept:
        return False
    return not done or not any(is_failed(slot) for slot in view.slots.values())
