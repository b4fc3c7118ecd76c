"""Where output goes is known without a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from autohealer.outputspec import OutputTo
from autohealer.workerlogs.destination import (
    NOTE,
    Destination,
    read_destination,
    write_destination,
)


@pytest.mark.parametrize("to", OutputTo)
def test_what_is_noted_is_read(tmp_path: Path, to: OutputTo) -> None:
    """`logs` would look for files where output goes to the journal."""
    for is_stamped in (True, False):
        write_destination(tmp_path, Destination(to, is_stamped))
        assert read_destination(tmp_path) == Destination(to, is_stamped)


@pytest.mark.parametrize("text", [b"", b"elsewhere\n", b"\xff\n"])
def test_without_a_note_that_can_be_read_it_goes_to_files(tmp_path: Path, text: bytes) -> None:
    """What an earlier version left, or a full disk cut short, would end the command with a traceback."""
    assert read_destination(tmp_path) == Destination()
    (tmp_path / NOTE).write_bytes(text)
    assert read_destination(tmp_path) == Destination()


def test_a_note_that_cannot_be_written_is_no_trouble(tmp_path: Path) -> None:
    """A full disk would keep a daemon from starting."""
    write_destination(tmp_path / "none", Destination())
