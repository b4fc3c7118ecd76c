"""Turn the view into the status: no more than is known, each fact with its age.

`ready` in the status is stricter than the phase: a slot whose worker was registered a moment ago but is
stopped right now, or of which the store can say nothing, is not called ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autohealer.control.records import SlotRecord, StatusRecord, StrangerRecord
from autohealer.core.ailing import LIVING
from autohealer.core.binding import child_of
from autohealer.core.membership import presence_of, presence_since
from autohealer.core.model import NEVER, Incarnation, Phase, Presence, Slot, Stop, View
from autohealer.core.readiness import ailing_of, lacking
from autohealer.core.reasons import RESTART_ASKED, of_holdouts, of_oversize
from autohealer.core.slots import runs_another
from autohealer.printable import encodable


@dataclass(frozen=True, slots=True)
class Health:
    """What a process is doing: the kernel's word, and what it uses."""

    state: str
    rss_bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class About:
    """What the status says of the daemon itself."""

    group: str
    daemon_pid: int
    version: str
    zookeeper: str
    since: float = NEVER
    """When the daemon began, by the same clock as the view's."""


NOT_SERVING = frozenset({"stopped", "tracing-stop", "zombie", "dead"})


Examine = Callable[[int], Health | None]
"""Looks at a process; None when there is none."""


@dataclass(frozen=True, slots=True)
class Remarks:
    """What the daemon says beyond its view, as of when it is asked.

    `holds` is what the last plan held back, `notes` what else the operator should know, `hint` what may be done about
    the last death in a slot, or "", `says` what a worker said of itself, `address` where what fills a slot serves.
    """

    holds: Callable[[], tuple[str, ...]] = tuple
    notes: Callable[[], tuple[str, ...]] = tuple
    hint: Callable[[int], str] = lambda _slot: ""
    says: Callable[[Incarnation], str] = lambda _name: ""
    address: Callable[[Slot], str] = lambda _slot: ""


SLOTS_PER_SLICE = 100
"""A millisecond's worth."""


async def gather_status(
    about: About,
    view: View,
    clock: Callable[[], float],
    remarks: Remarks,
    examine: Examine,
) -> StatusRecord:
    """The whole status of a live view, however many slots it has, without holding up its loop.

    Processes are looked at on a thread, and slots read slice by slice; what changes meanwhile shows as it is then.
    """
    began = clock()
    pids = [slot.occupant.pid for slot in view.slots.values() if slot.occupant is not None]
    seen = await _examine_aside([pid for pid in pids if pid is not None], examine)

    def recall(pid: int) -> Health | None:
        return seen[pid] if pid in seen else examine(pid)

    rows: list[SlotRecord] = []
    keys = sorted(view.slots)
    for start in range(0, len(keys), SLOTS_PER_SLICE):
        now = clock()
        slots = [
            view.slots[key] for key in keys[start : start + SLOTS_PER_SLICE] if key in view.slots
        ]
        rows += [_slot_record(slot, view, now, recall, remarks, now - began) for slot in slots]
        await asyncio.sleep(0)
    return _whole(about, view, clock(), remarks, rows)


async def _examine_aside(pids: Sequence[int], examine: Examine) -> dict[int, Health | None]:
    try:
        return await asyncio.to_thread(lambda: {pid: examine(pid) for pid in pids})
    except RuntimeError:
        return {}  # no thread can be started now, so they are looked at one by one


def _whole(
    about: About, view: View, now: float, remarks: Remarks, rows: Sequence[SlotRecord]
) -> StatusRecord:
    slots = tuple(rows)
    return StatusRecord(
        group=about.group,
        daemon_pid=about.daemon_pid,
        version=about.version,
        zookeeper=about.zookeeper,
        store=view.store.value,
        store_age_s=_age(view.store_since, now),
        desired=view.desired.kept,
        ready=sum(slot.ready for slot in slots),
        stopping=view.desired.stop is not Stop.NO,
        holds=tuple(map(encodable, remarks.holds())),
        slots=slots,
        strangers=tuple(
            StrangerRecord(s.label, s.standing.value, s.pid, encodable(s.host))
            for s in sorted(view.strangers.values(), key=lambda stranger: stranger.label)
        ),
        notes=tuple(map(encodable, remarks.notes())),
        daemon_age_s=_age(about.since, now),
    )


