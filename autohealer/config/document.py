"""One TOML text: what it says, and where in it each key stands.

Theory of operation. The standard library's parser says what is in the text; where that stands is found out only when
there is something to point at. What is not TOML is a mistake like any other, with its line.

Must never know: which keys there are. Limits: the parser stops at the first thing that is not TOML, so a text has one
such mistake at a time.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autohealer.config.files import Unreadable, read_text
from autohealer.config.mistakes import ConfigError, KeyPath, Mistake, Place

if TYPE_CHECKING:
    from autohealer.config.positions import Positions, Span

Table = dict[str, object]

_WHERE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_IN_QUOTES = 'invalid value (text stands in quotes, such as "web")'


@dataclass(frozen=True)
class Text:
    """A TOML text, `file` being its name as told to people."""

    file: str
    text: str

    def place_of(self, path: KeyPath) -> Place:
        """Where a key stands, or else the nearest table around it."""
        for length in range(len(path), 0, -1):
            if (span := self.positions.spans.get(path[:length])) is not None:
                return self.place_at(span)
        return Place(self.file)

    def place_at(self, span: Span) -> Place:
        """A stretch as people are told of it."""
        return self._place(span.row, span.column, span.width)

    def end(self) -> Place:
        """Where the text ends."""
        return self._place(len(self._lines) - 1, len(self._lines[-1]))

    def at(self, line: int, column: int) -> Place:
        """A single character; counted from 1."""
        return self._place(line - 1, column - 1)

    @cached_property
    def positions(self) -> Positions:
        """Where everything stands."""
        from autohealer.config.positions import positions_of  # who makes a mistake pays for it

        return positions_of(self.text)

    def _place(self, row: int, column: int, width: int = 1) -> Place:
        return Place(self.file, row + 1, column + 1, max(1, width), self._lines[row])

    @cached_property
    def _lines(self) -> list[str]:
        return [line.removesuffix("\r") for line in self.text.split("\n")]


@dataclass(frozen=True)
class Document:
    """What a file says; `folder` is where the paths in it begin."""

    text: Text
    folder: Path
    tables: Table

    @property
    def file(self) -> str:
        """Its name as told to people."""
        return self.text.file


def read_document(path: Path) -> Document:
    """Read and parse a file. Raises `ConfigError` with the one mistake that is in the way."""
    file = str(path)
    try:
        text = Text(file, read_text(path))
    except Unreadable as error:
        raise ConfigError((Mistake(Place(file), (), str(error)),)) from None
    try:
        return Document(text, path.absolute().parent, tomllib.loads(text.text))
    except RecursionError:
        raise ConfigError((Mistake(Place(file), (), "not TOML: nested too deeply"),)) from None
    except ValueError as error:
        raise ConfigError((_not_toml(text, str(error)),)) from None


def _not_toml(text: Text, said: str) -> Mistake:
    """What the parser said, as a mistake; of what stands twice both places are told."""
    if said.startswith("Cannot "):
        for path, first, second in text.positions.repeated:
            sentence = f"a second time; the first is at {text.place_at(first)}"
            return Mistake(text.place_at(second), path, sentence)
    match = _WHERE.search(said)
    what = _WHERE.sub("", said)
    sentence = _IN_QUOTES if what == "Invalid value" else what[:1].lower() + what[1:]
    if match is None:
        place = Place(text.file)
    elif match["line"] is None:
        place = text.end()
    else:
        place = text.at(int(match["line"]), int(match["column"]))
    return Mistake(place, (), f"not TOML: {sentence}")
