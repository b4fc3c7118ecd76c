"""What is wrong with a configuration: where, which key, in one sentence, and how all of it is shown together.

Theory of operation. Nothing stops at the first mistake: each is noted where it is found, and at the end all are told
at once, in the order in which the files are read. A key gets one mistake, the first one found: what follows from it
would only confuse.

Must never know: what may stand in a configuration. Limits: of a long line a part is shown.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from autohealer.printable import printable

KeyPath = tuple[str | int, ...]
"""Where in the tables something is: keys, and numbers of items from 0."""

LINE_CHARS_MAX = 120
BEFORE_CHARS = 40
"""How much of a long line is shown, and how much of that before the mistake."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of a line: `line` and `column` (in characters) count from 1; 0 for a file as a whole."""

    file: str
    line: int = 0
    column: int = 0
    width: int = 1
    source: str = ""

    def __str__(self) -> str:
        file = printable(self.file)
        return f"{file}:{self.line}:{self.column}" if self.line else file


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong; `about` is a key with its tables, empty where it is about the text."""

    place: Place
    about: KeyPath
    sentence: str

    def __str__(self) -> str:
        about = f"{printable(dotted(self.about))}: " if self.about else ""
        head = f"{self.place}: {about}{printable(self.sentence)}"
        return "\n".join((head, *_shown(self.place)))


class ConfigError(ValueError):
    """A configuration will not do; the message are all its mistakes, a few lines each, and `count` how many."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__("\n".join(map(str, mistakes)))
        self.mistakes = mistakes
        self.count = len(mistakes)


@dataclass(slots=True)
class Mistakes:
    """What was found so far."""

    _files: list[str] = field(default_factory=list)
    _found: dict[tuple[str, KeyPath], Mistake] = field(default_factory=dict)

    def note(self, place: Place, about: KeyPath, sentence: str) -> None:
        """Keep a mistake, unless there is one about that key already."""
        if place.file not in self._files:
            self._files.append(place.file)
        self._found.setdefault((place.file, about), Mistake(place, about, sentence))

    def take(self, mistakes: Iterable[Mistake]) -> None:
        """Keep mistakes that were found elsewhere."""
        for mistake in mistakes:
            self.note(mistake.place, mistake.about, mistake.sentence)

    def __bool__(self) -> bool:
        return bool(self._found)

    def reading(self, file: str) -> None:
        """Say which file is next, so that its mistakes stand in that order."""
        self._files.append(file)

    def raise_any(self) -> None:
        """Raises `ConfigError` where there is one."""
        if self._found:
            raise ConfigError(tuple(sorted(self._found.values(), key=self._rank)))

    def _rank(self, mistake: Mistake) -> tuple[int, int, int]:
        place = mistake.place
        return self._files.index(place.file), place.line, place.column


def dotted(path: KeyPath) -> str:
    """A key with its tables, as TOML writes it."""
    return ".".join(str(key) if _BARE.fullmatch(str(key)) else json.dumps(key) for key in path)


def _shown(place: Place) -> Iterator[str]:
    """The line, and a mark below the stretch that is meant."""
    if not place.line:
        return
    line = place.source.replace("\t", " ")
    begin = place.column - 1
    cut = begin - BEFORE_CHARS if len(line) > LINE_CHARS_MAX and begin > BEFORE_CHARS else 0
    end = cut + LINE_CHARS_MAX
    before = ("…" if cut else "") + printable(line[cut:begin])
    meant = printable(line[begin : min(begin + place.width, end)])
    after = printable(line[begin + place.width : end]) + ("…" if len(line) > end else "")
    yield f"{place.line:>5} | {before}{meant}{after}".rstrip()
    yield f"      | {' ' * _cells(before)}{'^' * max(1, _cells(meant))}"


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
