"""Cut what was read into lines, hold a line back until it is whole, and tell its time.

Must never know: where lines come from or go. Limits: of a line of more than `PIECE_BYTES`, or one that nobody ends for
`HELD_S`, the pieces are handed on one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from autohealer.logprocess.layout import STAMP

PIECE_BYTES = 64 * 1024
HELD_S = 1.0
_AS_IT_IS = "surrogateescape"
"""Bytes that are no text survive being looked at."""
_TIME_BYTES = len("2026-11-27T10:00:00.000Z")


class LineCutter:
    """Holds back what no line has ended yet."""

    def __init__(self) -> None:
        self._rest = b""
        self._since_s = 0.0

    def add(self, chunk: bytes, now_s: float) -> bytes:
        """The whole lines there are now; ends within a line only where that is too long to wait for."""
        if not self._rest:
            self._since_s = now_s
        text = self._rest + chunk
        end = text.rfind(b"\n") + 1
        if len(text) - end > PIECE_BYTES:
            end = len(text)
        if end:
            self._since_s = now_s
        self._rest = text[end:]
        return text[:end]

    def overdue(self, now_s: float) -> bytes:
        """What was held back for long enough."""
        if self._rest and now_s - self._since_s >= HELD_S:
            return self.flush()
        return b""

    def flush(self) -> bytes:
        """What is held back, whole or not."""
        rest, self._rest = self._rest, b""
        return rest


def lines_in(block: bytes) -> Iterator[bytes]:
    """Each line with its end."""
    begin = 0
    while end := block.find(b"\n", begin) + 1:
        yield block[begin:end]
        begin = end
    if begin < len(block):
        yield block[begin:]


def time_of(line: bytes) -> bytes | None:
    """The time that stands before a line, as it stands there (UTC: later ones sort behind earlier ones)."""
    return line[:_TIME_BYTES] if STAMP.match(line) else None


def is_found(pattern: re.Pattern[str], line: bytes, *, is_stamped: bool) -> bool:
    """Whether a line, without its time and its end, has what is looked for."""
    text = line[_TIME_BYTES + 1 :] if is_stamped and STAMP.match(line) else line
    return pattern.search(text.removesuffix(b"\n").decode(errors=_AS_IT_IS)) is not None


def those_found(pattern: re.Pattern[str], block: bytes, *, is_stamped: bool) -> bytes:
    """The lines of a block that have it."""
    if is_stamped:
        return b"".join(it for it in lines_in(block) if is_found(pattern, it, is_stamped=True))
    # All lines at once: ten times as fast.
    *lines, last = block.decode(errors=_AS_IT_IS).split("\n")
    search = pattern.search
    found = [line + "\n" for line in lines if search(line)]
    if last and search(last):
        found.append(last)
    return "".join(found).encode(errors=_AS_IT_IS)
