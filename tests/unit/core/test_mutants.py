"""Deliberate bugs, one at a time: each must be caught, or a property is worth nothing.

A mutant replaces one function of the core by a version with a named bug (no mock: the rest is the real core), and
the same stories that pass without it are told until an oracle objects.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from autohealer.core import (
    backoff,
    evolve,
    membership,
    pacing,
    reconcile,
    registrations,
    restarts,
    slots,
)
from autohealer.core.actions import Action, Discard, Spawn
from autohealer.core.intensity import Rate
from autohealer.core.model import NEVER, Budget, Incarnation, Occupant, Pace, Phase, Slot, View
from autohealer.core.policy import Policy
from tests.unit.core.test_properties import WEIGHTED
from tests.unit.core.world import Broken, begin, heal, tell

STORIES_MAX = 120
STORY_STEPS = 40

Patch = tuple[object, str, object]


def _tell_stories(count: int) -> int | None:
    """The seed of the first story an oracle objects to."""
    for seed in range(count):
        rng = random.Random(seed)
        story = [(rng.choice(WEIGHTED), rng.randrange(40)) for _ in range(STORY_STEPS)]
        try:
            world = begin(seed, rng.randrange(1, 7))
            tell(world, story)
            heal(world)
        except Broken:
            return seed
    return None


def _ignores_freshness(slot: Slot, view: View) -> float | None:
    """Concludes absence while the session is away."""
    occupant = slot.occupant
    if occupant is None or occupant.listed:
        return None
    if slot.phase is Phase.READY:
        return occupant.listed_changed + view.policy.rejoin_grace_s
    return slot.phase_since + view.policy.registration_timeout_s


def _knows_no_settle_time(slot: Slot, view: View) -> float | None:
    """Concludes absence right after a reconnect."""
    trust_from, view.room.trust_from = view.trust_from, NEVER
    try:
        return ABSENCE_DEADLINE(slot, view)
    finally:
        view.room.trust_from = trust_from


def _gives_no_grace(slot: Slot, view: View) -> float | None:
    """Kills at once on absence."""
    due = ABSENCE_DEADLINE(slot, view)
    return view.now if due is not None and slot.phase is Phase.READY else due


def _believes_an_old_list(key: int, view: View) -> bool:
    """Ends who is missing from the last list, however old that is."""
    return True


def _forgets_backoff(policy: Policy, failures: int, jitter: float) -> float:
    """Launches again at once, whatever failed."""
    return 0.0


def _never_doubles(policy: Policy, failures: int, jitter: float) -> float:
    """Waits as short after the tenth failure as after the first."""
    return backoff.backoff_s(policy, 1, jitter)


def _reuses_a_generation(view: View, slot: Slot) -> Spawn:
    """Gives a replacement the name of the dead."""
    name = Incarnation(slot.key, max(slot.generation, view.generation_base))
    return Spawn(slot.key, name, slot.reason)


def _counts_no_launches_in_flight(window: int, in_flight: int) -> int:
    """Lets every decision launch a whole window."""
    return window


def _never_shrinks_nor_starts_slowly(window: int, in_flight: int) -> int:
    """Launches everything at once."""
    return max(0, 32 - in_flight)


def _restarts_without_killing(slot: Slot, view: View) -> bool:
    """Fills a slot whose worker lost its registration, beside the worker."""
    if slot.phase is Phase.READY and slot.occupant is not None and not slot.occupant.listed:
        return view.fresh
    return IS_LAUNCHABLE(slot, view)


def _counts_the_dead_as_live(
    view: View, slot: Slot, occupant: Occupant, cause: str, jitter: float
) -> None:
    """Never frees the slot of a worker that died."""
    view.slots[slot.key] = replace(slot, reason=cause)


def _never_discards(view: View) -> tuple[Action, ...]:
    """Leaves the registrations of the dead."""
    return tuple(a for a in REGISTRY_WORK(view) if not isinstance(a, Discard))


def _discards_what_is_absent(view: View, name: Incarnation) -> None:
    """Takes every unfamiliar registration for a dead one's."""
    view.to_discard.add(name)
    view.leftovers.add(name)


def _gives_up_quietly(view: View) -> float | None:
    """Never wakes for those that wait for the budget or their back-off."""
    return None


def _is_always_full(budget: Budget, now: float, rate: Rate) -> Budget:
    """Never charges a restart to the group's budget."""
    return Budget(rate.burst)


def _believes_drain_is_death(slot: Slot, view: View) -> Action | None:
    """Never escalates: a worker that ignores TERM stays for ever."""
    return None


ABSENCE_DEADLINE = membership.absence_deadline
IS_LAUNCHABLE = slots.is_launchable
REGISTRY_WORK = reconcile._registry_work

MUTANTS: dict[str, list[Patch]] = {
    "ignores freshness": [
        (slots, "absence_deadline", _ignores_freshness),
        (membership, "absence_deadline", _ignores_freshness),
    ],
    "knows no settle time": [
        (slots, "absence_deadline", _knows_no_settle_time),
        (membership, "absence_deadline", _knows_no_settle_time),
    ],
    "gives no grace": [
        (slots, "absence_deadline", _gives_no_grace),
        (membership, "absence_deadline", _gives_no_grace),
    ],
    "believes an old list": [(reconcile, "is_confirmed", _believes_an_old_list)],
    "forgets back-off": [(restarts, "backoff_s", _forgets_backoff)],
    "never doubles": [(restarts, "backoff_s", _never_doubles)],
    "reuses a generation": [(reconcile, "_spawn", _reuses_a_generation)],
    "counts no launches in flight": [(pacing, "allowance", _counts_no_launches_in_flight)],
    "starts everything at once": [(pacing, "allowance", _never_shrinks_nor_starts_slowly)],
    "restarts without killing": [(reconcile, "is_launchable", _restarts_without_killing)],
    "counts the dead as live": [(evolve, "_vacate", _counts_the_dead_as_live)],
    "never discards": [(reconcile, "_registry_work", _never_discards)],
    "takes strangers for the dead": [(registrations, "appeared", _discards_what_is_absent)],
    "never wakes": [(reconcile, "next_wake", _gives_up_quietly)],
    "never escalates": [(reconcile, "_escalation", _believes_drain_is_death)],
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_deliberate_bug_is_caught(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of this kind could be introduced and every property would still hold."""
    for module, name, replacement in MUTANTS[mutant]:
        monkeypatch.setattr(module, name, replacement)
    assert _tell_stories(STORIES_MAX) is not None, f"nobody noticed that the core {mutant}"


def test_without_a_bug_nothing_is_caught() -> None:
    """The mutants would be caught by an oracle that objects to everything."""
    assert _tell_stories(STORIES_MAX) is None


def test_a_budget_that_is_never_charged_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm of restarts could be let through and no table would tell."""
    from tests.unit.core.test_reconcile import test_the_budget_spreads_a_storm_of_deaths as table

    monkeypatch.setattr(reconcile, "refilled", _is_always_full)
    with pytest.raises(AssertionError):
        table()


def test_a_window_that_ignores_failures_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot start would be launched by the dozen and no table would tell."""
    from tests.unit.core.test_pacing import test_a_failed_launch_halves_the_window as table

    unshrunk: Callable[[Pace], Pace] = lambda pace: pace  # noqa: E731 - a mutant is one expression
    monkeypatch.setattr(evolve, "failed", unshrunk)
    with pytest.raises(AssertionError):
        table()
    monkeypatch.setattr(evolve, "failed", pacing.failed)
    table()
