"""Which slots of which group somebody means."""

from __future__ import annotations

import pytest

from autohealer.cli.targets import Target, WrongTarget, parse_target

ONE, TWO = ("web",), ("queue", "web")


@pytest.mark.parametrize(
    ("text", "groups", "meant"),
    [
        (None, ONE, Target("web")),
        ("web", TWO, Target("web")),
        ("web/3", TWO, Target("web", frozenset({3}))),
        ("web/0-2", TWO, Target("web", frozenset({0, 1, 2}))),
        ("web/0,4-5", TWO, Target("web", frozenset({0, 4, 5}))),
        ("3", ONE, Target("web", frozenset({3}))),
        ("0-1", ONE, Target("web", frozenset({0, 1}))),
        ("3", ("3",), Target("3")),
        ("3/3", ("3", "4"), Target("3", frozenset({3}))),
    ],
)
def test_what_is_meant(text: str | None, groups: tuple[str, ...], meant: Target) -> None:
    """Another worker would be stopped than the one that was named."""
    assert parse_target(text, groups) == meant


@pytest.mark.parametrize(
    ("text", "groups", "sentence"),
    [
        (None, TWO, "there are several groups (queue, web): name one, as in queue or queue/0-3"),
        ("3", TWO, "there are several groups"),
        ("wbe", TWO, "no group 'wbe' runs here, only queue, web"),
        ("wbe/3", TWO, "no group 'wbe' runs here"),
        ("web/", TWO, "'' are no slots: write 3, 0-3 or 0,4-6"),
        ("web/x", TWO, "'x' are no slots"),
        ("web/3-1", TWO, "'3-1' are no slots: the first stands before the last"),
        ("web/0-10000", TWO, "below 10000"),
        ("web/-1", TWO, "'-1' are no slots"),
    ],
)
def test_what_cannot_be_meant(text: str | None, groups: tuple[str, ...], sentence: str) -> None:
    """A slip of the finger would act on something else."""
    with pytest.raises(WrongTarget) as told:
        parse_target(text, groups)
    assert sentence in str(told.value)
