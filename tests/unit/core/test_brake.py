"""The mass-loss brake: one event, one hold, then one at a time."""

from __future__ import annotations

import pytest

from autohealer.core.brake import loss_limit
from autohealer.core.events import RegistryWiped, StoreChanged, WorkerAdopted
from autohealer.core.model import Incarnation, Store
from autohealer.core.policy import Policy
from autohealer.core.reasons import of_mass_loss
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


def _replaced(scene: Scene, keys: list[int]) -> list[int]:
    """What is killed when the replacements of what was killed before have registered."""
    scene.decide(*[scene.dies(key) for key in keys])
    return _killed(scene.after(0.1, scene.lists(*[scene.name(key) for key in keys])))


def test_after_the_hold_one_is_replaced_then_ever_more_as_replacements_register() -> None:
    """All would be replaced at once after all, or the rest never."""
    scene = _with_missing(6)
    first = _killed(scene.after(POLICY.settle_s + POLICY.rejoin_grace_s))
    assert len(first) == 1
    assert _replaced(scene, first) == []
    second = _killed(scene.after(POLICY.settle_s + POLICY.rejoin_grace_s))
    assert len(second) == 2
    third = _replaced(scene, second)
    assert sorted(first + second + third) == list(range(6))


def test_what_the_first_replacement_can_reach_the_others_have_time_to_reach() -> None:
    """Workers that are just coming back would be killed because a new one was faster."""
    scene = _with_missing(6)
    names = [scene.name(key) for key in range(6)]
    first = _killed(scene.after(POLICY.settle_s + POLICY.rejoin_grace_s))
    assert _replaced(scene, first) == []
    assert scene.after(POLICY.settle_s - 0.1) == []
    others = [name for name in names if name.slot not in first]
    assert scene.after(0.0, scene.lists(*others)) == []
    assert not scene.view.brake.on
    assert [scene.name(name.slot) for name in others] == others


def test_sessions_that_end_one_after_another_are_waited_for_together() -> None:
    """Workers cut off at one moment lose their sessions over seconds: the first to would be killed, one by one."""
    scene = _with_missing(1)
    for key in (1, 2):
        assert _killed(scene.after(0.4, scene.lists(without=[key]))) == []
    assert _killed(scene.after(0.4, scene.lists(without=[3]))) == []
    assert scene.view.brake.on
    assert scene.after(POLICY.settle_s - 0.1) == []


def test_losses_without_end_do_not_delay_the_first_for_ever() -> None:
    """A frozen worker among a thousand would stay as long as another one freezes every half second."""
    scene = Scene(" ".join(f"{key}:ready" for key in range(100)), policy=POLICY)
    at_s = 0.0
    for key in range(25):
        killed = _killed(scene.after(0.4, scene.lists(without=[key])))
        at_s = 0.4 * key
        if killed:
            break
    assert killed == [0]
    assert POLICY.settle_s <= at_s <= POLICY.settle_s + 1.0


def _adopted_without_registration(count: int) -> Scene:
    """Ten adopted workers of which a daemon's first list lacks `count`, now."""
    scene = Scene(replicas=10, store="suspended", policy=POLICY)
    names = [Incarnation(key, 50) for key in range(10)]
    found = [WorkerAdopted(name, 1000 + name.slot, age_s=3600.0) for name in names]
    connected = StoreChanged(Store.CONNECTED)
    assert scene.decide(*found, connected, scene.lists(*names[count:])) == []
    return scene


def test_adopted_workers_that_are_missing_together_are_replaced_one_by_one() -> None:
    """Workers cut off while no daemon ran would be killed all together once one is started."""
    scene = _adopted_without_registration(6)
    assert scene.view.brake.on
    assert "6 of 10" in of_mass_loss(scene.view)
    assert scene.after(POLICY.settle_s - 0.1) == []
    first = _killed(scene.after(0.1 + POLICY.rejoin_grace_s))
    assert len(first) == 1
    scene.decide(scene.dies(first[0]))
    assert _killed(scene.after(POLICY.registration_timeout_s - 1.0)) == []


