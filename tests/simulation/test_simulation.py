"""Thousands of seeded stories, those that ever showed something, and the mutants that must be noticed."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.simulation import ailing, drawing, faults, kept, operating, speaking, surroundings
from tests.simulation.campaign import play_all
from tests.simulation.drawing import drawn
from tests.simulation.faults import Crash
from tests.simulation.kept import KEPT
from tests.simulation.mutants import MUTANTS, WITHOUT_SELF_CHECK
from tests.simulation.script import At, Script, in_python
from tests.simulation.shrinking import shrunk
from tests.simulation.story import play
from tests.simulation.transcript import transcript_of

SEEDS = range(200)
MORE_SEEDS = range(200, 3_000)
MUTANT_SEEDS_MAX = 300
FOUND_LATE = (
    "never escalates",
    "haunts by interval",
    "kills what a drained leader left",
    "binds a foreign child",
    "exchanges all that is outdated",
    "forgets a mass loss with its connection",
    "settles after reconnects only",
    "does not brake what a cut has hidden",
    "adopts what is outdated as current",
    "registers a program only once",
    "does not hold again for as many again",
    "spends another number's budget",
    "spends without a budget",
    "restarts before the last successor is ready",
    "tries nothing again",
)
"""Mutants that only a rare story shows."""


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "seeds", [pytest.param(SEEDS), pytest.param(MORE_SEEDS, marks=pytest.mark.thorough)], ids=str
)
def test_no_story_breaks_an_invariant(seeds: range) -> None:
    """Some odd sequence of faults would double workers, end healthy ones, or leave slots empty for ever."""
    failures: dict[int, tuple[str, ...]] = {}
    struck: set[str] = set()
    for tally in play_all(seeds):
        failures |= tally.failures
        struck |= tally.troubles.keys()
    assert failures == {}, "replay one: python -m tests.simulation --seed N"
    assert struck == {trouble.__name__ for trouble in _troubles()}


def _troubles() -> list[type]:
    return [
        it
        for module in (ailing, faults, operating, speaking, surroundings)
        for it in vars(module).values()
        if isinstance(it, type) and it.__module__ == module.__name__ and hasattr(it, "strike")
    ]


@pytest.mark.parametrize("what", KEPT)
def test_what_was_found_once_stays_mended(what: str) -> None:
    """A mended fault would come back unnoticed."""
    assert play(KEPT[what]).violations == ()


def test_a_story_is_the_same_when_it_is_told_again() -> None:
    """A failing seed could not be replayed."""
    for seed in (1, 2, 3):
        assert play(drawn(seed)).history == play(drawn(seed)).history


def test_a_story_written_down_is_the_same_story() -> None:
    """A failing story could not be kept: pasted, it would be another."""
    names = {
        name: it
        for m in (ailing, drawing, kept, faults, operating, speaking, surroundings)
        for name, it in vars(m).items()
    }
    for seed in range(200):
        script = drawn(seed)
        assert eval(in_python(script), names) == script


def test_stories_are_small_large_crowded_and_swarms() -> None:
    """The search would look again and again where nothing is left to be found."""
    scripts = [drawn(seed) for seed in range(1_000)]
    sizes = Counter(script.replicas for script in scripts)
    assert sizes[2] + sizes[3] > 200
    assert sum(often for size, often in sizes.items() if size >= 40) > 10
    kinds = [{type(at.trouble) for at in script.troubles} for script in scripts]
    assert sum(1 < len(k) <= 4 for k in kinds) > 300
    at_once = sum(
        any(one.at_s == next_.at_s for one, next_ in pairwise(script.troubles))
        for script in scripts
    )
    assert at_once > 300


@pytest.mark.thorough
def test_a_failing_story_is_cut_down_to_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds a failing seed would have to read a thousand lines to learn why."""
    for owner, name, replacement in (WITHOUT_SELF_CHECK, *MUTANTS["never brakes"]):
        monkeypatch.setattr(owner, name, replacement)
    long = next(
        script
        for script in map(drawn, range(MUTANT_SEEDS_MAX))
        if len(script.troubles) >= 10 and play(script).violations
    )
    short = shrunk(long)
    assert play(short).violations
    assert len(short.troubles) <= 3, in_python(short)
    assert short.replicas <= 4, in_python(short)


def test_a_story_that_breaks_nothing_is_left_as_it_is() -> None:
    """A sound story would be cut down to nothing, and pass for a finding."""
    script = Script(3, (At(1.0, Crash((0,))),))
    assert shrunk(script) is script


def test_a_transcript_shows_the_faults_the_facts_and_the_slots() -> None:
    """A failing seed could be replayed and not be understood."""
    _, lines = transcript_of(Script(2, (At(5.0, Crash((0,))),)))
    text = "\n".join(lines)
    for word in (
        "TROUBLE Crash",
        "  true    Launched",
        "  fact    WorkerExited",
        "  action  Spawn",
        "0:ready",
    ):
        assert word in text


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(m, marks=[pytest.mark.thorough] if m in FOUND_LATE else []) for m in MUTANTS],
)
def test_a_deliberate_bug_is_noticed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of this kind could be introduced and no story would tell."""
    for owner, name, replacement in (WITHOUT_SELF_CHECK, *MUTANTS[mutant]):
        monkeypatch.setattr(owner, name, replacement)
    caught = next((s for s in range(MUTANT_SEEDS_MAX) if play(drawn(s)).violations), None)
    assert caught is not None, f"nobody noticed a daemon that {mutant}"
