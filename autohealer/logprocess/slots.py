"""What one slot's workers write: out of its pipe, into its file, and on to where else it is to go.

Theory of operation. A chunk is looked at in the pipe, written, and only then taken out. So whoever ends us takes
nothing along: the next log process finds what was not written, at worst with a chunk that was. What cannot be
written, for want of room, is counted and let go: workers must not stand still for their output. The next line that can
be written tells how much that was.
"""

from __future__ import annotations

import os
from pathlib import Path

from autohealer.logprocess.files import RotatingFile
from autohealer.logprocess.layout import peek, pipe_of
from autohealer.logprocess.sinks import Sink

ROUNDS_MAX = 4
"""Chunks taken from one slot before others get their turn."""


class SlotLog:
    """One slot's pipe and file."""

    def __init__(self, folder: Path, slot: int, file: RotatingFile, sink: Sink | None) -> None:
        """Raises `OSError`: there is no pipe, or it is none of ours."""
        pipe = pipe_of(folder, slot)
        self.slot = slot
        self.descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        self.inode = os.fstat(self.descriptor).st_ino
        # Who has never seen a writer is not told when the last one goes.
        os.close(os.open(f"/proc/self/fd/{self.descriptor}", os.O_WRONLY | os.O_NONBLOCK))
        self._file = file
        self._sink = sink
        self._lost_bytes = 0
        self._why = ""

    def pump(self, scratch: tuple[int, int], rounds: int = ROUNDS_MAX) -> bool:
        """Take what is there, up to so many chunks; False once nobody can write to it any more. Raises `OSError`."""
        for _ in range(rounds):
            chunk = peek(self.descriptor, scratch)
            if chunk is None:
                return False
            if not chunk:
                break
            self._keep(chunk)
            _take(self.descriptor, len(chunk))
        return True

    def close(self) -> None:
        """Give up pipe and file."""
        os.close(self.descriptor)
        self._file.close()
        if self._sink is not None:
            self._sink.close()

    def _keep(self, chunk: bytes) -> None:
        try:
            if self._lost_bytes:
                self._file.write(
                    f"autohealer: {self._lost_bytes} bytes lost: {self._why}\n".encode()
                )
                self._lost_bytes = 0
            self._file.write(chunk)
        except OSError as error:
            self._lost_bytes += len(chunk)
            self._why = error.strerror or type(error).__name__
        if self._sink is not None:
            self._sink.write(chunk)


def _take(pipe: int, size: int) -> None:
    while size > 0:
        size -= len(os.read(pipe, size)) or size
