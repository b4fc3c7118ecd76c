"""What was written so far: how much of it, and in which order."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from autohealer.workerlogs.past import SlotName, Strand, Wanted, past_of


def stamped(second: int, text: str) -> bytes:
    """A line as the log process writes it."""
    return f"2026-11-27T10:00:{second:02d}.000Z {text}\n".encode()


def shown(tmp_path: Path, wanted: Wanted, *stamped_slots: int, is_all: bool = True) -> bytes:
    """All slots' lines, of those with times in these."""
    strands = [
        Strand(
            SlotName("web", slot), tmp_path / f"slot-{slot}.log", is_stamped=slot in stamped_slots
        )
        for slot in (0, 1)
    ]
    return b"".join(line for _, line in past_of(strands, wanted, is_all=is_all))


def test_lines_of_several_slots_stand_in_order_of_time(tmp_path: Path) -> None:
    """Who looks for what happened first would have to sort himself; continued lines would be torn from theirs."""
    first = stamped(1, "a") + stamped(5, "b") + b"b continued\n"
    (tmp_path / "slot-0.log").write_bytes(first)
    (tmp_path / "slot-1.log").write_bytes(stamped(3, "c") + stamped(5, "d"))
    text = b"".join((stamped(1, "a"), stamped(3, "c"), stamped(5, "b"), b"b continued\n"))
    assert shown(tmp_path, Wanted(), 0, 1) == text + stamped(5, "d")
    assert shown(tmp_path, Wanted(), 1) == first + stamped(3, "c") + stamped(5, "d")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (Wanted(lines=2), b"b2\nc1"),
        (Wanted(lines=0), b""),
        (Wanted(pattern=re.compile("b")), b"b1\nb2\n"),
        (Wanted(lines=1, pattern=re.compile("b")), b"b2\n"),
        (Wanted(pattern=re.compile("no")), b""),
    ],
)
def test_as_much_is_shown_as_is_wanted(tmp_path: Path, wanted: Wanted, text: bytes) -> None:
    """`-n 1 --grep ERROR` would show nothing unless the very last line were an error."""
    (tmp_path / "slot-0.log").write_bytes(b"a\nb1\nb2\nc1")
    assert shown(tmp_path, wanted) == text


def test_since_goes_by_the_times_of_lines_where_they_are_known(tmp_path: Path) -> None:
    """`--since` would show the whole file though every line says when it was written."""
    (tmp_path / "slot-0.log").write_bytes(b"none\n" + stamped(1, "a") + stamped(5, "b") + b"more\n")
    since = datetime(2026, 11, 27, 10, 0, 2, tzinfo=UTC)
    os.utime(tmp_path / "slot-0.log", (since.timestamp() + 9,) * 2)
    assert shown(tmp_path, Wanted(since=since), 0) == stamped(5, "b") + b"more\n"
    assert shown(tmp_path, Wanted(since=since, lines=1), 0) == b"more\n"
    assert shown(tmp_path, Wanted(since=since)).startswith(b"none\n")


def test_who_follows_gets_a_line_when_it_is_whole(tmp_path: Path) -> None:
    """The first half of a line would stand alone where following begins."""
    (tmp_path / "slot-0.log").write_bytes(b"a\nb")
    assert shown(tmp_path, Wanted(), is_all=False) == b"a\n"
