"""Choose, from the end of what a dead worker wrote, the lines that may tell why it died.

The last lines come first, but the cause often stands above a long stack trace or in the middle of one endless
line: lines before the last that look like an error are kept too, and a long line is cut where it says least.

Pure. Limits: `KEPT_LINES` lines, `KEPT_CHARACTERS` in all, `LINE_CHARACTERS` a line; what looks like an error is
guessed from English words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

KEPT_LINES = 20
KEPT_CHARACTERS = 4096
LINE_CHARACTERS = 400
ERRORS_ABOVE = 5
"""Of a window full of errors the last few are as good as all."""

_SIGNS = (
    *("error", "exception", "fatal", "panic", "critical", "traceback", "fail", "cannot", "can't", "unable"),
    *("denied", "refused", "abort", "killed", "not found", "no such", "missing", "invalid", "quota", "out of"),
    *("caused by", "timed out", "timeout", "unreachable", "segmentation", "assert"),
)  # fmt: skip
_CUT = " [...] "
_PART = (LINE_CHARACTERS - 2 * len(_CUT)) // 3


def last_words(text: str) -> list[str]:
    """The lines worth keeping, oldest first."""
    lines = text.splitlines()
    above, tail = lines[:-KEPT_LINES], lines[-KEPT_LINES:]
    errors = [line for line in above if line[:1].strip() and _first_sign(line) >= 0][-ERRORS_ABOVE:]
    kept = [shortened(line) for line in errors]
    room = KEPT_CHARACTERS - sum(map(len, kept))
    return [*kept, *_fitting([shortened(line) for line in tail], room)]


def shortened(line: str) -> str:
    """A line as it is, or its beginning, its end, and what looks like an error between them."""
    if len(line) <= LINE_CHARACTERS:
        return line
    begin, middle, end = line[:_PART], line[_PART:-_PART], line[-_PART:]
    sign = _first_sign(middle)
    if sign < 0:
        return f"{begin}{_CUT}{end}"
    start = max(0, sign - _PART // 4)
    return f"{begin}{_CUT}{middle[start : start + _PART]}{_CUT}{end}"


def _first_sign(text: str) -> int:
    """Where something that looks like an error stands; -1 where nothing does."""
    lowered = text.lower()
    return min((at for sign in _SIGNS if (at := lowered.find(sign)) >= 0), default=-1)


def _fitting(lines: Sequence[str], room: int) -> list[str]:
    """As many of the last lines as there is room for."""
    return list(_backwards(lines, room))[::-1]


def _backwards(lines: Sequence[str], room: int) -> Iterator[str]:
    for line in reversed(lines):
        room -= len(line)
        if room < 0:
            return
        yield line
