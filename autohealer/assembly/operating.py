"""What operators change of one group while it runs: noted first, then told to the core, then said.

Theory of operation. A change is refused whole or done. It is written into the group's folder before anybody hears of
it, so a daemon that dies in between leaves it to the next one, which reads the note before it decides anything. Where
it cannot be written it is done all the same, because a full disk is no time to be unable to stop a program, and the
answer says that it will not outlast this daemon. Changes wait for each other; who says which version of them they have
seen is refused when there is another by now.

Must never know: HTTP, how a change is carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import assert_never

from structlog.typing import FilteringBoundLogger

from autohealer.control.records import ChangeRecord, SlotRecord, StatusRecord
from autohealer.control.requests import (
    Asked,
    Refused,
    Restart,
    Scale,
    Signal,
    Start,
    Stop,
)
from autohealer.core.events import Event, OverridesSet, ReplicasSet, RetryAsked
from autohealer.core.model import Incarnation, View
from autohealer.core.overrides import Overrides
from autohealer.processes.tree import Leader
from autohealer.statedir.operator_note import Mark, OperatorNote, read_note, write_note

NOTE_WITHIN_S = 2.0
"""A disk that takes longer is taken for one that cannot be written."""


@dataclass(frozen=True, slots=True)
class Levers:
    """What a change moves: the group's mailbox, its processes, and what is written about it.

    `leader_of` finds the first process of a live incarnation. `note` writes into the history.
    """

    post: Callable[[Event], None]
    leader_of: Callable[[Incarnation], Leader | None]
    note: Callable[[str, str], None]
    logger: FilteringBoundLogger


class Operating:
    """Used from the event loop's thread only."""

    def __init__(self, folder: Path, view: View, declared: int, levers: Levers) -> None:
        """`declared` is how many workers the configuration wants."""
        self._folder = folder
        self._view = view
        self._declared = declared
        self._levers = levers
        self._turn = asyncio.Lock()
        self._has_begun = False
        self.note = read_note(folder)

    @property
    def wanted(self) -> int:
        """How many workers are wanted by now."""
        return self.note.wanted(self._declared)

    @property
    def sentences(self) -> list[str]:
        """What of it counts now, in words."""
        return _standing(self.note, self._declared)

    def marked(self, status: StatusRecord) -> StatusRecord:
        """The group's status with who changed what of it."""
        return replace(
            status,
            declared=self._declared,
            replicas=self.wanted,
            changes=self.note.version,
            slots=tuple(map(self._marked, status.slots)),
        )

    def _marked(self, slot: SlotRecord) -> SlotRecord:
        mark = self.note.mark_of(slot.slot)
        return slot if mark is None else replace(slot, stopped_by=mark.by, stopped_at=mark.at)

    def recall(self) -> None:
        """Before anything else is told: what was changed under earlier daemons."""
        self._levers.post(OverridesSet(_overrides_in(self.note)))
        for sentence in self.sentences:
            self._levers.logger.warning("operator_note", why=sentence)

    def begin(self) -> None:
        """From now on there are to be as many workers as are wanted."""
        self._has_begun = True
        self._levers.post(ReplicasSet(self.wanted))

    def declare(self, replicas: int) -> None:
        """The configuration was read again; where it wants another number by now, that one counts."""
        self._declared = replicas
        if self._has_begun:
            self._levers.post(ReplicasSet(self.wanted))

    async def change(self, asked: Asked) -> ChangeRecord:
        """Do it. Raises `Refused`: nothing was changed."""
        async with self._turn:
            self._check_version(asked.version)
            if isinstance(asked.change, Signal):
                return self._signal(asked.change, asked.by)
            return await self._change(asked.change, asked.by)

    # --- changes ----------------------------------------------------------------------------------

    async def _change(self, change: Scale | Stop | Start | Restart, by: str) -> ChangeRecord:
        mark = Mark(by, datetime.now(UTC).isoformat(timespec="seconds"))
        changed, did = self._changed(change, mark)
        newest = {slot.key: slot.generation for slot in self._view.slots.values()}
        note = replace(changed.without_renewed(newest), version=self.note.version + 1)
        lost = await self._write(note)
        self.note = note
        self._levers.post(OverridesSet(_overrides_in(note)))
        if isinstance(change, Start):
            self._levers.post(RetryAsked(frozenset(self._meant(change.slots))))
        if isinstance(change, Scale) and self._has_begun:
            self._levers.post(ReplicasSet(self.wanted))
        return self._said(did, by, lost)

    def _changed(
        self, change: Scale | Stop | Start | Restart, mark: Mark
    ) -> tuple[OperatorNote, str]:
        """The note as it is then, and what was done, in words. Raises `Refused`."""
        note = self.note
        match change:
            case Scale(replicas):
                wanted = self._declared if replicas is None else replicas
                did = f"{self.wanted} -> {wanted} wanted ({self._declared} declared)"
                return note.scaled_to(wanted, self._declared, mark), did
            case Stop(slots):
                return note.stopping(self._checked(slots), mark), f"{_told(slots)} stopped"
            case Start(slots):
                all_slots = range(self.wanted)
                return note.starting(self._checked(slots), all_slots), f"{_told(slots)} started"
            case Restart(slots):
                generations = self._generations(self._checked(slots))
                return note.renewing(generations), f"{_told(slots)} to be restarted"
            case _:
                assert_never(change)

    def _signal(self, change: Signal, by: str) -> ChangeRecord:
        names = [
            slot.occupant.name
            for key in self._meant(self._checked(change.slots))
            if (slot := self._view.slots.get(key)) is not None and slot.occupant is not None
        ]
        leaders = [leader for name in names if (leader := self._levers.leader_of(name)) is not None]
        for leader in leaders:
            leader.watched.signal(change.signal)
        workers = "1 worker" if len(leaders) == 1 else f"{len(leaders)} workers"
        return self._said(f"{change.signal.name} sent to {workers}", by, "")

    def _said(self, did: str, by: str, lost: str) -> ChangeRecord:
        self._levers.logger.info("operator", did=did, by=by)
        self._levers.note("operator", f"{did}, by {by}")
        if lost:
            self._levers.logger.error("operator_not_noted", why=lost)
        return ChangeRecord(self._view.group, self.note.version, did, lost)

    async def _write(self, note: OperatorNote) -> str:
        """Why it is not noted; empty where it is."""
        try:
            writing = asyncio.to_thread(write_note, self._folder, note)
            await asyncio.wait_for(writing, NOTE_WITHIN_S)
        except OSError as error:
            why = error.strerror or "the disk does not answer"
        except RuntimeError:
            why = "no thread can be started"
        else:
            return ""
        return f"it could not be noted in {self._folder} ({why}), so the next daemon will not know of it"

    def _generations(self, slots: Collection[int] | None) -> dict[int, int]:
        """The newest of each slot that ever held anybody."""
        found = (self._view.slots.get(key) for key in self._meant(slots))
        return {it.key: it.generation for it in found if it is not None and it.generation}

    # --- who is meant -----------------------------------------------------------------------------

    def _meant(self, slots: Collection[int] | None) -> Iterable[int]:
        return range(self.wanted) if slots is None else slots

    def _checked(self, slots: frozenset[int] | None) -> frozenset[int] | None:
        """Raises `Refused` where there is no such slot."""
        wrong = min((slot for slot in slots or () if not 0 <= slot < self.wanted), default=None)
        if wrong is None and slots != frozenset():
            return slots
        last = f"slots 0 to {self.wanted - 1}" if self.wanted else "no slots"
        what = "no slot is named" if wrong is None else f"there is no slot {wrong}"
        raise Refused(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"{what}: group {self._view.group!r} has {last}"
        )

    def _check_version(self, version: int | None) -> None:
        if version is None or version == self.note.version:
            return
        raise Refused(
            HTTPStatus.PRECONDITION_FAILED,
            f"group {self._view.group!r} was changed by somebody else in the meantime: look again, and ask again",
        )


