"""Log lines: one for each fact, under a name that programs may rely on, with who it is about."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import get_args

import pytest
import structlog

from autohealer.core import events
from autohealer.core.actions import Drain, Kill, Plan, Spawn
from autohealer.core.children import Bond, Child, Sight
from autohealer.core.evolve import evolve
from autohealer.core.health import Check, Verdict
from autohealer.core.model import Budget, Ending, Exit, Incarnation, Store, View
from autohealer.core.overrides import Overrides
from autohealer.core.policy import Policy
from autohealer.core.reconcile import reconcile
from autohealer.core.strangers import Standing
from autohealer.telemetry.formats import LogFormat
from autohealer.telemetry.logs import configure
from autohealer.telemetry.narrator import Narrator

NAME = Incarnation(3, 17)
PID = 4711
CHILD = Child("worker_7", 7, 1)

ONE_OF_EACH: dict[type, tuple[events.Event, str | None]] = {
    events.Ticked: (events.Ticked(1.0), None),
    events.ReplicasSet: (events.ReplicasSet(4), None),
    events.OverridesSet: (events.OverridesSet(Overrides(all_stopped=True)), None),
    events.RetryAsked: (events.RetryAsked(frozenset({0})), None),
    events.SpecSet: (events.SpecSet("another", Policy()), None),
    events.StopRequested: (events.StopRequested(), "stopping"),
    events.DetachRequested: (events.DetachRequested(), None),
    events.WorkerAdopted: (events.WorkerAdopted(NAME, PID, 5.0), "worker_adopted"),
    events.WorkerHeld: (events.WorkerHeld(NAME, PID, "cannot be read"), "worker_held"),
    events.WorkerSpawned: (events.WorkerSpawned(NAME, PID), "worker_started"),
    events.SpawnFailed: (events.SpawnFailed(NAME, "no such file", 0.5), "worker_start_failed"),
    events.WorkerExited: (
        events.WorkerExited(NAME, Exit(signal=9), tree_empty=True, jitter=0.5, pid=PID),
        "worker_exited",
    ),
    events.TreeEmptied: (events.TreeEmptied(NAME, 0.5), "worker_tree_gone"),
    events.TreeResists: (
        events.TreeResists(NAME, ("pid 7 (disk-sleep, python3)",)),
        "worker_tree_resists",
    ),
    events.HealthReported: (
        events.HealthReported(NAME, Check.LIVENESS, Verdict.UNHEALTHY, "answered 500"),
        "worker_unhealthy",
    ),
    events.MemoryReported: (events.MemoryReported(NAME, 2**30), "worker_oversized"),
    events.MoreTimeAsked: (events.MoreTimeAsked(NAME, 5.0), None),
    events.StoreChanged: (events.StoreChanged(Store.SUSPENDED), "zookeeper_suspended"),
    events.SessionTimeoutGranted: (events.SessionTimeoutGranted(42.0, 0.5), None),
    events.WorkersListed: (
        events.WorkersListed(frozenset({NAME}), frozenset()),
        "worker_registered",
    ),
    events.WorkerWasDone: (
        events.WorkerWasDone(NAME, "done: exited with code 0"),
        "worker_was_done",
    ),
    events.ListFailed: (events.ListFailed("may not be read"), "registrations_not_listed"),
    events.RegistryWiped: (events.RegistryWiped(), "registry_wiped"),
    events.RegistrationRead: (
        events.RegistrationRead("Worker1", Standing.UNKNOWN, 1, "there"),
        "unknown_registration",
    ),
    events.RegistrantDead: (events.RegistrantDead(NAME), "stale_registration_deleted"),
    events.ChildExamined: (events.ChildExamined(Sight(CHILD), Standing.UNKNOWN), None),
    events.BondRemembered: (events.BondRemembered(Bond(NAME, 1, 1, CHILD), is_dead=False), None),
    events.InvariantBroken: (events.InvariantBroken(("wrong",)), "invariant_broken"),
    events.Decided: (events.Decided(Plan()), None),
}
"""The golden list: a fact and the name of its line. Programs read these: changing one is a breaking change."""


class Log:
    """A narrator and the lines it wrote."""

    def __init__(self, log_format: LogFormat = LogFormat.JSON) -> None:
        self.lines: list[str] = []
        self.hint = ""
        logger = configure(log_format, self.lines.append, on_terminal=False)
        self.narrator = Narrator(
            logger, lambda slot: [f"last words of slot {slot}"], lambda _slot: self.hint
        )

    def of(
        self, *facts: events.Event, view: View, plan: Plan | None = None
    ) -> list[dict[str, object]]:
        """The records a round writes."""
        del self.lines[:]
        self.narrator(facts, plan or Plan(), view)
        return [json.loads(line) for line in self.lines]


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """What one test sets up must not reach the next."""
    yield
    structlog.reset_defaults()


def view_after(*facts: events.Event) -> View:
    """Four slots wanted, the last one launched as NAME, then some facts."""
    view = View(policy=Policy(), budget=Budget(30.0), now=100.0)
    launched = events.Decided(Plan((Spawn(3, NAME, "first start"),)))
    begin = (events.Ticked(100.0), events.ReplicasSet(4), launched)
    for fact in (*begin, events.WorkerSpawned(NAME, PID), *facts):
        evolve(view, fact)
    return view


def test_every_kind_of_fact_is_on_the_list() -> None:
    """A new kind of fact would be told under a name nobody agreed to."""
    assert set(ONE_OF_EACH) == set(get_args(events.Event))


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_each_fact_is_one_line_under_its_name(kind: type) -> None:
    """Alerts that match on event names would fall silent."""
    fact, event = ONE_OF_EACH[kind]
    records = Log().of(fact, view=view_after())
    assert [record["event"] for record in records] == ([] if event is None else [event])


@pytest.mark.parametrize(
    ("fact", "pid"),
    [
        (ONE_OF_EACH[events.WorkerSpawned][0], PID),
        (ONE_OF_EACH[events.WorkerAdopted][0], PID),
        (ONE_OF_EACH[events.WorkerExited][0], PID),
        (ONE_OF_EACH[events.WorkersListed][0], PID),
        (ONE_OF_EACH[events.SpawnFailed][0], None),
        (ONE_OF_EACH[events.TreeEmptied][0], None),
        (ONE_OF_EACH[events.RegistrantDead][0], None),
    ],
)
def test_a_workers_line_says_which_worker(fact: events.Event, pid: int | None) -> None:
    """Nobody could tell from the log which worker it was."""
    (record,) = Log().of(fact, view=view_after())
    assert (record["slot"], record["generation"], record.get("pid")) == (*NAME, pid)
    assert {"timestamp", "level"} <= record.keys()


@pytest.mark.parametrize(
    ("action", "event", "level"),
    [
        (Drain(3, NAME, "surplus", Ending.SURPLUS), "worker_draining", "info"),
        (Kill(3, NAME, "frozen", Ending.REGISTRATION_LOST), "worker_killed", "warning"),
    ],
)
def test_an_ending_is_told_with_its_reason(action: Drain | Kill, event: str, level: str) -> None:
    """The log would not say that, or why, the daemon ended a worker itself."""
    (record,) = Log().of(view=view_after(), plan=Plan((action,)))
    assert (record["event"], record["level"]) == (event, level)
    assert (record["slot"], record["generation"], record["pid"]) == (*NAME, PID)
    assert record["reason"] == action.reason


def test_an_exit_says_how_why_and_what_is_next() -> None:
    """A user would have to guess what the daemon does about a death."""
    fact = events.WorkerExited(NAME, Exit(code=3), tree_empty=True, jitter=0.0, pid=PID)
    view = view_after(fact)
    (record,) = Log().of(fact, view=view)
    assert record["how"] == "exited with code 3"
    assert record["reason"] == view.slots[3].reason
    assert record["then"] == "waits, next try in 0.1 s"
    assert record["last_output"] == ["last words of slot 3"]


def test_an_exit_that_was_asked_for_is_no_warning() -> None:
    """A normal stop would look like trouble."""
    fact = events.WorkerExited(NAME, Exit(signal=15), tree_empty=True, jitter=0.0, pid=PID)
    (record,) = Log().of(fact, view=view_after(events.StopRequested(), fact))
    assert (record["event"], record["level"]) == ("worker_stopped", "info")


def test_the_end_of_a_surplus_worker_is_no_restart() -> None:
    """After an adoption the log would report a failure and a restart that never happened."""
    older = Incarnation(3, 16)
    view = view_after(events.WorkerAdopted(older, 4700, 60.0))
    plan = reconcile(view)
    evolve(view, events.Decided(plan))
    fact = events.WorkerExited(older, Exit(signal=15), tree_empty=True, jitter=0.0, pid=4700)
    evolve(view, fact)
    (record,) = Log().of(fact, view=view)
    assert record["event"] == "worker_stopped"


def test_a_registration_is_told_once() -> None:
    """Every list would repeat every worker."""
    log, view = Log(), view_after(events.StoreChanged(Store.CONNECTED))
    listed = events.WorkersListed(frozenset({NAME}), frozenset())
    evolve(view, listed)
    (record,) = log.of(listed, view=view)
    assert record["progress"] == "1/4 registered"
    assert log.of(listed, view=view) == []


def test_a_hold_is_told_when_it_begins() -> None:
    """The log would not say why nothing is launched, or say it in every round."""
    log, view = Log(), view_after()
    plan = Plan(holds=("launches wait",))
    assert [record["why"] for record in log.of(view=view, plan=plan)] == ["launches wait"]
    assert log.of(view=view, plan=plan) == []
    assert log.of(view=view) == []
    assert len(log.of(view=view, plan=plan)) == 1


def test_the_end_is_told() -> None:
    """A log would just break off."""
    (record,) = Log().of(view=view_after(), plan=Plan(finished=True))
    assert record["event"] == "stopped"


def test_the_end_of_a_detached_daemon_says_who_is_left() -> None:
    """A detached daemon's log would claim that everything was stopped."""
    view = view_after(events.DetachRequested())
    (record,) = Log().of(view=view, plan=Plan(finished=True))
    assert (record["event"], record["workers_left_running"]) == ("detached", 1)


