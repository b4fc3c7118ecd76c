"""What operators changed is noted for the next daemon, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from autohealer.statedir.operator_note import NOTE_NAME, Mark, OperatorNote, read_note, write_note

ANNA, BEN = Mark("anna", "2026-01-01T10:00:00+00:00"), Mark("ben", "2026-01-02T10:00:00+00:00")
FULL = OperatorNote(
    version=7,
    replicas=5,
    declared=4,
    scaled=ANNA,
    stopped={1: ANNA, 3: BEN},
    renew={0: 17, 2: 18},
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """The next daemon would go on with something else than was asked for."""
    write_note(tmp_path, FULL)
    assert read_note(tmp_path) == FULL
    everything = OperatorNote(8, all_stopped=BEN)
    write_note(tmp_path, everything)
    assert read_note(tmp_path) == everything
    assert (tmp_path / NOTE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": "7"}', "[" * 100_000, '{"replicas": 4}', "\0"]
)
def test_what_cannot_be_understood_says_nothing(tmp_path: Path, text: str) -> None:
    """A file that somebody spoiled would keep the daemon from starting."""
    (tmp_path / NOTE_NAME).write_text(text)
    assert read_note(tmp_path) == OperatorNote()


def test_a_part_that_cannot_be_understood_is_passed_over(tmp_path: Path) -> None:
    """One odd entry would cost what else was noted."""
    (tmp_path / NOTE_NAME).write_text(
        '{"version": 3, "replicas": true, "all_stopped": {"by": 7}, "renew": {"1": "x", "2": 5},'
        '"stopped": {"-1": {"by": "anna", "at": "now"}, "4": {"by": "anna", "at": "now"}}}'
    )
    assert read_note(tmp_path) == OperatorNote(3, stopped={4: Mark("anna", "now")}, renew={2: 5})


def test_the_configuration_wins_once_it_says_another_number() -> None:
    """A forgotten `scale` would outvote every later change of the file."""
    scaled = OperatorNote().scaled_to(9, 4, ANNA)
    assert (scaled.wanted(4), scaled.wanted(6)) == (9, 6)
    assert scaled.is_scaled(4)
    assert not scaled.is_scaled(6)
    assert scaled.scaled_to(4, 4, BEN) == OperatorNote()


def test_slots_are_stopped_and_started_by_themselves_or_together() -> None:
    """Who starts one slot of a stopped group would start all of them, or forget who stopped the others."""
    some = OperatorNote().stopping({1, 2}, ANNA).stopping({2, 3}, BEN)
    assert some.stopped == {1: ANNA, 2: ANNA, 3: BEN}
    assert some.starting({2}, range(5)).stopped == {1: ANNA, 3: BEN}
    every = some.stopping(None, BEN)
    assert (every.all_stopped, every.mark_of(77)) == (BEN, BEN)
    assert every.stopping({1}, ANNA) == every
    but_one = every.starting({1}, range(3))
    assert (but_one.all_stopped, but_one.stopped) == (None, {0: BEN, 2: BEN})
    assert every.starting(None, range(3)) == OperatorNote()


def test_what_was_replaced_is_forgotten() -> None:
    """The note would grow with every restart."""
    note = OperatorNote().renewing({0: 5, 1: 5}).renewing({1: 6})
    assert note.without_renewed({0: 5, 1: 7}).renew == {0: 5}
    assert note.without_renewed({}).renew == {0: 5, 1: 6}
