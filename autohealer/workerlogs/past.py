"""What a slot has written so far, as much of it as is wanted: the last lines, those since a time, those that match.

Theory of operation. How much there is is looked at first, so that a slot that goes on writing has an end. With nothing
to look for, reading begins where the last lines do. Lines of several slots are put in order where times stand before
them; a line without one has the time of the line before.

Limits: where no times stand before lines, "since" leaves out files that were not written to since, and nothing else.
"""

from __future__ import annotations

import heapq
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from autohealer.workerlogs.files import CHUNK_BYTES
from autohealer.workerlogs.lines import LineCutter, lines_in, those_found, time_of
from autohealer.workerlogs.reader import SlotReader


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be shown of the past; None is no limit."""

    lines: int | None = None
    since: datetime | None = None
    pattern: re.Pattern[str] | None = None


@dataclass(frozen=True, slots=True, order=True)
class SlotName:
    """Whose lines they are."""

    group: str
    slot: int


class Strand:
    """What one slot writes, from its past on; `is_stamped` tells whether times stand before its lines."""

    def __init__(self, name: SlotName, path: Path, *, is_stamped: bool) -> None:
        self.name = name
        self.is_stamped = is_stamped
        self.reader = SlotReader(path)
        self.cutter = LineCutter()

    def begin(self, wanted: Wanted) -> None:
        """Go where that begins. Raises `OSError`."""
        if wanted.since is not None:
            self.reader.begin_since(wanted.since.timestamp())
        else:
            self.reader.begin_with_last(None if wanted.pattern is not None else wanted.lines)

    def past(self, wanted: Wanted, *, is_all: bool) -> Iterator[tuple[bytes, bytes]]:
        """Time and line, oldest first; many lines at once where nobody needs them apart.

        `is_all`: also what no line has ended yet. Raises `OSError`.
        """
        is_exact = wanted.lines is None or (wanted.since is None and wanted.pattern is None)
        if not self.is_stamped and is_exact:
            blocks = self._blocks(is_all=is_all)
            return ((b"", self.found_in(block, wanted.pattern)) for block in blocks)
        found = self._found(wanted, is_all=is_all)
        if wanted.lines is None:
            return found
        return iter(deque(found, maxlen=wanted.lines))

    def _found(self, wanted: Wanted, *, is_all: bool) -> Iterator[tuple[bytes, bytes]]:
        since = b"" if wanted.since is None or not self.is_stamped else _stamp_of(wanted.since)
        time = b""
        for block in self._blocks(is_all=is_all):
            if not self.is_stamped:
                yield from ((b"", line) for line in lines_in(self.found_in(block, wanted.pattern)))
                continue
            for line in lines_in(block):
                time = time_of(line) or time
                if time >= since and self.found_in(line, wanted.pattern):
                    yield time, line

    def found_in(self, block: bytes, pattern: re.Pattern[str] | None) -> bytes:
        """The lines in which it is found, all where there is nothing to look for."""
        if pattern is None:
            return block
        return those_found(pattern, block, is_stamped=self.is_stamped)

    def _blocks(self, *, is_all: bool) -> Iterator[bytes]:
        left = self.reader.waiting_bytes
        while left > 0 and (chunk := self.reader.read(min(left, CHUNK_BYTES))):
            left -= len(chunk)
            if block := self.cutter.add(chunk, 0.0):
                yield block
        if is_all and (rest := self.cutter.flush()):
            yield rest


def past_of(
    strands: Iterable[Strand], wanted: Wanted, *, is_all: bool
) -> Iterator[tuple[Strand, bytes]]:
    """The past of several slots, one line or more at once.

    One slot after the other, and those whose times are known behind these, by time. With `is_all` each reader is
    closed as soon as it is read. Raises `OSError`.
    """
    stamped = []
    for strand in strands:
        if strand.is_stamped:
            stamped.append(strand)
            continue
        strand.begin(wanted)
        for _, line in strand.past(wanted, is_all=is_all):
            yield strand, line
        if is_all:
            strand.reader.close()
    for strand in stamped:
        strand.begin(wanted)
    timed = [_with_name(it, it.past(wanted, is_all=is_all)) for it in stamped]
    for _, _, strand, line in heapq.merge(*timed, key=lambda it: it[:2]):
        yield strand, line
    for strand in stamped if is_all else ():
        strand.reader.close()


def _with_name(
    strand: Strand, past: Iterable[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, SlotName, Strand, bytes]]:
    return ((time, strand.name, strand, line) for time, line in past)


def _stamp_of(when: datetime) -> bytes:
    told = when.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return f"{told}Z".encode("ascii")
