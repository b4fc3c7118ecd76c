"""What must hold of every decision, in tests and in production; a list of what does not.

Checked between deciding and acting, so a broken promise stops the action it would have caused.
Costs what the plan costs, never N.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from autohealer.core.actions import (
    Action,
    Discard,
    Drain,
    Inspect,
    Kill,
    Plan,
    Register,
    Relist,
    Remember,
    Spawn,
    Withdraw,
)
from autohealer.core.ailing import ENDINGS_OF_HEALTH, ailment_of
from autohealer.core.membership import is_confirmed
from autohealer.core.model import Ending, Incarnation, Phase, Store, View
from autohealer.core.slots import held_registration, is_oversized
from autohealer.core.turns import awaited_now, is_anonymous

_ENDINGS_OF_ABSENCE = frozenset({Ending.NEVER_REGISTERED, Ending.REGISTRATION_LOST})


def violations_of(view: View, plan: Plan) -> tuple[str, ...]:
    """Every promise the plan would break, in words; empty when it is sound."""
    return (
        *view.contradictions,
        *_of_counts(view),
        *_of_launches(view, plan),
        *_of_actions(view, plan),
    )


def _of_counts(view: View) -> Iterator[str]:
    if sum(view.counts.values()) != len(view.slots):
        yield f"phase counts {view.counts} do not add up to {len(view.slots)} slots"
    if any(count < 0 for count in view.counts.values()):
        yield f"a phase count is negative: {view.counts}"


def _of_launches(view: View, plan: Plan) -> Iterator[str]:
    launches = sum(isinstance(action, Spawn) for action in plan.actions)
    under_way = len(view.launches.under_way) + launches
    if launches and is_anonymous(view) and (launches > 1 or awaited_now(view)):
        yield f"{launches} launches although the children of {len(awaited_now(view))} others are awaited"
    if launches and under_way > view.policy.in_flight_max:
        yield f"{under_way} launches under way, more than {view.policy.in_flight_max}"


def _of_actions(view: View, plan: Plan) -> Iterator[str]:
    keys_seen: set[int] = set()
    for action in plan.actions:
        yield from _of_action(view, action)
        if isinstance(action, Spawn | Drain | Kill):
            if action.key in keys_seen:
                yield f"two actions for slot {action.key} in one plan"
            keys_seen.add(action.key)


def _of_action(view: View, action: Action) -> Iterator[str]:  # noqa: C901, PLR0912 - one arm per action
    match action:
        case Spawn(key, name):
            yield from _of_spawn(view, key, name)
        case Drain(key, name, _, ending) | Kill(key, name, _, ending):
            if ending in _ENDINGS_OF_ABSENCE and view.slots[key].phase is not Phase.DRAINING:
                yield from _of_absence(view, key, name)
            if ending in ENDINGS_OF_HEALTH and view.slots[key].phase is not Phase.DRAINING:
                yield from _of_health(view, key, name)
            if ending is Ending.MEMORY and view.slots[key].phase is not Phase.DRAINING:
                yield from _of_memory(view, key, name)
            if view.slots[key].phase is Phase.HELD:
                yield f"{name} is to be ended but cannot be proven to be ours"
            if view.key_of.get(name) != key:
                yield f"{name} is to be ended but does not fill slot {key}"
        case Register(name):
            if not _is_held(view, name):
                yield f"{name} is to be registered and is not ready, or registers itself"
        case Withdraw(name):
            if _is_held(view, name):
                yield f"{name} is ready and its registration is to be withdrawn"
        case Discard(name, child):
            if name in view.key_of:
                yield f"the registration of the live {name} is to be deleted"
            if (
                is_anonymous(view)
                and child is not None
                and child.label not in view.bindings.present
            ):
                yield f"{child.label} is to be deleted and is not there"
        case Inspect(name):
            if name in view.key_of and view.slots[view.key_of[name]].phase is not Phase.HELD:
                yield f"{name} is ours but is to be inspected"
        case Relist(keys):
            if view.store is not Store.CONNECTED:
                yield f"a list is to be asked for slots {keys} of a store that is away"
        case Remember():
            return
        case _:
            assert_never(action)


def _is_held(view: View, name: Incarnation) -> bool:
    key = view.key_of.get(name)
    return key is not None and held_registration(view.slots[key]) == name


def _of_absence(view: View, key: int, name: Incarnation) -> Iterator[str]:
    if view.store is not Store.CONNECTED or not view.fresh or view.now < view.trust_from:
        yield f"{name} is to be ended for a registration of which nothing is known"
    if not is_confirmed(key, view):
        yield f"{name} is to be ended on the strength of an old list"
    if key in view.missing and view.brake.on and view.now < view.brake.hold_until:
        yield f"{name} is to be ended although the mass-loss brake holds"


def _of_health(view: View, key: int, name: Incarnation) -> Iterator[str]:
    epidemic = view.room.epidemic
    if ailment_of(view.slots[key]) is None:
        yield f"{name} is to be ended for its health, and nothing is wrong with it"
    if epidemic.on and view.now < epidemic.hold_until:
        yield f"{name} is to be ended although many ail together"


def _of_memory(view: View, key: int, name: Incarnation) -> Iterator[str]:
    if not is_oversized(view.slots[key], view):
        yield f"{name} is to be replaced for its memory, and uses no more than it may"
    if view.brake.on or view.room.epidemic.on or not view.fresh:
        yield f"{name} is to be replaced for its memory although nobody who is well may be ended now"


def _of_spawn(view: View, key: int, name: Incarnation) -> Iterator[str]:
    slot = view.slots[key]
    if not view.wants(key):
        yield f"slot {key} is to be filled but not wanted"
    if slot.phase is Phase.DONE:
        yield f"slot {key} is to be filled and is done"
    if slot.occupant is not None:
        yield f"slot {key} is to be filled but holds {slot.occupant.name}"
    if slot.deadline is not None and slot.deadline > view.now:
        yield f"slot {key} is to be filled {slot.deadline - view.now:.3f} s before its pause is over"
    if name in view.listed:
        yield f"{name} is registered already"
    if name.generation <= slot.generation:
        yield f"{name} would reuse a generation (newest: {slot.generation})"
