"""The mass-loss brake: many registrations gone at once while their processes live are one event, not many deaths.

Theory of operation. A registration that vanishes alone means a frozen worker or a lost session, and the
worker is replaced after a short grace. When more of them than `loss_limit` vanish within one settle time, a
fault of the store or the network is likelier than as many deaths, and replacing everybody would make it
worse. So nobody is ended until one settle time has passed, in which healthy workers register again. Then one
of those still missing is replaced; the next ones only as replacements register, one more at a time for
each that does (1, 2, 4 …), which proves that the store takes registrations at all. A replacement that does
not register makes the next one wait for as long as a registration may take.

The brake is off again when no ready worker's registration is missing. It never touches what is proven dead.
"""

from __future__ import annotations

from heapq import nsmallest

from autohealer.core.membership import absence_deadline
from autohealer.core.model import Brake, Policy, View
from autohealer.core.slots import put


def loss_limit(policy: Policy, replicas: int) -> int:
    """How many registrations may vanish within one settle time before it counts as a mass loss."""
    return max(policy.brake_min, int(policy.brake_share * replicas))


def review_losses(view: View) -> None:
    """Put the brake on or take it off, after a list."""
    brake = view.brake
    if brake.on:
        if not view.missing:
            view.brake = Brake()
        return
    recent = sum(view.now - at < view.policy.settle_s for at in brake.losses)
    if len(view.missing) + recent > loss_limit(view.policy, view.desired.replicas):
        view.brake = Brake(on=True, hold_until=view.now + view.policy.settle_s)
        for key in tuple(view.missing):
            put(view, view.slots[key])


def note_loss(view: View, key: int) -> None:
    """Remember that a slot's incarnation is ended for its lost registration."""
    brake = view.brake
    if brake.on:
        brake.probes[key] = view.now + view.policy.registration_timeout_s
    else:
        recent = (at for at in brake.losses if view.now - at < view.policy.settle_s)
        brake.losses = (*recent, view.now)


def note_registered(view: View, key: int) -> None:
    """A replacement registered: the store takes registrations, so one more may be replaced at a time."""
    if view.brake.probes.pop(key, None) is not None:
        view.brake.window += 1


def replaceable_under_brake(view: View) -> list[int]:
    """The missing slots whose turn it is now, lowest first."""
    places = _places(view)
    if not places or view.now < view.brake.hold_until:
        return []
    due = (key for key in view.missing if view.wants(key) and _is_due(view, key))
    return nsmallest(places, due)


def next_turn(view: View) -> float | None:
    """When the next one's turn comes although no replacement registered; None when nobody waits for that."""
    if not view.brake.on or not view.missing or _places(view):
        return None
    return min(until for until in view.brake.probes.values() if until > view.now)


def _places(view: View) -> int:
    """How many more may be replaced now."""
    brake = view.brake
    if not brake.on:
        return 0
    return max(0, brake.window - sum(until > view.now for until in brake.probes.values()))


def _is_due(view: View, key: int) -> bool:
    due = absence_deadline(view.slots[key], view)
    return due is not None and due <= view.now
