"""Whether a group is as somebody asked, and what is still missing: judged by its status alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from autohealer.control.records import SlotRecord, StatusRecord

SHOWN_SLOTS = 3
SETTLED = frozenset({"ready", "done"})
STOPPED = frozenset({"stopped"})

Reached = Callable[[StatusRecord], "str | None"]
"""What is still missing, in words; None once it is as asked. May raise `Overruled`."""


class Overruled(Exception):  # noqa: N818 - says what is the case
    """It will not be as asked, because somebody wants something else by now; the message says what."""


def state_of(status: StatusRecord) -> str:
    """How many are ready, in words."""
    stopped = sum(it.phase == "stopped" for it in status.slots)
    also = f", {stopped} stopped" if stopped else ""
    return f"{status.ready}/{status.desired} ready{also}"


def scaled(status: StatusRecord, wanted: int) -> str | None:
    """What is missing until so many are kept. Raises `Overruled`."""
    if status.replicas != wanted:
        raise Overruled(f"somebody else wants {status.replicas} by now")
    surplus = sum(not 0 <= it.slot < wanted for it in status.slots)
    if surplus:
        return f"{surplus} to go: {state_of(status)}"
    if (missing := wanted - len(status.slots)) > 0:
        return f"{missing} to come: {state_of(status)}"
    return _lacking(status.slots, SETTLED | STOPPED, status)


def all_in(
    status: StatusRecord, phases: frozenset[str], slots: frozenset[int] | None
) -> str | None:
    """What is missing until these slots are in one of these phases; None: all slots."""
    meant = [it for it in status.slots if slots is None or it.slot in slots]
    return _lacking(meant, phases, status)


def started(
    status: StatusRecord, slots: frozenset[int] | None, finished: Mapping[int, int]
) -> str | None:
    """What is missing until these slots are filled, those `finished` by a newer generation than that."""
    old = [it for it in status.slots if it.generation <= finished.get(it.slot, -1)]
    if old:
        return f"{len(old)} to run again: {state_of(status)}"
    return all_in(status, SETTLED, slots)


def restarted(status: StatusRecord, before: Mapping[int, int]) -> str | None:
    """What is missing until nobody is left of those there were: the newest generation of each slot.

    What is stopped stays so.
    """
    slots = {it.slot: it for it in status.slots}
    old = [
        slot
        for slot, generation in before.items()
        if slot in slots
        and slots[slot].generation <= generation
        and slots[slot].phase not in STOPPED
    ]
    if old:
        return f"{len(old)} to be replaced: {state_of(status)}"
    meant = [it for it in status.slots if it.slot in before]
    return _lacking(meant, SETTLED | STOPPED, status)


def _lacking(
    slots: Iterable[SlotRecord], phases: frozenset[str], status: StatusRecord
) -> str | None:
    """Who is not in one of these phases; a ready worker counts once it is known to be."""
    late = [it for it in slots if it.phase not in phases or (it.phase == "ready" and not it.ready)]
    if not late:
        return None
    first = ", ".join(f"slot {it.slot} is {it.phase}: {it.reason}" for it in late[:SHOWN_SLOTS])
    more = f" and {len(late) - SHOWN_SLOTS} more" if len(late) > SHOWN_SLOTS else ""
    return f"{state_of(status)}; {first}{more}"