def test_a_few_adopted_that_are_missing_have_only_the_time_to_come_back() -> None:
    """A worker frozen while no daemon ran would be missed for half a minute."""
    scene = _adopted_without_registration(2)
    assert not scene.view.brake.on
    assert scene.after(POLICY.settle_s - 0.1) == []
    assert _killed(scene.after(0.1 + POLICY.rejoin_grace_s)) == [0, 1]


def test_a_mass_loss_under_the_brake_is_held_for_too() -> None:
    """One worker that does not come back would leave all others without a hold."""
    scene = _with_missing(4)
    others = [scene.name(key) for key in (1, 2, 3)]
    assert _killed(scene.after(POLICY.settle_s - 1.0, scene.lists(*others))) == []
    assert _killed(scene.after(1.2, scene.lists(without=range(3, 8)))) == []
    assert _killed(scene.after(POLICY.settle_s - 0.1)) == []
    assert _killed(scene.after(0.1 + POLICY.rejoin_grace_s)) == [0]


def test_a_loss_right_after_a_mass_loss_is_part_of_it() -> None:
    """A network that comes and goes would have its victims killed in the moments in which it is there."""
    scene = _with_missing(6)
    scene.after(1.0, scene.lists(*[scene.name(key) for key in range(6)]))
    released = not scene.view.brake.on
    scene.after(1.0, scene.lists(without=[7]))
    assert released
    assert scene.view.brake.on
    assert _killed(scene.after(POLICY.settle_s - 0.1)) == []
    assert _killed(scene.after(0.1 + POLICY.rejoin_grace_s)) == [7]


def test_workers_that_leave_by_themselves_lost_nothing() -> None:
    """Jobs that end one after another, each deregistering first, would look like a fault of the network."""
    scene = Scene(TEN_READY, policy=POLICY)
    for key in range(10):
        scene.after(0.1, scene.lists(without=[key]))
        scene.after(0.01, scene.dies(key, code=0))
        assert not scene.view.brake.on


def test_losses_just_dealt_with_are_counted_in_what_is_said() -> None:
    """The loud line would speak of fewer than it takes to set it off."""
    scene = _with_missing(3)
    scene.after(POLICY.rejoin_grace_s)
    scene.after(0.1, scene.lists(without=[3]))
    assert "4 of 10" in of_mass_loss(scene.view)


def test_a_replacement_that_cannot_register_holds_the_others() -> None:
    """A store that takes no registrations would cost every worker, one by one."""
    scene = _with_missing(6)
    assert _killed(scene.after(POLICY.settle_s + POLICY.rejoin_grace_s)) == [0]
    scene.decide(scene.dies(0))
    assert _killed(scene.after(POLICY.registration_timeout_s - 1.0)) == []
    assert _killed(scene.after(2.0)) == [0, 1]


def test_who_waits_for_its_turn_is_given_more_time_and_not_forgotten() -> None:
    """`/workers` wiped shortly before a turn would make all that wait for theirs wait for half a minute more."""
    scene = _with_missing(10)
    assert _killed(scene.after(POLICY.settle_s + POLICY.rejoin_grace_s)) == [0]
    scene.decide(scene.dies(0))
    scene.after(POLICY.registration_timeout_s - 1.0, RegistryWiped(), scene.same_list())
    assert _killed(scene.after(POLICY.settle_s)) == []
    assert next_wake(scene.view) == pytest.approx(scene.view.now + POLICY.rejoin_grace_s)
    assert _killed(scene.after(POLICY.rejoin_grace_s)) == [1]


def test_an_exit_during_the_hold_heals_at_once() -> None:
    """A worker that is proven dead would wait for the brake."""
    scene = _with_missing(6)
    plan = scene.after(1.0, scene.dies(2))
    assert [line for line in plan if line.startswith("spawn 2")] != []


def test_it_is_over_when_the_last_one_missing_is_dead() -> None:
    """What waits for the end of a mass loss would wait for the next list, which nothing asks for."""
    scene = _with_missing(6)
    assert scene.view.brake.on
    scene.after(0.1, *(scene.dies(key) for key in range(6)))
    assert not scene.view.brake.on


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
