"""What is sent to a terminal: no more than it can do, no colour for who asked for none."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
from collections.abc import Iterator

import pytest

from autohealer.cli.terminal import (
    WIDTH_ELSEWHERE,
    Terminal,
    columns_of,
    help_width,
    table_width,
    terminal_at,
)


@pytest.fixture
def terminal() -> Iterator[int]:
    """A terminal of 34 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 34, 0, 0))
    yield follower
    os.close(leader)
    os.close(follower)


@pytest.mark.parametrize(
    ("environment", "has_escapes", "has_colors"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "CLICOLOR": "0"}, True, False),
        ({"TERM": "xterm", "CLICOLOR": "1"}, True, True),
    ],
)
def test_a_terminal_gets_what_it_can_do_and_its_user_wants(
    terminal: int, environment: dict[str, str], *, has_escapes: bool, has_colors: bool
) -> None:
    """Escape sequences would stand as text on a dumb terminal; colours would be forced on somebody."""
    assert terminal_at(terminal, environment) == Terminal(True, has_escapes, has_colors)


def test_a_file_gets_text_alone() -> None:
    """A log file would be full of escape sequences."""
    with open(os.devnull, "w") as file:  # noqa: PTH123 - a descriptor is needed
        assert terminal_at(file.fileno(), {"TERM": "xterm"}) == Terminal(False, False, False)
        assert columns_of(file.fileno()) == WIDTH_ELSEWHERE


def test_the_width_is_the_terminals(terminal: int) -> None:
    """Lines would wrap on a narrow terminal."""
    assert columns_of(terminal) == 34


def test_a_width_that_was_asked_for_counts() -> None:
    """`COLUMNS=160 autohealer status` would be cut all the same."""
    assert table_width({"COLUMNS": "160"}) == 160
    assert help_width({"COLUMNS": "160"}) == WIDTH_ELSEWHERE
    assert help_width({"COLUMNS": "50"}) == 50
    assert table_width({"COLUMNS": "wide"}) > 0
