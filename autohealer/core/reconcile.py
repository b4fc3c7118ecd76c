"""Decide: what is to be done, given a view, which holds what is desired and what is observed.

Theory of operation. Each touched slot gets one verdict: leave it, ask it to end, end it, or fill it. Those
to be filled queue behind the ones already waiting, replacements and first launches in turns, and as many are launched
as their pace and the group's restart budget allow; the rest wait, first come, first served. So do those that are to be
asked to end. The first launch into a slot may have to wait for news
of who is there already (`firstfill`). Only then come the registrations of the
dead and of strangers, which never hold a launch up.

An unknown registration (the store is away, or the list is stale) justifies nothing; a proven death does. Who is
to be ended for a missing registration becomes a suspect first, and is ended on a list asked for since then.
Under the mass-loss brake lost registrations are answered one by one, as `brake` says.
Deciding changes nothing: the loop folds the plan back as `Decided`. Looking at every slot
(`every_slot=True`) gives the same plan as looking at the touched ones; a test holds us to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

from autohealer.core import epidemic, reasons
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
from autohealer.core.ailing import ailment_of, ending_for
from autohealer.core.binding import child_of
from autohealer.core.brake import next_turn, replaceable_under_brake
from autohealer.core.children import FOREVER
from autohealer.core.crowd import next_review, places_left
from autohealer.core.firstfill import gate_of, is_first_list_awaited, next_patience_over
from autohealer.core.intensity import rate_of, refilled, seconds_to_token
from autohealer.core.membership import is_confirmed, is_missed, is_overdue
from autohealer.core.model import (
    NO_CONNECTION,
    Ending,
    Incarnation,
    Phase,
    Slot,
    Stop,
    Store,
    View,
)
from autohealer.core.replacing import next_outdated, next_oversized, next_replacement
from autohealer.core.slots import is_launchable, is_to_leave, newest_expired, runs_another
from autohealer.core.turns import in_turn, is_anonymous, is_to_be_listed, of_turn, turn_from

_NOBODY = -1


def reconcile(view: View, *, every_slot: bool = False) -> Plan:
    """One decision over the slots touched since the last."""
    if view.violations:
        # Asked to stop, a frozen daemon leaves its workers running: the next one adopts them.
        hold = f"all actions frozen, workers left as they are: {view.violations[0]}"
        return Plan(holds=(hold,), finished=view.desired.stop is not Stop.NO)
    if view.desired.stop is Stop.DETACH:
        return Plan(holds=_held_holds(view), finished=True)
    keys = sorted(view.slots if every_slot else view.touched)
    endings = [a for key in keys if (a := _ending(view.slots[key], view)) is not None]
    endings += _verdicts(keys, view)
    endings += _of_sick(view, endings)
    launches = _launches(view, [key for key in keys if is_launchable(view.slots[key], view)])
    farewells = _farewells(view, [key for key in keys if is_to_leave(view.slots[key], view)])
    replacements = _replacements(view, endings)
    return Plan(
        actions=(
            *_notes(view),
            *launches.spawns,
            *endings,
            *farewells.drains,
            *replacements,
            *_registry_work(view),
        ),
        deferred=launches.deferred,
        staying=farewells.staying,
        holds=(
            *launches.holds,
            *farewells.holds,
            *_store_holds(view),
            *_brake_holds(view),
            *_held_holds(view),
            *_renewal_holds(view, replacements),
            *_unclear_holds(view),
        ),
        finished=_is_over(view),
    )


def _is_over(view: View) -> bool:
    """Whether a stop has ended everything that is ours, as far as it is known yet who is there."""
    if view.desired.stop is Stop.NO or len(view.key_of) > view.counts[Phase.HELD]:
        return False
    return next_patience_over(view) is None


def next_wake(view: View) -> float | None:
    """When to decide again without a new fact; None when nothing is due. Ask after the plan was folded in."""
    if view.violations:
        return None
    due = [view.alarms[0][0]] if view.alarms else []
    if (turn := next_turn(view)) is not None:
        due.append(turn)
    if (turn := epidemic.next_turn(view)) is not None:
        due.append(turn)
    if view.now < view.trust_from:
        due.append(view.trust_from)  # what the status says is held back is so no more
    silent_from = _silent_from(view)
    if silent_from is not None and view.now < silent_from:
        due.append(silent_from)
    if (view.waiting or view.waiting_again) and places_left(view.launches):
        due += [at for at in (_next_launch(view),) if at < FOREVER]
    if (look := next_review(view)) is not None:
        due.append(look)
    if (replacement := next_replacement(view)) is not None:
        due.append(replacement)
    if view.bindings.due < FOREVER:
        due.append(view.bindings.due)
    if view.desired.stop is not Stop.NO and (over := next_patience_over(view)) is not None:
        due.append(over)
    return min(due, default=None)


def _next_launch(view: View) -> float:
    """When the first of those that wait may be launched, as far as waiting is all it takes."""
    due = []
    if view.waiting_again:
        rate = rate_of(view.policy, view.desired.replicas)
        paid_at = view.now + seconds_to_token(refilled(view.budget, view.now, rate), rate)
        due.append(max(paid_at, _fillable_from(view, view.waiting_again)))
    if view.waiting:
        due.append(_fillable_from(view, view.waiting))
    return max(min(due), turn_from(view))


def _fillable_from(view: View, waiting: Collection[int]) -> float:
    """From when one of them waits for no news of who is there already."""
    gate = gate_of(view)
    return view.now if gate.is_open(view.now) else min(map(gate.may_fill_from, waiting))


def _ending(slot: Slot, view: View) -> Action | None:
    """Whether what fills a slot has to go."""
    if slot.occupant is None or slot.phase is Phase.HELD:
        return None
    if slot.phase is Phase.DRAINING:
        return _escalation(slot, view)
    if view.desired.stop is Stop.KILL:
        return Kill(slot.key, slot.occupant.name, "stopping at once", Ending.STOPPED)
    return None


def _verdicts(keys: list[int], view: View) -> list[Action]:
    """End those whose missing registration a list asked for since has confirmed; ask for one about the others."""
    overdue = [key for key in keys if _is_overdue_by_itself(view.slots[key], view)]
    overdue += replaceable_under_brake(view)
    verdicts: list[Action] = [
        _of_absentee(view.slots[key], view) for key in overdue if is_confirmed(key, view)
    ]
    news = tuple(key for key in overdue if key not in view.suspects)
    return [*verdicts, Relist(news)] if news else verdicts


def _is_overdue_by_itself(slot: Slot, view: View) -> bool:
    """Whether a wanted slot's registration has been missing for too long, whatever the others do."""
    if not view.wants(slot.key) or (view.brake.on and is_missed(slot)):
        return False
    return is_overdue(slot, view)


