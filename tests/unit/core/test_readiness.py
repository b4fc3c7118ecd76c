"""Who is ready, who is not and for want of what; what follows for registrations and restarts."""

from __future__ import annotations

import pytest

from autohealer.core.events import (
    HealthReported,
    SpecSet,
    StoreChanged,
    WorkerAdopted,
    WorkerSpawned,
)
from autohealer.core.health import Check, HealthRules, Verdict
from autohealer.core.model import Ending, Incarnation, Phase, Store
from autohealer.core.policy import Policy, Registrar
from autohealer.core.readiness import lacking
from tests.unit.core.notation import BASE, Scene

IT = Incarnation(0, BASE)
WHY = "readiness probe failed 3 times: GET http://127.0.0.1:8000/ answered 503"


def _policy(*checks: Check, registrar: Registrar = Registrar.AGENT) -> Policy:
    return Policy(registrar=registrar, health=HealthRules(frozenset(checks)))


def _launched(*checks: Check, registrar: Registrar = Registrar.AGENT) -> Scene:
    scene = Scene(replicas=1, policy=_policy(*checks, registrar=registrar))
    scene.decide()
    return scene


def _says(check: Check, verdict: Verdict, name: Incarnation = IT) -> HealthReported:
    return HealthReported(name, check, verdict, "" if verdict is Verdict.WELL else WHY)


def _ready(scene: Scene) -> Scene:
    scene.after(0.1, scene.spawned(0), _says(Check.READINESS, Verdict.WELL))
    scene.after(0.1, scene.lists(IT))
    return scene


def _lacking(scene: Scene) -> tuple[str, ...]:
    return lacking(scene.view.slots[0], scene.view)


def _phase(scene: Scene) -> str:
    return scene.view.slots[0].phase.value


GATES = (Check.STARTUP, Check.READINESS, Check.NOTIFY)


def test_who_is_asked_is_ready_and_registered_once_all_is_well() -> None:
    """Work would be sent to a program that cannot take it yet."""
    scene = _launched(*GATES)
    assert scene.after(0.1, scene.spawned(0)) == []
    assert len(_lacking(scene)) == len(GATES)
    for check in GATES[1:]:
        assert scene.after(1.0, _says(check, Verdict.WELL)) == []
        assert scene.view.slots[0].phase is Phase.STARTING
    assert scene.after(1.0, _says(GATES[0], Verdict.WELL)) == ["register 0.100"]
    assert scene.view.slots[0].phase is Phase.READY
    assert scene.after(0.1, scene.lists(IT)) == []
    assert _lacking(scene) == ()


def test_who_registers_itself_is_ready_when_it_is_registered_and_well() -> None:
    """One of the two would count for both."""
    for facts in (("well", "listed"), ("listed", "well")):
        scene = _launched(Check.READINESS, registrar=Registrar.SELF)
        scene.after(0.1, scene.spawned(0))
        for fact in facts:
            assert scene.view.slots[0].phase is Phase.STARTING
            scene.after(
                0.1,
                scene.lists(IT) if fact == "listed" else _says(Check.READINESS, Verdict.WELL),
            )
        assert scene.view.slots[0].phase is Phase.READY


@pytest.mark.parametrize("check", [Check.LIVENESS, Check.WATCHDOG])
def test_what_only_says_who_is_to_be_ended_is_not_waited_for(check: Check) -> None:
    """A worker would never be ready before its first ping."""
    scene = _launched(check)
    assert scene.after(0.1, scene.spawned(0)) == ["register 0.100"]


def test_who_is_not_ready_is_withdrawn_lives_on_and_is_registered_again() -> None:
    """Work would go on to a worker that says it cannot take it; or it would be ended for saying so."""
    scene = _ready(_launched(Check.READINESS))
    assert scene.after(5.0, _says(Check.READINESS, Verdict.UNREADY)) == ["withdraw 0.100"]
    assert _phase(scene) == "unready"
    assert _lacking(scene) == (WHY,)
    assert scene.after(0.1, scene.lists(without=(0,))) == []
    assert scene.after(3600.0) == []
    assert scene.after(0.1, _says(Check.READINESS, Verdict.WELL)) == ["register 0.100"]
    assert scene.view.slots[0].phase is Phase.READY


