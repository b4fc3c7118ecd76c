"""The note in an output folder that tells where a group's output goes, for who reads it without asking a daemon.

One line of words: `file`, `stdout`, `journald` or `null`, then `timestamps` where times stand before lines. Without a
note output goes to files, as daemons did it that wrote none.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autohealer.outputspec import OutputTo
from autohealer.statedir.files import open_private, read_private

NOTE = "goes-to"
_STAMPED = "timestamps"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to, and whether times stand before lines in files."""

    to: OutputTo = OutputTo.FILE
    is_stamped: bool = False


def write_destination(folder: Path, destination: Destination) -> None:
    """Note it; where there is no room for a note, readers take it that output goes to files."""
    words = [destination.to.value, *([_STAMPED] if destination.is_stamped else [])]
    with suppress(OSError):
        note = open_private(folder / NOTE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        with os.fdopen(note, "w", encoding="ascii") as file:
            file.write(f"{' '.join(words)}\n")


def read_destination(folder: Path) -> Destination:
    """What was noted, or what is where nothing was."""
    try:
        to, *more = read_private(folder / NOTE).decode("ascii").split()
        return Destination(OutputTo(to), _STAMPED in more)
    except (OSError, ValueError):  # none there, cut short by a full disk, or of a later version
        return Destination()
