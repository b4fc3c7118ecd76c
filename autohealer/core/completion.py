"""Who is done: a worker that ended and is not replaced, as the group's policy has it.

What counts as success is systemd's table: exit code 0, and the end by a signal that asks for it (HUP, INT, PIPE,
TERM), unless it was us who asked. An end of which nobody knows how is no success. Who was ended by us, because it had
frozen or lost its registration, has failed. A launch that came to nothing has not been a life: it is tried again,
whatever the policy.

What is done is done for as long as its slot is wanted and nobody asks for it again; a later daemon is told of it by
`WorkerWasDone`. Who was to be replaced and ends by itself before that has done nothing: another run was asked for.

Must never know: clocks, I/O, what will be decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from signal import Signals

from autohealer.core import reasons
from autohealer.core.events import (
    Event,
    OverridesSet,
    ReplicasSet,
    RetryAsked,
    TreeEmptied,
    WorkerExited,
)
from autohealer.core.model import Exit, Incarnation, Occupant, Phase, Slot, View
from autohealer.core.policy import Restart
from autohealer.core.slots import is_expired, newest_expired, put, slot_for

_ASKED_TO_END = frozenset({Signals.SIGHUP, Signals.SIGINT, Signals.SIGPIPE, Signals.SIGTERM})


def is_success(exit_: Exit) -> bool:
    """Whether a process that nobody here told to end ended well."""
    return exit_.code == 0 or (exit_.signal in _ASKED_TO_END and not exit_.oom)


def completed(view: View, slot: Slot, empty: Slot, occupant: Occupant, cause: str) -> Slot | None:
    """The slot as done, if what filled it is not to be replaced; `empty` is the slot without it."""
    if occupant.exit is None or view.policy.restart is Restart.ALWAYS:
        return None
    if occupant.revision not in {"", view.desired.revision}:
        return None  # another program is wanted by now, and has done nothing yet
    if is_expired(occupant, view):
        return None
    has_failed = slot.ending is not None or not is_success(occupant.exit)
    if has_failed and view.policy.restart is Restart.ON_FAILURE:
        return None
    return replace(
        empty, phase=Phase.DONE, has_failed=has_failed, reason=reasons.of_done(cause, has_failed)
    )


def newly_done(facts: Iterable[Event], view: View) -> Iterator[Slot]:
    """The slots that have become done with these facts, for those who remember that."""
    for fact in facts:
        if isinstance(fact, WorkerExited | TreeEmptied):
            slot = view.slots.get(fact.name.slot)
            is_its = slot is not None and slot.generation == fact.name.generation
            if slot is not None and is_its and slot.phase is Phase.DONE:
                yield slot


def fewest_wanted(facts: Iterable[Event]) -> int | None:
    """How many slots were wanted at the least with these facts, if any tells: beyond them nobody is done any more."""
    return min((fact.replicas for fact in facts if isinstance(fact, ReplicasSet)), default=None)


def begun_again(facts: Iterable[Event], view: View, noted: Iterable[int]) -> list[int]:
    """Which of the slots `noted` as done are not any more because the operator wanted so, with these facts."""
    if not any(isinstance(fact, OverridesSet | RetryAsked) for fact in facts):
        return []
    slots = ((key, view.slots.get(key)) for key in noted)
    return [key for key, slot in slots if slot is not None and slot.phase is not Phase.DONE]


def was_done(view: View, name: Incarnation, why: str, *, has_failed: bool) -> None:
    """What an earlier daemon saw end for good is done here too, unless another run was asked for or has begun."""
    slot = slot_for(view, name.slot)
    is_taken = slot.occupant is not None or slot.phase is Phase.STOPPED
    is_asked = name.generation <= newest_expired(view, name.slot)
    if is_taken or is_asked or view.policy.restart is Restart.ALWAYS:
        return
    put(
        view,
        replace(
            slot,
            phase=Phase.DONE,
            phase_since=view.now,
            deadline=None,
            generation=max(slot.generation, name.generation),
            has_failed=has_failed,
            unregistered_death=None,
            reason=why,
        ),
    )
