"""Who is ready, who is not and for want of what: the only place that says so.

Theory of operation. A worker is ready when its process is up, it is registered (if it does that itself), its startup
probe succeeded once, its readiness probe succeeds now, and it said `READY=1` (if it is to). Until all of that was true
for the first time it is starting; one for which something of it is true no more is unready, lives on, and is ready
again when it is. A registration that goes missing is another matter (see `membership`). What calls for a worker's end
goes to `epidemic`.

Must never know: clocks, I/O, how anything is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autohealer.core import epidemic
from autohealer.core.ailing import LIVING, ailment_of
from autohealer.core.brake import note_registered
from autohealer.core.crowd import note_through
from autohealer.core.health import Check, Health, Verdict
from autohealer.core.membership import presence_of
from autohealer.core.model import (
    Incarnation,
    Occupant,
    Phase,
    Presence,
    Slot,
    View,
)
from autohealer.core.policy import Registrar
from autohealer.core.slots import occupied_by, put

_AWAITED = {
    Check.STARTUP: "its startup probe has not succeeded yet",
    Check.READINESS: "its readiness probe has not succeeded yet",
    Check.NOTIFY: "it has not said READY=1 yet",
}


def newcomer(view: View, name: Incarnation) -> Occupant:
    """One that is being launched: nothing is known of it yet."""
    policy = view.policy
    return Occupant(name, None, view.now, policy.registrar, health=Health(policy.health.checks))


def is_up(occupant: Occupant) -> bool:
    """Whether it is there for what it is launched for, its health aside."""
    if occupant.registrar is Registrar.AGENT:
        return occupant.pid is not None
    return occupant.listed


def review(view: View, slot: Slot, occupant: Occupant) -> None:
    """Something became known of what fills a slot: put it into the phase it is in now."""
    if slot.phase is Phase.STARTING and is_up(occupant) and occupant.health.is_fit:
        _became_ready(view, slot, occupant)
    elif slot.phase is Phase.READY and not occupant.health.is_fit:
        _turn(view, slot, occupant, Phase.UNREADY)
    elif slot.phase is Phase.UNREADY and occupant.health.is_fit:
        _turn(view, slot, occupant, Phase.READY)
    else:
        put(view, replace(slot, occupant=occupant))
        _take_back(view, slot, occupant)
    if view.slots[slot.key].phase is Phase.READY and occupant.health.is_proven:
        epidemic.note_proven(view, slot.key)


def _became_ready(view: View, slot: Slot, occupant: Occupant) -> None:
    """What was starting serves now."""
    note_through(view, view.launches, slot)
    note_registered(view, slot.key)
    ready = replace(occupant, set_aside=False, ready_at=view.now)
    _turn(view, slot, ready, Phase.READY)


def _take_back(view: View, slot: Slot, occupant: Occupant) -> None:
    """An earlier daemon registered it when it was ready, and now something is found wrong with it."""
    if slot.phase is not Phase.STARTING or occupant.registrar is not Registrar.AGENT:
        return
    if occupant.listed and any(finding.check.gates for finding in occupant.health.findings):
        view.to_withdraw.add(occupant.name)


def _turn(view: View, slot: Slot, occupant: Occupant, phase: Phase) -> None:
    put(view, replace(slot, phase=phase, phase_since=view.now, occupant=occupant))


def reported(view: View, name: Incarnation, check: Check, verdict: Verdict, why: str) -> None:
    """A check of a worker is answered otherwise than before."""
    slot, occupant = occupied_by(view, name)
    if slot is None or occupant is None or slot.phase not in LIVING:
        return
    ailed = occupant.health.ailment is not None
    health = occupant.health.told(check, verdict, why, view.now)
    review(view, slot, replace(occupant, health=health))
    if health.ailment is not None and not ailed:
        epidemic.note_ailing(view, slot.key)
    epidemic.release_if_over(view)


def rules_changed(view: View) -> None:
    """Of who lives nothing more is awaited than before, and what is not asked any more is neither awaited nor found."""
    asked = view.policy.health.checks | {Check.RUNNING}
    for slot in list(view.slots.values()):
        if slot.occupant is None or slot.phase not in LIVING:
            continue
        was = slot.occupant.health
        findings = tuple(finding for finding in was.findings if finding.check in asked)
        health = Health(was.awaited & asked, findings)
        if health != was:
            review(view, slot, replace(slot.occupant, health=health))


def lacking(slot: Slot, view: View) -> tuple[str, ...]:
    """What keeps a live worker from being ready, each in words; empty where nothing does, or there is none."""
    if slot.occupant is None or slot.phase not in LIVING:
        return ()
    return tuple(_lacking(slot.occupant, view))


def _lacking(occupant: Occupant, view: View) -> Iterator[str]:
    if occupant.pid is None and not occupant.listed:
        yield "its process is being launched"
        return
    health = occupant.health
    found = {finding.check for finding in health.findings}
    yield from (f.why for f in health.findings if f.check.gates)
    yield from (_AWAITED[it] for it in _AWAITED if it in health.awaited and it not in found)
    match presence_of(occupant, view):
        case Presence.ABSENT if occupant.registrar is not Registrar.AGENT or health.is_fit:
            yield "it is not registered"
        case Presence.UNKNOWN:
            yield "nothing is known of its registration"
        case _:
            return


def ailing_of(slot: Slot) -> str:
    """What a live worker is to be ended for, in words; empty where there is nothing."""
    ailment = ailment_of(slot)
    return "" if ailment is None else ailment.why
