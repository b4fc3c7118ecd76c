"""Decisions, as tables: a view, what happens, the plan with its reasons."""

from __future__ import annotations

import pytest

from autohealer.core.events import (
    MoreTimeAsked,
    RegistrationRead,
    ReplicasSet,
    StopRequested,
    StoreChanged,
    TreeEmptied,
    WorkerAdopted,
    WorkersListed,
)
from autohealer.core.model import Incarnation, Phase, Store
from autohealer.core.policy import Policy
from autohealer.core.reconcile import next_wake, reconcile
from autohealer.core.strangers import Standing
from tests.unit.core.notation import BASE, Scene

SPAWN = "spawn 0: "
DIED_READY = "ended by signal 9 (SIGKILL) after 60.0 s, was ready"
LOST = "registration gone for 0.5 s while the process lives (frozen, or its session was lost)"
UNSEEN = (
    "not registered since it was adopted 25.0 s ago while the process lives "
    "(frozen, or its session was lost)"
)
SILENT = (
    "launched 30.0 s ago but never registered: the program probably does not use autohealer.worker "
    "(or create the znode AUTOHEALER_ZNODE itself), hangs before it does, or cannot reach ZooKeeper"
)


@pytest.mark.parametrize(
    ("slots", "plan"),
    [
        ("0:ready 1:starting(2s) 2:ready*", []),
        ("0:-", ["spawn 0: first start"]),
        ("0:- 1:- 2:-", ["spawn 0: first start", "wait 1", "wait 2"]),
        ("0:ready 1:- 2:- 3:-", ["spawn 1: first start", "spawn 2: first start", "wait 3"]),
        ("0:starting(0.2s) 1:-", ["wait 1"]),
        ("0:starting(9.9s) 1:-", ["wait 1"]),
        ("0:starting(29.9s)", []),
        ("0:starting(30s)", [f"kill 0: {SILENT}"]),
        ("0:starting*(24s)", []),
        ("0:starting*(25s)", [f"kill 0: {UNSEEN}"]),
        ("0:absent(0.4s)", []),
        ("0:absent(0.5s)", [f"kill 0: {LOST}"]),
        ("0:absent*(0.5s)", [f"kill 0: {LOST}"]),
        ("0:draining(9.9s)", []),
        ("0:draining(10s)", ["kill 0: asked to"]),
        ("0:killing(0.9s)", []),
        ("0:killing(1s)", ["kill 0: had to"]),
        ("0:backoff(0.4s)", []),
        ("0:quarantined(29s)", []),
        ("", []),
    ],
)
def test_what_is_done_about_each_state(slots: str, plan: list[str]) -> None:
    """A slot would be left broken, or a healthy worker disturbed."""
    assert Scene(slots, policy=Policy(in_flight_min=1)).decide() == plan


@pytest.mark.parametrize("store", ["suspended(60s)", "lost(60s)", "reconnected(60s)"])
@pytest.mark.parametrize("slots", ["0:absent(120s)", "0:starting(300s)", "0:ready(300s)"])
def test_nothing_is_concluded_from_an_unknown_registration(store: str, slots: str) -> None:
    """An outage of ZooKeeper would kill healthy workers."""
    scene = Scene(slots, store=store)
    assert scene.decide() == []
    assert scene.after(3600.0) == []


@pytest.mark.parametrize("store", ["suspended(60s)", "lost(60s)"])
def test_exits_heal_without_the_store(store: str) -> None:
    """An outage of ZooKeeper would stop all healing."""
    scene = Scene("0:ready", store=store)
    assert scene.decide(scene.dies(0)) == [SPAWN + DIED_READY.replace("60.0", "60.0")]


def test_a_dead_worker_that_was_ready_is_replaced_at_once() -> None:
    """Users would notice every crash."""
    scene = Scene("0:ready 1:ready")
    assert scene.decide(scene.dies(0)) == [SPAWN + DIED_READY, f"discard 0.{BASE}"]
    assert scene.name(0) == Incarnation(0, BASE + 1)


def test_nothing_is_launched_beside_what_a_dead_worker_left_running() -> None:
    """Two incarnations of one slot would hold the same port or queue."""
    scene = Scene("0:ready")
    name = scene.name(0)
    assert scene.decide(scene.dies(0, tree_empty=False)) == []
    assert scene.after(1.0) == [f"kill 0: {DIED_READY}"]
    assert scene.after(0.1, TreeEmptied(name, 0.0)) == [SPAWN + DIED_READY, f"discard 0.{BASE}"]


