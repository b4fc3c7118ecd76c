"""Which slots of which group somebody means."""

from __future__ import annotations

import pytest

from autohealer.cli.targets import Named, Target, WrongTarget, parse_named, parse_target

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


@pytest.mark.parametrize(
    ("text", "option", "meant"),
    [
        (None, None, Named()),
        (None, "web", Named("web")),
        ("web", None, Named("web")),
        ("3", None, Named(slots=frozenset({3}))),
        ("3", "web", Named("web", frozenset({3}))),
        ("web/0-1", "web", Named("web", frozenset({0, 1}))),
        ("gone", None, Named("gone")),
        ("gone/7", None, Named("gone", frozenset({7}))),
    ],
)
def test_what_is_to_be_looked_at(text: str | None, option: str | None, meant: Named) -> None:
    """Asking after one worker would show another one's history."""
    assert parse_named(text, option, TWO) == meant


@pytest.mark.parametrize(("text", "option"), [("web", "queue"), ("web/x", None), ("web/", None)])
def test_what_cannot_be_looked_at(text: str, option: str | None) -> None:
    """Of two groups that are named one would be chosen by chance."""
    with pytest.raises(WrongTarget):
        parse_named(text, option, TWO)
