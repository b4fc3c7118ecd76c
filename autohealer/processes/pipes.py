"""Pipes that workers write to, which the log process of their group reads: one for each slot.

Theory of operation. A worker is given its pipe opened for reading, too: so it is never ended for writing into it,
whoever else is there. It waits once the pipe is full (64 KiB), until a log process takes something out. The daemon
keeps each pipe open, so that what is in it outlives a worker that ended while there was no log process.

Last words are what the log process has written and what is still in the pipe (see `layout`): nobody is waited for.

Must never know: where lines go in the end. Limits: words that a log process wrote into a file which it began anew
twice since are not found.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import termios
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autohealer.logprocess.layout import (
    WAKE,
    log_of,
    news,
    older,
    peek,
    pipe_of,
    unstamped,
)
from autohealer.processes.last_words import last_words
from autohealer.processes.limits import keep_reserve
from autohealer.processes.output import TAIL_BYTES
from autohealer.statedir.files import FILE_MODE, NotPrivate, name_of_user, open_private

_NEW = os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class _Begin:
    """Where an incarnation's output begins: in which file, behind which byte, and behind how many that were to come."""

    inode: int = 0
    at_bytes: int = 0
    to_come_bytes: int = 0


class Pipes:
    """The pipes of one group, in one folder; `open` may be called on another thread than the rest."""

    def __init__(
        self, folder: Path, *, is_stamped: bool, owner: int | None, warn: Callable[[str], None]
    ) -> None:
        """`owner` is whose pipes are to be, if not the daemon's: who may open `/dev/stderr` anew.

        Raises:
            OSError: so few descriptors are left that the daemon itself needs them.
        """
        self._folder = folder
        self._is_stamped = is_stamped
        self._owner = os.geteuid() if owner is None else owner
        self._warn = warn
        self._warned = False
        self._held: dict[int, int] = {}
        self._begins: dict[int, _Begin] = {}
        self._scratch = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._own = [*self._scratch]
        """Descriptors to close."""
        self._looking = threading.Lock()
        self._wake: int | None = None

    def stamp(self, *, is_stamped: bool) -> None:
        """Whether the log process puts times before lines from now on."""
        self._is_stamped = is_stamped

    def path(self, slot: int) -> Path:
        """What a slot's workers write to."""
        return pipe_of(self._folder, slot)

    def open(self, slot: int) -> int:
        """A descriptor for a worker to write to; /dev/null if there can be no pipe.

        Raises:
            OSError: so few descriptors are left that the daemon itself needs them.
        """
        try:
            held = self._held.get(slot)
            if held is None:
                held = self._held[slot] = keep_reserve(self._make(slot))
                self._own.append(held)
                self._wake_up()
            self._begins[slot] = self._begin(slot, held)
            # Opened anew: whether one end waits is no business of the other's.
            descriptor = os.open(f"/proc/self/fd/{held}", os.O_RDWR | os.O_CLOEXEC)
        except NotPrivate as error:
            self._complain(f"output is thrown away: {error.strerror}")
            descriptor = os.open(os.devnull, os.O_WRONLY)
        return keep_reserve(descriptor)

    def size_bytes(self, slot: int) -> int:
        """How much a slot's file holds now."""
        return _size_bytes(log_of(self._folder, slot))

    def tail(self, slot: int, _end_bytes: int) -> list[str]:
        """The last words of whom the pipe was opened for last, as long as nobody else writes to it."""
        held = self._held.get(slot)
        try:
            waiting = b"" if held is None else self._waiting(held)
            kept, others_bytes = self._kept(slot)
        except OSError:
            return []
        raw = kept + news(waiting, kept)
        return last_words(raw[others_bytes:][-TAIL_BYTES:].decode(errors="replace"))

    def close(self) -> None:
        """Leave the pipes to those who write to them."""
        while self._own:
            os.close(self._own.pop())
        self._held.clear()

    def _make(self, slot: int) -> int:
        """A pipe of ours, or of those it is for. Raises `OSError`."""
        path = self.path(slot)
        descriptor = _open_pipe(path)
        found = os.fstat(descriptor)
        try:
            if not stat.S_ISFIFO(found.st_mode):
                raise NotPrivate(path, "is not a pipe")
            if found.st_uid not in {os.geteuid(), self._owner}:
                raise NotPrivate(path, f"belongs to {name_of_user(found.st_uid)}")
            if found.st_uid != self._owner:
                os.fchown(descriptor, self._owner, -1)
            os.fchmod(descriptor, FILE_MODE)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def _wake_up(self) -> None:
        """There is a pipe that the log process does not know."""
        with suppress(
            OSError
        ):  # it looks at its start, and so many calls as fill a pipe are enough
            if self._wake is None:
                self._wake = _open_pipe(self._folder / WAKE)
                self._own.append(self._wake)
            os.write(self._wake, b"\n")

    def _begin(self, slot: int, held: int) -> _Begin:
        """Where the output of one that is about to be launched will begin."""
        file = log_of(self._folder, slot)
        kept = self._plain(_read(file, 0)[0])
        to_come = news(self._waiting(held), kept)
        try:
            found = file.stat()
        except OSError:
            return _Begin(0, 0, len(to_come))
        return _Begin(found.st_ino, found.st_size, len(to_come))

    def _kept(self, slot: int) -> tuple[bytes, int]:
        """What the log process has written of the last one's output, and how much before that is others'.

        Raises:
            OSError: it cannot be read.
        """
        file = log_of(self._folder, slot)
        begin = self._begins.get(slot, _Begin())
        inode = _inode(file)
        if begin.inode in {inode, 0}:
            kept, left_out = _read(file, begin.at_bytes)
        elif _inode(before := older(file, 1)) == begin.inode:
            kept, left_out = _read(before, begin.at_bytes)
            kept += _read(file, 0)[0]
        else:
            kept, left_out = _read(file, 0)[0], begin.to_come_bytes
        return self._plain(kept), max(0, begin.to_come_bytes - left_out)

    def _plain(self, kept: bytes) -> bytes:
        return unstamped(kept) if self._is_stamped else kept

    def _waiting(self, held: int) -> bytes:
        """What no log process has taken yet. Raises `OSError`."""
        unread = fcntl.ioctl(held, termios.FIONREAD, b"\0" * 4)
        if not struct.unpack("i", unread)[0]:
            return b""
        with self._looking:
            return peek(held, self._scratch) or b""

    def _complain(self, sentence: str) -> None:
        if not self._warned:
            self._warned = True
            self._warn(sentence)


def _open_pipe(path: Path) -> int:
    """A pipe's descriptor that never waits; made if there is nothing. Raises `NotPrivate`."""
    try:
        with suppress(FileExistsError):
            os.mkfifo(path, FILE_MODE)
        return os.open(path, _NEW)
    except OSError as error:
        raise NotPrivate(path, f"cannot be opened: {error.strerror}") from error


def _read(file: Path, begin_bytes: int) -> tuple[bytes, int]:
    """The end of a file from a byte on, and how much from there on is left out. Raises `OSError`."""
    try:
        descriptor = open_private(file, os.O_RDONLY)
    except OSError:
        return b"", 0
    try:
        size = os.fstat(descriptor).st_size
        left_out = max(0, size - TAIL_BYTES - begin_bytes)
        begin_bytes += left_out
        return os.pread(descriptor, max(0, size - begin_bytes), begin_bytes), left_out
    finally:
        os.close(descriptor)


def _inode(file: Path) -> int:
    try:
        return file.lstat().st_ino
    except OSError:
        return -1


def _size_bytes(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
