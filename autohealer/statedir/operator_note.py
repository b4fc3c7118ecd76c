"""The note of what operators changed of a group while it runs, so that the next daemon goes on with it: one JSON file.

It appears whole or not at all. What cannot be understood of it is passed over, as if nobody had asked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from autohealer.statedir.files import read_private, replace_private

NOTE_NAME = "operator.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Mark:
    """Who changed something, and when: the name of a user, and UTC in ISO form."""

    by: str
    at: str


@dataclass(frozen=True, slots=True)
class OperatorNote:
    """What was changed. `version` grows with every change, so that two who change at once can be told from each other.

    `replicas` are wanted in place of `declared`, which is what the configuration said when that was asked for; None:
    nobody asked. `all_stopped` and `stopped` are the marks of who stopped all slots, or one of them. `renew` has the
    newest generation that is to be replaced, by slot.
    """

    version: int = 0
    replicas: int | None = None
    declared: int = 0
    scaled: Mark | None = None
    all_stopped: Mark | None = None
    stopped: Mapping[int, Mark] = field(default_factory=dict)
    renew: Mapping[int, int] = field(default_factory=dict)

    def wanted(self, declared: int) -> int:
        """How many workers, where the configuration says `declared`: it has the last word once it says another."""
        return declared if self.replicas is None or declared != self.declared else self.replicas

    def is_scaled(self, declared: int) -> bool:
        """Whether an operator's number counts and not the configuration's."""
        return self.wanted(declared) != declared

    def mark_of(self, slot: int) -> Mark | None:
        """Who stopped a slot, if it is."""
        return self.stopped.get(slot, self.all_stopped)

    def scaled_to(self, replicas: int, declared: int, mark: Mark) -> OperatorNote:
        """So many are wanted, whatever the configuration says; the number it says itself is no change of it."""
        if replicas == declared:
            return replace(self, replicas=None, declared=0, scaled=None)
        return replace(self, replicas=replicas, declared=declared, scaled=mark)

    def stopping(self, slots: Collection[int] | None, mark: Mark) -> OperatorNote:
        """Nobody is kept in these slots, or in any."""
        if slots is None:
            return replace(self, all_stopped=mark, stopped={})
        if self.all_stopped is not None:
            return self
        return replace(self, stopped={**dict.fromkeys(slots, mark), **self.stopped})

    def starting(self, slots: Collection[int] | None, all_slots: Collection[int]) -> OperatorNote:
        """These slots are filled again; `all_slots` are those there are, of which the others stay stopped."""
        if slots is None:
            return replace(self, all_stopped=None, stopped={})
        marks = dict(self.stopped)
        if self.all_stopped is not None:
            marks = dict.fromkeys(all_slots, self.all_stopped)
        left = {slot: mark for slot, mark in marks.items() if slot not in slots}
        return replace(self, all_stopped=None, stopped=left)

    def renewing(self, generations: Mapping[int, int]) -> OperatorNote:
        """Whoever has one of these generations, or an older one, is replaced."""
        return replace(self, renew={**self.renew, **generations})

    def without_renewed(self, generations: Mapping[int, int]) -> OperatorNote:
        """The same less what is done: `generations` are the newest of each slot."""
        left = {
            slot: newest
            for slot, newest in self.renew.items()
            if generations.get(slot, newest) <= newest
        }
        return replace(self, renew=left)


def read_note(folder: Path) -> OperatorNote:
    """What was noted last; nothing where there is no note that can be used."""
    try:
        told = json.loads(read_private(folder / NOTE_NAME))
    except (OSError, ValueError, RecursionError):
        return OperatorNote()
    match told:
        case {"version": int() as version, **rest}:
            return OperatorNote(
                version,
                _whole(rest.get("replicas")),
                _whole(rest.get("declared")) or 0,
                _mark_in(rest.get("scaled")),
                _mark_in(rest.get("all_stopped")),
                _by_slot(rest.get("stopped"), _mark_in),
                _by_slot(rest.get("renew"), _whole),
            )
    return OperatorNote()


def write_note(folder: Path, note: OperatorNote) -> None:
    """Write it in place of an older one. Raises `OSError`."""
    content = json.dumps(asdict(note), separators=(",", ":")).encode()
    replace_private(folder / NOTE_NAME, content)


def _whole(told: object) -> int | None:
    return told if isinstance(told, int) and not isinstance(told, bool) else None


def _mark_in(told: object) -> Mark | None:
    match told:
        case {"by": str() as by, "at": str() as at}:
            return Mark(by, at)
    return None


def _by_slot(told: object, read: Callable[[object], T | None]) -> dict[int, T]:
    """What is told of slots, each under its number in digits."""
    found: dict[int, T] = {}
    for slot, value in told.items() if isinstance(told, dict) else ():
        if slot.isdecimal() and (it := read(value)) is not None:
            found[int(slot)] = it
    return found
