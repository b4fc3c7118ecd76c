"""Last words: the line that says why is among them, and they are never many."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.processes.last_words import (
    ERRORS_ABOVE,
    KEPT_CHARACTERS,
    KEPT_LINES,
    LINE_CHARACTERS,
    last_words,
    shortened,
)

FRAMES = [f"    at frame{number} (app.js:{number}:1)" for number in range(60)]


def test_short_output_is_kept_as_it_is() -> None:
    """Lines would be reordered, cut or missing although there is room."""
    lines = [f"line {number}" for number in range(KEPT_LINES)]
    assert last_words("\n".join(lines)) == lines


@pytest.mark.parametrize(
    "error",
    [
        "Error: boom: password missing",
        'Exception in thread "main" java.lang.IllegalStateException: no database',
        "panic: runtime error: index out of range [5]",
        "FATAL:  password authentication failed",
        "worker.sh: line 3: /etc/app.conf: No such file or directory",
    ],
)
def test_the_error_above_a_long_stack_is_kept(error: str) -> None:
    """`why` would show sixty frames and not what went wrong."""
    words = last_words("\n".join([*(["all is well"] * 30), error, *FRAMES]))
    assert words[0] == error
    assert words[-1] == FRAMES[-1]
    assert "all is well" not in words


def test_frames_that_name_an_error_are_no_errors() -> None:
    """The frames of an ErrorHandler would push the error itself out."""
    frames = [
        f"    at com.app.ErrorHandler.handle{number}(ErrorHandler.java)" for number in range(60)
    ]
    assert last_words("\n".join(["Exception: boom", *frames]))[0] == "Exception: boom"


@pytest.mark.parametrize(
    "record",
    [
        {"ctx": "x" * 900, "error": "disk quota exceeded"},
        {"error": "disk quota exceeded", "ctx": "x" * 900},
        {"ctx": "x" * 2000, "error": "disk quota exceeded", "more": "y" * 2000},
    ],
)
def test_the_error_in_a_long_line_is_kept_wherever_it_stands(record: dict[str, str]) -> None:
    """A program that logs JSON would die with nine hundred x on its lips."""
    (line,) = last_words(json.dumps(record))
    assert "disk quota exceeded" in line
    assert len(line) <= LINE_CHARACTERS


def test_of_many_errors_the_last_are_kept() -> None:
    """The words of the last minutes would hide those of the last moment."""
    text = "\n".join([*(f"error {number}" for number in range(50)), *FRAMES])
    assert last_words(text)[:ERRORS_ABOVE] == [f"error {number}" for number in range(45, 50)]


@given(st.text(max_size=20_000))
def test_they_are_bounded_whatever_was_written(text: str) -> None:
    """One death could fill the log, or the history."""
    words = last_words(text)
    assert len(words) <= KEPT_LINES + ERRORS_ABOVE
    assert sum(map(len, words)) <= KEPT_CHARACTERS
    assert all(len(line) <= LINE_CHARACTERS for line in words)


@given(st.text(alphabet="xe \terror", min_size=LINE_CHARACTERS + 1, max_size=3000))
def test_a_long_line_keeps_its_beginning_and_its_end(line: str) -> None:
    """A line would lose its time stamp, or what it ends with."""
    assert len(shortened(line)) <= LINE_CHARACTERS
    assert shortened(line)[:100] == line[:100]
    assert shortened(line)[-100:] == line[-100:]


def test_many_long_lines_are_bounded_and_the_last_is_among_them() -> None:
    """A worker that logs a page a line would fill the history with each death."""
    words = last_words("\n".join(f"{number:03} error {'x' * 390}" for number in range(40)))
    assert sum(map(len, words)) <= KEPT_CHARACTERS
    assert words[-1].startswith("039")
