"""Log lines to a descriptor, on the log's own thread; on a terminal with one line kept below them.

A reader that went away or a disk that is full costs lines and nothing else. Whatever was lost is counted, and the
count is written before the next line that gets through.

Must never know what the lines mean, or what the line below them tells.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from autohealer.telemetry.scribe import Batch, Missing

WIPE = "\r\x1b[K"
UNREAD = "while nobody read them"


class Outlet:
    """The `write` of a scribe; used from its thread only, but for `below`."""

    def __init__(
        self,
        descriptor: int,
        encoding: str,
        tell_missing: Callable[[int, str], str],
        width: Callable[[], int] | None = None,
    ) -> None:
        """`tell_missing` makes a log line of a count and a reason; `width` is given where a line is kept below."""
        self._descriptor = descriptor
        self._encoding = encoding
        self._tell_missing = tell_missing
        self._width = width
        self._shown = ""
        self._lost = 0
        self._why_lost = ""
        self._is_torn = False
        self.below = ""

    def write(self, batch: Batch) -> None:
        """Write lines and what is to be kept below them."""
        shown = "" if self._width is None else self.below[: max(0, self._width() - 1)]
        if not batch and shown == self._shown:
            return
        lines = "".join(f"{self._line_of(item)}\n" for item in batch)
        wipe = WIPE if self._shown or shown else ""
        lost = f"{self._tell_missing(self._lost, self._why_lost)}\n" if self._lost else ""
        torn = "\n" if self._is_torn and batch else ""
        error = self._emit(f"{wipe}{torn}{lost}{lines}{shown}")
        if error is None:
            self._lost, self._shown, self._is_torn = 0, shown, False
        else:
            self._lost += sum(item.lines if isinstance(item, Missing) else 1 for item in batch)
            self._why_lost = f"because they could not be written ({error})"

    def _line_of(self, item: str | Missing) -> str:
        return self._tell_missing(item.lines, UNREAD) if isinstance(item, Missing) else item

    def _emit(self, text: str) -> str | None:
        """Write all of it, however long that takes; what kept it from being written, if something did."""
        rest = memoryview(text.encode(self._encoding, errors="backslashreplace"))
        while rest:
            try:
                written = os.write(self._descriptor, rest)
            except BlockingIOError:  # somebody else made the terminal we share non-blocking
                _wait_writable(self._descriptor)
                continue
            except OSError as error:
                return error.strerror or str(error)
            rest = rest[written:]
            self._is_torn = bool(rest)
        return None


def _wait_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()
