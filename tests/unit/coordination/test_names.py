"""What names below `/workers` say, and what they may cost."""

from __future__ import annotations

import sys

import pytest

from autohealer.contract import ZnodeName
from autohealer.coordination import names as module
from autohealer.coordination.names import ASKED_FOR_CHARS_MAX, STRANGE_MAX, Names, label_of
from autohealer.core.model import Incarnation


def test_what_did_not_change_is_the_very_same() -> None:
    """Every group would be told of every other group's changes."""
    names = Names()
    before = names.read(["web-0-1", "api-0-1", "stray"])
    after = names.read(["stray", "api-0-1", "web-0-1", "web-1-1"])
    assert after.of("api") is before.of("api")
    assert after.strange is before.strange
    assert after.of("web") == {Incarnation(0, 1), Incarnation(1, 1)}
    assert names.read([]).groups == {}


def test_a_name_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change in a large group would cost as much as the group is large."""
    looked_at: list[str] = []

    def parse(name: str) -> ZnodeName | None:
        looked_at.append(name)
        return ZnodeName("web", int(name.split("-")[1]), 1)

    monkeypatch.setattr(module, "parse_znode_name", parse)
    names = Names()
    listed = [f"web-{slot}-1" for slot in range(100)]
    for count in range(1, 101):
        names.read(listed[:count])
    assert looked_at == listed


def test_what_comes_goes_and_comes_again_is_there_again() -> None:
    """A strange name that was there before would be shown for ever, or never again."""
    names = Names()
    long = "n" * 5000
    for _ in range(3):
        assert set(names.read([long, "stray", "web-0-1"]).strange) == {"stray", label_of(long)}
        listing = names.read([])
        assert (listing.of("web"), dict(listing.strange)) == (frozenset(), {})


def test_long_names_are_told_apart_and_not_kept() -> None:
    """A stranger's names of a megabyte each would be in the daemon's memory for as long as it lives."""
    names = Names()
    listing = names.read([f"{'n' * 1_000_000}{number}" for number in range(20)])
    assert len(listing.strange) == 20
    assert set(listing.strange.values()) == {None}
    kept = [*names._known, *names._known.values(), *listing.strange]
    assert sum(map(sys.getsizeof, kept)) < 20_000


def test_strange_names_are_kept_up_to_a_limit_and_room_is_used_again() -> None:
    """A stranger could fill the daemon's memory, or one flood would hide all later ones for ever."""
    names = Names()
    flood = [f"stray{number}" for number in range(3 * STRANGE_MAX)]
    first = names.read(flood)
    assert len(first.strange) == STRANGE_MAX
    assert names.read(flood).strange is first.strange
    assert len(names._known) == STRANGE_MAX
    assert set(names.read(["another", *flood[-5:]]).strange) == {"another", *flood[-5:]}


def test_a_label_leads_back_to_a_name_that_can_be_asked_for() -> None:
    """A worker started by hand with a long host name could not be read."""
    short, long = "x" * ASKED_FOR_CHARS_MAX, "x" * (ASKED_FOR_CHARS_MAX + 1)
    strange = Names().read(["manual-host-1-s2", short, long]).strange
    assert strange == {
        "manual-host-1-s2": "manual-host-1-s2",
        label_of(short): short,
        label_of(long): None,
    }


@pytest.mark.parametrize("name", ["a\u200bb", "\u202e" * 500, "\x1b[2J", "é" * 5000, "\ud800", ""])
def test_a_label_is_short_and_printable(name: str) -> None:
    """What somebody called a znode could move the cursor of whoever looks at the status."""
    label = label_of(name)
    assert label.isprintable()
    assert len(label) <= 140


def test_two_names_never_share_a_label() -> None:
    """One stranger's znode could pass for another's, whose data is then shown for both."""
    names = Names()
    hidden = "a\u200bb"
    copied = label_of(hidden)
    assert label_of(copied) == copied
    assert list(names.read([hidden, copied]).strange.values()) in ([hidden], [copied])
    assert names.read([hidden]).strange == {copied: hidden}
    names.read([hidden, copied])
    assert names.read([copied]).strange == {copied: copied}
    assert len({label_of(f"{'n' * 500}{number}") for number in range(100)}) == 100


def test_a_name_of_a_megabyte_is_not_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name made to be slow to parse would take the daemon's time at every change."""
    monkeypatch.delattr(module, "parse_znode_name")
    assert Names().read(["a-" * 500_000]).groups == {}
