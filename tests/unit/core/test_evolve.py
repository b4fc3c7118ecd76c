"""Facts folded into the view: what each changes, and that late or repeated ones change nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from autohealer.core.events import (
    Event,
    ReplicasSet,
    SpawnFailed,
    StoreChanged,
    Ticked,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkersListed,
    WorkerSpawned,
)
from autohealer.core.evolve import evolve
from autohealer.core.model import Exit, Incarnation, Phase, Store, View
from autohealer.core.registrations import STRANGERS_MAX
from autohealer.core.strangers import Standing
from tests.unit.core.notation import BASE, NOW_S, Scene

GONE = Incarnation(0, 7)
NEVER_WAS = Incarnation(9, BASE)


def _settled(view: View) -> View:
    """The view without its memory of what was touched, and of when the last list was asked for."""
    return replace(copy.deepcopy(view), touched=set(), listed_at=0.0)


@pytest.mark.parametrize(
    "text",
    [
        "0:ready(60s) 1:starting(3s) 2:- 3:backoff(0.4s) 4:draining(2s)",
        "0:ready*(10s) 1:starting*(3s) 2:absent(0.3s) 3:killing(0.5s) 4:quarantined(20s)",
    ],
)
def test_the_notation_says_what_the_view_holds(text: str) -> None:
    """Every table here would test another scenario than it shows."""
    assert str(Scene(text)) == text


@pytest.mark.parametrize(
    "late",
    [
        WorkerExited(GONE, Exit(signal=9), True, 0.5),
        WorkerExited(GONE, Exit(code=1), False, 0.5),
        WorkerExited(NEVER_WAS, Exit(), True, 0.5),
        TreeEmptied(GONE, 0.5),
        WorkerSpawned(GONE, 77),
        SpawnFailed(GONE, "no such file", 0.5),
        StoreChanged(Store.CONNECTED),
        ReplicasSet(3),
        Ticked(NOW_S - 5.0),
    ],
)
def test_news_of_an_old_incarnation_or_no_news_changes_nothing(late: Event) -> None:
    """The death of a predecessor, told late, would restart a healthy worker."""
    scene = Scene("0:ready 1:starting(0.1s) 2:backoff(0.1s)")
    scene.decide()
    before = _settled(scene.view)
    evolve(scene.view, late)
    assert _settled(scene.view) == before
    assert scene.decide() == []


def test_a_repeated_exit_is_counted_once() -> None:
    """One death told twice would count as two failures."""
    scene = Scene("0:starting(0.1s)")
    death = scene.dies(0)
    scene.decide(death, death)
    assert scene.view.slots[0].failures == 1


def test_a_repeated_adoption_or_list_changes_nothing() -> None:
    """A worker found twice would be drained as its own double."""
    scene = Scene("0:ready*")
    scene.decide()
    before = _settled(scene.view)
    evolve(scene.view, WorkerAdopted(scene.name(0), 1000, 6.0))
    evolve(scene.view, scene.lists())
    assert _settled(scene.view) == before


def test_the_clock_never_goes_back() -> None:
    """Deadlines would be met twice."""
    scene = Scene("0:ready")
    evolve(scene.view, Ticked(NOW_S - 100.0))
    assert scene.view.now == NOW_S


@pytest.mark.parametrize("listed_first", [True, False])
def test_adoption_and_the_first_list_may_come_in_any_order(listed_first: bool) -> None:
    """A restarted daemon would freeze, or take its own workers for strangers, depending on which was faster."""
    scene = Scene("0:-")
    name = Incarnation(0, 50)
    facts: list[Event] = [
        WorkersListed(frozenset({name}), frozenset()),
        WorkerAdopted(name, 7, 5.0),
    ]
    assert scene.decide(*(facts if listed_first else reversed(facts))) == []
    assert str(scene) == "0:ready*(0s)"
    assert scene.view.strangers == {}


def test_an_adopted_worker_keeps_its_age() -> None:
    """Status would show every worker as new after the daemon was restarted."""
    scene = Scene("0:-")
    scene.decide(WorkerAdopted(Incarnation(0, 50), 7, 3600.0))
    occupant = scene.view.slots[0].occupant
    assert occupant is not None
    assert occupant.since == NOW_S - 3600.0


def test_what_an_adopted_worker_leaves_is_followed_by_a_newer_generation() -> None:
    """The replacement of an adopted worker could carry a name an earlier daemon gave out."""
    scene = Scene("0:ready*")
    old = scene.name(0)
    scene.decide(scene.dies(0))
    assert scene.name(0).generation >= BASE > old.generation


def test_a_clock_set_back_between_daemons_still_gives_newer_generations() -> None:
    """After a wrong clock was set right a name could be used twice."""
    scene = Scene("0:-")
    scene.decide(WorkerAdopted(Incarnation(0, BASE + 5000), 7, 5.0))
    scene.decide(scene.dies(0))
    scene.after(60.0)
    assert scene.name(0).generation == BASE + 5001


def test_an_adopted_worker_beyond_n_is_surplus() -> None:
    """A daemon restarted with a smaller N would keep the larger group."""
    scene = Scene("0:ready")
    scene.decide()
    assert scene.decide(WorkerAdopted(Incarnation(4, 50), 7, 5.0)) == ["drain 4: surplus: 1 wanted"]


def test_a_launch_that_fails_says_why() -> None:
    """A missing program would look like a crash."""
    scene = Scene("0:starting")
    scene.decide(scene.fails_to_start(0))
    assert scene.reason(0) == ("could not be launched: no such file; failure 1 in a row")


def test_restarts_are_counted_and_the_first_start_is_not() -> None:
    """Status would blame a worker that never fell."""
    scene = Scene("0:ready")
    assert scene.view.slots[0].restarts == 0
    scene.decide(scene.dies(0))
    assert scene.view.slots[0].restarts == 1


def test_counts_follow_the_slots() -> None:
    """Status and the start's progress would show wrong figures."""
    scene = Scene("0:ready 1:ready* 2:starting(0.1s) 3:backoff(0.4s) 4:draining(2s) 5:-")
    counts = {phase.value: n for phase, n in scene.view.counts.items() if n}
    assert counts == {"ready": 2, "starting": 1, "backoff": 1, "draining": 1, "vacant": 1}
    assert scene.view.ready_count() == 2


