"""Read what a slot's workers wrote, in order and each byte once, while files grow, are moved, emptied and removed.

Theory of operation. Files are read from the oldest wanted one to the newest. At the end of the newest it is looked at
what has its name: another file means that ours was moved, so what is between is opened, ours is read to its end (its
writer left it before making the next) and then the others. A file that was emptied under its writer has a copy of its
end beside it, if a new one is there: it is read on in that, at the place that was read last, and then anew from the
first byte.

Must never know: lines. Limits: what was cut away before it could be read is lost, which `takes_loss` tells; what is
written between the copy and the emptying is in neither (see `processes.output`).
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from autohealer.logprocess.layout import older
from autohealer.workerlogs.files import (
    CHUNK_BYTES,
    Cut,
    LogFile,
    Mark,
    chain_of,
    mark_at,
    open_log,
)

_KNOWN_MAX = 512


class SlotReader:
    """Reads one slot's files; no method but `begin_*` may be called before one of those."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._files: deque[LogFile] = deque()
        self._known: dict[Mark, None] = {}
        self._copy: Mark | None = None
        self._is_lost = False

    # --- where to begin -----------------------------------------------------------------------

    def begin_with_last(self, lines: int | None) -> None:
        """Begin where the last so many lines do; None: with the oldest there are. Raises `OSError`."""
        files = self._all_files()
        missing = lines
        while files and missing != 0:
            file = files.pop()
            if missing is not None and file.size_bytes:
                # A newline at the very end begins no line.
                missing += file.ends_line and all(not it.size_bytes for it in self._files)
                missing = file.seek_back(missing)
            self._files.appendleft(file)
        self._leave_out(files)

    def begin_since(self, since_s: float) -> None:
        """Begin with the oldest file that was written to since (seconds since the epoch). Raises `OSError`."""
        files = self._all_files()
        while files and files[-1].mtime_s >= since_s:
            self._files.appendleft(files.pop())
        self._leave_out(files)

    def _all_files(self) -> list[LogFile]:
        self._copy = mark_at(older(self._path, 1))
        return chain_of(self._path, lambda _file: False).files

    def _leave_out(self, files: list[LogFile]) -> None:
        """What is older than wanted; the newest is there even if nothing of it is wanted yet."""
        if files and not self._files:
            newest = files.pop()
            newest.seek(newest.size_bytes)
            self._files.append(newest)
        for file in files:
            self._finish(file)

    # --- reading ------------------------------------------------------------------------------

    @property
    def waiting_bytes(self) -> int:
        """How much there is to read, as far as files are known now. Raises `OSError`."""
        return sum(max(0, file.size_bytes - file.offset) for file in self._files)

    def has_news(self) -> bool:
        """Whether `read` may find anything; costs one look at one file."""
        if len(self._files) > 1:
            return True
        try:
            found = os.stat(self._name)  # noqa: PTH116 - a `Path` takes four times as long
        except OSError:
            return bool(self._files) and self._files[0].size_bytes != self._files[0].offset
        if not self._files:
            return True
        file = self._files[0]
        return found.st_ino != file.inode or found.st_size != file.offset

    def read(self, at_most_bytes: int = CHUNK_BYTES) -> bytes:
        """What follows; empty where nothing does for now. Raises `OSError`."""
        while True:
            if self._files:
                try:
                    chunk = self._files[0].read(at_most_bytes)
                except Cut:
                    self._begin_anew()
                    continue
                if chunk:
                    return chunk
                if len(self._files) > 1:
                    self._finish(self._files.popleft())
                    continue
            if not self._finds_newer():
                return b""

    def takes_loss(self) -> bool:
        """Whether something was cut away before it could be read, since this was asked last."""
        is_lost, self._is_lost = self._is_lost, False
        return is_lost

    def close(self) -> None:
        """Nothing more is wanted."""
        while self._files:
            self._files.pop().close()

    # --- what befalls files -------------------------------------------------------------------

    def _finds_newer(self) -> bool:
        """Whether another file is in the place of the one that is read to its end; opens what follows that."""
        try:
            inode = os.stat(self._name).st_ino  # noqa: PTH116 - as above
        except OSError:
            return False  # moved, and none made yet
        last = self._files[-1] if self._files else None
        if last is not None and inode == last.inode:
            return False
        chain = chain_of(self._path, lambda file: self._is_before(file, last))
        if not chain.files:
            return False  # moved again, this moment
        if last is not None and last.is_removed and not chain.is_joined and len(chain.files) > 1:
            self._is_lost = True
        self._files.extend(chain.files)
        self._copy = mark_at(older(self._path, 1))
        return True

    def _is_before(self, file: LogFile, last: LogFile | None) -> bool:
        return (last is not None and file.inode == last.inode) or file.mark in self._known

    def _begin_anew(self) -> None:
        """The file that is read was emptied."""
        cut = self._files.popleft()
        if self._files:  # a copy that was replaced by a newer one: what follows is in none of ours
            self._is_lost = True
            cut.close()
            return
        copy, mark = open_log(older(self._path, 1)), None
        if copy is not None:
            mark = copy.mark
        if copy is not None and mark != self._copy:
            self._is_lost = not copy.seek_as(cut) or self._is_lost
            self._files.append(copy)
        elif copy is not None:
            copy.close()
        self._copy = mark
        cut.seek(0)
        self._files.append(cut)

    def _finish(self, file: LogFile) -> None:
        self._known[file.mark] = None
        while len(self._known) > _KNOWN_MAX:
            del self._known[next(iter(self._known))]
        file.close()
