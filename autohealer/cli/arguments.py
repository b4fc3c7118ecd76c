"""Bring the words of a command line into the order the parser takes: command, its options, `--`, what it is about.

`autohealer 10 flaky_worker` means `autohealer run 10 flaky_worker`. Options of ours may stand anywhere before the
program; from there on every word is the worker's, `--` included. A `--` before the program ends our options.

Must never know what an option means: only which ones there are, and whether a value follows.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

DEFAULT = "run"
ABOUT_ITSELF = frozenset({"-h", "--help", "-V", "--version"})
INSTEAD = {
    "help": "did you mean --help?",
    "version": "did you mean --version?",
}
"""What users of other supervisors type, and what does it here."""


class UnknownCommand(ValueError):  # noqa: N818 - says what is the case
    """The first word is neither a command nor a number; the message says what was meant, if that can be guessed."""


@dataclass(frozen=True, slots=True)
class Words:
    """A command line taken apart at its program."""

    options: tuple[str, ...]
    others: tuple[str, ...]
    is_split: bool
    """Whether a `--` ended the options."""


def arranged(
    words: Sequence[str], commands: Collection[str], with_value: Collection[str]
) -> list[str]:
    """The words with a command first; `with_value` are the options that a value follows.

    Raises:
        UnknownCommand: it cannot be told what is wanted.
    """
    taken = _taken_apart(words, with_value, places=1)
    if not taken.others:
        return [DEFAULT, *_about_run(words, with_value)]
    first = taken.others[0]
    if first in commands and not taken.is_split:
        rest = (*taken.options, *taken.others[1:])
        return [first, *(_about_run(rest, with_value) if first == DEFAULT else rest)]
    if not _may_be_a_number(first) and not taken.is_split:
        raise UnknownCommand(_guess(first, commands))
    return [DEFAULT, *_about_run(words, with_value)]


def _about_run(words: Sequence[str], with_value: Collection[str]) -> list[str]:
    """Options first, and N and the program behind a `--`, so that nothing of the worker's is taken for ours."""
    taken = _taken_apart(words, with_value, places=2)
    if len(taken.others) < 2 and _are_known(taken.options, with_value):
        raise UnknownCommand(_lacking(taken.others))
    return [*taken.options, *(("--",) if taken.others else ()), *taken.others]


def _taken_apart(words: Sequence[str], with_value: Collection[str], places: int) -> Words:
    """Tell options from `places` words that are none; what follows these belongs to the last of them."""
    options: list[str] = []
    others: list[str] = []
    is_split = False
    rest = list(words)
    while rest and len(others) < places:
        word = rest.pop(0)
        if word == "--":
            is_split = True
        elif is_split or not _is_option(word):
            others.append(word)
        else:
            options.append(word)
            if word in with_value and rest:
                options.append(rest.pop(0))
    return Words(tuple(options), (*others, *rest), is_split)


def _are_known(options: Sequence[str], with_value: Collection[str]) -> bool:
    """Whether nothing is wrong with the options, and none of them asks about the program itself."""
    names = [word.partition("=")[0] for word in options if _is_option(word)]
    return all(name in with_value for name in names)


def _lacking(others: Sequence[str]) -> str:
    if others and _may_be_a_number(others[0]):
        return f"say which program is to be kept alive {others[0]} times, as in `autohealer {others[0]} flaky_worker`"
    return "say how many workers and of which program, as in `autohealer 10 flaky_worker`"


def _is_option(word: str) -> bool:
    """A negative number is a wrong N, not an unknown option."""
    return len(word) > 1 and word.startswith("-") and not word[1].isdecimal()


def _may_be_a_number(word: str) -> bool:
    return word[:1].isdecimal() or word[:1] in {"", "-", "+"}


def _guess(word: str, commands: Collection[str]) -> str:
    if word in INSTEAD:
        return f"no command {word!r}: {INSTEAD[word]}"
    if close := difflib.get_close_matches(word, sorted(commands), n=1):
        return f"no command {word!r}; did you mean {close[0]!r}?"
    return (
        f"no command {word!r}: to keep workers alive, say first how many "
        f"(the number of workers must be a whole number, not {word!r}), as in `autohealer 10 flaky_worker`"
    )
