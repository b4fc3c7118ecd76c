"""The witness sees what happens, and what must not happen is called by its name.

Theory of operation: the witness is shown processes that claim to be workers, without any daemon, so that every
verdict is known beforehand.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from autohealer.contract import ENV_GENERATION, ENV_GROUP, ENV_SLOT, ENV_TOKEN
from autohealer.core.model import Incarnation
from autohealer.core.policy import Policy
from tests.chaos.report import Heal, heals_of
from tests.chaos.sightings import ENV_ARENA
from tests.chaos.witness import Witness
from tests.support.eventually import eventually
from tests.support.history import (
    Closed,
    DaemonStarted,
    Emptied,
    Ended,
    Harm,
    Launched,
    Registered,
    Wanted,
)
from tests.support.ledgers import Rules
from tests.support.oracle import violations_of

GROUP = "web"
FIRST, SECOND = Incarnation(0, 1), Incarnation(0, 2)
RULES = Rules(policy=Policy(), whole_within_s=60, stop_within_s=60)
WITHIN_S = 10.0


class Stage:
    """Processes that pass for workers of one slot, a registry that lists what it is told, and the witness."""

    def __init__(self, arena: str) -> None:
        self.listed: frozenset[str] | None = frozenset()
        self._arena = arena
        self._processes: list[subprocess.Popen[bytes]] = []
        self.witness = Witness(arena, GROUP, lambda: self.listed)
        self.witness.tell(lambda at: Wanted(at, replicas=1))
        self.witness.tell(DaemonStarted)

    def start(self, name: Incarnation) -> subprocess.Popen[bytes]:
        """Start a process of an incarnation."""
        claim = {ENV_ARENA: self._arena, ENV_GROUP: GROUP, ENV_TOKEN: "x"}
        place = {ENV_SLOT: str(name.slot), ENV_GENERATION: str(name.generation)}
        process = subprocess.Popen(("sleep", "60"), env=os.environ | claim | place)
        self._processes.append(process)
        return process

    def launch(self, name: Incarnation) -> subprocess.Popen[bytes]:
        """Start a process of an incarnation, and wait until the witness has seen it."""
        process = self.start(name)
        eventually(lambda: process.pid in self.witness.live_pids(), within_s=WITHIN_S)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, and wait until the witness has seen it."""
        process.kill()
        process.wait()
        eventually(lambda: process.pid not in self.witness.live_pids(), within_s=WITHIN_S)

    def register(self, *names: Incarnation) -> None:
        """List these, and wait until the witness has noticed."""
        self.listed = frozenset(f"{GROUP}-{slot}-{generation}" for slot, generation in names)
        eventually(lambda: self.witness.registered == set(names), within_s=WITHIN_S)

    def saw(self, kind: type[object]) -> bool:
        """Whether a kind of record is in the history."""
        return any(isinstance(record, kind) for record in self.witness.history)

    def verdict(self) -> list[str]:
        """The invariants broken so far."""
        return violations_of([*self.witness.history, Closed(self.witness.history[-1].at)], RULES)

    def clear(self) -> None:
        """End whatever is left."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage, cleared afterwards."""
    made = Stage(str(tmp_path))
    with made.witness:
        yield made
    made.clear()


def test_a_worker_hit_and_replaced_is_a_heal_and_no_violation(stage: Stage) -> None:
    """The witness would cry wolf, or not see healing at all."""
    first = stage.launch(FIRST)
    stage.register(FIRST)
    assert stage.witness.targets() == [FIRST]
    assert stage.witness.strike("kill one", Harm.KILLS, FIRST)
    assert stage.witness.targets() == []
    stage.end(first)
    stage.launch(SECOND)
    stage.register(SECOND)
    assert stage.verdict() == []
    assert stage.witness.flaws(replicas=1) == []
    (heal,) = heals_of(stage.witness.history)
    assert heal == Heal("kill one", heal.took_s, in_fair_weather=True)
    assert 0 < heal.took_s < 60


def test_a_worker_launched_beside_a_live_one_is_a_violation(stage: Stage) -> None:
    """A doubled slot would pass."""
    stage.launch(FIRST)
    stage.register(FIRST)
    stage.launch(SECOND)
    stage.register(FIRST, SECOND)
    assert [sentence[:2] for sentence in stage.verdict()] == ["I1", "I2"]


def test_a_worker_launched_beside_the_rest_of_a_tree_is_a_violation(stage: Stage) -> None:
    """A slot used again before its tree is empty would pass."""
    first = stage.launch(FIRST)
    rest = stage.launch(FIRST)
    stage.register(FIRST)
    assert stage.witness.strike("kill one", Harm.KILLS, FIRST)
    stage.end(first)
    eventually(lambda: stage.saw(Ended), within_s=WITHIN_S)
    assert not stage.saw(Emptied)
    stage.launch(SECOND)
    stage.register(SECOND)
    assert [sentence[:2] for sentence in stage.verdict()] == ["I1", "I2"]
    stage.end(rest)
    eventually(lambda: stage.saw(Emptied), within_s=WITHIN_S)


def test_a_healthy_worker_that_ends_is_a_violation(stage: Stage) -> None:
    """A worker that nothing had hit could be restarted unnoticed."""
    first = stage.launch(FIRST)
    stage.register(FIRST)
    stage.end(first)
    stage.launch(SECOND)
    stage.register(SECOND)
    assert [sentence[:2] for sentence in stage.verdict()] == ["I4"]


def test_a_process_that_outlives_its_tree_is_complained_of(stage: Stage) -> None:
    """What escaped a tree that looked empty would be taken for a worker, or for nothing."""
    stage.end(stage.launch(FIRST))
    escaped = stage.start(FIRST)
    complaints = eventually(lambda: stage.witness.complaints, within_s=WITHIN_S)
    assert complaints == [f"I6: pid {escaped.pid} of {FIRST} outlived its tree"]


def test_without_a_list_nothing_is_said_of_registrations(stage: Stage) -> None:
    """An outage of the store would look like the loss of everybody."""
    stage.launch(FIRST)
    stage.register(FIRST)
    told = len(stage.witness.history)
    stage.listed = None
    stage.witness.look()
    assert stage.witness.registered == {FIRST}
    assert len(stage.witness.history) == told
    assert [type(r) for r in stage.witness.history[-2:]] == [Launched, Registered]