def _of_absentee(slot: Slot, view: View) -> Kill:
    assert slot.occupant is not None, f"slot {slot.key} misses a registration and holds nobody"
    if is_missed(slot):
        why = reasons.of_lost_registration(slot.occupant, view.now)
        return Kill(slot.key, slot.occupant.name, why, Ending.REGISTRATION_LOST)
    why = reasons.of_no_registration(slot.occupant, view)
    return Kill(slot.key, slot.occupant.name, why, Ending.NEVER_REGISTERED)


def _of_sick(view: View, others: Collection[Action]) -> list[Action]:
    """End those whose health calls for it and whose turn it is; who stands still can only be killed."""
    ended = {action.key for action in others if isinstance(action, Drain | Kill)}
    orders: list[Action] = []
    for key in epidemic.due(view):
        slot = view.slots[key]
        ailment = ailment_of(slot)
        if key in ended or slot.occupant is None or ailment is None:
            continue
        ending = ending_for(ailment)
        order = Kill if ending is Ending.FROZEN else Drain
        orders.append(order(key, slot.occupant.name, ailment.why, ending))
    return orders


@dataclass(frozen=True, slots=True)
class _Farewells:
    drains: tuple[Drain, ...] = ()
    staying: tuple[int, ...] = ()
    holds: tuple[str, ...] = ()


def _farewells(view: View, unwanted: list[int]) -> _Farewells:
    """Ask those to end that are not wanted, no more at once than the machine can see off."""
    if view.desired.stop is Stop.KILL:
        return _Farewells()
    news = [key for key in unwanted if key not in view.staying]
    turn = tuple(islice(chain(view.staying, news), places_left(view.endings)))
    drains = tuple(_drain(view, view.slots[key]) for key in turn)
    asked = set(turn)
    staying = tuple(key for key in news if key not in asked)
    is_held_back = staying or len(view.staying) + len(news) > len(turn)
    hold = "those that are to end wait for those asked before to do so, lest they all want the processor at once"
    return _Farewells(drains, staying, (hold,) if is_held_back else ())


