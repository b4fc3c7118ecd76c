"""Where workers write: one append-only file per slot, cut by size, its end shown when a worker dies.

A worker holds the file itself, not a pipe to the daemon, so it never blocks on us and goes on writing while the
daemon is away. Because files are opened for append, one can be cut under its writer: the newest part is copied to
`<name>.1` and the file truncated; lines written between the two steps are lost, which is the price of workers
that need no log process.

When a file cannot be opened (disk full, permissions) the worker writes to /dev/null and healing goes on.

What runs on the loop's thread is one open at a launch and one read of `TAIL_BYTES` at a death, of regular files
only; looking at all files and cutting them is for another thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autohealer.processes.last_words import last_words
from autohealer.processes.limits import keep_reserve
from autohealer.statedir.files import open_private

TAIL_BYTES = 16 * 1024
"""Enough for the error above a stack of a hundred frames, and read in microseconds."""
KEPT_LIMITS = 2
"""As many limits' worth of output are copied at most; gigabytes written since the last look would take minutes."""
LOOK_FAST_S = 2.0
LOOK_SLOW_S = 15.0
"""Between two looks at the files' sizes: a worker that suddenly writes 100 MB/s gets 1.5 GB ahead at worst."""


@dataclass(frozen=True, slots=True)
class _Begin:
    """Where a file ended, and when it was last written, as a worker was given it."""

    size_bytes: int
    mtime_ns: int


class OutputFiles:
    """The output files of one group, in one folder."""

    def __init__(self, folder: Path, rotate_bytes: int, warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._rotate_bytes = rotate_bytes
        self._warn = warn
        self._warned = False
        self._sizes: dict[Path, int] = {}
        self._begins: dict[Path, _Begin] = {}
        self._fastest_bytes = 0

    def limit(self, rotate_bytes: int) -> None:
        """Cut files at another size from now on."""
        self._rotate_bytes = rotate_bytes

    def path(self, slot: int) -> Path:
        """The file of a slot."""
        return self._folder / f"slot-{slot}.log"

    def open(self, slot: int) -> int:
        """A descriptor for a worker to write to; /dev/null if the file cannot be had.

        Raises:
            OSError: so few descriptors are left that the daemon itself needs them.
        """
        # Not blocking: in place of the file there may be a pipe that nobody reads.
        file, flags = self.path(slot), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        try:
            descriptor = open_private(file, flags)
        except OSError as error:
            self._complain(f"{file} cannot be opened, so output is thrown away: {error.strerror}")
            return keep_reserve(os.open(os.devnull, os.O_WRONLY))
        keep_reserve(descriptor)
        os.set_blocking(descriptor, True)
        found = os.fstat(descriptor)
        self._begins[file] = _Begin(found.st_size, found.st_mtime_ns)
        return descriptor

    def size_bytes(self, slot: int) -> int:
        """How much a slot's file holds now; marks where a dying worker's output ends."""
        return _size_bytes(self.path(slot))

    def tail(self, slot: int, end_bytes: int) -> list[str]:
        """The last words written before offset `end_bytes`, by whom it was opened for last if that is known."""
        file = self.path(slot)
        try:
            descriptor = open_private(file, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            return []
        try:
            raw = self._read_tail(file, descriptor, end_bytes)
        except OSError:
            return []
        finally:
            os.close(descriptor)
        return last_words(raw.decode(errors="replace"))

    def _read_tail(self, file: Path, descriptor: int, end_bytes: int) -> bytes:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return b""
        begin_bytes = 0
        if (begin := self._begins.get(file)) is not None:
            # Written to and yet not longer: the worker emptied it, as `> /dev/stderr` does.
            is_emptied = end_bytes <= begin.size_bytes and found.st_mtime_ns > begin.mtime_ns
            begin_bytes = 0 if is_emptied else begin.size_bytes
        begin_bytes = max(begin_bytes, end_bytes - TAIL_BYTES)
        return os.pread(descriptor, max(0, end_bytes - begin_bytes), begin_bytes)

    def rotate(self) -> None:
        """Cut the files that outgrew the limit; may take a while, so not for the loop's thread."""
        self.cut(self.find_grown())

    def find_grown(self) -> list[Path]:
        """The files that outgrew the limit; also notes how fast the fastest grows."""
        try:
            sizes = {file: _size_bytes(file) for file in self._folder.glob("slot-*.log")}
        except OSError as error:
            self._complain(f"{self._folder} cannot be looked at: {error.strerror}")
            return []
        grown_bytes = [size - self._sizes.get(file, size) for file, size in sizes.items()]
        self._fastest_bytes = max(grown_bytes, default=0)
        self._sizes = sizes
        return [file for file, size in sizes.items() if size > self._rotate_bytes]

    def seconds_to_next_look(self) -> float:
        """Soon while something grows fast, seldom while nothing does."""
        is_fast = self._fastest_bytes > self._rotate_bytes / 10
        return LOOK_FAST_S if is_fast else LOOK_SLOW_S

    def cut(self, files: list[Path]) -> None:
        """Keep a copy of each file beside it and start it anew; may take a while, so not for the loop's thread."""
        for file in files:
            try:
                _cut(file, KEPT_LIMITS * self._rotate_bytes)
            except OSError as error:
                self._complain(f"{file} cannot be rotated: {error.strerror}")
            self._begins.pop(file, None)  # it is truncated either way

    def _complain(self, sentence: str) -> None:
        """Say it once; a full disk would otherwise fill the log too."""
        if not self._warned:
            self._warned = True
            self._warn(sentence)


def _size_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _cut(file: Path, keep_bytes: int) -> None:
    with os.fdopen(open_private(file, os.O_RDWR), "r+b") as source:
        try:
            source.seek(max(0, _size_bytes(file) - keep_bytes))
            newest = source.read(keep_bytes)
            _replace(file.with_suffix(".log.1"), newest)
        finally:
            # Truncated even when there is no room for the copy: keeping the disk usable comes first.
            os.ftruncate(source.fileno(), 0)


def _replace(file: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(open_private(file, flags), "wb", buffering=0) as copy:
        copy.write(content)
