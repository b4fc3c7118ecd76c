"""Bind the children of `/workers` that programs made under names of their own to the incarnations that made them.

Theory of operation. What appears is looked at: when it was created, by whose session, and, as far as that can be
proven, by which process. A child is bound to a live incarnation without one

-  that is proven to have made it;
-  whose session it is: the program has made it anew;
-  that alone is awaited, of all groups (see `turns`), if this is the only new child that may be its: made since it has
   been without one, by a session that is not older than its launch, owns nothing of anybody else, is not known to be
   without a connection, as those of the dead are, and is not proven to be a foreigner's. Several of one session are
   one. It has to stay the only one for a moment, and for longer where it seems to come from another machine: whoever
   is on this one could be proven, and may come yet.

Where that leaves a choice, nobody is bound, and it is said what is unclear. A list counts only when every new child of
it has been looked at and is not about to be bound: until then nobody is ended for what is missing from it.

From then on the bound child is the incarnation's registration, in `View.listed` like any other, and every rule of
registrations holds for it. Once its incarnation is dead it is left over, and proven to be ours by the bond: it is
deleted, if it still is the one that was bound. Bonds are noted for the next daemon, who looks at each child again
before it believes it.

Must never know: clocks, I/O, what will be decided. Limits: without a proof, a foreign program that registers at the
very moment of a launch, in a session as new, is taken for what was launched if that has not made its child yet; and
where a server's clock was set back while it was down, sessions look older than they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autohealer.core import registrations, storeroom
from autohealer.core.brake import review_losses
from autohealer.core.children import FOREVER, NOTHING_IS_NEWER, Awaited, Bond, Child, Sight
from autohealer.core.events import BondRemembered, ChildExamined
from autohealer.core.model import NEVER, Incarnation, Occupant, View
from autohealer.core.policy import Registrar
from autohealer.core.slots import is_own, occupied_by, put
from autohealer.core.strangers import Stranger
from autohealer.core.turns import awaited_now, has_bonds, is_anonymous, is_to_be_seen

_OF_SERVER = 56
"""A session's upper bits say which server gave it out; the lower ones grow with each."""

NAMED_MAX = 4
"""Children named where several may be somebody's."""


def heard(view: View, news: ChildExamined | BondRemembered) -> None:
    """A child was looked at, or an earlier daemon's note of one was read."""
    match news:
        case ChildExamined(sight, standing, pid, host):
            examined(view, sight, Stranger(sight.child.label, standing, pid, host))
        case BondRemembered(bond, is_dead):
            remembered(view, bond, is_dead=is_dead)


# --- launches and their end ---------------------------------------------------------------------


def launched(view: View, name: Incarnation) -> None:
    """An incarnation is being launched: what it makes is newer than anything a list has shown.

    Where the store could not be asked, something may be there that no list has shown: then only a proof will do.
    """
    newest = view.bindings.newest
    born = NOTHING_IS_NEWER if is_to_be_seen(view) or not newest else newest
    _note(view, Bond(name, born, born))


def vacated(view: View, name: Incarnation) -> None:
    """An incarnation is gone, with all it started; its child, if it had one, is left over."""
    bond = view.bindings.bonds.get(name)
    if not has_bonds(view) or (bond is not None and bond.child is not None):
        return
    view.room.nursery.unseen_since = view.now
    view.room.turns += 1
    _forget(view, name)


def child_of(view: View, name: Incarnation) -> Child | None:
    """The child that is an incarnation's registration; None where it has none, or registers by its own name."""
    bond = view.bindings.bonds.get(name)
    return None if bond is None else bond.child


def remembered(view: View, bond: Bond, *, is_dead: bool) -> None:
    """An earlier daemon noted a bond; it holds if its child still is what it was."""
    bindings = view.bindings
    if bond.name in bindings.bonds or (bond.child is None and is_dead):
        return
    bindings.bonds[bond.name] = bond
    if is_dead:
        bindings.dead.add(bond.name)
    if bond.child is not None:
        bindings.doubtful.add(bond.child.label)
        view.room.nursery.bound[bond.child.label] = view.group
    _renew(view, bond.name)


def wiped(view: View) -> None:
    """`/workers` was made anew: names in it may be used a second time."""
    storeroom.registry_wiped(view)
    bindings = view.bindings
    bindings.doubtful |= {bond.child.label for bond in bindings.bonds.values() if bond.child}
    bindings.sights.clear()
    bindings.wiped_at = bindings.newest


# --- lists --------------------------------------------------------------------------------------


def listed(
    view: View,
    ours: frozenset[Incarnation],
    strange: frozenset[str],
    asked_at: float,
    newest: int,
) -> None:
    """A complete list; `newest` is the zxid of the last change that it shows."""
    if not has_bonds(view):
        view.bindings.newest = newest
        registrations.listed(view, ours, strange, asked_at)
    elif registrations.is_current(view):
        _listed(view, ours, strange, asked_at, newest)


