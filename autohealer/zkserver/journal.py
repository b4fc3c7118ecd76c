"""The state on disk: a journal that is read back after any death of the server.

Theory of operation. One file holds a snapshot and, after it, every transaction since, each framed (`framing`). When
enough was appended, a new file is begun (`rewriting`) and every transaction pays for a step of it, so that nobody waits
for a whole one; a file with a journal's name always holds a whole snapshot. A transaction is written before it is
applied.

A record cut short at the end of the file (the server died while writing it, nobody was told it had
succeeded) is dropped. Damage anywhere else is not guessed at: the server refuses to start and names
file and offset.

When the disk refuses a write, the file is cut back to its last whole record and the caller told. What
happens nevertheless (a session's end can not be refused) leaves the journal *behind*; it then takes
nothing until a fresh snapshot could be written.

Without `fsync` a record survives the server's death (the kernel has it) but not a power cut.

Must never know: requests, time, sockets.
Limits: a step of rewriting costs half a millisecond. What was left behind by a full disk, and the first file, are
written at once, about 5 ms per 1,000 nodes.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import threading
from typing import TYPE_CHECKING
from zlib import crc32

from autohealer.zkserver.framing import HEADER, HEADER_SUMMED, MAGIC, frame_record, write_all
from autohealer.zkserver.protocol import MalformedError, RefusedError
from autohealer.zkserver.records import decode_record, encode_record
from autohealer.zkserver.rewriting import Rewriting
from autohealer.zkserver.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from autohealer.zkserver.settings import ServerSettings
    from autohealer.zkserver.txn import Txn

_NAME = re.compile(r"journal-(\d{10})")
_LOCK_NAME = "lock"
_GROWTH = 4
"""Rewrite when this many times the snapshot's size was appended: every byte costs a quarter more."""

_log = logging.getLogger(__name__)


class StartError(Exception):
    """The server can not start; the message is one sentence for a person."""