def test_a_mass_loss_is_one_loud_line_and_its_end_another() -> None:
    """A fault of the store would be told as one loss after another, or not at all."""
    names = frozenset({NAME, *(Incarnation(key, 50) for key in range(3))})
    launched = events.Decided(Plan(tuple(Spawn(n.slot, n, "") for n in names - {NAME})))
    view = view_after(launched, events.StoreChanged(Store.CONNECTED))
    log = Log()
    for listed, told in (
        (names, None),
        (frozenset[Incarnation](), "mass_loss"),
        (names, "mass_loss_over"),
    ):
        evolve(view, events.WorkersListed(listed, frozenset()))
        records = log.of(view=view)
        assert [record["event"] for record in records] == ([told] if told else [])
        assert log.of(view=view) == []
        if told == "mass_loss":
            assert records[0]["level"] == "error"
            assert str(records[0]["why"]).startswith("4 of 4 registrations went missing together")


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_people_are_told_the_same(kind: type) -> None:
    """A daemon started in a terminal would crash on a line that only JSON can take."""
    fact, event = ONE_OF_EACH[kind]
    log = Log(LogFormat.CONSOLE)
    log.narrator([fact], Plan(), view_after())
    assert len(log.lines) == (event is not None)
    assert all((event or "") in line for line in log.lines)


