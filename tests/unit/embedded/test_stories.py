"""Seeded stories of the decider, and the deliberate bugs that they must notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from autohealer.embedded import decider
from autohealer.embedded.decider import Decision, Keeping
from autohealer.embedded.facts import Begun, Fact, Launch, Listener, Looked, Say
from tests.unit.embedded.stories import FAULTS, play

SEEDS = range(150)
MUTANT_SEEDS_MAX = 150

Patch = tuple[str, object]
DECIDE = decider.decide
COUNTED = decider._counted
PAUSED = decider._paused


def test_no_story_breaks_a_promise() -> None:
    """Some odd sequence of troubles would double the server, kill a healthy one, or leave none for ever."""
    failures: dict[int, tuple[str, ...]] = {}
    struck: set[str] = set()
    for seed in SEEDS:
        outcome = play(seed)
        struck |= outcome.faults.keys()
        if outcome.violations:
            failures[seed] = outcome.violations
    assert failures == {}, "each seed can be played again: tests.unit.embedded.stories.play(seed)"
    assert struck == FAULTS.keys()


def test_a_seed_tells_the_same_story_twice() -> None:
    """A failing seed could not be played again."""
    for seed in (1, 2, 3):
        assert play(seed) == play(seed)


# --- mutants ----------------------------------------------------------------------------------


def _launches_beside_ours(keeping: Keeping, now: float, *, is_claimed: bool) -> Decision:
    """Forgets that its server is still starting."""
    return replace(keeping, is_launching=True, look_at=None), (Launch(),)


def _knows_no_pause(keeping: Keeping, lived_s: float, now: float) -> Keeping:
    """Launches again at once, whatever came of it."""
    return replace(PAUSED(keeping, lived_s, now), launch_from=now, look_at=now)


def _repeats_itself(keeping: Keeping, say: Say) -> Decision:
    """Says every trouble each time."""
    return keeping, (say,)


def _never_kills(keeping: Keeping, now: float) -> Decision:
    """Waits for a hanging server."""
    return decider._next_look(keeping, now), ()


def _looks_once(keeping: Keeping, now: float, *, is_served: bool = False) -> Keeping:
    """Does not look again at a port that was taken."""
    return replace(keeping, look_at=None)


def _never_rests(keeping: Keeping, now: float, *, is_served: bool = False) -> Keeping:
    """Goes on looking although all is well."""
    return decider._look_in(keeping, decider.RETRY_S, now)


def _never_pauses_looking(keeping: Keeping, now: float) -> float:
    """Looks at a port as fast as it can."""
    return decider.POLL_S


def _always_may_give_up(keeping: Keeping, fact: Fact, now: float) -> Decision:
    """Leaves the workers of an earlier daemon alone."""
    if isinstance(fact, Begun):
        fact = Begun(may_give_up=True)
    return DECIDE(keeping, fact, now)


def _takes_blindness_for_nobody(keeping: Keeping, fact: Fact, now: float) -> Decision:
    """Concludes from a look that failed."""
    if isinstance(fact, Looked) and fact.listener is Listener.UNSEEN:
        fact = Looked(Listener.NOBODY, is_claimed=True)
    return DECIDE(keeping, fact, now)


MUTANTS: dict[str, Patch] = {
    "launches beside ours": ("_nobody", _launches_beside_ours),
    "kills at the first silence": ("SILENT_LOOKS", 1),
    "knows no pause": ("_paused", _knows_no_pause),
    "repeats itself": ("_troubled", _repeats_itself),
    "never kills": ("_kill", _never_kills),
    "looks once": ("_next_look", _looks_once),
    "never rests": ("_next_look", _never_rests),
    "looks without a pause": ("_pause_s", _never_pauses_looking),
    "gives up although workers live": ("decide", _always_may_give_up),
    "concludes from a failed look": ("decide", _takes_blindness_for_nobody),
    "waits for a frozen daemon": ("ABSENT_LOOKS", 10**9),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_deliberate_bug_is_noticed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of this kind could be introduced and no story would tell."""
    monkeypatch.setattr(decider, *MUTANTS[mutant])
    is_caught: Callable[[int], bool] = lambda seed: bool(play(seed).violations)  # noqa: E731
    caught = next((seed for seed in range(MUTANT_SEEDS_MAX) if is_caught(seed)), None)
    assert caught is not None, f"nobody noticed a decider that {mutant}"
