"""One log file that is begun anew when it is full, between two lines, with a number of older ones kept.

A line is longer than a file at worst: then it is cut. A file that somebody else moved away or removed is begun anew,
too. Must never know: pipes.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from autohealer.logprocess.layout import older, stamp_now, stamped
from autohealer.statedir.files import open_private

LOOK_S = 1.0
"""So often it is looked at whether the file is still where it was."""


class RotatingFile:
    """Opened with the first write."""

    def __init__(self, path: Path, max_bytes: int, keep: int, *, is_stamped: bool) -> None:
        """`keep` is how many older ones are kept, 0 for none."""
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._is_stamped = is_stamped
        self._descriptor: int | None = None
        self._size_bytes = 0
        self._begins_line = True
        self._looked_at = 0.0

    def write(self, chunk: bytes) -> None:
        """Append a chunk. Raises `OSError`: the rest of it is lost."""
        self._look()
        text = chunk
        if self._is_stamped:
            text = stamped(chunk, stamp_now(), begins_line=self._begins_line)
        while text:
            fits = self._fitting(text)
            if fits:
                self._append(text[:fits])
                text = text[fits:]
            else:
                self._rotate()

    def close(self) -> None:
        """Nothing is written until the next `write`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _fitting(self, text: bytes) -> int:
        """How much of a text goes into this file: whole lines; 0 where it is full."""
        room = self._max_bytes - self._size_bytes
        if len(text) <= room:
            return len(text)
        if room > 0 and (whole := text.rfind(b"\n", 0, room) + 1):
            return whole
        if self._begins_line and self._size_bytes:
            return 0
        line = text.find(b"\n") + 1 or len(text)
        return min(line, max(0, 2 * self._max_bytes - self._size_bytes))

    def _append(self, text: bytes) -> None:
        descriptor = self._open()
        while text:
            count = os.write(descriptor, text)
            self._size_bytes += count
            self._begins_line = text[count - 1 : count] == b"\n"
            text = text[count:]

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = open_private(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT)
            self._size_bytes = os.fstat(self._descriptor).st_size
            last = os.pread(self._descriptor, 1, max(0, self._size_bytes - 1))
            self._begins_line = last in {b"", b"\n"}
        return self._descriptor

    def _look(self) -> None:
        """Open the file, anew where another one, or none, is in its place by now."""
        now = time.monotonic()
        if self._descriptor is not None and now - self._looked_at >= LOOK_S:
            self._looked_at = now
            ours = os.fstat(self._descriptor)
            try:
                is_there = os.path.samestat(ours, self._path.lstat())
            except FileNotFoundError:
                is_there = False
            if not is_there:
                self.close()
        self._open()

    def _rotate(self) -> None:
        """Begin anew. Where the old one cannot be moved it is emptied: keeping the disk usable comes first."""
        number = max(1, self._keep)
        while (surplus := older(self._path, number)).exists():
            surplus.unlink()
            number += 1
        if not (self._keep and self._moved()):
            os.ftruncate(self._open(), 0)
        self.close()
        self._open()

    def _moved(self) -> bool:
        """Whether this file and those before it could be given the next numbers."""
        try:
            for number in range(self._keep - 1, 0, -1):
                with suppress(FileNotFoundError):
                    older(self._path, number).rename(older(self._path, number + 1))
            self._path.rename(older(self._path, 1))
        except OSError:
            return False
        return True