def test_strangers_beyond_what_anyone_reads_are_dropped() -> None:
    """A flood of foreign znodes would fill the daemon's memory and its queue of reads."""
    scene = Scene("0:ready")
    scene.decide()
    flood = frozenset(f"odd-{number}" for number in range(STRANGERS_MAX + 500))
    lines = scene.decide(WorkersListed(frozenset({scene.name(0)}), flood))
    assert len(lines) == STRANGERS_MAX


def test_strangers_left_unread_by_an_outage_are_read_again() -> None:
    """A registration found just before an outage would stay unexplained."""
    scene = Scene("0:ready")
    scene.decide()
    listed = WorkersListed(frozenset({scene.name(0)}), frozenset({"odd"}))
    assert scene.decide(listed) == ["inspect odd"]
    scene.after(1.0, StoreChanged(Store.SUSPENDED), StoreChanged(Store.CONNECTED))
    assert scene.decide(listed) == ["inspect odd"]
    assert scene.view.strangers["odd"].standing is Standing.UNREAD


def test_a_worker_that_registers_while_it_drains_is_not_ready() -> None:
    """A worker being ended would count as serving."""
    scene = Scene("0:starting(0.1s)")
    scene.decide(ReplicasSet(0))
    scene.decide(scene.lists(scene.name(0)))
    assert scene.view.counts[Phase.READY] == 0
    assert scene.view.counts[Phase.DRAINING] == 1


def test_the_deadline_heap_does_not_grow_with_time() -> None:
    """A daemon that runs for a year would run out of memory."""
    scene = Scene("0:ready")
    scene.decide()
    name = scene.name(0)
    for _ in range(200):
        scene.after(0.2, scene.lists(without=[0]))
        scene.after(0.2, scene.lists(name))
    scene.after(5.0)
    assert len(scene.view.alarms) <= 2
