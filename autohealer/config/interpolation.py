"""Put values of the environment where a configuration's texts ask for them.

Theory of operation. `${NAME}` is the value, and a mistake where there is none; `${NAME:-x}` is x where it is unset or
empty; `${NAME:?why}` is a mistake with that reason then. `$${` stands for `${` itself. Everything else with a dollar
stays as it is, so what is written for a shell or for awk need not be escaped. It is done once, after the file was
parsed: a value never becomes a key, nor is looked through again.

Must never know: which keys there are. Limits: in x, braces have to come in pairs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from autohealer.config.mistakes import KeyPath

_BEGIN = re.compile(r"\$?\$\{")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?:(?P<sign>:[-?])(?P<rest>.*))?", re.DOTALL)
_NESTING_MAX = 20


class Interpolated(str):
    """Text that came from the environment, at least in part; so it may stand for a number."""

    __slots__ = ()


class _Wrong(Exception):  # noqa: N818 - says what is the case
    """A text asks for what there is not; the message is a sentence."""


def interpolated(
    value: object, environ: Mapping[str, str], note: Callable[[KeyPath, str], None]
) -> object:
    """A value with all its texts filled in; those that cannot be are noted, and left as they are."""
    return _filled(value, (), environ, note)


def _filled(
    value: object, path: KeyPath, environ: Mapping[str, str], note: Callable[[KeyPath, str], None]
) -> object:
    match value:
        case str() if "${" in value:
            try:
                return Interpolated("".join(_pieces(value, environ, 0)))
            except _Wrong as wrong:
                note(path, str(wrong))
                return value
        case dict():
            return {k: _filled(it, (*path, k), environ, note) for k, it in value.items()}
        case list():
            return [_filled(it, (*path, n), environ, note) for n, it in enumerate(value)]
        case _:
            return value


def _pieces(text: str, environ: Mapping[str, str], depth: int) -> Iterator[str]:
    """The text in pieces, with values in place of what asks for them. Raises `_Wrong`."""
    if depth > _NESTING_MAX:
        raise _Wrong("variables within variables, too many of them")
    end = 0
    while (begin := _BEGIN.search(text, end)) is not None:
        yield text[end : begin.start()]
        end = begin.end()
        if begin[0] == "$${":
            yield "${"
            continue
        closing = _closing(text, end)
        yield _value(text[end:closing], environ, depth)
        end = closing + 1
    yield text[end:]


def _closing(text: str, begin: int) -> int:
    """Where the brace is that closes the one before `begin`."""
    depth = 1
    for number in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[number], 0)
        if not depth:
            return number
    raise _Wrong("`${` is not closed: write ${NAME}, or $${ for the characters themselves")


def _value(body: str, environ: Mapping[str, str], depth: int) -> str:
    match = _BODY.fullmatch(body)
    if match is None:
        raise _Wrong(
            f"${{{body}}} names no variable: write ${{NAME}}, ${{NAME:-default}} or ${{NAME:?why}}, "
            "or $${ for the characters themselves"
        )
    name, sign, rest = match.group("name", "sign", "rest")
    value = environ.get(name)
    if value or (value is not None and not sign):
        return value
    if sign == ":-":
        return "".join(_pieces(rest, environ, depth + 1))
    if sign == ":?":
        raise _Wrong(f"{name} is not set: {rest}" if rest else f"{name} is not set")
    raise _Wrong(f"{name} is not set: set it, or write ${{{name}:-default}}")
