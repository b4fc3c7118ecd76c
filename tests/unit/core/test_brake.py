"""The mass-loss brake: one event, one hold, then one at a time."""

from __future__ import annotations

import pytest

from autohealer.core.brake import loss_limit
from autohealer.core.events import StoreChanged
from autohealer.core.model import Policy, Store
from autohealer.core.reconcile import next_wake
from tests.unit.core.notation import Scene

TEN_READY = " ".join(f"{key}:ready" for key in range(10))
POLICY = Policy(settle_s=6.0, registration_timeout_s=30.0)


def _with_missing(count: int) -> Scene:
    """Ten ready workers of which `count` registrations vanish in one list, now."""
    scene = Scene(TEN_READY, policy=POLICY)
    assert scene.decide(scene.lists(without=range(count))) == []
    return scene


def _killed(plan: list[str]) -> list[int]:
    return [int(line.split()[1].rstrip(":")) for line in plan if line.startswith("kill")]


@pytest.mark.parametrize(("replicas", "limit"), [(1, 2), (3, 2), (10, 3), (100, 30), (1000, 300)])
def test_how_many_losses_are_still_single_ones(replicas: int, limit: int) -> None:
    """A handful of frozen workers among many would wait for a hold nobody needs, or a whole group be killed."""
    assert loss_limit(POLICY, replicas) == limit


def test_a_few_losses_are_answered_at_once() -> None:
    """Frozen workers would stay frozen for longer than their grace."""
    scene = _with_missing(3)
    assert not scene.view.brake.on
    assert _killed(scene.after(POLICY.rejoin_grace_s)) == [0, 1, 2]


def test_many_losses_hold_everything_and_say_so() -> None:
    """A fault of the store would kill every worker."""
    scene = _with_missing(4)
    assert scene.view.brake.on
    assert scene.after(POLICY.settle_s - 0.1) == []
    assert scene.after(POLICY.rejoin_grace_s) == []


def test_losses_that_come_one_after_another_count_together() -> None:
    """Sessions that end within seconds of each other would each look like a single one."""
    scene = _with_missing(3)
    assert _killed(scene.after(POLICY.rejoin_grace_s)) == [0, 1, 2]
    scene.after(0.1, scene.lists(without=[3]))
    assert scene.view.brake.on
    assert _killed(scene.after(POLICY.rejoin_grace_s)) == []


def test_losses_long_past_do_not_count() -> None:
    """One frozen worker an hour would end in a hold."""
    scene = _with_missing(3)
    scene.after(POLICY.rejoin_grace_s)
    scene.after(POLICY.settle_s, scene.lists(without=[3]))
    assert not scene.view.brake.on
    assert _killed(scene.after(POLICY.rejoin_grace_s)) == [3]


def test_who_registers_again_during_the_hold_is_left_alone() -> None:
    """A hiccup of the store would cost workers that are well."""
    scene = _with_missing(6)
    names = [scene.name(key) for key in range(6)]
    assert scene.after(2.0, scene.lists(*names)) == []
    assert not scene.view.brake.on
    assert next_wake(scene.view) is None


def test_after_the_hold_one_is_replaced_and_the_next_when_it_registered() -> None:
    """All would be replaced at once after all, or the rest never."""
    scene = _with_missing(6)
    trickled = [_killed(scene.after(POLICY.settle_s + POLICY.rejoin_grace_s))]
    for _ in range(5):
        ended = trickled[-1]
        scene.decide(*[scene.dies(key) for key in ended])
        scene.after(0.1, scene.lists(*[scene.name(key) for key in ended]))
        scene.after(1.0)
        trickled.append([k for k in range(6) if scene.view.slots[k].killing])
        if not scene.view.missing:
            break
    assert [len(ended) for ended in trickled] == [1, 2, 3]
    assert sorted(key for ended in trickled for key in ended) == list(range(6))


def test_a_replacement_that_cannot_register_holds_the_others() -> None:
    """A store that takes no registrations would cost every worker, one by one."""
    scene = _with_missing(6)
    assert _killed(scene.after(POLICY.settle_s + POLICY.rejoin_grace_s)) == [0]
    scene.decide(scene.dies(0))
    assert _killed(scene.after(POLICY.registration_timeout_s - 1.0)) == []
    assert _killed(scene.after(2.0)) == [0, 1]


def test_an_exit_during_the_hold_heals_at_once() -> None:
    """A worker that is proven dead would wait for the brake."""
    scene = _with_missing(6)
    plan = scene.after(1.0, scene.dies(2))
    assert [line for line in plan if line.startswith("spawn 2")] != []


def test_the_store_going_away_during_the_hold_concludes_nothing() -> None:
    """The brake would let go of workers of which nothing is known."""
    scene = _with_missing(6)
    scene.after(1.0, StoreChanged(Store.SUSPENDED))
    assert scene.after(60.0) == []


def test_the_loop_sleeps_while_the_brake_holds() -> None:
    """A mass loss would keep a core busy."""
    scene = _with_missing(6)
    wake_at = next_wake(scene.view)
    assert wake_at == pytest.approx(scene.view.now + POLICY.settle_s + POLICY.rejoin_grace_s)
    assert _killed(scene.after(POLICY.settle_s + POLICY.rejoin_grace_s)) == [0]
    assert (next_wake(scene.view) or 0.0) > scene.view.now
    scene.decide(scene.dies(0))
    scene.after(2.0)
    assert (next_wake(scene.view) or 0.0) > scene.view.now
