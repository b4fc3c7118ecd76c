"""Whose child is awaited, and whose turn it is to be launched, where programs register under names of their own.

Theory of operation. A name that a program chose says nothing of whose it is. So of all that share `/workers` one is
launched at a time, and the next one only when the child of the one before has been seen, or when that one is gone and a
list has been had since that shows what it may have left. Who lost its child may make another one at any moment, too: it
is waited for as long as a settle time. After that only a proof binds it, and it holds nobody up.

While ZooKeeper is away nobody can register, so one waits for its child and the others for that one.

Must never know: clocks, I/O, what will be decided.
"""

from __future__ import annotations

from autohealer.core.children import FOREVER, NOTHING_IS_NEWER, Awaited
from autohealer.core.model import NEVER, Phase, Place, Slot, Store, View
from autohealer.core.policy import Registrar


def is_anonymous(view: View) -> bool:
    """Whether what this group launches registers under names of its own."""
    return view.policy.registrar is Registrar.ANONYMOUS


def has_bonds(view: View) -> bool:
    """Whether it does, or did when it was launched."""
    return is_anonymous(view) or bool(view.bindings.bonds)


def note_awaited(view: View, key: int, slot: Slot | None) -> None:
    """Keep what is awaited in step with a slot; None: it holds nobody any more."""
    place, awaited = view.place(key), view.room.nursery.awaited
    news = None if slot is None else _awaited_by(view, slot)
    if news is not None:
        if not view.violations:
            awaited[place] = news
    elif awaited.pop(place, None) is not None:
        view.room.turns += 1  # another group may have waited for that


def stop_awaiting(view: View) -> None:
    """A group that is frozen binds nobody: it holds up no other."""
    for place in [place for place in view.room.nursery.awaited if place.group == view.group]:
        del view.room.nursery.awaited[place]
        view.room.turns += 1


def _awaited_by(view: View, slot: Slot) -> Awaited | None:
    occupant = slot.occupant
    if occupant is None or occupant.registrar is not Registrar.ANONYMOUS or occupant.listed:
        return None
    bond = view.bindings.bonds.get(occupant.name)
    if slot.phase is Phase.HELD or (bond is not None and bond.child is not None):
        return None
    born, floor = (NOTHING_IS_NEWER,) * 2 if bond is None else (bond.born, bond.floor)
    if occupant.ready_at is None and not occupant.adopted:
        return Awaited(born, floor, FOREVER)
    until = max(occupant.listed_changed, view.trust_from) + view.policy.settle_s
    if occupant.ready_at is None:
        until = max(until, occupant.since + view.policy.registration_timeout_s)
    return Awaited(born, floor, until)


def awaited_now(view: View) -> dict[Place, Awaited]:
    """Whose children are awaited, of all groups."""
    awaited = view.room.nursery.awaited
    return {place: it for place, it in awaited.items() if it.until > view.now}


def turn_from(view: View) -> float:
    """From when on the next one may be launched as far as that goes; `FOREVER` where only a fact can tell."""
    if not is_anonymous(view):
        return NEVER
    awaited = awaited_now(view).values()
    return max((_blind_until(view), *(it.until for it in awaited)))


def in_turn(view: View, places: int) -> int:
    """How many of those for whom there are places may be launched now."""
    if not is_anonymous(view):
        return places
    return min(places, int(turn_from(view) <= view.now))


def _blind_until(view: View) -> float:
    """A store that can be asked shows first what was there before the launch, and what the last one to die left."""
    if view.store is not Store.CONNECTED or view.list_failed:
        return NEVER
    if view.listed_under != view.connection:
        return view.store_since + view.policy.first_list_s
    return FOREVER if is_to_be_seen(view) else NEVER


def is_to_be_seen(view: View) -> bool:
    """Whether no list has shown yet what the last one to die may have left."""
    return view.listed_at < view.room.nursery.unseen_since


def is_to_be_listed(view: View) -> bool:
    """Whether a list has to be asked for that shows what the dead have left."""
    if not is_anonymous(view) or not view.fresh or not is_to_be_seen(view):
        return False
    return view.bindings.relisted_at < view.room.nursery.unseen_since


def of_turn(view: View, *, is_taken: bool) -> str:
    """Why launches wait, in words; empty where that is not worth saying. `is_taken`: one of this plan has the turn."""
    if not view.fresh and _blind_until(view) > view.now:
        return "launches wait for a list of /workers: what is there already is nobody's who is launched now"
    if not is_taken and not awaited_now(view):
        return ""  # for a list that has been asked for, which takes no time worth a word
    return (
        "launches go one at a time: the next when the child of /workers that the one before makes under a name of "
        "its own is seen, which tells whose it is"
    )
