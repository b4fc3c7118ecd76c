"""Thousands of seeded stories, the seeds that ever found something, and the mutants that must be noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.campaign import play_all, play_lot
from tests.simulation.faults import FAULTS
from tests.simulation.mutants import MUTANTS, WITHOUT_SELF_CHECK
from tests.simulation.story import play
from tests.simulation.transcript import transcript_of

SEEDS = range(2_000)
MUTANT_SEEDS_MAX = 1000


def known_seeds() -> list[int]:
    """The seed file's, without comments."""
    lines = Path(__file__).with_name("seeds.txt").read_text().splitlines()
    return [int(told) for line in lines if (told := line.split("#")[0].strip())]


@pytest.mark.timeout(400)
def test_no_story_breaks_an_invariant() -> None:
    """Some odd sequence of faults would double workers, end healthy ones, or leave slots empty for ever."""
    failures: dict[int, tuple[str, ...]] = {}
    struck: set[str] = set()
    for tally in play_all(SEEDS):
        failures |= tally.failures
        struck |= tally.faults.keys()
    assert failures == {}, "replay one: python -m tests.simulation --seed N"
    assert struck == FAULTS.keys()


@pytest.mark.parametrize("seed", known_seeds())
def test_what_was_found_once_stays_mended(seed: int) -> None:
    """A mended fault would come back unnoticed."""
    assert play(seed).violations == ()


def test_a_seed_tells_the_same_story_twice() -> None:
    """A failing seed could not be replayed."""
    for seed in (1, 2, 3):
        assert play(seed).history == play(seed).history


def test_a_transcript_shows_the_faults_the_facts_and_the_slots() -> None:
    """A failing seed could be replayed and not be understood."""
    _, lines = transcript_of(5)
    text = "\n".join(lines)
    for word in (
        "FAULT",
        "  true    Launched",
        "  fact    WorkerExited",
        "  action  Spawn",
        "0:ready",
    ):
        assert word in text


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_deliberate_bug_is_noticed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of this kind could be introduced and no story would tell."""
    for owner, name, replacement in (WITHOUT_SELF_CHECK, *MUTANTS[mutant]):
        monkeypatch.setattr(owner, name, replacement)
    caught = next((s for s in range(MUTANT_SEEDS_MAX) if play_lot(range(s, s + 1)).failures), None)
    assert caught is not None, f"nobody noticed a daemon that {mutant}"