def _listed(
    view: View,
    ours: frozenset[Incarnation],
    strange: frozenset[str],
    asked_at: float,
    newest: int,
) -> None:
    bindings, came_back = view.bindings, not view.fresh
    before, bindings.newest = bindings.newest, newest
    bindings.present, bindings.asked_at = strange, asked_at
    _drop_what_went(view, before)
    bound = view.room.nursery.bound
    ours |= {bond.name for bond in bindings.bonds.values() if _is_there(view, bond)}
    others = frozenset(label for label in strange if label not in bound)
    registrations.listed(view, ours, others, NEVER)
    _order_looks(view, again=came_back)
    _settle(view)
    _believe(view)


def _is_there(view: View, bond: Bond) -> bool:
    """Whether its child is in the list; a doubtful one until it has been looked at, unless it is to be deleted."""
    child, bindings = bond.child, view.bindings
    if child is None or child.label not in bindings.present:
        return False
    return child.label not in bindings.doubtful or bond.name not in bindings.dead


def _drop_what_went(view: View, floor: int) -> None:
    """Children that are gone: their incarnations may make others, newer than what the list before showed."""
    bindings = view.bindings
    bindings.sights = {at: it for at, it in bindings.sights.items() if at in bindings.present}
    bindings.sighted_at = {
        at: it for at, it in bindings.sighted_at.items() if at in bindings.sights
    }
    bindings.looking &= bindings.present
    for bond in list(bindings.bonds.values()):
        if bond.child is not None and bond.child.label not in bindings.present:
            _unbind(view, bond, floor)


def _unbind(view: View, bond: Bond, floor: int) -> None:
    assert bond.child is not None, f"{bond.name} is bound to nothing"
    view.room.nursery.bound.pop(bond.child.label, None)
    view.bindings.doubtful.discard(bond.child.label)
    if bond.name in view.key_of:
        _note(view, replace(bond, floor=floor, child=None, owner=bond.child.owner))
    else:
        _forget(view, bond.name)


def _order_looks(view: View, *, again: bool) -> None:
    """At what is new; at what is doubtful; and, while somebody is awaited, at what nothing is proven of."""
    bindings = view.bindings
    doubtful = bindings.doubtful & bindings.present
    news = {name for name in view.to_inspect if isinstance(name, str)}
    view.to_inspect |= doubtful - bindings.looking
    bindings.looking |= (news - bindings.sights.keys()) | doubtful
    if again:
        view.to_inspect |= bindings.looking
    if awaited_now(view):
        view.to_inspect |= {
            sight.child.label for sight in _unclaimed(view) if _is_open(view, sight.child.label)
        }


def _is_open(view: View, label: str) -> bool:
    sight = view.bindings.sights[label]
    return sight.maker is None and not sight.is_foreign


def _believe(view: View) -> None:
    """A list counts once all that is new in it has been looked at, whatever has come since; then the newest is next."""
    bindings = view.bindings
    if bindings.due != FOREVER:
        return
    for _ in range(2):
        if not bindings.unseen & bindings.looking and bindings.counts_at > view.listed_at:
            view.listed_at = bindings.counts_at
            view.touched.update(view.suspects)
        if bindings.counts_at <= view.listed_at:
            bindings.counts_at, bindings.unseen = bindings.asked_at, frozenset(bindings.looking)


# --- looks --------------------------------------------------------------------------------------


def examined(view: View, sight: Sight, stranger: Stranger) -> None:
    """A child was looked at; `stranger` is what it is if it is not ours."""
    bindings, label = view.bindings, sight.child.label
    if not has_bonds(view):
        registrations.registration_read(view, label, stranger)
    if label not in bindings.present:
        return
    bindings.looking.discard(label)
    bindings.sights[label] = sight
    bindings.sighted_at.setdefault(label, view.now)
    if label in bindings.doubtful:
        _reassure(view, sight.child)
    _settle(view)
    _believe(view)
    if label not in view.room.nursery.bound:
        registrations.registration_read(view, label, stranger)


def _reassure(view: View, child: Child) -> None:
    """What was bound to this name is the same still, or something else has come under it."""
    bindings = view.bindings
    bindings.doubtful.discard(child.label)
    view.strangers.pop(child.label, None)
    for bond in [bond for bond in bindings.bonds.values() if bond.child]:
        if bond.child == child and bond.name not in view.listed:
            _appear(view, bond.name)
        elif bond.child != child and bond.child is not None and bond.child.label == child.label:
            _unbind(view, bond, bindings.wiped_at or bindings.newest)
            registrations.disappeared(view, bond.name)


def _appear(view: View, name: Incarnation) -> None:
    view.listed |= {name}
    if name in view.bindings.dead and name not in view.key_of:
        registrations.mark_leftover(view, name)
    else:
        registrations.appeared(view, name)
    review_losses(view)


# --- whose it is --------------------------------------------------------------------------------


def look_again(view: View) -> None:
    """Time has passed, or another group has got what it waited for: what was unclear may be clear now."""
    if view.bindings.unclear or view.bindings.due <= view.now:
        _settle(view)
        _believe(view)


