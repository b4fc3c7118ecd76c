"""Programs that know nothing of ZooKeeper: the daemon registers them from when they run until they do not."""

from __future__ import annotations

from dataclasses import replace

from autohealer.core.actions import Plan, Register, Withdraw
from autohealer.core.events import StopRequested, StoreChanged, WorkerAdopted, WorkersListed
from autohealer.core.invariants import violations_of
from autohealer.core.model import Incarnation, Phase, Store
from autohealer.core.policy import Policy, Registrar
from tests.unit.core.notation import BASE, Scene

IT = Incarnation(0, BASE)
POLICY = Policy(registrar=Registrar.AGENT)


def _launched(replicas: int = 1) -> Scene:
    """A daemon that has just launched everybody and ordered nothing else."""
    scene = Scene(replicas=replicas, policy=POLICY)
    scene.decide()
    return scene


def _running(replicas: int = 1) -> Scene:
    """Everybody runs and is listed."""
    scene = _launched(replicas)
    scene.after(0.01, *(scene.spawned(key) for key in range(replicas)))
    scene.after(0.01, scene.lists(*(Incarnation(key, BASE) for key in range(replicas))))
    return scene


def test_who_runs_is_registered_and_who_is_about_to_is_not() -> None:
    """A name would be found before there is a process behind it, or never."""
    scene = _launched()
    assert scene.after(0.1) == []
    assert scene.after(0.01, scene.spawned(0)) == ["register 0.100"]
    assert scene.view.slots[0].phase is Phase.READY
    assert scene.after(0.1) == []


def test_a_program_is_healed_although_there_is_no_store() -> None:
    """Plain programs would count as failed starts while ZooKeeper is away, and back off."""
    scene = _running()
    scene.after(5.0, StoreChanged(Store.SUSPENDED))
    assert scene.after(60.0, scene.dies(0)) == [
        "spawn 0: ended by signal 9 (SIGKILL) after 65.0 s, was ready",
        "withdraw 0.100",
    ]
    assert scene.after(0.01, scene.spawned(0)) == ["register 0.101"]
    assert scene.view.slots[0].phase is Phase.READY


def test_who_has_ended_is_withdrawn_and_not_discarded_as_well() -> None:
    """A corpse would stay in the registry, or each heal would cost two deletions."""
    scene = _running()
    plan = scene.after(5.0, scene.dies(0))
    assert [line for line in plan if not line.startswith("spawn")] == ["withdraw 0.100"]
    heir = frozenset({Incarnation(0, BASE + 1)})
    assert scene.after(0.01, WorkersListed(heir, frozenset())) == []


def test_who_is_to_end_is_withdrawn_first() -> None:
    """Work would be sent to what is about to end."""
    scene = _running(2)
    assert scene.decide(StopRequested()) == ["drain 0: stopping", "drain 1: stopping"]
    assert scene.decide() == ["withdraw 0.100", "withdraw 1.100"]


def test_a_withdrawal_that_failed_is_made_good() -> None:
    """The name of a dead program would stay for as long as its daemon lives."""
    scene = _running()
    scene.after(5.0, scene.dies(0))
    assert scene.after(1.0, scene.same_list()) == ["discard 0.100"]


def test_a_lost_registration_is_made_again_and_nobody_ended() -> None:
    """A healthy program would be killed for what the daemon's own session lost."""
    scene = _running(4)
    everybody = [f"register {key}.100" for key in range(4)]
    assert scene.after(5.0, WorkersListed(frozenset(), frozenset())) == everybody
    assert scene.after(600.0) == []
    assert not scene.view.brake.on


def test_one_that_no_list_ever_showed_is_made_again() -> None:
    """One that went before a list showed it would be missing for ever."""
    scene = _launched()
    ordered_at = scene.view.now
    scene.after(0.01, scene.spawned(0))
    early = WorkersListed(frozenset(), frozenset(), ordered_at)
    assert scene.after(0.01, early) == []
    assert scene.after(10.0, replace(early, asked_at=scene.view.now + 10.0)) == ["register 0.100"]


def test_adopted_ones_are_ready_and_registered_in_the_session_of_their_new_daemon() -> None:
    """After an upgrade their names would go with the old session, or they would be ended for want of one."""
    scene = Scene(replicas=1, policy=POLICY, listed=False)
    adopted = Incarnation(0, 7)
    assert scene.decide(WorkerAdopted(adopted, 9, 60.0)) == ["register 0.7"]
    assert scene.after(0.1, StoreChanged(Store.CONNECTED), scene.lists(adopted)) == []
    assert str(scene).startswith("0:ready*")


def test_a_launch_under_way_for_ever_does_not_hold_the_others() -> None:
    """While ZooKeeper is away only a few programs would be started."""
    scene = Scene(replicas=9, policy=POLICY, store="suspended(60s)")
    first = scene.decide()
    spawned = [scene.spawned(key) for key in range(sum(line.startswith("spawn") for line in first))]
    assert any(line.startswith("spawn") for line in scene.after(0.05, *spawned))


def test_what_contradicts_the_rules_is_stopped() -> None:
    """A bug could register what does not run, or withdraw what does."""
    scene = _running()
    assert violations_of(scene.view, Plan((Withdraw(IT),)))
    assert violations_of(scene.view, Plan((Register(Incarnation(0, 1)),)))
    assert not violations_of(scene.view, Plan((Register(IT),)))
    own = Scene("0:ready")
    (name,) = own.view.key_of
    assert violations_of(own.view, Plan((Register(name),)))
