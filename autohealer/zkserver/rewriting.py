"""A new journal in the making: a snapshot, then what the old one got meanwhile, little by little.

Theory of operation. Under a temporary name a snapshot of the state is written, some of it with each transaction the
old journal takes; those go on being kept there. When the snapshot is whole it is made durable by a thread of its own,
since that waits for the disk. Then the records that came meanwhile are copied, byte for byte, and the file is given its
name: one that has a journal's name always holds a whole snapshot and all that was acknowledged since. A death before
that costs the temporary file, nothing else.

Must never know: requests, time, sockets.
Limits: a step costs `STEP_RECORDS` records or `STEP_BYTES` bytes, or twice what the transaction that pays for it had;
one record may be larger.
"""

from __future__ import annotations

import contextlib
import os
import threading
from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

from autohealer.zkserver.framing import MAGIC, frame_record, write_all
from autohealer.zkserver.records import encode_record

if TYPE_CHECKING:
    from pathlib import Path

    from autohealer.zkserver.state import State

STEP_RECORDS = 100
"""Half a millisecond; after each transaction so many records less are left."""

STEP_BYTES = 262_144


class _Stage(Enum):
    IMAGES = auto()
    SYNC = auto()
    TAIL = auto()
    WHOLE = auto()


class Rewriting:
    """One new file; every method that touches it raises `OSError` when the disk refuses."""

    def __init__(self, path: Path, state: State, old: int, tail_from: int) -> None:
        """`old` is the descriptor of the present journal, `tail_from` its length now."""
        self._path = path
        self._temporary = path.with_name(f"{path.name}.tmp")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self.file = os.open(self._temporary, flags, 0o600)
        self.size_bytes = 0
        self.snapshot_bytes = 0
        self._state = state
        self._snapshot = state.begin_snapshot()
        self._old = old
        self._copied = tail_from
        self._stage = _Stage.IMAGES
        self._syncing: threading.Thread | None = None
        self._refused: OSError | None = None
        self._pending = bytearray(MAGIC)

    def step(self, old_bytes: int, paid_bytes: int) -> bool:
        """Go on a little; whether the new file holds all that the old one, which has `old_bytes`, does."""
        budget_bytes = max(STEP_BYTES, 2 * paid_bytes)
        match self._stage:
            case _Stage.IMAGES:
                self._write_images(budget_bytes)
            case _Stage.SYNC:
                self._look_at_sync()
            case _Stage.TAIL:
                self._copy_tail(old_bytes, budget_bytes)
            case _Stage.WHOLE:
                pass
            case _:
                assert_never(self._stage)
        return self._stage is _Stage.WHOLE

    def complete(self, old_bytes: int) -> None:
        """Do all that is left at once."""
        while not self.step(old_bytes, old_bytes):
            if self._syncing is not None:
                self._syncing.join()

    def finish(self) -> None:
        """Give the whole file its name; it is the journal from now on."""
        self._state.end_snapshot()
        self._temporary.rename(self._path)

    def abandon(self) -> None:
        """Let go of it; the next start removes what cannot be removed now."""
        self._state.end_snapshot()
        if self._syncing is not None:
            self._syncing.join()
        os.close(self.file)
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    def _write_images(self, budget_bytes: int) -> None:
        chunk = self._pending
        for _ in range(STEP_RECORDS):
            record = self._snapshot.take()
            if record is None:
                self._stage = _Stage.SYNC
                break
            chunk += frame_record(encode_record(record))
            if len(chunk) >= budget_bytes:
                break
        self.size_bytes += write_all(self.file, bytes(chunk))
        chunk.clear()
        if self._stage is _Stage.SYNC:
            self.snapshot_bytes = self.size_bytes
            self._begin_sync()

    def _begin_sync(self) -> None:
        thread = threading.Thread(target=self._sync, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread is to be had: then it is waited for
            self._sync()
        else:
            self._syncing = thread

    def _sync(self) -> None:
        try:
            os.fdatasync(self.file)
        except OSError as error:
            self._refused = error

    def _look_at_sync(self) -> None:
        if self._syncing is not None and self._syncing.is_alive():
            return
        self._syncing = None
        if self._refused is not None:
            raise self._refused
        self._stage = _Stage.TAIL

    def _copy_tail(self, old_bytes: int, budget_bytes: int) -> None:
        while budget_bytes > 0 and self._copied < old_bytes:
            tail = os.pread(self._old, min(budget_bytes, old_bytes - self._copied), self._copied)
            if not tail:
                raise OSError("the old journal is shorter than it was")
            self.size_bytes += write_all(self.file, tail)
            self._copied += len(tail)
            budget_bytes -= len(tail)
        if self._copied == old_bytes:
            self._stage = _Stage.WHOLE
