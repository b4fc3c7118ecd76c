"""The files of one slot: the one that is written now and the older ones, each read on from where one was.

Theory of operation. A file is held open while it is read, so that it can be read to its end after it was moved or
removed, and so that no other file gets its inode. What was read last is compared at every read: a file that was
emptied meanwhile, and has perhaps grown beyond that place again, is noticed. Files only ever move to higher numbers,
so looking from the newest to the oldest misses none.

Limits: an emptied file that by chance has the same half kilobyte at the same place is taken for the one it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autohealer.logprocess.layout import older
from autohealer.outputspec import KEEP_MAX
from autohealer.statedir.files import open_to_read

CHUNK_BYTES = 256 * 1024
TAIL_BYTES = 512
"""So much of what was read last is compared."""

OVERLAP_BYTES_MIN = 8
"""Fewer would be found by chance."""

_GAP_MAX = 2
"""Numbers that are missing in a row where there are no older files; one may be on its way to the next number."""


class Cut(Exception):  # noqa: N818 - says what happened
    """What was read before is not there any more: the file was emptied."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What tells a file that nobody writes to any more from all others, whatever it is called."""

    inode: int
    size_bytes: int
    mtime_ns: int


class LogFile:
    """One file, open."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.inode = os.fstat(descriptor).st_ino
        self.offset = 0
        self._tail = b""

    @property
    def mark(self) -> Mark:
        """What it is known by once it is complete. Raises `OSError`."""
        return mark_of(os.fstat(self._descriptor))

    @property
    def size_bytes(self) -> int:
        """How long it is now. Raises `OSError`."""
        return os.fstat(self._descriptor).st_size

    @property
    def mtime_s(self) -> float:
        """When it was written last. Raises `OSError`."""
        return os.fstat(self._descriptor).st_mtime

    @property
    def is_removed(self) -> bool:
        """Whether it has no name any more. Raises `OSError`."""
        return os.fstat(self._descriptor).st_nlink == 0

    def seek(self, offset: int) -> None:
        """Read on from there. Raises `OSError`."""
        size = min(TAIL_BYTES, offset)
        self._tail = os.pread(self._descriptor, size, offset - size)
        self.offset = offset

    def read(self, at_most_bytes: int = CHUNK_BYTES) -> bytes:
        """What follows, nothing at the end. Raises `Cut`, `OSError`."""
        tail = self._tail
        raw = os.pread(self._descriptor, len(tail) + at_most_bytes, self.offset - len(tail))
        if not raw.startswith(tail):
            raise Cut
        self.offset += len(raw) - len(tail)
        self._tail = raw[-TAIL_BYTES:]
        return raw[len(tail) :]

    def seek_as(self, other: LogFile) -> bool:
        """Read on where another was, of whose end this is a copy; False where that place is not in it."""
        tail = other._tail
        if os.pread(self._descriptor, len(tail), other.offset - len(tail)) == tail:
            self.seek(other.offset)
            return True
        end = self.size_bytes
        while end >= len(tail):
            begin = max(0, end - CHUNK_BYTES)
            found = os.pread(self._descriptor, end - begin, begin).rfind(tail)
            if found >= 0:
                self.seek(begin + found + len(tail))
                return True
            if begin == 0:
                break
            end = begin + len(tail) - 1
        return self._seek_near_beginning(tail)

    def _seek_near_beginning(self, tail: bytes) -> bool:
        """A copy may begin in the middle of what was read last."""
        head = os.pread(self._descriptor, len(tail), 0)
        for size in range(min(len(tail), len(head)), OVERLAP_BYTES_MIN - 1, -1):
            if head.startswith(tail[-size:]):
                self.seek(size)
                return True
        return False

    @property
    def ends_line(self) -> bool:
        """Whether the last byte there is ends a line. Raises `OSError`."""
        return os.pread(self._descriptor, 1, max(0, self.size_bytes - 1)) == b"\n"

    def seek_back(self, newlines: int) -> int:
        """Read on behind the newline that is the last but so many; how many there are too few for that.

        Where there are, it is read from its first byte on, which may end a line that begins in an older file.
        """
        position = self.size_bytes
        while newlines and position:
            begin = max(0, position - CHUNK_BYTES)
            block = os.pread(self._descriptor, position - begin, begin)
            while newlines and (found := block.rfind(b"\n")) >= 0:
                newlines -= 1
                position, block = begin + found, block[:found]
            if newlines:
                position = begin
        self.seek(0 if newlines else position + 1)
        return newlines

    def close(self) -> None:
        """It is read to its end."""
        os.close(self._descriptor)


def open_log(path: Path) -> LogFile | None:
    """A file at its beginning; None where there is none. Raises `OSError`."""
    try:
        return LogFile(open_to_read(path))
    except FileNotFoundError:
        return None


def mark_of(found: os.stat_result) -> Mark:
    """As the kernel has it."""
    return Mark(found.st_ino, found.st_size, found.st_mtime_ns)


def mark_at(path: Path) -> Mark | None:
    """Of what has this name now."""
    try:
        return mark_of(path.stat())
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Chain:
    """A slot's files from a known one on, oldest first; `is_joined`: that one, or an older known one, was found."""

    files: list[LogFile]
    is_joined: bool


def chain_of(path: Path, is_known: Callable[[LogFile], bool]) -> Chain:
    """Open the newest file and all older ones down to one that is known, which is left out. Raises `OSError`."""
    files: list[LogFile] = []
    gap = 0
    for number in range(KEEP_MAX + _GAP_MAX):
        file = open_log(path if number == 0 else older(path, number))
        if file is None:
            gap += 1
            if gap == _GAP_MAX:
                break
            continue
        gap = 0
        if any(file.inode == other.inode for other in files):
            file.close()  # given the next number meanwhile
        elif is_known(file):
            file.close()
            return Chain(files[::-1], is_joined=True)
        else:
            files.append(file)
    return Chain(files[::-1], is_joined=False)