def test_what_outlives_its_leader_in_a_drain_has_the_same_grace() -> None:
    """A shell that dies of TERM at once would have the real worker behind it killed in the middle of its work."""
    scene = Scene("0:ready 1:ready")
    scene.decide()
    name = scene.name(1)
    scene.decide(ReplicasSet(1))
    assert scene.after(1.0, scene.dies(1, number=15, tree_empty=False)) == []
    assert scene.after(8.9) == []
    assert scene.after(0.1) == ["kill 1: surplus: 1 wanted"]
    assert scene.after(1.0) == ["kill 1: surplus: 1 wanted"]
    assert scene.decide(TreeEmptied(name, 0.0)) == [f"discard 1.{BASE}"]


def test_what_ends_within_the_grace_after_its_leader_is_not_killed() -> None:
    """A worker behind a shell that ended in time would be counted among those that had to be killed."""
    scene = Scene("0:ready 1:ready")
    scene.decide()
    name = scene.name(1)
    scene.decide(ReplicasSet(1))
    scene.after(1.0, scene.dies(1, number=15, tree_empty=False))
    assert scene.after(5.0, TreeEmptied(name, 0.0)) == [f"discard 1.{BASE}"]


def test_a_second_stop_hurries_what_outlived_its_leader() -> None:
    """Pressing ^C again would do nothing for a worker behind a shell."""
    scene = Scene("0:ready")
    scene.decide(StopRequested())
    scene.after(1.0, scene.dies(0, number=15, tree_empty=False))
    assert scene.decide(StopRequested()) == ["kill 0: stopping"]


def test_a_program_that_goes_to_the_background_is_told_to_stay() -> None:
    """A user would see a worker that exits with success over and over, and not why it is launched again."""
    scene = Scene("0:starting(0.04s)")
    name = scene.name(0)
    scene.decide(scene.dies(0, code=0, tree_empty=False))
    said = (
        "exited with code 0 after 0.0 s, not registered, while what it had started ran on: "
        "a program that goes to the background; start it in the foreground"
    )
    assert scene.reason(0) == said
    scene.after(0.1, TreeEmptied(name, 0.0))
    assert scene.reason(0) == f"{said}; failure 1 in a row"


@pytest.mark.parametrize("how", ["another code", "nothing left", "was ready", "was told to end"])
def test_other_ends_are_not_taken_for_that(how: str) -> None:
    """A crash would be told with the wrong cure."""
    scene = Scene("0:ready" if how == "was ready" else "0:starting(0.5s)")
    if how == "was told to end":
        scene.decide(StopRequested())
    code = 1 if how == "another code" else 0
    scene.decide(scene.dies(0, code=code, tree_empty=how == "nothing left"))
    assert all("background" not in slot.reason for slot in scene.view.slots.values())


def test_a_frozen_worker_is_killed_confirmed_gone_and_then_replaced() -> None:
    """A worker that froze would stay, or its replacement would run beside it."""
    scene = Scene("0:ready")
    scene.decide()
    assert scene.decide(scene.lists(without=[0])) == []
    assert next_wake(scene.view) == scene.view.now + 0.5
    assert scene.after(0.5) == [f"kill 0: {LOST}"]
    assert scene.after(0.1) == []
    assert scene.decide(scene.dies(0)) == [SPAWN + LOST]


def test_a_worker_that_registers_again_in_time_is_left_alone() -> None:
    """A short hiccup of one session would cost a restart."""
    scene = Scene("0:ready")
    scene.decide()
    name = scene.name(0)
    scene.decide(scene.lists(without=[0]))
    assert scene.after(0.4, scene.lists(name)) == []
    assert scene.after(60.0) == []
    assert next_wake(scene.view) is None


def test_after_a_reconnect_workers_have_time_to_register_again() -> None:
    """The return of ZooKeeper would kill every worker whose session went with it."""
    scene = Scene("0:ready 1:ready", store="reconnected(0s)")
    name = scene.name(1)
    assert scene.decide(scene.lists(without=[0, 1])) == []
    assert scene.after(5.4, scene.lists(name)) == []
    lines = scene.after(0.1)
    assert [line.split(":")[0] for line in lines] == ["kill 0"]


def test_a_flapping_session_starts_the_settle_time_anew() -> None:
    """Workers would be killed after the second of two short outages."""
    scene = Scene("0:ready", store="reconnected(0s)")
    scene.decide(scene.lists(without=[0]))
    scene.after(5.0, StoreChanged(Store.SUSPENDED))
    assert scene.after(1.0, StoreChanged(Store.CONNECTED), scene.lists()) == []
    assert scene.after(5.4) == []
    assert len(scene.after(0.2)) == 1


def test_surplus_is_drained_then_killed_then_forgotten() -> None:
    """Lowering N would leave workers behind, or replace the ones it ended."""
    scene = Scene("0:ready 1:ready 2:ready")
    scene.decide()
    assert scene.decide(ReplicasSet(1)) == [
        "drain 1: surplus: 1 wanted",
        "drain 2: surplus: 1 wanted",
    ]
    assert scene.after(1.0, scene.dies(1)) == [f"discard 1.{BASE}"]
    assert scene.after(9.0) == ["kill 2: surplus: 1 wanted"]
    assert scene.decide(scene.dies(2)) == [f"discard 2.{BASE}"]
    assert str(scene) == "0:ready(70s)"


