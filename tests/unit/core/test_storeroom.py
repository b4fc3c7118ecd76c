"""The store room: what several groups know of one session, and one brake for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autohealer.core.events import (
    InvariantBroken,
    SessionTimeoutGranted,
    StoreChanged,
    Ticked,
    WorkerAdopted,
    WorkersListed,
)
from autohealer.core.evolve import evolve
from autohealer.core.model import Budget, Incarnation, Store, StoreRoom, View
from autohealer.core.policy import Policy
from autohealer.core.reasons import of_mass_loss
from autohealer.core.reconcile import next_wake
from tests.unit.core.notation import NOW_S, Scene

POLICY = Policy(settle_s=6.0)
EMPTY = WorkersListed(frozenset(), frozenset())

changes = st.lists(st.sampled_from(Store), min_size=1, max_size=8)


def _views(room: StoreRoom, count: int) -> list[View]:
    return [
        View(POLICY, Budget(0.0), group=f"group-{number}", room=room) for number in range(count)
    ]


def _told(states: Sequence[Store]) -> list[StoreChanged]:
    return [StoreChanged(store, number) for number, store in enumerate(states, 1)]


@given(states=changes, turns=st.lists(st.integers(0, 2), max_size=30))
def test_whichever_group_is_ahead_the_room_never_goes_back(
    states: list[Store], turns: list[int]
) -> None:
    """A group whose loop is slow would tell the others that a store is away which has long come back."""
    room, alone = StoreRoom(), StoreRoom()
    views, (single,) = _views(room, 3), _views(alone, 1)
    facts = _told(states)
    for fact in facts:
        evolve(single, fact)
    left = [list(facts) for _ in views]
    seen = [room.changes]
    for turn in [*turns, *(number for number in range(3) for _ in facts)]:
        if left[turn]:
            evolve(views[turn], left[turn].pop(0))
            seen.append(room.changes)
    assert seen == sorted(seen)
    assert room == alone
    assert not any(view.fresh for view in views)


def test_a_list_of_an_earlier_connection_is_not_fresh() -> None:
    """A group would end its workers on a list from before the outage that another group has seen."""
    first, second = _views(StoreRoom(), 2)
    connected, cut, back = _told((Store.CONNECTED, Store.SUSPENDED, Store.CONNECTED))
    for view in (first, second):
        evolve(view, connected)
        evolve(view, EMPTY)
        assert view.fresh
    evolve(first, cut)
    assert not second.fresh
    for fact in (back, EMPTY):
        evolve(first, fact)
    evolve(second, EMPTY)
    assert (first.fresh, second.fresh) == (True, False)
    for fact in (cut, back, EMPTY):
        evolve(second, fact)
    assert (first.fresh, second.fresh) == (True, True)


@pytest.mark.parametrize("first", [0, 1])
def test_workers_of_any_group_have_time_to_register_again(first: int) -> None:
    """After a daemon's restart a group's workers would be missed at once if another, empty group heard of it first."""
    views = _views(StoreRoom(), 2)
    for view in views:
        evolve(view, Ticked(NOW_S))
    evolve(views[1], WorkerAdopted(Incarnation(0, 7), 9, 60.0))
    for view in (views[first], views[1 - first]):
        evolve(view, StoreChanged(Store.CONNECTED, 1))
    assert views[0].trust_from == NOW_S + POLICY.settle_s


def _pairs(count: int) -> list[Scene]:
    room = StoreRoom()
    return [
        Scene("0:ready 1:ready", policy=POLICY, group=f"group-{number}", room=room)
        for number in range(count)
    ]


def _killed(plan: list[str]) -> list[str]:
    return [line.split(":")[0] for line in plan if line.startswith("kill")]


def test_losses_in_many_small_groups_are_one_mass_loss() -> None:
    """With many groups of two workers no brake would ever hold: a network fault would cost every worker."""
    scenes = _pairs(4)
    for scene in scenes:
        scene.decide(scene.lists(without=[0, 1]))
    assert scenes[0].view.brake.on
    assert "4 of 8" in of_mass_loss(scenes[0].view)
    assert [scene.after(POLICY.settle_s - 0.1) for scene in scenes] == [[]] * 4


def test_a_few_losses_in_many_groups_are_single_ones() -> None:
    """Frozen workers of different groups would wait for a hold nobody needs."""
    scenes = _pairs(4)
    for scene in scenes[:2]:
        scene.decide(scene.lists(without=[0]))
    assert not scenes[0].view.brake.on
    assert [_killed(s.after(POLICY.rejoin_grace_s)) for s in scenes[:2]] == [["kill 0"], ["kill 0"]]


def test_after_the_hold_one_of_all_groups_is_replaced_then_more() -> None:
    """Each group would try one of its own: four at once on a store that may take nobody."""
    scenes = _pairs(4)
    for scene in scenes:
        scene.decide(scene.lists(without=[0, 1]))
    over_s = POLICY.settle_s + POLICY.rejoin_grace_s
    assert [_killed(scene.after(over_s)) for scene in scenes] == [["kill 0"], [], [], []]
    scenes[0].decide(scenes[0].dies(0))
    scenes[0].after(0.1, scenes[0].lists(scenes[0].name(0)))
    for scene in scenes[1:]:
        scene.after(0.1)
    killed = [_killed(scene.after(over_s)) for scene in scenes]
    assert killed == [["kill 1"], ["kill 0"], [], []]


def test_whose_turn_was_taken_is_ended_on_a_new_list_only() -> None:
    """A group that waits for its turn would end a worker on the list of long ago, though it has registered since."""
    first, second, *_ = scenes = _pairs(4)
    for scene in scenes:
        scene.decide(scene.lists(without=[0, 1]))
    over_s = POLICY.settle_s + POLICY.rejoin_grace_s
    second.mute = True
    assert second.after(over_s) == ["relist 0"]
    assert _killed(first.after(over_s)) == ["kill 0"]
    assert second.decide(second.same_list()) == []
    first.decide(first.dies(0))
    first.after(0.1, first.lists(first.name(0)))
    assert second.after(0.1 + over_s) == ["relist 0 1"]


def test_who_waits_for_its_turn_wakes_when_another_group_has_put_it_off() -> None:
    """Frozen workers would stay for half a minute more because another group's replacement had registered."""
    first, *others = scenes = _pairs(3)
    first.decide(first.lists(without=[0]))
    for scene in others:
        scene.decide(scene.lists(without=[0, 1]))
    over_s = POLICY.settle_s + POLICY.rejoin_grace_s
    assert [_killed(scene.after(over_s)) for scene in scenes] == [["kill 0"], [], []]
    first.decide(first.dies(0))
    first.after(0.1, first.lists(first.name(0)))
    for scene in others:
        scene.after(0.1)
        assert next_wake(scene.view) == pytest.approx(scene.view.now + over_s)
    assert [_killed(scene.after(over_s)) for scene in others] == [["kill 0", "kill 1"], []]


