"""A story for reading: what struck, what became true, what the daemon did and why, and a picture of its slots.

Theory of operation. Lines come from three sources with one clock: the faults as they strike, the history, and the
daemon's rounds in which something was folded or done. The picture shows the daemon's belief, `0:ready 1:starting
2:-` (`ready?`: its registration is missing), which is the only place where belief is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

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
from autohealer.core.events import Event, WorkersListed
from autohealer.core.model import Incarnation, Phase, View
from tests.simulation.script import Script
from tests.simulation.several import OutcomeOfSeveral, Several, play_several
from tests.simulation.story import Outcome, play
from tests.support.history import Record
from tests.support.virtual_time import START_S

Line = tuple[float, str]


def transcript_of(script: Script) -> tuple[Outcome, Iterator[str]]:
    """Play a story; its outcome, and line by line what happened."""
    lines: list[Line] = []
    outcome = play(script, [partial(_observe, lines)], lambda at, what: lines.append((at, what)))
    return outcome, _in_order([("", outcome.history)], lines)


def transcript_of_several(script: Several) -> tuple[OutcomeOfSeveral, Iterator[str]]:
    """The same of a story of several groups, of which each line tells."""
    lines: list[Line] = []
    outcome = play_several(
        script, [partial(_observe, lines)], lambda at, what: lines.append((at, what))
    )
    told = [(f"g{number} ", history) for number, history in enumerate(outcome.histories)]
    return outcome, _in_order(told, lines)


def _observe(lines: list[Line], facts: Sequence[Event], plan: Plan, view: View) -> None:
    of = f"{view.group} " if view.group else ""
    lines.extend((view.now, f"  {of}fact    {_fact(fact)}") for fact in facts)
    lines.extend((view.now, f"  {of}action  {_action(action)}") for action in plan.actions)
    if facts or plan.actions:
        holds = f"   holds: {'; '.join(plan.holds)}" if plan.holds else ""
        lines.append((view.now, f"  {of}view    {picture(view)}{holds}"))


def _in_order(
    histories: Sequence[tuple[str, Sequence[Record]]], lines: Sequence[Line]
) -> Iterator[str]:
    told = [
        (record.at, f"  {of}true    {_record(record)}")
        for of, history in histories
        for record in history
    ]
    # Stable: at one instant what is true stands before what was made of it.
    ordered = sorted([*told, *lines], key=lambda line: line[0])
    return (f"{at - START_S:10.4f} {text}" for at, text in ordered)


def picture(view: View) -> str:
    """The slots as the daemon believes them: `0:ready 1:starting 2:-`."""
    return " ".join(f"{key}:{_phase(view, key)}" for key in sorted(view.slots)) or "no slots"


def _phase(view: View, key: int) -> str:
    slot = view.slots[key]
    if slot.phase is Phase.VACANT:
        return "-"
    lost = slot.phase is Phase.READY and slot.occupant is not None and not slot.occupant.listed
    return f"{slot.phase.value}{'?' if lost else ''}"


def _fact(fact: Event) -> str:
    if isinstance(fact, WorkersListed):
        names = ", ".join(_short(name) for name in sorted(fact.ours))
        strange = f" and strange {', '.join(sorted(fact.strange))}" if fact.strange else ""
        return f"WorkersListed {names or 'nobody'}{strange}"
    return repr(fact)


def _action(action: Action) -> str:
    match action:
        case Spawn(_, name, reason) | Drain(_, name, reason) | Kill(_, name, reason):
            return f"{type(action).__name__} {_short(name)}: {reason}"
        case Discard(name) | Register(name) | Withdraw(name):
            return f"{type(action).__name__} {_short(name)}"
        case Inspect(name):
            return f"Inspect {name if isinstance(name, str) else _short(name)}"
        case Relist(keys):
            return f"Relist for slots {', '.join(map(str, keys))}"
        case Remember(bonds):
            bound = (f"{_short(b.name)}: {b.child.label if b.child else '?'}" for b in bonds)
            return f"Remember {', '.join(bound)}"


def _record(record: Record) -> str:
    fields = {field: getattr(record, field) for field in record.__slots__ if field != "at"}
    told = " ".join(_value(value) for value in fields.values() if value is not None)
    return f"{type(record).__name__} {told}".rstrip()


def _value(value: object) -> str:
    if isinstance(value, Incarnation):
        return _short(value)
    return str(getattr(value, "value", value))


def _short(name: Incarnation) -> str:
    return f"{name.slot}/{name.generation}"