def test_raising_n_while_the_surplus_drains_fills_the_slot_again() -> None:
    """A quick change of mind would leave the group one short."""
    scene = Scene("0:ready 1:ready")
    scene.decide()
    scene.decide(ReplicasSet(1))
    assert scene.decide(ReplicasSet(2)) == []
    lines = scene.after(1.0, scene.dies(1))
    assert lines == ["spawn 1: surplus: 1 wanted", f"discard 1.{BASE}"]


def test_lowering_n_forgets_what_was_not_running() -> None:
    """A slot nobody wants would go on being launched."""
    scene = Scene("0:ready 1:backoff(0.1s) 2:-")
    scene.decide(ReplicasSet(1))
    assert scene.after(60.0) == []


def test_no_replicas_at_all_is_a_wish_like_any_other() -> None:
    """`autohealer 0` would crash or launch something."""
    scene = Scene("0:ready 1:starting(0.1s)")
    scene.decide()
    assert scene.decide(ReplicasSet(0)) == [
        "drain 0: surplus: 0 wanted",
        "drain 1: surplus: 0 wanted",
    ]
    assert not scene.is_finished()


def test_a_stop_drains_everything_and_ends() -> None:
    """TERM would lose work, leave workers, or never end."""
    scene = Scene("0:ready 1:starting(0.1s) 2:backoff(0.1s)")
    scene.decide()
    assert scene.decide(StopRequested()) == ["drain 0: stopping", "drain 1: stopping"]
    scene.after(1.0, scene.dies(0), scene.dies(1))
    assert scene.is_finished()
    assert next_wake(scene.view) is None


def test_a_worker_that_asks_for_more_time_to_end_has_it_from_then_on() -> None:
    """What says that it is still saving its work would be killed in the middle of it."""
    group = Scene("0:ready")
    assert group.decide(StopRequested(), MoreTimeAsked(group.name(0), 99.0)) == [
        "drain 0: stopping"
    ]
    assert group.after(9.0, MoreTimeAsked(group.name(0), 3.0)) == []
    assert group.after(2.9) == []
    assert group.decide(MoreTimeAsked(group.name(0), 0.0)) == []
    assert next_wake(group.view) == pytest.approx(group.view.now + 0.1)
    assert group.after(0.1) == ["kill 0: stopping"]
    assert group.after(0.5, MoreTimeAsked(group.name(0), 99.0)) == []
    assert group.after(0.5) == ["kill 0: stopping"]


def test_a_forced_stop_gives_nobody_more_time() -> None:
    """Who stops twice would wait for a worker that says that it needs an hour."""
    group = Scene("0:ready")
    group.decide(StopRequested())
    group.decide(MoreTimeAsked(group.name(0), 3600.0))
    assert group.decide(StopRequested()) == ["kill 0: stopping"]


def test_a_worker_that_ignores_the_stop_is_killed_after_its_grace() -> None:
    """One stubborn worker would keep the daemon from ending."""
    scene = Scene("0:ready")
    scene.decide(StopRequested())
    assert scene.after(9.9) == []
    assert scene.after(0.1) == ["kill 0: stopping"]
    assert scene.after(1.0) == ["kill 0: stopping"]


def test_a_second_stop_kills_at_once() -> None:
    """Pressing ^C again would do nothing."""
    scene = Scene("0:ready 1:ready")
    scene.decide(StopRequested())
    assert scene.after(1.0, StopRequested()) == ["kill 0: stopping", "kill 1: stopping"]
    assert scene.decide(StopRequested()) == []


def test_a_forced_stop_kills_without_asking() -> None:
    """A forced stop would wait for the grace."""
    assert Scene("0:ready").decide(StopRequested(force=True)) == ["kill 0: stopping at once"]


def test_a_stop_launches_nothing_more() -> None:
    """A worker that dies during the stop would be replaced."""
    scene = Scene("0:ready 1:- 2:backoff(0.1s)")
    scene.decide(StopRequested())
    assert scene.after(1.0, scene.dies(0)) == [f"discard 0.{BASE}"]


def test_of_two_incarnations_of_a_slot_the_lesser_is_drained() -> None:
    """A daemon restarted in the middle of a replacement would keep both for ever."""
    scene = Scene("0:ready")
    scene.decide()
    other = Incarnation(0, 50)
    surplus = "surplus: another incarnation holds its slot"
    assert scene.decide(WorkerAdopted(other, 9, 5.0)) == [f"drain -1: {surplus}"]
    assert scene.name(-1) == other
    scene.decide(scene.dies(-1))
    assert list(scene.view.slots) == [0]


