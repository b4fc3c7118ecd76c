"""What the terminal at the other end can do, and what its user asked for in the environment.

`NO_COLOR` (any text) and `CLICOLOR=0` mean no colour; `TERM=dumb` means no escape sequences at all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

WIDTH_ELSEWHERE = 100
"""Columns of help that no terminal shows; in 80 it would be cut."""

WIDTH_OF_FILES = 100_000
"""What reads a table from a pipe looks for lines, not for columns."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """What may be sent to a descriptor; nothing special unless it is a terminal."""

    is_terminal: bool
    has_escapes: bool
    has_colors: bool


def terminal_at(descriptor: int, environment: Mapping[str, str]) -> Terminal:
    """Look at what a descriptor leads to."""
    is_terminal = os.isatty(descriptor)
    has_escapes = is_terminal and environment.get("TERM", "dumb") != "dumb"
    return Terminal(is_terminal, has_escapes, has_escapes and wants_colors(environment))


def wants_colors(environment: Mapping[str, str]) -> bool:
    """Whether the user did not ask for plain text."""
    return not environment.get("NO_COLOR") and environment.get("CLICOLOR") != "0"


def columns_of(descriptor: int) -> int:
    """How wide the terminal is now; `WIDTH_ELSEWHERE` where there is none, or one that does not tell."""
    try:
        return os.get_terminal_size(descriptor).columns or WIDTH_ELSEWHERE
    except OSError:
        return WIDTH_ELSEWHERE


def table_width(environment: Mapping[str, str]) -> int:
    """How wide tables on standard output may be: as `COLUMNS` says, else as the terminal is, else as they like."""
    told = environment.get("COLUMNS", "")
    if told.isdecimal() and int(told):
        return int(told)
    return columns_of(1) if os.isatty(1) else WIDTH_OF_FILES


def help_width(environment: Mapping[str, str]) -> int:
    """How wide the text of `--help` may be: beyond `WIDTH_ELSEWHERE` lines are hard to follow."""
    return min(table_width(environment), WIDTH_ELSEWHERE)
