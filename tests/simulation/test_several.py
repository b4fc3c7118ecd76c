"""Stories of daemons that keep several groups, and the mutants that only these can show."""

from __future__ import annotations

import pytest

from autohealer.core.model import StoreRoom
from autohealer.daemon.neighbours import Neighbours
from tests.simulation.campaign import play_all
from tests.simulation.drawing_several import drawn_several
from tests.simulation.mutants import WITHOUT_SELF_CHECK
from tests.simulation.several import play_several

MUTANT_SEEDS_MAX = 100


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("groups", "seeds"),
    [
        (2, range(30)),
        pytest.param(2, range(30, 300), marks=pytest.mark.thorough),
        pytest.param(3, range(300), marks=pytest.mark.thorough),
    ],
    ids=str,
)
def test_no_story_of_several_groups_breaks_an_invariant(groups: int, seeds: range) -> None:
    """What one group goes through would end, double or hold up the workers of another."""
    failures: dict[int, tuple[str, ...]] = {}
    for tally in play_all(seeds, groups=groups):
        failures |= tally.failures
    assert failures == {}, f"replay one: python -m tests.simulation --groups {groups} --seed N"


def _has_no_room_for_others(self: Neighbours) -> StoreRoom:
    """Each group knows of nothing but its own losses."""
    return StoreRoom()


def test_groups_that_count_for_themselves_alone_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store that forgets the workers of many small groups would have all of them restarted, and nobody would tell."""
    owner, name, replacement = WITHOUT_SELF_CHECK
    monkeypatch.setattr(owner, name, replacement)
    monkeypatch.setattr(Neighbours, "__init__", _begins_without_room)
    monkeypatch.setattr(Neighbours, "room", property(_has_no_room_for_others), raising=False)
    caught = next(
        (s for s in range(MUTANT_SEEDS_MAX) if play_several(drawn_several(s, 2)).violations), None
    )
    assert caught is not None


BEGINS = Neighbours.__init__


def _begins_without_room(self: Neighbours) -> None:
    self.__dict__.update(_mailboxes={}, _last=None, _turns=0)
