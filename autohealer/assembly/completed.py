"""What is done is noted, so that the next daemon does not do it again: for as long as nobody stopped this one.

Theory of operation. A crash, a detachment or an upgrade of the daemon must not run a job twice; who stops everything
and starts it anew wants it to run again, and so does who starts another revision of it, or the machine. So each slot
that is done gets a line with boot and revision. A slot that is not wanted any more, or that the operator wants to run
again, loses it, and an orderly stop removes all.

Limits: what ends while no daemon runs was seen by nobody, and is run again. So is what was done in the very moment of a
crash; what was begun again in that moment may be taken for done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from autohealer.core.actions import Plan
from autohealer.core.completion import begun_again, fewest_wanted, newly_done
from autohealer.core.events import Event, WorkerWasDone
from autohealer.core.model import Incarnation, Slot, Stop, View
from autohealer.processes.identity import boot_id
from autohealer.statedir.files import open_private, read_private
from autohealer.telemetry.scribe import Batch, Missing, Scribe

NAME = "done"
LAST_MOMENT_S = 1.0


class Completed:
    """An observer of decisions about one group; its file is in the group's folder."""

    def __init__(self, folder: Path, revision: str, warn: Callable[[str], None]) -> None:
        """`revision` is what is wanted at first; `warn` is told once when something is not noted, on any thread."""
        self._path = folder / NAME
        self._scope = {"boot": boot_id(), "revision": revision}
        self._warn = warn
        self._warned = False
        self._noted: set[int] = set()
        self._scribe = Scribe(NAME, self._write)

    def read(self) -> list[WorkerWasDone]:
        """What earlier daemons saw done, of this boot and revision; the newest of each slot."""
        try:
            lines = read_private(self._path).splitlines()
        except OSError:
            return []
        found: dict[int, WorkerWasDone] = {}
        for line in lines:
            if (wanted := _wanted_in(line)) is not None:
                found = {slot: it for slot, it in found.items() if slot < wanted}
            elif again := _again_in(line):
                found = {slot: it for slot, it in found.items() if slot not in again}
            elif (it := self._parsed(line)) is not None:
                found[it.name.slot] = it
        self._noted = set(found)
        return list(found.values())

    def close(self) -> None:
        """Write what waits, unless the disk hangs."""
        self._scribe.close(LAST_MOMENT_S)

    def __call__(self, facts: Sequence[Event], plan: Plan, view: View) -> None:
        """One round."""
        wanted = fewest_wanted(facts)
        if wanted is not None and any(slot >= wanted for slot in self._noted):
            self._noted = {slot for slot in self._noted if slot < wanted}
            self._scribe.put(json.dumps({"wanted": wanted}))
        if again := begun_again(facts, view, self._noted):
            self._noted.difference_update(again)
            self._scribe.put(json.dumps({"again": again}))
        for slot in newly_done(facts, view):
            self._noted.add(slot.key)
            self._scribe.put(self._line(slot, view.desired.revision))
        if plan.finished and view.desired.stop is not Stop.DETACH and not view.violations:
            self._scribe.put("")

    def _line(self, slot: Slot, revision: str) -> str:
        fields = {"revision": revision, "slot": slot.key, "generation": slot.generation}
        return json.dumps(self._scope | fields | {"failed": slot.has_failed, "why": slot.reason})

    def _parsed(self, line: bytes) -> WorkerWasDone | None:
        """One line; None for another boot's or revision's, and for one cut short by a crash."""
        try:
            fields = json.loads(line)
            if any(fields[key] != value for key, value in self._scope.items()):
                return None
            name = Incarnation(int(fields["slot"]), int(fields["generation"]))
            return WorkerWasDone(name, str(fields["why"]), bool(fields["failed"]))
        except (ValueError, TypeError, KeyError):
            return None

    def _write(self, batch: Batch) -> None:
        """On the scribe's thread; an empty line stands for an orderly end."""
        try:
            for line in batch:
                if line == "":
                    with suppress(FileNotFoundError):
                        self._path.unlink()
                elif not isinstance(line, Missing):
                    self._append(line)
        except OSError as error:
            if not self._warned:
                self._warned = True
                self._warn(f"{self._path} cannot be written: {error.strerror}")

    def _append(self, line: str) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        with os.fdopen(open_private(self._path, flags), "a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def _wanted_in(line: bytes) -> int | None:
    """How many slots were wanted from then on, if a line tells that."""
    wanted = _told(line, "wanted")
    return wanted if isinstance(wanted, int) else None


def _again_in(line: bytes) -> list[object]:
    """Which slots were to be filled again from then on, if a line tells that."""
    again = _told(line, "again")
    return again if isinstance(again, list) else []


def _told(line: bytes, key: str) -> object:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields.get(key) if isinstance(fields, dict) else None