def test_one_that_registers_itself_and_is_unready_is_still_missed() -> None:
    """Frozen while it was not ready, it would hold its slot for ever."""
    scene = _launched(Check.READINESS, registrar=Registrar.SELF)
    scene.after(0.1, scene.spawned(0), _says(Check.READINESS, Verdict.WELL), scene.lists(IT))
    scene.after(9.0, _says(Check.READINESS, Verdict.UNREADY))
    scene.after(0.1, scene.lists(without=(0,)))
    (kill,) = scene.after(1.0)
    assert kill.startswith("kill 0: registration gone for 1.0 s")


def test_one_that_was_registered_and_never_ready_is_missed_too() -> None:
    """Frozen before its first probe went well, it would only be ended after the timeout of a start, or never."""
    scene = _launched(Check.READINESS, registrar=Registrar.SELF)
    scene.after(0.1, scene.spawned(0), scene.lists(IT))
    scene.after(0.1, scene.lists(without=(0,)))
    (kill,) = scene.after(1.0)
    assert kill.startswith("kill 0: registration gone for 1.0 s")


def test_one_that_is_registered_and_waits_for_its_probe_has_its_time() -> None:
    """A slow start would be ended for never having registered, although it has."""
    scene = _launched(Check.STARTUP, registrar=Registrar.SELF)
    scene.after(0.1, scene.spawned(0), scene.lists(IT))
    assert scene.after(3600.0) == []


def test_who_dies_before_it_was_ready_failed_to_start() -> None:
    """A program that never gets ready would be restarted without any pause."""
    scene = _launched(Check.READINESS)
    scene.after(0.1, scene.spawned(0))
    assert scene.after(60.0, scene.dies(0)) == []
    assert scene.view.slots[0].phase is Phase.BACKOFF


def test_who_dies_while_it_is_not_ready_had_served() -> None:
    """A worker that was ready for a day would be restarted like one that never was."""
    scene = _ready(_launched(Check.READINESS))
    scene.after(60.0, _says(Check.READINESS, Verdict.UNREADY))
    (spawn, *_) = scene.after(1.0, scene.dies(0))
    assert spawn.startswith("spawn 0")


def test_an_adopted_worker_keeps_its_registration_until_something_is_wrong_with_it() -> None:
    """A restart of the daemon would show healthy workers missing, or keep a sick one's name for ever."""
    adopted = Incarnation(0, 7)
    for verdict, plan in ((Verdict.WELL, "register 0.7"), (Verdict.UNREADY, "withdraw 0.7")):
        scene = Scene(replicas=1, policy=_policy(Check.READINESS), listed=False)
        assert scene.decide(WorkerAdopted(adopted, 9, 60.0)) == []
        assert scene.after(0.1, StoreChanged(Store.CONNECTED), scene.lists(adopted)) == []
        assert scene.after(0.1, _says(Check.READINESS, verdict, adopted)) == [plan]


def test_a_late_answer_about_who_is_told_to_end_means_nothing() -> None:
    """A worker about to end would be registered again."""
    scene = _ready(_launched(Check.READINESS))
    scene.after(5.0, _says(Check.LIVENESS, Verdict.UNHEALTHY))
    assert scene.view.slots[0].phase is Phase.DRAINING
    scene.decide(_says(Check.READINESS, Verdict.UNREADY), _says(Check.READINESS, Verdict.WELL))
    assert scene.view.slots[0].phase is Phase.DRAINING
    assert scene.decide(_says(Check.READINESS, Verdict.WELL, Incarnation(5, 5))) == []


def test_an_outdated_worker_that_never_gets_ready_is_replaced_by_what_mends_it() -> None:
    """After a bad release the good one would wait for ever for what the bad one never does."""
    policy = _policy(Check.READINESS)
    scene = _launched(Check.READINESS)
    scene.after(0.1, WorkerSpawned(IT, 9, "bad"))
    (drain,) = scene.after(60.0, SpecSet("another", policy))
    assert drain.startswith("drain 0: ")
    assert scene.view.slots[0].ending is Ending.OUTDATED


def test_what_is_not_asked_any_more_keeps_nobody_from_being_ready() -> None:
    """A probe taken out of the file would keep workers unready until they are restarted."""
    scene = _ready(_launched(Check.READINESS))
    scene.after(5.0, _says(Check.READINESS, Verdict.UNREADY))
    assert scene.after(1.0, SpecSet("", _policy())) == ["register 0.100"]
    assert _phase(scene) == "ready"
    starting = _launched(Check.STARTUP)
    starting.after(0.1, starting.spawned(0))
    assert starting.after(1.0, SpecSet("", _policy())) == ["register 0.100"]