def _unclaimed(view: View) -> list[Sight]:
    bound, sights = view.room.nursery.bound, view.bindings.sights.values()
    return sorted((s for s in sights if s.child.label not in bound), key=lambda s: s.child.czxid)


def _settle(view: View) -> None:
    """Bind what can be bound now."""
    for sight in _unclaimed(view):
        if (name := _proven(view, sight)) is not None:
            _bind(view, name, sight.child)
    view.bindings.unclear, view.bindings.due = "", FOREVER
    if not view.bindings.looking:
        _bind_the_only_one(view)


def _proven(view: View, sight: Sight) -> Incarnation | None:
    """Who is without a child and has made this one for certain."""
    if not sight.child.owner or sight.is_foreign:
        return None
    if sight.maker is not None:
        return sight.maker if _may_have(view, sight.maker) else None
    for bond in view.bindings.bonds.values():
        if bond.owner == sight.child.owner and bond.child is None and bond.name in view.key_of:
            return bond.name
    return None


def _may_have(view: View, maker: Incarnation) -> bool:
    """Whether an incarnation that chooses its name has no other child, and is alive or was ours."""
    if child_of(view, maker) is not None:
        return False
    _, occupant = occupied_by(view, maker)
    if occupant is not None:
        return occupant.registrar is Registrar.ANONYMOUS
    return is_anonymous(view) and is_own(view, maker)


def _bind_the_only_one(view: View) -> None:
    awaited = awaited_now(view)
    of_here = {place.key: it for place, it in awaited.items() if place.group == view.group}
    for key, it in of_here.items():
        children = list(_candidates(view, it))
        sessions = {child.owner for child in children}
        occupant = _occupant_of(view, key)
        if len(sessions) == 1 and len(awaited) == 1 and occupant is not None:
            view.bindings.due = _alone_until(view, children[0])
            if view.bindings.due <= view.now:
                view.bindings.due = FOREVER
                _bind(view, occupant.name, children[0])
        elif children:
            view.bindings.unclear = _of_unclear(children, len(awaited), key)
            return


def _alone_until(view: View, child: Child) -> float:
    """From when on the only one that may be somebody's is taken for it."""
    policy, is_remote = view.policy, view.bindings.sights[child.label].is_remote
    patience_s = policy.settle_s if is_remote else policy.rejoin_grace_s
    return view.bindings.sighted_at[child.label] + patience_s


def _occupant_of(view: View, key: int) -> Occupant | None:
    return view.slots[key].occupant if key in view.slots else None


def _candidates(view: View, awaited: Awaited) -> Iterator[Child]:
    """What may have been made by one that is awaited."""
    for sight in _unclaimed(view):
        child = sight.child
        if not child.owner or sight.is_foreign or sight.is_silent or sight.maker is not None:
            continue
        if child.czxid > awaited.floor and not _is_of_others(view, child.owner, awaited.born):
            yield child


def _is_of_others(view: View, owner: int, born: int) -> bool:
    """Whether a session is another's, or older than one that had a child here before the launch."""
    bonds = view.bindings.bonds.values()
    if any(bond.child is not None and bond.child.owner == owner for bond in bonds):
        return True
    earlier = (s.child.owner for s in view.bindings.sights.values() if s.child.czxid <= born)
    return any(
        other == owner or (other >> _OF_SERVER == owner >> _OF_SERVER and other > owner)
        for other in earlier
        if other
    )


def _of_unclear(children: list[Child], awaited: int, key: int) -> str:
    names = ", ".join(child.label for child in children[:NAMED_MAX])
    more = f" and {len(children) - NAMED_MAX} more" if len(children) > NAMED_MAX else ""
    if awaited == 1:
        return f"{names}{more} appeared since slot {key} is without a child of /workers, and which is its is unclear"
    return f"{names}{more} appeared while {awaited} workers are without a child of /workers, and whose is unclear"


# --- bonds --------------------------------------------------------------------------------------


def _bind(view: View, name: Incarnation, child: Child) -> None:
    bond = view.bindings.bonds.get(name) or Bond(name, NOTHING_IS_NEWER, NOTHING_IS_NEWER)
    view.room.nursery.bound[child.label] = view.group
    _note(view, replace(bond, child=child, owner=child.owner))
    view.strangers.pop(child.label, None)
    view.to_inspect.discard(child.label)
    view.strange -= {child.label}
    _appear(view, name)


def _note(view: View, bond: Bond) -> None:
    view.bindings.bonds[bond.name] = bond
    view.bindings.is_changed = True


def _forget(view: View, name: Incarnation) -> None:
    view.bindings.dead.discard(name)
    if view.bindings.bonds.pop(name, None) is not None:
        view.bindings.is_changed = True


def _renew(view: View, name: Incarnation) -> None:
    """What is awaited depends on the bond."""
    slot, _ = occupied_by(view, name)
    if slot is not None:
        put(view, slot)
