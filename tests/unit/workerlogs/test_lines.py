"""Lines are whole, and nothing is held back for long."""

from __future__ import annotations

import re

from autohealer.workerlogs.lines import (
    HELD_S,
    PIECE_BYTES,
    LineCutter,
    is_found,
    lines_in,
    those_found,
    time_of,
)

STAMPED = b"2026-11-27T10:00:00.123Z text\n"


def test_a_line_waits_for_its_end_but_not_for_ever() -> None:
    """Halves of lines of several workers would be mixed, or a prompt without an end never be shown."""
    cutter = LineCutter()
    assert cutter.add(b"a\nb", 0.0) == b"a\n"
    assert cutter.add(b"c", 0.5) == b""
    assert cutter.overdue(HELD_S - 0.1) == b""
    assert cutter.add(b"\nd", 0.95) == b"bc\n"
    assert cutter.overdue(HELD_S) == b""
    assert cutter.overdue(0.95 + HELD_S) == b"d"
    assert cutter.overdue(9.0) == cutter.flush() == b""


def test_a_line_without_an_end_does_not_fill_memory() -> None:
    """A worker that writes 100 MB without a newline would take as much of the reader's memory."""
    cutter = LineCutter()
    text = b"x" * (PIECE_BYTES - 1)
    assert cutter.add(text, 0.0) == b""
    assert cutter.add(b"yz", 0.0) == text + b"yz"
    assert cutter.add(b"\n", 0.0) == b"\n"


def test_only_newlines_end_lines() -> None:
    """A progress bar's carriage returns, or a form feed, would be torn apart."""
    assert list(lines_in(b"a\rb\x0c\n\n\xc2\x85c")) == [b"a\rb\x0c\n", b"\n", b"\xc2\x85c"]
    assert list(lines_in(b"")) == []


def test_a_time_is_known_where_it_stands_before_the_line() -> None:
    """Lines would be put in a wrong order."""
    assert time_of(STAMPED) == b"2026-11-27T10:00:00.123Z"
    assert time_of(b"text " + STAMPED) is None


def test_what_is_looked_for_is_text_without_its_time_and_end() -> None:
    """`--grep ^text$` would find nothing, or `--grep 2026` every line; letters beyond ASCII would not be letters."""
    assert is_found(re.compile("^text$"), STAMPED, is_stamped=True)
    assert not is_found(re.compile("2026"), STAMPED, is_stamped=True)
    assert is_found(re.compile("2026"), STAMPED, is_stamped=False)
    assert is_found(re.compile(r"^\w$"), "ä\n".encode(), is_stamped=False)
    assert is_found(re.compile("b"), b"\xff\xfeb", is_stamped=False)


def test_lines_that_are_found_come_as_they_are() -> None:
    """Bytes that are no text would be changed by being looked at, or a line's neighbour be shown for it."""
    block = b"\xffa\r\nb\n\n\xc3\xa4a"
    found = those_found(re.compile("a"), block, is_stamped=False)
    assert found == b"\xffa\r\n\xc3\xa4a"
    assert those_found(re.compile("^$"), block, is_stamped=False) == b"\n"
    assert those_found(re.compile("^text|^$"), STAMPED + b"2026\n", is_stamped=True) == STAMPED
