"""Follow what slots write, those that are there and those that come: through restarts, scaling and new groups.

Theory of operation. A round looks at each slot's file once (one call of the kernel) and reads what is new, some
chunks of each slot in turn. Folders are looked into once a second. A slot that comes is read from its first byte.

Must never know: how lines are shown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autohealer.workerlogs.destination import read_destination
from autohealer.workerlogs.past import SlotName, Strand, Wanted

FOLDERS_S = 1.0
CHUNKS_MAX = 16
"""Chunks read from one slot before others get their turn."""

_LOG = re.compile(r"slot-(\d{1,5})\.log")
_ANY = re.compile(r"slot-(\d{1,5})\.(?:log|pipe)")

Meant = Mapping[str, "Collection[int] | None"]
"""Slots by group; None: all of them."""


@dataclass(frozen=True, slots=True)
class News:
    """Whole lines of a slot, or a piece of a long one; `is_lost`: something before them was cut away unread."""

    strand: Strand
    block: bytes
    is_lost: bool = False


def slots_in(folder: Path, *, with_files: bool = False) -> list[int]:
    """The slots that have a file in an output folder, or at least a pipe. Raises `OSError`."""
    pattern = _LOG if with_files else _ANY
    try:
        found = {pattern.fullmatch(path.name) for path in folder.iterdir()}
    except FileNotFoundError:
        return []
    return sorted({int(match[1]) for match in found if match is not None})


def strands_of(meant: Meant, folder_of: Callable[[str], Path]) -> list[Strand]:
    """What has been written by those who are meant, as far as there are files. Raises `OSError`."""
    strands = []
    for group, slots in meant.items():
        folder = folder_of(group)
        is_stamped = read_destination(folder).is_stamped
        strands += [
            Strand(SlotName(group, slot), folder / f"slot-{slot}.log", is_stamped=is_stamped)
            for slot in slots_in(folder, with_files=True)
            if slots is None or slot in slots
        ]
    return strands


class Following:
    """Goes on where the past of these slots ended."""

    def __init__(
        self,
        strands: Iterable[Strand],
        meant: Callable[[], Meant],
        folder_of: Callable[[str], Path],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`meant` is asked again and again: groups come and go."""
        self._clock = clock
        self._strands = {strand.name: strand for strand in strands}
        self._meant = meant
        self._folder_of = folder_of
        self._looked_s = clock()

    @property
    def names(self) -> Collection[SlotName]:
        """Of all who are followed now."""
        return self._strands.keys()

    def round(self) -> Iterator[News]:
        """What is new; nothing where nobody wrote. Raises `OSError`."""
        now_s = self._clock()
        if now_s - self._looked_s >= FOLDERS_S:
            self._looked_s = now_s
            self._look_into_folders()
        for strand in self._strands.values():
            if strand.reader.has_news():
                yield from _read(strand, now_s)
            if rest := strand.cutter.overdue(now_s):
                yield News(strand, rest)

    def _look_into_folders(self) -> None:
        with suppress(OSError):  # one that is being made or removed: the next look finds it
            for strand in strands_of(self._meant(), self._folder_of):
                known = self._strands.setdefault(strand.name, strand)
                known.is_stamped = strand.is_stamped
                if known is strand:
                    strand.begin(Wanted())


def _read(strand: Strand, now_s: float) -> Iterator[News]:
    for _ in range(CHUNKS_MAX):
        chunk = strand.reader.read()
        is_lost = strand.reader.takes_loss()
        if is_lost and (rest := strand.cutter.flush()):
            yield News(strand, rest if rest.endswith(b"\n") else rest + b"\n")
        block = strand.cutter.add(chunk, now_s)
        if block or is_lost:
            yield News(strand, block, is_lost)
        if not chunk:
            break
