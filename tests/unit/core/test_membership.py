"""What may be concluded about a registration."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autohealer.core.events import (
    RegistryWiped,
    SessionTimeoutGranted,
    StoreChanged,
    WorkerAdopted,
)
from autohealer.core.membership import (
    absence_deadline,
    have_served,
    presence_of,
    presence_since,
)
from autohealer.core.model import NEVER, Incarnation, Occupant, Phase, Presence, Store
from autohealer.core.reconcile import next_wake
from tests.unit.core.notation import NOW_S, Scene


def _occupant(scene: Scene) -> Occupant:
    occupant = scene.view.slots[0].occupant
    assert occupant is not None
    return occupant


@pytest.mark.parametrize(
    ("slots", "store", "presence", "age_s"),
    [
        ("0:ready(60s)", "connected", Presence.PRESENT, 60.0),
        ("0:absent(0.3s)", "connected", Presence.ABSENT, 0.3),
        ("0:starting(3s)", "connected", Presence.ABSENT, None),
        ("0:ready(60s)", "suspended(2s)", Presence.UNKNOWN, 2.0),
        ("0:absent(9s)", "lost(2s)", Presence.UNKNOWN, 2.0),
        ("0:ready(60s)", "reconnected(1s)", Presence.UNKNOWN, 1.0),
    ],
)
def test_what_is_known_and_since_when(
    slots: str, store: str, presence: Presence, age_s: float | None
) -> None:
    """Status would call a worker lost that nobody could ask about."""
    scene = Scene(slots, store=store)
    assert presence_of(_occupant(scene), scene.view) is presence
    since = NEVER if age_s is None else NOW_S - age_s
    assert presence_since(_occupant(scene), scene.view) == pytest.approx(since)


@pytest.mark.parametrize(
    ("slots", "store", "in_s"),
    [
        ("0:ready", "connected", None),
        ("0:absent(0.2s)", "connected", 0.3),
        ("0:starting(3s)", "connected", 27.0),
        ("0:draining(2s)", "connected", None),
        ("0:backoff(0.4s)", "connected", None),
        ("0:-", "connected", None),
        ("0:absent(0.2s)", "suspended(9s)", None),
        ("0:absent(20s)", "reconnected(1s)", None),
    ],
)
def test_when_a_missing_registration_becomes_a_verdict(
    slots: str, store: str, in_s: float | None
) -> None:
    """A worker would be killed too early, or a frozen one never."""
    scene = Scene(slots, store=store)
    due = absence_deadline(scene.view.slots[0], scene.view)
    assert (due is None) if in_s is None else (due == pytest.approx(NOW_S + in_s))


def test_after_a_reconnect_the_clock_starts_when_trust_does() -> None:
    """Workers that lost their sessions in the same outage would be killed at its end."""
    scene = Scene("0:absent(20s)", store="reconnected(1s)")
    scene.decide(scene.lists())
    due = absence_deadline(scene.view.slots[0], scene.view)
    assert due == pytest.approx(NOW_S - 1.0 + scene.policy.settle_s + scene.policy.rejoin_grace_s)


def test_nobody_is_ended_on_a_list_from_before_the_verdict() -> None:
    """A store that fell silent, or a lost watch, would cost a worker that has long registered again its life."""
    scene = Scene("0:absent(0.4s) 1:starting(29.9s)")
    scene.mute = True
    assert scene.after(0.1) == ["relist 0 1"]
    assert scene.after(60.0) == []
    old = replace(scene.same_list(), asked_at=scene.view.now - 60.2)
    assert scene.decide(old) == []
    again = scene.decide(scene.same_list())
    assert [line.split(":")[0] for line in again] == ["kill 0", "kill 1"]


def test_who_registered_unseen_is_left_alone() -> None:
    """A worker whose registration nobody told the daemon of would be killed for its lack."""
    scene = Scene("0:absent(0.4s) 1:starting(29.9s)")
    scene.mute = True
    assert scene.after(0.1) == ["relist 0 1"]
    assert scene.after(0.001, scene.lists(scene.name(0), scene.name(1))) == []
    assert scene.after(3600.0) == []
    assert [slot.phase for slot in scene.view.slots.values()] == [Phase.READY, Phase.READY]


def test_a_verdict_waits_for_a_store_that_went_away_meanwhile() -> None:
    """An outage that begins at the wrong moment would cost a worker its life."""
    scene = Scene("0:absent(0.4s)")
    scene.mute = True
    assert scene.after(0.1) == ["relist 0"]
    assert scene.after(1.0, StoreChanged(Store.SUSPENDED)) == []
    assert scene.after(60.0, StoreChanged(Store.CONNECTED), scene.lists()) == []
    assert scene.after(scene.policy.settle_s + scene.policy.rejoin_grace_s) == ["relist 0"]


def test_who_is_given_more_time_while_a_list_is_awaited_is_ended_after_it() -> None:
    """A frozen or mute worker would hold its slot for ever: `/workers` was wiped just when its end was due."""
    scene = Scene("0:absent(0.4s) 1:starting(29.9s)")
    scene.mute = True
    assert scene.after(0.1) == ["relist 0 1"]
    asked_then = scene.same_list()
    assert scene.after(0.1, RegistryWiped()) == []
    assert scene.after(0.1, asked_then) == []
    trusted_s = scene.policy.settle_s - 0.1
    due_s = trusted_s + scene.policy.rejoin_grace_s
    assert scene.after(due_s - 0.01) == []
    assert scene.after(0.01) == ["relist 0"]
    assert [line.split(":")[0] for line in scene.decide(scene.same_list())] == ["kill 0"]
    left_s = scene.policy.registration_timeout_s - scene.policy.rejoin_grace_s
    assert scene.after(left_s)[-1] == "relist 1"


def test_who_is_given_more_time_because_another_is_found_is_ended_after_it() -> None:
    """A worker frozen soon after a start would never be replaced: another one was found while its end was due."""
    scene = Scene(replicas=2, store="suspended", listed=False)
    scene.mute = True
    claim = Incarnation(1, 7)
    scene.decide(StoreChanged(Store.CONNECTED), scene.lists(claim))
    scene.after(0.1, scene.lists(scene.name(0)))
    scene.after(0.1, scene.lists(without=[0]))
    assert scene.after(scene.policy.rejoin_grace_s) == ["relist 0"]
    asked_then = scene.same_list()
    assert scene.after(0.1, WorkerAdopted(claim, 9, 60.0), asked_then) == []
    assert scene.after(scene.policy.settle_s) == ["relist 0"]


def test_who_is_given_more_time_in_the_round_in_which_its_end_is_due_is_ended_after_it() -> None:
    """A frozen or mute worker would hold its slot for ever: `/workers` was wiped in the very moment."""
    scene = Scene("0:absent(0.4s) 1:starting(29.9s)")
    scene.mute = True
    scene.decide()
    assert scene.after(0.1, RegistryWiped()) == []
    assert scene.after(scene.policy.settle_s + scene.policy.rejoin_grace_s) == ["relist 0"]
    left_s = scene.policy.registration_timeout_s - scene.policy.rejoin_grace_s
    assert scene.after(left_s)[-1] == "relist 1"


def test_a_shorter_grace_counts_at_once() -> None:
    """A server that grants a shorter session would have no quicker replacement of who is missing already."""
    scene = Scene("0:absent(0.1s)")
    scene.mute = True
    scene.decide()
    assert scene.decide(SessionTimeoutGranted(scene.policy.settle_s, 0.2)) == []
    assert next_wake(scene.view) == pytest.approx(NOW_S + 0.1)
    assert scene.after(0.1) == ["relist 0"]


@pytest.mark.parametrize(
    ("slots", "has"),
    [
        ("0:ready(1s) 1:ready(60s)", True),
        ("0:ready(0.5s) 1:ready(60s)", False),
        ("0:ready(60s) 1:starting(3s)", False),
        ("0:ready(60s) 1:backoff(0.4s)", False),
    ],
)
def test_a_group_has_served_once_all_have_been_ready_long_enough(slots: str, has: bool) -> None:
    """A group that comes after another would start when that one only seems to run."""
    scene = Scene(slots, store="connected")
    assert have_served(scene.view, scene.view.now) is has