def _standing(note: OperatorNote, declared: int) -> list[str]:
    """What of a note counts now, in sentences."""
    told = []
    if note.is_scaled(declared) and note.scaled is not None:
        told.append(f"{note.replicas} of {declared} declared: scaled by {_by(note.scaled)}")
    if note.all_stopped is not None:
        told.append(f"all slots are stopped, by {_by(note.all_stopped)}")
    elif stopped := {
        slot: mark for slot, mark in note.stopped.items() if slot < note.wanted(declared)
    }:
        marks = sorted({_by(mark) for mark in stopped.values()})
        told.append(f"{_told(stopped)} stopped, by {' and '.join(marks)}")
    return told


def _by(mark: Mark) -> str:
    return f"{mark.by} at {mark.at}"


def _overrides_in(note: OperatorNote) -> Overrides:
    return Overrides(note.all_stopped is not None, frozenset(note.stopped), note.renew)


def _told(slots: Collection[int] | None) -> str:
    """Slots in words: runs of them as from and to."""
    if slots is None:
        return "all slots"
    runs: list[list[int]] = []
    for slot in sorted(slots):
        if runs and slot == runs[-1][-1] + 1:
            runs[-1].append(slot)
        else:
            runs.append([slot])
    told = ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"slot {told}" if len(slots) == 1 else f"slots {told}"
