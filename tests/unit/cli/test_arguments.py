"""The words of a command line: ours before the program, the worker's behind it, and what a wrong word meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.cli.arguments import UnknownCommand, arranged

COMMANDS = ("run", "status", "why", "detach", "zkserver")
WITH_VALUE = ("--group", "--state-dir", "--grace", "--port")


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        ("3 prog", "run -- 3 prog"),
        ("run 3 prog", "run -- 3 prog"),
        ("--group x 3 prog", "run --group x -- 3 prog"),
        ("3 --group x prog", "run --group x -- 3 prog"),
        ("3 --group=x prog", "run --group=x -- 3 prog"),
        ("--grace 1 run --group x 3 prog", "run --grace 1 --group x -- 3 prog"),
        ("--grace 1 3 --group x prog --group y", "run --grace 1 --group x -- 3 prog --group y"),
        ("3 -- prog -g 1", "run -- 3 prog -g 1"),
        ("-- 3 prog", "run -- 3 prog"),
        ("3 --group x -- prog", "run --group x -- 3 prog"),
        ("-- 3 -- prog", "run -- 3 prog"),
        ("3 -- -prog", "run -- 3 -prog"),
        ("3 prog -- --port 80", "run -- 3 prog -- --port 80"),
        ("3 -- prog -- x", "run -- 3 prog -- x"),
        ("3 prog status", "run -- 3 prog status"),
        ("3 status", "run -- 3 status"),
        ("-3 prog", "run -- -3 prog"),
        ("run -3 prog", "run -- -3 prog"),
        ("run --help", "run --help"),
        ("3 -h", "run -h -- 3"),
        ("3 --no-such", "run --no-such -- 3"),
        ("3 --help", "run --help -- 3"),
        ("--no-such 3 prog", "run --no-such -- 3 prog"),
        ("status --json", "status --json"),
        ("--state-dir X status", "status --state-dir X"),
        ("--state-dir X why 3 --last 1", "why --state-dir X 3 --last 1"),
        ("--group status 3 prog", "run --group status -- 3 prog"),
        ("zkserver --port 1", "zkserver --port 1"),
    ],
)
def test_words_are_brought_into_the_parsers_order(typed: str, parsed: str) -> None:
    """An option would be taken for the program, or a worker's argument for ours."""
    assert arranged(typed.split(), COMMANDS, WITH_VALUE) == parsed.split()


@given(st.lists(st.text(max_size=5)))
def test_what_follows_the_program_is_never_touched(arguments: list[str]) -> None:
    """A worker would get other arguments than were typed."""
    words = arranged(["3", "--group", "x", "prog", *arguments], COMMANDS, WITH_VALUE)
    assert words == ["run", "--group", "x", "--", "3", "prog", *arguments]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("stauts", "no command 'stauts'; did you mean 'status'?"),
        ("detatch", "did you mean 'detach'?"),
        ("Status", "did you mean 'status'?"),
        ("help", "did you mean --help?"),
        ("version", "did you mean --version?"),
        ("ten", "must be a whole number, not 'ten'"),
        ("./worker.py", "say first how many"),
    ],
)
def test_a_wrong_first_word_is_answered_with_what_was_meant(word: str, sentence: str) -> None:
    """A typing error would be answered with `Missing argument 'program'`."""
    with pytest.raises(UnknownCommand) as refusal:
        arranged([word], COMMANDS, WITH_VALUE)
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("3", "say which program is to be kept alive 3 times"),
        ("--group x 3", "say which program is to be kept alive 3 times"),
        ("run", "say how many workers and of which program"),
        ("--group x", "say how many workers and of which program"),
        ("--group=x --grace 1", "say how many workers and of which program"),
        ("--", "say how many workers and of which program"),
    ],
)
def test_what_is_lacking_is_said_with_an_example(typed: str, sentence: str) -> None:
    """A newcomer would read of an argument called 'program' below a line of brackets."""
    with pytest.raises(UnknownCommand, match=sentence):
        arranged(typed.split(), COMMANDS, WITH_VALUE)


@pytest.mark.parametrize("word", ["3x", "1.5", "1e3", "+", "-1", ""])
def test_a_wrong_number_is_a_number(word: str) -> None:
    """Who mistypes N would be told of commands."""
    assert arranged([word, "prog"], COMMANDS, WITH_VALUE)[0] == "run"