class Journal:
    """Keeps transactions; made by `open_journal`."""

    def __init__(self, directory: Path, settings: ServerSettings, state: State) -> None:
        self._directory = directory
        self._settings = settings
        self._state = state
        self._number = 0
        self._file = -1
        self._good_bytes = 0
        self._rewrite_at_bytes = 0
        self._behind = True
        self._rewriting: Rewriting | None = None
        self._retiring: threading.Thread | None = None

    @property
    def is_rewriting(self) -> bool:
        """Whether a new file is in the making."""
        return self._rewriting is not None

    def record(self, txn: Txn) -> bool:
        """Keep a transaction about to be applied; False when the disk refuses, and then it must not be."""
        if self._behind:
            self._rewrite_at_once()
        elif self._rewriting is None and self._good_bytes >= self._rewrite_at_bytes:
            self.begin_rewriting()
        framed = frame_record(encode_record(txn))
        if self._behind or not self._append(framed):
            return False
        self._go_on(len(framed))
        return True

    def fall_behind(self) -> None:
        """Something was applied that could not be recorded."""
        self._abandon()
        self._behind = True

    def resume(self, number: int, good_bytes: int) -> None:
        """Go on writing to a file that was read, after its last whole record."""
        self._number = number
        self._file = os.open(self._path(number), os.O_RDWR | os.O_CLOEXEC)
        os.ftruncate(self._file, good_bytes)
        os.lseek(self._file, good_bytes, os.SEEK_SET)
        self._good_bytes = good_bytes
        self._rewrite_at_bytes = max(self._settings.journal_bytes_min, good_bytes)
        self._behind = False

    def close(self) -> None:
        """Make everything durable and let go of the file."""
        self._abandon()
        if self._retiring is not None:
            self._retiring.join()
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = -1

    def _append(self, framed: bytes) -> bool:
        try:
            write_all(self._file, framed)
            if self._settings.fsync:
                os.fdatasync(self._file)
        except OSError as error:
            _log.error("write refused, the journal could not be extended: %s", error)
            self._cut_back()
            return False
        self._good_bytes += len(framed)
        return True

    def _cut_back(self) -> None:
        try:
            os.ftruncate(self._file, self._good_bytes)
            os.lseek(self._file, self._good_bytes, os.SEEK_SET)
        except OSError:
            self._behind = True

    def begin_rewriting(self) -> None:
        """Begin a new file; the transactions that follow pay for it."""
        path = self._path(self._number + 1)
        try:
            self._rewriting = Rewriting(path, self._state, self._file, self._good_bytes)
        except OSError as error:
            self._put_off(error)

    def _go_on(self, paid_bytes: int) -> None:
        """A step of rewriting, if there is one; when that fails the present file stays in use."""
        if self._rewriting is None:
            return
        try:
            if self._rewriting.step(self._good_bytes, paid_bytes):
                self._switch(self._rewriting)
        except OSError as error:
            self._abandon()
            self._put_off(error)

    def _rewrite_at_once(self) -> None:
        self._abandon()
        self.begin_rewriting()
        if self._rewriting is None:
            return
        try:
            # What the present file holds is in the snapshot, and what it lacks as well.
            self._rewriting.complete(self._good_bytes)
            self._switch(self._rewriting)
        except OSError as error:
            self._abandon()
            self._put_off(error)
        else:
            self._behind = False

    def _switch(self, whole: Rewriting) -> None:
        """Go on with the new file. Raises `OSError`, and then nothing has changed."""
        if self._settings.fsync:
            os.fdatasync(whole.file)
        whole.finish()
        outdated = self._path(self._number) if self._file >= 0 else None
        if self._file >= 0:
            os.close(self._file)
        self._rewriting = None
        self._number += 1
        self._file, self._good_bytes = whole.file, whole.size_bytes
        grown_bytes = whole.size_bytes - whole.snapshot_bytes
        self._rewrite_at_bytes = grown_bytes + max(
            self._settings.journal_bytes_min, _GROWTH * whole.snapshot_bytes
        )
        self._retire(outdated)

    def _retire(self, outdated: Path | None) -> None:
        """Make the new name durable, then remove the old file; on a thread where nobody relies on it."""
        if self._retiring is not None:
            self._retiring.join()
        thread = threading.Thread(target=_remove, args=(self._directory, outdated), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had: then it is waited for
            _remove(self._directory, outdated)
            return
        self._retiring = thread
        if self._settings.fsync:
            thread.join()

    def _abandon(self) -> None:
        if self._rewriting is not None:
            self._rewriting.abandon()
            self._rewriting = None

    def _put_off(self, error: OSError) -> None:
        _log.error("the journal could not be rewritten: %s", error)
        self._rewrite_at_bytes = self._good_bytes + self._settings.journal_bytes_min

    def _path(self, number: int) -> Path:
        return self._directory / f"journal-{number:010d}"


def lock_directory(directory: Path) -> int:
    """Make the directory if need be and claim it; returns the descriptor that holds the claim.

    Raises:
        StartError: it can not be written, or another server has it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"the data directory {directory} can not be written: {error.strerror}"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StartError(
            f"the data directory {directory} is in use by another server (pid {owner})"
        ) from error
    with contextlib.suppress(OSError):  # the pid is a courtesy; the lock is what counts
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def open_journal(directory: Path, settings: ServerSettings, secret: bytes) -> tuple[Journal, State]:
    """Read the state back, or begin a new one with `secret`. The directory must be locked.

    Raises:
        StartError: a file is corrupt or unreadable.
    """
    state = State(secret)
    journal = Journal(directory, settings, state)
    try:
        numbers = _clean_up(directory)
        if numbers:
            path = directory / f"journal-{numbers[-1]:010d}"
            journal.resume(numbers[-1], _replay(path, state))
    except OSError as error:
        raise StartError(f"the journal in {directory} can not be used: {error}") from error
    return journal, state


def _clean_up(directory: Path) -> list[int]:
    """Remove what a death during a rewrite left; the numbers of the journals, the last one is current."""
    for leftover in directory.glob("journal-*.tmp"):
        leftover.unlink()
    names = (_NAME.fullmatch(entry.name) for entry in directory.iterdir())
    numbers = sorted(int(match[1]) for match in names if match is not None)
    for outdated in numbers[:-1]:
        (directory / f"journal-{outdated:010d}").unlink()
    return numbers


def _replay(path: Path, state: State) -> int:
    """Feed a file to the state; returns how many bytes of it are good."""
    raw = path.read_bytes()
    if raw[: len(MAGIC)] != MAGIC:
        raise StartError(f"{path} is corrupt at offset 0: it is not a journal of this version")
    end = len(MAGIC)
    for start, payload in _records(path, raw):
        try:
            state.restore(decode_record(payload))
        except (MalformedError, RefusedError, KeyError, AssertionError) as error:
            raise StartError(f"{path} is corrupt at offset {start}: {error}") from error
        end = start + HEADER.size + len(payload)
    if end < len(raw):
        _log.warning("%s: dropped %d bytes of a record cut short", path, len(raw) - end)
    return end


def _records(path: Path, raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, payload) of every whole record; stop at a torn tail."""
    at = len(MAGIC)
    while len(raw) - at >= HEADER.size:
        length, payload_sum, header_sum = HEADER.unpack_from(raw, at)
        end = at + HEADER.size + length
        header_good = crc32(raw[at : at + HEADER_SUMMED.size]) == header_sum
        payload = raw[at + HEADER.size : end]
        if header_good and len(payload) == length and crc32(payload) == payload_sum:
            yield at, payload
            at = end
            continue
        if not _is_torn(raw, at, end if header_good else None):
            raise StartError(f"{path} is corrupt at offset {at}: the checksum does not match")
        return


def _is_torn(raw: bytes, at: int, end: int | None) -> bool:
    """Whether a bad record is one whose writing was cut short: it reaches the end, or only zeros follow."""
    return (end is not None and end >= len(raw)) or not raw[at:].strip(b"\0")


def _remove(directory: Path, outdated: Path | None) -> None:
    _sync_directory(directory)
    if outdated is not None:
        with contextlib.suppress(OSError):  # the next start removes it
            outdated.unlink()


def _sync_directory(directory: Path) -> None:
    """Make a rename durable; a file system that can not is no worse than `fsync` off."""
    with contextlib.suppress(OSError):
        file = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(file)
        finally:
            os.close(file)
