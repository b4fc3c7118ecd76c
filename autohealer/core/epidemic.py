"""When a worker is ended for its health, and the brake for many that ail at once.

Theory of operation. One that fails its liveness probe, stands still or does not start is ended, after as long as it
takes to know whether others fail with it. When more than the brake's share do, a fault of something that all depend on
is likelier than as many sick workers, and restarting everybody would make it worse: nobody is ended for one settle
time, then one, and the next ones only as replacements prove to be well, one more at a time for each that does, and
after as long as it takes to know whether the others are well again by themselves. One that does not prove it makes the
next one wait for as long as a registration may take. Who recovers meanwhile is left alone. As many that ail anew
under the brake are another fault of that kind, whatever was proven before: all of that begins again.

It is a brake of its own beside that of lost registrations (`brake`), with the same limit, and like that one shared by
all groups of a daemon. An ending for health is paid for like the restart that follows: where the group's budget is
spent, a sick worker lives on.

Must never know: clocks, I/O, how anything is asked.
"""

from __future__ import annotations

from heapq import nsmallest

from autohealer.core.ailing import ENDINGS_OF_HEALTH, may_end
from autohealer.core.brake import loss_limit
from autohealer.core.intensity import rate_of, refilled
from autohealer.core.model import Ending, Phase, Slot, View
from autohealer.core.slots import put


def note_ailing(view: View, key: int) -> None:
    """What fills a slot is to be ended for its health from now on, if it stays so."""
    view.room.epidemic.lately[view.place(key)] = view.now
    _review(view)


def _review(view: View) -> None:
    epidemic, settle_s = view.room.epidemic, view.policy.settle_s
    lately = {place: at for place, at in epidemic.lately.items() if view.now - at < settle_s}
    epidemic.lately = lately
    recent = {place for place, at in lately.items() if at > epidemic.since}
    new = recent if epidemic.on else lately.keys() | epidemic.ailing
    if len(new) <= loss_limit(view.policy, sum(view.room.replicas.values())):
        return
    count = len(lately.keys() | epidemic.ailing)
    epidemic.on, epidemic.since, epidemic.count, epidemic.at_once = True, view.now, count, 1
    _hold(view, settle_s)


def _hold(view: View, seconds: float) -> None:
    """Nobody is ended for so long."""
    view.room.epidemic.hold_until = view.now + seconds
    view.room.turns += 1
    for key in tuple(view.ailing):
        put(view, view.slots[key])  # what it waits for has changed


def release_if_over(view: View) -> None:
    """Take the brake off when nobody ails any more."""
    epidemic = view.room.epidemic
    if epidemic.on and not epidemic.ailing:
        epidemic.on, epidemic.count = False, 0
        epidemic.replacing.clear()
        view.room.turns += 1


def stop_counting(view: View) -> None:
    """A group that is frozen ends nobody: those of it that ail hold up no other group."""
    view.room.epidemic.ailing -= {view.place(key) for key in view.ailing}
    release_if_over(view)


def note_ended(view: View, slot: Slot, ending: Ending | None) -> None:
    """What fills a slot is told to end, perhaps for its health."""
    if ending not in ENDINGS_OF_HEALTH or slot.phase is Phase.DRAINING:
        return
    epidemic, key = view.room.epidemic, slot.key
    if epidemic.on:
        epidemic.replacing[view.place(key)] = view.now + view.policy.registration_timeout_s
        view.room.turns += 1
    else:
        epidemic.lately[view.place(key)] = view.now


def note_proven(view: View, key: int) -> None:
    """What fills a slot is well in all that it is asked: where it replaced a sick one, restarting helps."""
    epidemic = view.room.epidemic
    if epidemic.replacing.pop(view.place(key), None) is not None:
        epidemic.at_once += 1
        _hold(view, view.policy.health.spread_s)


def due(view: View) -> list[int]:
    """The slots whose worker is to be ended for its health now, lowest first."""
    if not view.ailing:
        return []
    at_most = len(view.ailing)
    if view.room.epidemic.on:
        at_most = _places(view) if view.now >= view.room.epidemic.hold_until else 0
    at_most = min(at_most, int(unclaimed(view)))
    return nsmallest(at_most, _overdue(view)) if at_most > 0 else []


def next_turn(view: View) -> float | None:
    """When the next one's turn comes although nothing happens; None when nobody waits for that."""
    if not view.ailing:
        return None
    epidemic = view.room.epidemic
    if epidemic.on and view.now < epidemic.hold_until:
        return epidemic.hold_until
    if epidemic.on and not _places(view):
        return min(until for until in epidemic.replacing.values() if until > view.now)
    if not _overdue(view):
        return None  # each has an alarm of its own
    rate = rate_of(view.policy, view.desired.replicas)
    return view.now + max(0.0, 1.0 - unclaimed(view)) / rate.per_s


def _overdue(view: View) -> list[int]:
    return [k for k in view.ailing if view.wants(k) and may_end(view.slots[k], view)]


def _places(view: View) -> int:
    epidemic = view.room.epidemic
    return max(0, epidemic.at_once - sum(until > view.now for until in epidemic.replacing.values()))


def unclaimed(view: View) -> float:
    """How many restarts the group's budget has left, beside those that wait for it."""
    rate = rate_of(view.policy, view.desired.replicas)
    return refilled(view.budget, view.now, rate).tokens - len(view.waiting_again)