def test_a_lingering_registration_of_the_dead_is_discarded_until_it_is_gone() -> None:
    """Others would send work to a dead worker until its session ran out."""
    scene = Scene("0:ready")
    first = scene.name(0)
    assert f"discard 0.{BASE}" in scene.decide(scene.dies(0))
    assert scene.decide() == []
    assert scene.decide(scene.lists(first)) == [f"discard 0.{BASE}"]
    gone = WorkersListed(frozenset(), frozenset())
    assert scene.decide(gone) == []
    assert scene.decide(gone) == []


def test_a_registration_that_appears_after_the_death_is_discarded() -> None:
    """A worker killed while it registered would look alive for a session timeout."""
    scene = Scene("0:starting(0.5s)")
    name = scene.name(0)
    scene.decide(scene.dies(0))
    assert f"discard 0.{BASE}" in scene.decide(scene.lists(name))


def test_the_dead_are_discarded_only_while_the_store_is_there() -> None:
    """A delete sent during an outage would be lost and never repeated."""
    scene = Scene("0:ready", store="suspended(1s)")
    assert scene.decide(scene.dies(0))[1:] == []
    connected = scene.after(1.0, StoreChanged(Store.CONNECTED))
    assert f"discard 0.{BASE}" in connected


def test_strangers_are_looked_at_once_and_left_alone() -> None:
    """A worker started by hand would be killed, or read over and over."""
    scene = Scene("0:ready")
    scene.decide()
    known = scene.name(0)
    listed = WorkersListed(frozenset({known, Incarnation(7, 3)}), frozenset({"manual-a-1-s2"}))
    assert scene.decide(listed) == ["inspect manual-a-1-s2", "inspect 7.3"]
    read = RegistrationRead("manual-a-1-s2", Standing.MANUAL, 1, "a")
    assert scene.decide(read, listed) == []
    assert scene.view.strangers["manual-a-1-s2"].standing is Standing.MANUAL
    assert scene.after(3600.0, listed) == []


def test_a_stranger_that_leaves_is_forgotten() -> None:
    """The status page would show registrations long gone."""
    scene = Scene("0:ready")
    scene.decide()
    known = frozenset({scene.name(0)})
    scene.decide(WorkersListed(known | {Incarnation(7, 3)}, frozenset({"odd"})))
    scene.decide(WorkersListed(known, frozenset()))
    assert scene.view.strangers == {}


def test_the_budget_spreads_a_storm_of_deaths() -> None:
    """A crash of everything at once, again and again, would eat the machine."""
    policy = Policy(budget_burst=2, budget_per_s=1.0)
    scene = Scene("0:ready 1:ready 2:ready 3:ready", policy=policy)
    lines = scene.decide(*(scene.dies(key) for key in range(4)))
    assert [line.split(":")[0] for line in lines if line[0] in "sw"] == [
        "spawn 0",
        "spawn 1",
        "wait 2",
        "wait 3",
    ]
    assert next_wake(scene.view) == pytest.approx(scene.view.now + 1.0)
    assert len(scene.after(1.0)) == 1
    assert len(scene.after(1.0)) == 1
    assert scene.view.counts[Phase.STARTING] == 4


def test_the_first_start_costs_no_budget() -> None:
    """A large group would start at the pace of its restarts."""
    policy = Policy(budget_burst=1, budget_per_s=0.1)
    scene = Scene("0:ready 1:ready 2:- 3:-", policy=policy)
    assert len(scene.decide()) == 2


def test_a_plan_says_what_it_holds_back() -> None:
    """A user watching nothing happen would not know why."""
    waiting = Scene(" ".join(f"{key}:-" for key in range(5)))
    assert "under way to register" in reconcile(waiting.view, every_slot=True).holds[0]
    away = Scene("0:ready", store="suspended(1s)")
    holds = reconcile(away.view).holds
    assert holds == ("ZooKeeper session suspended: nothing is concluded from registrations",)
    back = Scene("0:ready", store="reconnected(1s)")
    assert "time to register again" in reconcile(back.view).holds[0]


def test_a_connected_store_that_does_not_answer_is_said_in_time() -> None:
    """A store that takes connections and answers nothing would look well for ever."""
    scene = Scene("0:ready", store="reconnected(0s)")
    scene.decide()
    wake_at = next_wake(scene.view)
    assert wake_at == scene.view.now + scene.policy.settle_s
    scene.after(scene.policy.settle_s)
    (hold,) = reconcile(scene.view).holds
    assert "connected but does not answer" in hold
    scene.decide(scene.lists())
    assert reconcile(scene.view).holds == ()
    assert next_wake(scene.view) is None


def test_a_quiet_group_has_no_deadline() -> None:
    """The daemon would wake for nothing."""
    scene = Scene("0:ready 1:ready*")
    scene.decide()
    assert next_wake(scene.view) is None