def _drain(view: View, slot: Slot) -> Drain:
    assert slot.occupant is not None, f"slot {slot.key} holds nobody to be asked"
    if view.desired.stop is Stop.DRAIN:
        return Drain(slot.key, slot.occupant.name, "stopping", Ending.STOPPED)
    if view.rests(slot.key):
        return Drain(slot.key, slot.occupant.name, reasons.STOPPED, Ending.STOPPED)
    return Drain(slot.key, slot.occupant.name, reasons.of_surplus(slot, view), Ending.SURPLUS)


def _replacements(view: View, others: Collection[Action]) -> tuple[Drain, ...]:
    """Ask one to end that is well but to be replaced, if it is its turn and nothing else ends it."""
    ended = {action.key for action in others if isinstance(action, Drain | Kill)}
    for key, is_large in ((next_oversized(view), True), (next_outdated(view), False)):
        if key is not None and key not in ended:
            return (_renewal(view, key, is_large=is_large),)
    return ()


def _renewal(view: View, key: int, *, is_large: bool) -> Drain:
    occupant = view.slots[key].occupant
    assert occupant is not None, f"slot {key} is to be replaced and holds nobody"
    if is_large:
        why = reasons.of_oversize(occupant, view.policy)
        return Drain(key, occupant.name, why, Ending.MEMORY)
    if runs_another(occupant, view):
        return Drain(key, occupant.name, reasons.OUTDATED, Ending.OUTDATED)
    return Drain(key, occupant.name, reasons.RESTARTED, Ending.RESTARTED)


def _escalation(slot: Slot, view: View) -> Action | None:
    """A drain that outlives its grace becomes a kill; a kill is repeated until the tree is gone."""
    hurry = view.desired.stop is Stop.KILL and not slot.killing
    overdue = slot.deadline is not None and slot.deadline <= view.now
    if slot.occupant is None or not (hurry or overdue):
        return None
    return Kill(slot.key, slot.occupant.name, slot.reason, slot.ending)


@dataclass(frozen=True, slots=True)
class _Launches:
    spawns: tuple[Spawn, ...]
    deferred: tuple[int, ...]
    holds: tuple[str, ...]


def _launches(view: View, launchable: list[int]) -> _Launches:
    wanting = [k for k in launchable if k not in view.waiting and k not in view.waiting_again]
    if not (view.waiting or view.waiting_again or wanting):
        return _Launches((), (), ())
    rate = rate_of(view.policy, view.desired.replicas)
    tokens = refilled(view.budget, view.now, rate).tokens
    places, shut = in_turn(view, places_left(view.launches)), _shut_out(view, wanting)
    spawns: list[Spawn] = []
    holds: dict[str, None] = {_gate_hold(view): None} if shut else {}
    for key in _in_turns(view, wanting, shut, int(tokens)):
        if key is None:
            holds[_pace_hold(view, short_of_tokens=True)] = None
        elif len(spawns) == places:
            holds |= dict.fromkeys(filter(None, (_crowd_hold(view, spawns),)))
            break
        else:
            spawns.append(_spawn(view, view.slots[key]))
    launched = {spawn.key for spawn in spawns}
    deferred = tuple(key for key in wanting if key not in launched)
    return _Launches(tuple(spawns), deferred, tuple(holds))


def _shut_out(view: View, wanting: list[int]) -> set[int]:
    """Those to be filled that wait for news of who is there already; they take nobody's turn, and no token."""
    gate = gate_of(view)
    if gate.is_open(view.now):
        return set()
    everybody = chain(view.waiting_again, view.waiting, wanting)
    return {key for key in everybody if gate.may_fill_from(key) > view.now}


def _in_turns(
    view: View, wanting: list[int], shut: Collection[int], tokens: int
) -> Iterator[int | None]:
    """Those to be filled now: replacements and first launches in turns, so that neither starve behind the other.

    There are as many replacements as `tokens` pay for; None stands for one that they do not pay for.
    """
    is_again = {key: view.slots[key].generation != 0 for key in wanting if key not in shut}
    again = chain(_without(shut, view.waiting_again), (key for key, it in is_again.items() if it))
    first = chain(_without(shut, view.waiting), (key for key, it in is_again.items() if not it))
    paid = chain(islice(again, tokens), (None for _ in islice(again, 1)))
    if view.replaced_last:
        paid = chain([_NOBODY], paid)
    for pair in zip_longest(paid, first, fillvalue=_NOBODY):
        yield from (key for key in pair if key != _NOBODY)