def _slot_record(
    slot: Slot,
    view: View,
    now: float,
    examine: Examine,
    remarks: Remarks,
    health_age_s: float,
) -> SlotRecord:
    occupant = slot.occupant
    health = examine(occupant.pid) if occupant is not None and occupant.pid is not None else None
    presence = Presence.ABSENT if occupant is None else presence_of(occupant, view)
    child = None if occupant is None else child_of(view, occupant.name)
    ready = slot.phase is Phase.READY and presence is Presence.PRESENT and _serves(health)
    return SlotRecord(
        slot=slot.key,
        phase=slot.phase.value,
        phase_age_s=_age(slot.phase_since, now) or 0.0,
        ready=ready,
        pid=occupant.pid if occupant else None,
        pid_age_s=_age(occupant.since, now) if occupant else None,
        generation=slot.generation,
        adopted=occupant.adopted if occupant else False,
        registration=presence.value,
        registration_age_s=_age(presence_since(occupant, view), now) if occupant else None,
        health=health.state if health else "no process",
        health_age_s=health_age_s if occupant else None,
        rss_bytes=health.rss_bytes if health else None,
        cpu_s=round(health.cpu_s, 3) if health else None,
        restarts=slot.restarts,
        failures=slot.failures if _is_failing(slot, view, now) else 0,
        reason=encodable(of_holdouts(slot.reason, slot.holdouts)),
        next_try_s=_next_try_s(slot, now),
        hint="" if slot.phase is Phase.READY else encodable(remarks.hint(slot.key)),
        not_ready=_not_ready(slot, view, health),
        ailing=encodable(ailing_of(slot) or _too_large(slot, view) or _as_asked(slot, view)),
        says=encodable(remarks.says(occupant.name)) if occupant else "",
        revision=encodable(occupant.revision) if occupant else "",
        outdated=_is_outdated(slot, view),
        child="" if child is None else encodable(child.label),
        address=encodable(remarks.address(slot)),
    )


def _not_ready(slot: Slot, view: View, health: Health | None) -> tuple[str, ...]:
    """What keeps a live worker from being ready; last what the kernel says of it."""
    missing = tuple(map(encodable, lacking(slot, view)))
    if health is None or health.state not in NOT_SERVING or slot.phase not in LIVING:
        return missing
    return (*missing, f"its process is {health.state}")


def _too_large(slot: Slot, view: View) -> str:
    if slot.occupant is None or slot.key not in view.oversized:
        return ""
    return of_oversize(slot.occupant, view.policy)


def _as_asked(slot: Slot, view: View) -> str:
    is_due = slot.occupant is not None and slot.key in view.outdated
    return RESTART_ASKED if is_due and not _is_outdated(slot, view) else ""


def _is_outdated(slot: Slot, view: View) -> bool:
    if slot.occupant is None or slot.key not in view.outdated:
        return False
    return runs_another(slot.occupant, view)


def _is_failing(slot: Slot, view: View, now: float) -> bool:
    """Whether its failed starts still count; what serves now has ended their row."""
    served_s = None if slot.occupant is None else slot.occupant.served_s(now)
    return served_s is None or served_s < view.policy.min_ready_s


def _serves(health: Health | None) -> bool:
    return health is not None and health.state not in NOT_SERVING


def _next_try_s(slot: Slot, now: float) -> float | None:
    if slot.phase not in {Phase.BACKOFF, Phase.QUARANTINED} or slot.deadline is None:
        return None
    return round(max(0.0, slot.deadline - now), 3)


def _age(since: float, now: float) -> float | None:
    """Milliseconds are what it is known to; further digits would only be read over."""
    return None if since == NEVER else round(max(0.0, now - since), 3)
