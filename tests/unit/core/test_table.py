"""The table of phases and facts at the head of `evolve` says what the code does, no more and no less."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import get_args

import pytest

from autohealer.core import evolve as evolve_module
from autohealer.core.actions import Discard, Drain, Inspect, Kill, Plan, Relist, Remember, Spawn
from autohealer.core.children import Bond, Child, Sight
from autohealer.core.events import (
    BondRemembered,
    ChildExamined,
    Decided,
    DetachRequested,
    Event,
    HealthReported,
    InvariantBroken,
    ListFailed,
    MemoryReported,
    MoreTimeAsked,
    OverridesSet,
    RegistrantDead,
    RegistrationRead,
    RegistryWiped,
    ReplicasSet,
    RetryAsked,
    SessionTimeoutGranted,
    SpawnFailed,
    SpecSet,
    StopRequested,
    StoreChanged,
    Ticked,
    TreeEmptied,
    TreeResists,
    WorkerAdopted,
    WorkerExited,
    WorkerHeld,
    WorkersListed,
    WorkerSpawned,
    WorkerWasDone,
)
from autohealer.core.evolve import evolve
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Ending, Exit, Incarnation, Phase, Store
from autohealer.core.overrides import Overrides
from autohealer.core.policy import Policy, Restart
from autohealer.core.strangers import Standing
from tests.unit.core.notation import BASE, Scene

LETTERS = {
    Phase.VACANT: "v",
    Phase.STARTING: "s",
    Phase.READY: "r",
    Phase.UNREADY: "u",
    Phase.DRAINING: "d",
    Phase.BACKOFF: "b",
    Phase.QUARANTINED: "q",
    Phase.HELD: "h",
    Phase.DONE: "o",
    Phase.STOPPED: "p",
}
"""The letters of its cells; `-` is a slot that was given up, `.` one whose phase stays."""

POLICY = Policy(quarantine_failures=2, intensity=1, restart_pauses=1)
"""So that one failure more makes the difference."""

OTHER, BETTER = Incarnation(0, 3), Incarnation(0, 10**9)
GONE = Exit(signal=9)
CHILD = Child("worker_7", 7, 1)

Fact = Callable[[Scene], Event]
Rows = dict[str, dict[str, str]]


def _table() -> Rows:
    """The rows of the table, each cell by the phase of its column."""
    text = evolve_module.__doc__ or ""
    lines = [line.split() for line in text.splitlines() if line.startswith("    ")]
    (_, *phases), *rows = lines
    return {row[0]: dict(zip(phases, row[1:], strict=True)) for row in rows}


# --- slots in every phase ------------------------------------------------------------------------


def _failed_once(scene: Scene) -> Scene:
    """Its next failure is one too many."""
    scene.decide(scene.fails_to_start(0))
    scene.after(1.0)
    return scene


def _restarted(scene: Scene, times: int) -> Scene:
    """Ready again after restarts that came too soon."""
    for _ in range(times):
        scene.decide(scene.dies(0))
        scene.after(2.0)
        scene.decide(scene.lists(scene.name(0)))
        scene.after(1.0)
    return scene


def _without_its_leader(scene: Scene) -> Scene:
    scene.decide(scene.dies(0, tree_empty=False))
    return scene


def _held(scene: Scene) -> Scene:
    scene.decide(WorkerHeld(Incarnation(0, 7), 9, "its environment cannot be read"))
    return scene


def _done(scene: Scene) -> Scene:
    scene.view.policy = replace(scene.view.policy, restart=Restart.NEVER)
    if scene.view.slots[0].occupant is None:
        evolve(scene.view, WorkerWasDone(Incarnation(0, 2), "done: exited with code 0"))
    else:
        scene.decide(scene.dies(0))
    return scene


def _unwanted(scene: Scene) -> Scene:
    scene.decide(ReplicasSet(0))
    return scene


def _stopped(scene: Scene) -> Scene:
    scene.decide(OverridesSet(Overrides(stopped=frozenset({0}))))
    return scene


def _unfit(scene: Scene) -> Scene:
    scene.decide(HealthReported(scene.name(0), Check.READINESS, Verdict.UNREADY, "why"))
    return scene


def _scene(text: str) -> Scene:
    return Scene(text, policy=POLICY)


SCENES: dict[Phase, list[Callable[[], Scene]]] = {
    Phase.VACANT: [lambda: _scene("0:-")],
    Phase.STARTING: [
        lambda: _scene("0:starting"),
        lambda: _scene("0:starting*"),
        lambda: _failed_once(_scene("0:starting")),
    ],
    Phase.READY: [
        lambda: _scene("0:ready"),
        lambda: _scene("0:absent(0.1s)"),
        lambda: _restarted(_scene("0:ready(1s)"), 1),
        lambda: _restarted(_scene("0:ready(1s)"), 2),
    ],
    Phase.UNREADY: [
        lambda: _unfit(_scene("0:ready")),
        lambda: _unfit(_restarted(_scene("0:ready(1s)"), 1)),
        lambda: _unfit(_restarted(_scene("0:ready(1s)"), 2)),
    ],
    Phase.DRAINING: [
        lambda: _scene("0:draining(1s)"),
        lambda: _scene("0:killing(0.1s)"),
        lambda: _unwanted(_scene("0:ready")),
        lambda: _stopped(_scene("0:ready")),
        lambda: _without_its_leader(_scene("0:ready")),
        lambda: _without_its_leader(_scene("0:starting")),
        lambda: _without_its_leader(_failed_once(_scene("0:starting"))),
        lambda: _without_its_leader(_restarted(_scene("0:ready(1s)"), 1)),
        lambda: _without_its_leader(_restarted(_scene("0:ready(1s)"), 2)),
    ],
    Phase.BACKOFF: [
        lambda: _scene("0:backoff(0.1s)"),
        lambda: _dead(_scene("0:starting(1s)")),
        lambda: _restarted_and_dead(1),
        lambda: _pardonable(1),
        lambda: _pardonable(2),
    ],
    Phase.QUARANTINED: [
        lambda: _scene("0:quarantined(0.1s)"),
        lambda: _failed_again(_dead(_scene("0:starting"))),
        lambda: _restarted_and_dead(2),
        lambda: _failed_again(_pardonable(1)),
    ],
    Phase.DONE: [lambda: _done(_scene("0:-")), lambda: _done(_scene("0:ready"))],
    Phase.HELD: [lambda: _held(_scene("0:-")), lambda: _unwanted(_held(_scene("0:-")))],
    Phase.STOPPED: [lambda: _stopped(_scene("0:-")), lambda: _stopped(_done(_scene("0:-")))],
}


def _restarted_and_dead(times: int) -> Scene:
    scene = _restarted(_scene("0:ready(1s)"), times)
    scene.decide(scene.dies(0))
    return scene


def _pardonable(times: int) -> Scene:
    """Restarted before, then dead before a list showed it."""
    scene = _restarted(_scene("0:ready(1s)"), times - 1)
    scene.decide(scene.dies(0))
    _waits_and_lives(scene)
    return _dead(scene)


def _waits_and_lives(scene: Scene) -> None:
    """Is launched again when its time has come, and lives long enough to have served."""
    scene.after(1.0)
    scene.after(1.0)


def _dead(scene: Scene) -> Scene:
    scene.decide(scene.dies(0))
    return scene


def _failed_again(scene: Scene) -> Scene:
    _waits_and_lives(scene)
    return _dead(scene)


# --- facts about what fills the slot, or about the slot -------------------------------------------


def _me(scene: Scene) -> Incarnation:
    """What fills slot 0; the last that did where nobody does."""
    slot = scene.view.slots[0]
    return slot.occupant.name if slot.occupant else Incarnation(0, slot.generation or BASE)


def _ordered(
    scene: Scene, *actions: Spawn | Drain | Kill | Discard | Inspect | Relist | Remember
) -> Event:
    return Decided(Plan(actions))


def _adopted_after_listed(scene: Scene) -> Event:
    evolve(scene.view, scene.lists(BETTER))
    return WorkerAdopted(BETTER, 9, 5.0)


def _under(scene: Scene, restart: Restart, fact: Event) -> Event:
    scene.view.policy = replace(scene.view.policy, restart=restart)
    return fact


FACTS: dict[str, list[Fact]] = {
    "Ticked": [lambda s: Ticked(s.view.now + 3600.0)],
    "ReplicasSet": [lambda _: ReplicasSet(0), lambda _: ReplicasSet(3)],
    "OverridesSet:stopped": [
        lambda _: OverridesSet(Overrides(all_stopped=True)),
        lambda _: OverridesSet(Overrides(stopped=frozenset({0, 7}))),
    ],
    "OverridesSet:others": [
        lambda _: OverridesSet(Overrides()),
        lambda _: OverridesSet(Overrides(renew={0: 10**9})),
    ],
    "RetryAsked": [lambda _: RetryAsked(frozenset({0, 7}))],
    "SpecSet:same": [lambda s: SpecSet("", s.policy)],
    "SpecSet:another": [lambda s: SpecSet("another", s.policy)],
    "StopRequested": [lambda _: StopRequested(), lambda _: StopRequested(force=True)],
    "DetachRequested": [lambda _: DetachRequested()],
    "WorkerAdopted:it": [lambda s: WorkerAdopted(_me(s), 9, 5.0)],
    "WorkerAdopted:lesser": [lambda _: WorkerAdopted(OTHER, 9, 5.0)],
    "WorkerAdopted:better": [_adopted_after_listed],
    "WorkerWasDone": [lambda s: _under(s, Restart.NEVER, WorkerWasDone(_me(s), "why"))],
    "WorkerHeld": [
        lambda s: WorkerHeld(_me(s), 9, "why"),
        lambda _: WorkerHeld(OTHER, 9, "why"),
    ],
    "WorkerSpawned": [lambda s: WorkerSpawned(_me(s), 9)],
    "SpawnFailed": [lambda s: SpawnFailed(_me(s), "why", 0.0)],
    "WorkerExited:all": [lambda s: WorkerExited(_me(s), GONE, True, 0.0)],
    "WorkerExited:well": [
        lambda s: _under(s, Restart.ON_FAILURE, WorkerExited(_me(s), Exit(code=0), True, 0.0))
    ],
    "WorkerExited:leader": [lambda s: WorkerExited(_me(s), GONE, False, 0.0)],
    "TreeEmptied": [lambda s: TreeEmptied(_me(s), 0.0)],
    "TreeResists": [lambda s: TreeResists(_me(s), ("pid 7",))],
    "HealthReported:well": [lambda s: HealthReported(_me(s), Check.READINESS, Verdict.WELL)],
    "HealthReported:unready": [
        lambda s: HealthReported(_me(s), Check.READINESS, Verdict.UNREADY, "why")
    ],
    "HealthReported:unhealthy": [
        lambda s: HealthReported(_me(s), Check.LIVENESS, Verdict.UNHEALTHY, "why")
    ],
    "MemoryReported": [lambda s: MemoryReported(_me(s), 10**12)],
    "MoreTimeAsked": [lambda s: MoreTimeAsked(_me(s), 60.0)],
    "StoreChanged": [lambda _: StoreChanged(Store.LOST)],
    "SessionTimeoutGranted": [lambda _: SessionTimeoutGranted(60.0, 0.1)],
    "WorkersListed:with": [lambda s: s.lists(_me(s))],
    "WorkersListed:without": [lambda _: WorkersListed(frozenset(), frozenset())],
    "ListFailed": [lambda _: ListFailed("why")],
    "RegistryWiped": [lambda _: RegistryWiped()],
    "RegistrationRead": [lambda s: RegistrationRead(_me(s), Standing.ORPHAN)],
    "RegistrantDead": [lambda s: RegistrantDead(_me(s))],
    "ChildExamined": [lambda _: ChildExamined(Sight(CHILD), Standing.UNKNOWN)],
    "BondRemembered": [lambda s: BondRemembered(Bond(_me(s), 0, 0, CHILD), is_dead=False)],
    "InvariantBroken": [lambda _: InvariantBroken(("why",))],
    "Decided:Spawn": [lambda s: _ordered(s, Spawn(0, Incarnation(0, 10**6), "why"))],
    "Decided:Drain": [lambda s: _ordered(s, Drain(0, _me(s), "why", Ending.SURPLUS))],
    "Decided:Kill": [lambda s: _ordered(s, Kill(0, _me(s), "why", Ending.REGISTRATION_LOST))],
    "Decided:others": [
        lambda _: Decided(Plan()),
        lambda s: _ordered(s, Discard(OTHER), Inspect("odd"), Relist(()), Remember(())),
    ],
}

NEEDS_AN_OCCUPANT = {"Decided:Drain", "Decided:Kill"}
NEEDS_NONE = {"Decided:Spawn"}
"""An order that the invariants stop elsewhere (`x`)."""


def _means_nothing(row: str, phase: Phase) -> bool:
    is_empty = phase in {Phase.VACANT, Phase.BACKOFF, Phase.QUARANTINED, Phase.DONE, Phase.STOPPED}
    if row in NEEDS_AN_OCCUPANT:
        return is_empty or phase is Phase.HELD
    return row in NEEDS_NONE and (not is_empty or phase in {Phase.DONE, Phase.STOPPED})


def _next_phases(row: str, phase: Phase) -> Iterator[str]:
    for make in SCENES[phase]:
        for fact in FACTS[row]:
            scene = make()
            assert scene.view.slots[0].phase is phase, f"{scene} is not {phase}"
            evolve(scene.view, fact(scene))
            slot = scene.view.slots.get(0)
            assert scene.view.contradictions == []
            yield "-" if slot is None else LETTERS[slot.phase]


def _cell(row: str, phase: Phase) -> str:
    if _means_nothing(row, phase):
        return "x"
    found = set(_next_phases(row, phase))
    if found == {LETTERS[phase]}:
        return "."
    return "".join(letter for letter in "vsrudbqhop-" if letter in found)


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("row", FACTS)
def test_the_table_says_what_becomes_of_a_slot(row: str, phase: Phase) -> None:
    """Who reads the table would believe in a rule that is not there, or miss one that is."""
    assert _cell(row, phase) == _table()[row][phase.value]


def test_every_fact_has_a_row() -> None:
    """A new fact would change slots in ways nobody has looked at."""
    kinds = {row.split(":")[0] for row in _table()}
    assert _table().keys() == FACTS.keys()
    assert kinds == {kind.__name__ for kind in get_args(Event)}


def drawn() -> Iterator[str]:
    """The table as the code is, to be looked at and put into its place."""
    yield _row("fact", [phase.value for phase in Phase])
    for row in FACTS:
        yield _row(row, [_cell(row, phase) for phase in Phase])


def _row(fact: str, cells: list[str]) -> str:
    columns = (max(len(phase.value) + 1, 8) for phase in Phase)
    told = "".join(f"{cell:<{width}}" for cell, width in zip(cells, columns, strict=True))
    return f"    {fact:<26}{told}".rstrip()


if __name__ == "__main__":
    print("\n".join(drawn()))
