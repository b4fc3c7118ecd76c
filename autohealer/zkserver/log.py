"""What the server says of itself: bounded in lines by kind, and in bytes where it has a file of its own.

Theory of operation. The first line of a kind in a minute is written; further ones are counted, and when the minute
is over one line says how many there were. Two lines are of one kind when they differ in numbers only. A file is renamed
when it outgrew its limit and a new one begun, which also becomes the standard error of this process, so that a
traceback or words of the interpreter go there as well; one older file is kept.

A disk that is full costs lines only. Must never know: what is said, and by whom.
Limits: `KINDS_MAX`, `LINE_CHARS_MAX`, `FILE_BYTES_MAX`.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from pathlib import Path

PERIOD_S = 60.0
KINDS_MAX = 64
"""So many kinds a minute; whatever comes beyond is of the kind `the rest`."""

LINE_CHARS_MAX = 4000
FILE_BYTES_MAX = 1024 * 1024
"""At most 64 kinds of lines a minute of some 100 bytes: the troubles of hours at the least."""

LOOK_S = 10.0
"""Between two looks at the size of the file, whoever writes to it."""

_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")
_THE_REST = "the rest"


class KindLimit(logging.Filter):
    """Lets the first line of a kind through in every period and counts the others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._began = 0.0
        self._more: dict[str, int] = {}
        self._untold: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it; one that is told of a period that is over carries the counts of that."""
        if self._clock() - self._began >= PERIOD_S:
            self._turn()
        kind = _NUMBERS.sub("#", record.getMessage())[:LINE_CHARS_MAX]
        if kind not in self._more and len(self._more) >= KINDS_MAX:
            kind = _THE_REST
        is_first = kind not in self._more
        self._more[kind] = 0 if is_first else self._more[kind] + 1
        return is_first

    def take_counts(self) -> list[str]:
        """One sentence for each kind of the periods that are over of which lines were left out."""
        if self._more and self._clock() - self._began >= PERIOD_S:
            self._turn()
        sentences, self._untold = self._untold, []
        return sentences

    def _turn(self) -> None:
        self._untold += [
            f"within a minute {more} more like this: {kind}"
            for kind, more in self._more.items()
            if more
        ]
        self._more.clear()
        self._began = self._clock()


class OwnLog(logging.Handler):
    """Writes lines to standard error, which is a file of ours if one was given."""

    def __init__(self, clock: Callable[[], float], path: Path | None) -> None:
        super().__init__()
        self._limit = KindLimit(clock)
        self._path = path
        self._stream: TextIO | None = sys.stderr  # None where the process was started without one
        self.setFormatter(logging.Formatter("%(asctime)s zkserver %(message)s"))
        self.addFilter(self._limit)
        if path is not None and self._stream is not None:
            self._begin_file(path, self._stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, after what is to be said of earlier ones."""
        self._tell_counts()
        self._write(self.format(record))

    def look_after(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say counts in time and keep the file below its limit, from now on."""
        self._tell_counts()
        self._bound_file()
        loop.call_later(LOOK_S, self.look_after, loop)

    def _tell_counts(self) -> None:
        for sentence in self._limit.take_counts():
            told = logging.LogRecord("", logging.INFO, "", 0, sentence, None, None)
            self._write(self.format(told))

    def _write(self, line: str) -> None:
        if self._stream is None:
            return
        # A full disk or a reader that went away costs the line.
        with suppress(OSError):
            self._stream.write(line[:LINE_CHARS_MAX] + "\n")
            self._stream.flush()

    def _bound_file(self) -> None:
        if self._path is None or self._stream is None:
            return
        with suppress(OSError):
            if os.fstat(self._stream.fileno()).st_size <= FILE_BYTES_MAX:
                return
            try:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            except OSError:
                os.ftruncate(self._stream.fileno(), 0)
            else:
                self._begin_file(self._path, self._stream)

    def _begin_file(self, path: Path, stream: TextIO) -> None:
        """What cannot be opened leaves standard error as it is."""
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            file = os.open(path, flags, 0o600)
            os.dup2(file, stream.fileno())
            os.close(file)


def log_to(path: Path | None, clock: Callable[[], float]) -> OwnLog:
    """Have everything this process logs written by one `OwnLog`, to `path` or to standard error."""
    log = OwnLog(clock, path)
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[log], level=logging.INFO, force=True)
    return log
