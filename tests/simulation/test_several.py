"""Stories of daemons that keep several groups, and the mutants that only these can show."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.simulation import (
    ailing,
    breaking,
    drawing,
    faults,
    kept,
    operating,
    several,
    speaking,
    surroundings,
)
from tests.simulation.breaking import BreakRules
from tests.simulation.campaign import play_all
from tests.simulation.drawing_several import drawn_several
from tests.simulation.faults import Crash, Freeze
from tests.simulation.kept_several import KEPT_OF_SEVERAL
from tests.simulation.mutants import WITHOUT_SELF_CHECK
from tests.simulation.mutants_of_several import MUTANTS_OF_SEVERAL
from tests.simulation.script import At, Script, in_python
from tests.simulation.several import Several, play_several
from tests.support.history import Launched
from tests.support.virtual_time import START_S

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


@pytest.mark.parametrize("what", KEPT_OF_SEVERAL)
def test_what_was_found_once_of_several_stays_mended(what: str) -> None:
    """A mended fault would come back unnoticed."""
    assert play_several(KEPT_OF_SEVERAL[what]).violations == ()


def test_a_story_of_several_is_the_same_when_it_is_told_again() -> None:
    """A failing seed could not be replayed."""
    for seed in (1, 2):
        script = drawn_several(seed, 2)
        assert play_several(script).histories == play_several(script).histories


def test_a_story_of_several_written_down_is_the_same_story() -> None:
    """A failing story could not be kept: pasted, it would be another."""
    modules = (ailing, breaking, drawing, kept, faults, operating, several, speaking, surroundings)
    names = {name: it for module in modules for name, it in vars(module).items()}
    for seed in range(50):
        script = drawn_several(seed, 3)
        assert eval(in_python(script), names) == script


def test_a_frozen_group_freezes_alone() -> None:
    """A fault in the decisions for one group would end the healing of all."""
    script = Several(
        groups=(
            Script(2, (At(20.0, BreakRules(60.0)), At(30.0, Crash((0,))))),
            Script(2, (At(31.0, Crash((0,))), At(40.0, Freeze((1,))))),
        )
    )
    outcome = play_several(script)
    assert outcome.violations == ()
    launched = [
        sorted(it.at - START_S for it in history if isinstance(it, Launched))
        for history in outcome.histories
    ]
    frozen_s = (20.0, 80.0)
    assert not [at for at in launched[0] if frozen_s[0] < at < frozen_s[1]]
    assert len([at for at in launched[1] if frozen_s[0] < at < frozen_s[1]]) == 2


@pytest.mark.parametrize("mutant", MUTANTS_OF_SEVERAL)
def test_a_bug_that_only_several_groups_can_show_is_noticed(
    mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trouble of one group could become that of all, and no story would tell."""
    for owner, name, replacement in (WITHOUT_SELF_CHECK, *MUTANTS_OF_SEVERAL[mutant]):
        monkeypatch.setattr(owner, name, replacement, raising=False)
    drawn = (drawn_several(seed, 2) for seed in range(MUTANT_SEEDS_MAX))
    stories = chain(KEPT_OF_SEVERAL.values(), drawn)
    assert any(play_several(script).violations for script in stories), (
        f"nobody noticed a daemon in which {mutant}"
    )
