"""What operators change of a group: noted, told, or refused whole."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from pathlib import Path
from signal import Signals

import pytest
import structlog

from autohealer.assembly.operating import Levers, Operating
from autohealer.control.records import ChangeRecord
from autohealer.control.requests import (
    Asked,
    Change,
    Refused,
    Restart,
    Scale,
    Signal,
    Start,
    Stop,
)
from autohealer.core.events import Event, OverridesSet, ReplicasSet, RetryAsked
from autohealer.core.model import Slot
from autohealer.core.overrides import Overrides
from autohealer.statedir.operator_note import NOTE_NAME, read_note
from tests.unit.core.notation import BASE, Scene

ZERO = frozenset({0})
FAILED = BASE + 7
"""The last generation of the slot that keeps failing."""


class Desk:
    """A group of three workers whose facts are collected."""

    def __init__(self, folder: Path, declared: int = 3) -> None:
        self.facts: list[Event] = []
        self.told: list[str] = []
        self.view = Scene("0:ready 1:ready 2:backoff(9s)").view
        self.operating = Operating(
            folder,
            self.view,
            declared,
            Levers(
                self.facts.append,
                lambda _name: None,
                lambda _event, why: self.told.append(why),
                structlog.get_logger(),
            ),
        )
        self.operating.begin()
        self.facts.clear()

    def change(self, change: Change, version: int | None = None) -> ChangeRecord:
        """Have it done."""
        return asyncio.run(self.operating.change(Asked(change, "user anna", version)))


@pytest.mark.parametrize(
    ("change", "facts", "did"),
    [
        (Scale(5), [OverridesSet(Overrides()), ReplicasSet(5)], "3 -> 5 wanted (3 declared)"),
        (Scale(None), [OverridesSet(Overrides()), ReplicasSet(3)], "3 -> 3 wanted (3 declared)"),
        (Stop(ZERO), [OverridesSet(Overrides(stopped=ZERO))], "slot 0 stopped"),
        (Stop(None), [OverridesSet(Overrides(all_stopped=True))], "all slots stopped"),
        (Start(ZERO), [OverridesSet(Overrides()), RetryAsked(ZERO)], "slot 0 started"),
        (
            Restart(None),
            [OverridesSet(Overrides(renew={0: BASE, 1: BASE, 2: FAILED}))],
            "all slots to be restarted",
        ),
        (Signal(Signals.SIGHUP, None), [], "SIGHUP sent to 0 workers"),
    ],
)
def test_a_change_is_noted_told_and_said(
    tmp_path: Path, change: Change, facts: list[Event], did: str
) -> None:
    """Something else would be done than was asked for, or the next daemon not know of it."""
    desk = Desk(tmp_path)
    record = desk.change(change)
    assert desk.facts == facts
    assert (record.did, record.warning) == (did, "")
    assert desk.told == [f"{did}, by user anna"]
    assert read_note(tmp_path) == desk.operating.note
    assert desk.operating.note.version == record.version


def test_the_next_daemon_goes_on_with_it(tmp_path: Path) -> None:
    """A crash of the daemon would start what was stopped on purpose, at three in the morning."""
    first = Desk(tmp_path)
    first.change(Stop(frozenset({1})))
    first.change(Scale(4))
    next_one = Desk(tmp_path)
    next_one.operating.recall()
    assert next_one.facts == [OverridesSet(Overrides(stopped=frozenset({1})))]
    assert next_one.operating.wanted == 4
    stopped, scaled = sorted(next_one.operating.sentences, reverse=True)
    assert stopped.startswith("slot 1 stopped, by user anna at 20")
    assert scaled.startswith("4 of 3 declared: scaled by user anna at 20")
    assert Desk(tmp_path, declared=6).operating.wanted == 6


def test_of_two_operators_at_once_the_second_is_told(tmp_path: Path) -> None:
    """Both would believe that the group has the size they asked for."""
    desk = Desk(tmp_path)
    seen = desk.operating.note.version
    desk.change(Scale(5), seen)
    with pytest.raises(Refused, match="was changed by somebody else in the meantime") as told:
        desk.change(Scale(4), seen)
    assert told.value.status is HTTPStatus.PRECONDITION_FAILED
    assert desk.operating.wanted == 5


@pytest.mark.parametrize(
    "change", [Stop(frozenset({3})), Restart(frozenset()), Start(frozenset({-1}))]
)
def test_a_slot_that_is_not_there_changes_nothing(tmp_path: Path, change: Change) -> None:
    """A slip of the finger would stop a slot that a later scale fills."""
    desk = Desk(tmp_path)
    with pytest.raises(Refused, match="group '' has slots 0 to 2"):
        desk.change(change)
    assert (desk.facts, desk.told) == ([], [])
    assert not (tmp_path / NOTE_NAME).exists()


def test_where_nothing_can_be_noted_it_is_done_and_said(tmp_path: Path) -> None:
    """With a full disk nobody could stop the program that fills it."""
    (tmp_path / f"{NOTE_NAME}.draft").mkdir()
    desk = Desk(tmp_path)
    record = desk.change(Stop(None))
    assert desk.facts == [OverridesSet(Overrides(all_stopped=True))]
    assert "so the next daemon will not know of it" in record.warning


def test_what_was_restarted_is_not_noted_for_ever(tmp_path: Path) -> None:
    """Each restart would make the note longer."""
    desk = Desk(tmp_path)
    desk.change(Restart(ZERO))
    desk.view.slots[0] = Slot(key=0, generation=BASE + 1)
    desk.change(Stop(frozenset({1})))
    assert read_note(tmp_path).renew == {}
