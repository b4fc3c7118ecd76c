"""Turn text of workers, znodes and operators into text that a terminal shows and does not obey.

Theory of operation. What others wrote is data, wherever a person reads it: every character that moves a cursor, ends a
line, turns text around, hides, or cannot be encoded is shown as the escape that Python writes for it. All other text
stays as it is, in whatever script, backslashes included; so what was made printable once is not changed by being made
printable again. Programs get the original: as JSON, in which these characters are escapes anyway.

Must never know: where a text comes from, or where it goes. Limits: an escape looks the same as a text that spells it
out; who must tell them apart reads the JSON.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls (C0, DEL, C1), formats (bidirectional, invisible), surrogates, separators of lines and paragraphs."""

_JOINERS = frozenset("\u200c\u200d")
"""Formats all the same, but part of how Persian, Hindi and many emoji are written; they move nothing."""


def printable(text: str, chars_max: int | None = None) -> str:
    """One line that is harmless to show; what is longer than `chars_max` is cut, and ends in an ellipsis."""
    if chars_max is None:
        return _escaped(text)
    shown = _escaped(text[:chars_max])
    is_whole = len(text) <= chars_max and len(shown) <= chars_max
    return shown if is_whole else f"{shown[:chars_max]}…"


def printable_lines(text: str) -> str:
    """Several lines, each harmless to show."""
    return "\n".join(map(_escaped, text.split("\n")))


def quoted_lines(lines: Iterable[str]) -> Iterator[str]:
    """What a program said, each line behind a bar; tabs, which stack traces are full of, become spaces."""
    return (f"    | {_escaped(line.expandtabs())}" for line in lines)


def printable_json(text: str) -> str:
    """The same JSON without line breaks, written so that a terminal obeys none of it."""
    if text.isprintable():
        return text
    return "".join(json.dumps(char)[1:-1] if _is_obeyed(char) else char for char in text)


def encodable(text: str) -> str:
    """The text, with escapes only for lone surrogates: those are no characters, and neither UTF-8 nor JSON has them."""
    return text.encode(errors="backslashreplace").decode()


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if _is_obeyed(char) else char for char in text
    )


def _is_obeyed(char: str) -> bool:
    return unicodedata.category(char) in _OBEYED and char not in _JOINERS