def _without(shut: Collection[int], waiting: Collection[int]) -> Iterator[int]:
    return (key for key in waiting if key not in shut)


def _spawn(view: View, slot: Slot) -> Spawn:
    newest = max(slot.generation, newest_expired(view, slot.key))
    generation = max(newest + 1, view.generation_base)
    while Incarnation(slot.key, generation) in view.listed:
        generation += 1  # somebody took the name
    return Spawn(slot.key, Incarnation(slot.key, generation), slot.reason)


def _gate_hold(view: View) -> str:
    if is_first_list_awaited(view):
        return "first launches wait for ZooKeeper to list who is registered already"
    return "a first launch waits until a registration that claims its slot has been looked into"


def _pace_hold(view: View, *, short_of_tokens: bool) -> str:
    if short_of_tokens:
        rate = rate_of(view.policy, view.desired.replicas)
        numbers = f"{rate.burst:g} at once, {rate.per_s:g} per second"
        return f"launches wait: the group's restart budget is spent ({numbers})"
    return "launches wait for those under way to register, lest they all want the processor at once"


def _crowd_hold(view: View, spawns: list[Spawn]) -> str:
    """Why one that could be launched waits: for others, of whom there are enough under way."""
    if is_anonymous(view) and (spawns or turn_from(view) > view.now):
        return of_turn(view, is_taken=bool(spawns))
    return _pace_hold(view, short_of_tokens=False)


def _store_holds(view: View) -> tuple[str, ...]:
    if view.store is not Store.CONNECTED:
        return (f"ZooKeeper session {view.store.value}: nothing is concluded from registrations",)
    if view.list_failed:
        return (
            f"{view.list_failed}: nothing is concluded from registrations until there is a list",
        )
    if view.now < view.trust_from:
        return (
            "ZooKeeper or this daemon is back: workers have time to register again before any is missed",
        )
    silent_from = _silent_from(view)
    if silent_from is not None and view.now >= silent_from:
        return (
            "ZooKeeper is connected but does not answer: nothing is concluded from registrations",
        )
    return ()


def _silent_from(view: View) -> float | None:
    """From when on it is worth saying that a connected store has not answered with a list; None once it has."""
    if view.store is not Store.CONNECTED or view.fresh or view.list_failed:
        return None
    patience_s = view.policy.settle_s
    if view.listed_under == NO_CONNECTION:
        patience_s = min(patience_s, view.policy.first_list_s)
    return view.store_since + patience_s


def _brake_holds(view: View) -> tuple[str, ...]:
    lost = (reasons.of_mass_loss_hold(view),) if view.brake.on else ()
    return (*lost, reasons.of_epidemic_hold(view)) if view.room.epidemic.on else lost


def _held_holds(view: View) -> tuple[str, ...]:
    return (reasons.of_held(view),) if view.counts[Phase.HELD] else ()


def _renewal_holds(view: View, replacements: Collection[Drain]) -> tuple[str, ...]:
    if view.desired.stop is not Stop.NO:
        return ()
    is_waiting = view.oversized and not any(it.ending is Ending.MEMORY for it in replacements)
    large = (reasons.OVERSIZED_HOLD,) if is_waiting else ()
    return (*large, reasons.RENEWAL_HOLD) if view.outdated else large


def _unclear_holds(view: View) -> tuple[str, ...]:
    return (view.bindings.unclear,) if view.bindings.unclear else ()


def _notes(view: View) -> tuple[Action, ...]:
    """Before anything else, lest the next daemon not know what was done."""
    bindings = view.bindings
    if not bindings.is_changed:
        return ()
    return (Remember(tuple(bond for _, bond in sorted(bindings.bonds.items()))),)


def _registry_work(view: View) -> tuple[Action, ...]:
    """Whose registrations are held is said whether or not there is a store: it is made true when there is."""
    registers = tuple(Register(name) for name in sorted(view.to_register))
    withdrawals = tuple(Withdraw(name) for name in sorted(view.to_withdraw))
    held: tuple[Action, ...] = (*registers, *withdrawals)
    if view.store is not Store.CONNECTED:
        return held
    discards = tuple(Discard(name, child_of(view, name)) for name in sorted(view.to_discard))
    inspections = tuple(Inspect(name) for name in sorted(view.to_inspect, key=str))
    lists = (Relist(()),) if is_to_be_listed(view) else ()
    return (*held, *discards, *inspections, *lists)