def test_the_brake_is_off_only_when_no_group_misses_anybody() -> None:
    """The first group that is whole would let all others end their workers at once."""
    scenes = _pairs(4)
    names = [scene.name(key) for scene in scenes for key in (0, 1)]
    for scene in scenes:
        scene.decide(scene.lists(without=[0, 1]))
    for scene in scenes[:3]:
        scene.after(1.0, scene.lists(*names[:2]))
        assert scene.view.brake.on
    scenes[3].after(1.0, scenes[3].lists(*names[:2]))
    assert not scenes[3].view.brake.on


def test_a_frozen_group_holds_up_no_other() -> None:
    """The workers that a frozen group misses and may not end would keep the brake on for all groups for ever."""
    scenes = _pairs(4)
    names = [scene.name(key) for scene in scenes for key in (0, 1)]
    for scene in scenes:
        scene.decide(scene.lists(without=[0, 1]))
    scenes[0].decide(InvariantBroken(("a promise",)))
    for scene in scenes[1:]:
        scene.after(1.0, scene.lists(*names[:2]))
    assert not scenes[1].view.brake.on


@pytest.mark.parametrize("granted_s", [2.0, 40.0])
def test_who_is_settling_has_as_long_as_the_granted_sessions_last(granted_s: float) -> None:
    """Workers would be ended whose sessions a server keeps for longer, or missed for as long as was asked in vain."""
    room = StoreRoom()
    views = _views(room, 2)
    for view in views:
        evolve(view, Ticked(100.0))
        for fact in _told([Store.CONNECTED, Store.SUSPENDED, Store.CONNECTED]):
            evolve(view, fact)
    assert room.trust_from == 106.0
    for view in views:
        evolve(view, SessionTimeoutGranted(granted_s, 0.1))
    assert room.trust_from == 100.0 + granted_s
    assert {view.policy.settle_s for view in views} == {granted_s}


def test_a_settle_time_that_is_over_does_not_begin_again() -> None:
    """Learning of a timeout would stop the healing of a group that is well."""
    (view,) = _views(StoreRoom(), 1)
    evolve(view, Ticked(100.0))
    evolve(view, *_told([Store.CONNECTED]))
    evolve(view, SessionTimeoutGranted(40.0, 0.1))
    assert view.room.trust_from < 100.0