def test_a_dead_workers_last_words_stand_below_its_line() -> None:
    """A user at a terminal would not see why a worker died."""
    log = Log(LogFormat.CONSOLE)
    log.narrator([ONE_OF_EACH[events.WorkerExited][0]], Plan(), view_after())
    assert log.lines[0].splitlines()[1].strip() == "| last words of slot 3"


def test_what_may_be_done_about_a_death_is_told_with_it() -> None:
    """Who reads the log would see what is missing and not where."""
    log = Log()
    log.hint = "install it there"
    exited = ONE_OF_EACH[events.WorkerExited][0]
    (record,) = log.of(exited, view=view_after(exited))
    assert record["hint"] == "install it there"
    log.hint = ""
    (record,) = log.of(exited, view=view_after(exited))
    assert "hint" not in record


def test_a_death_says_when_the_next_try_is_and_the_next_start_does_not() -> None:
    """A line about a worker that has started would promise a try that is over."""
    died = events.WorkerExited(NAME, Exit(code=1), tree_empty=True, jitter=0.0, pid=PID)
    view = view_after(died)
    (record,) = Log().of(died, view=view)
    assert record["then"] == "waits, next try in 0.1 s"
    evolve(view, events.Decided(Plan((Spawn(3, Incarnation(3, 18), view.slots[3].reason),))))
    (record,) = Log().of(events.WorkerSpawned(Incarnation(3, 18), PID), view=view)
    assert str(record["reason"]).endswith("; failure 1 in a row")
