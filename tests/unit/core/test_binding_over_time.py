"""What becomes of a bound child: its maker ends, loses it, makes another, or outlives the daemon."""

from __future__ import annotations

from dataclasses import replace

from autohealer.core.children import Bond, Child
from autohealer.core.events import (
    BondRemembered,
    RegistryWiped,
    ReplicasSet,
    SpecSet,
    StoreChanged,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
)
from autohealer.core.model import Exit, Phase, Store
from autohealer.core.policy import Registrar
from tests.unit.core.anonymous import IT, NEXT, POLICY, Group, Server, look


def test_the_child_of_the_dead_is_deleted_and_no_other() -> None:
    """A corpse would be found in the registry until its session is over."""
    group = Group(1, Server())
    child = group.grows(0, owner=7)
    plan = group.after(60.0, group.dies(0))
    assert plan == ["spawn 0: ended by signal 9 (SIGKILL) after 60.6 s, was ready", "discard 0.100"]
    group.server.lose(child)
    assert group.runs(0) == ["remember 0.100=" + child.label + " 0.101=?"]
    assert group.lists() == ["remember 0.101=?"]
    assert group.view.room.nursery.bound == {}


def test_who_loses_its_child_is_ended_unless_it_makes_another() -> None:
    """A frozen worker would never be replaced, or one whose session was lost would be although it is back."""
    group = Group(1, server := Server())
    server.lose(group.grows(0, owner=7))
    group.lists()
    assert group.view.missing == {0}
    again = server.make(owner=8)
    assert group.lists(look(again)) == [f"inspect {again.label}", f"remember 0.100={again.label}"]
    assert group.phase(0) is Phase.READY
    server.lose(again)
    group.lists()
    plan = group.after(0.6)
    assert plan == [
        "kill 0: registration gone for 0.6 s while the process lives (frozen, or its session was lost)"
    ]


def test_nobody_is_ended_while_a_child_that_may_be_its_is_looked_at() -> None:
    """The list that confirms a loss shows who is back under a name that nobody knows yet."""
    group = Group(1, server := Server())
    server.lose(group.grows(0, owner=7))
    group.lists()
    group.mute = True
    again = server.make(owner=8)
    assert group.after(0.6) == ["relist 0"]
    assert group.lists() == [f"inspect {again.label}"]
    assert group.after(2.0) == []
    assert group.after(0.1, look(again)) == []
    assert group.after(0.5) == [f"remember 0.100={again.label}"]


def test_others_that_register_all_the_time_hold_up_no_verdict() -> None:
    """While another host's workers start one after another a frozen one of ours would never be replaced."""
    group = Group(1, server := Server())
    server.lose(group.grows(0, owner=7))
    group.after(0.1, server.listed(group))
    group.mute = True
    unseen = server.make(owner=8)
    said = group.after(0.6, server.listed(group))
    for owner in range(9, 20):
        seen, unseen = unseen, server.make(owner)
        said += group.after(0.02, server.listed(group), look(seen, foreign=True))
    assert any(line.startswith("kill 0") for line in said)


def test_two_that_have_lost_theirs_are_not_taken_for_each_other() -> None:
    """Each would be healed by the other's registration."""
    group = Group(2, server := Server())
    one, two = group.grows(0, owner=7), group.grows(1, owner=8)
    server.lose(one)
    server.lose(two)
    group.lists()
    other = server.make(owner=9)
    group.after(0.1, server.listed(group))
    group.after(0.01, look(other))
    assert group.view.missing == {0, 1}
    assert "2 workers are without" in group.view.bindings.unclear
    group.after(0.01, look(other, NEXT))
    assert group.view.missing == {0}
    assert group.child(1) == other


def test_nobody_is_launched_while_somebody_may_make_another_child() -> None:
    """The replacement of one and the new child of another could not be told apart."""
    group = Group(2, server := Server())
    one = group.grows(0, owner=7)
    group.grows(1, owner=8)
    server.lose(one)
    group.after(20.0, server.listed(group))
    assert not any(line.startswith("spawn") for line in group.after(0.01, group.dies(1)))
    server_back = server.make(owner=9)
    assert "spawn 1" in " ".join(group.lists(look(server_back)))


def test_what_died_without_a_child_may_have_left_one() -> None:
    """The child of the one that was given up would be bound to the one after it."""
    group = Group(1, server := Server())
    group.mute = True
    group.runs(0)
    plan = group.after(5.0, group.dies(0))
    assert "relist " in plan
    group.after(5.0)
    assert group.phase(0) is not Phase.STARTING
    left = server.make(owner=7)
    group.lists()
    assert group.phase(0) is not Phase.STARTING, "not before it has been looked at"
    assert any(line.startswith("spawn 0") for line in group.after(0.1, look(left)))
    group.runs(0)
    mine = server.make(owner=8)
    group.lists(look(mine))
    assert group.child(0) == mine


def test_a_child_that_its_dead_maker_left_unseen_is_deleted() -> None:
    """It would be nobody's, and stay until its session is over."""
    group = Group(1, server := Server())
    group.runs(0)
    group.after(5.0, group.dies(0))
    left = server.make(owner=7)
    assert "discard 0.100" in group.lists(look(left, IT))


def test_an_outage_ends_nobody_and_the_dead_are_replaced_one_by_one() -> None:
    """A store that is away would cost workers, or two launches in it could not be told apart later."""
    group = Group(3, server := Server())
    children = [group.grows(key, owner=7 + key) for key in range(3)]
    group.after(30.0, StoreChanged(Store.SUSPENDED))
    assert group.after(60.0) == []
    assert [p[:7] for p in group.after(0.1, group.dies(0), group.dies(1))] == ["spawn 0", "wait 1"]
    group.after(0.1, group.spawned(0))
    for child in children[:2]:
        server.lose(child)
    group.after(600.0, StoreChanged(Store.CONNECTED))
    mine = server.make(owner=20)
    plan = group.lists(look(mine))
    assert [line for line in plan if line.startswith("spawn")] != []
    assert group.child(0) == mine
    assert group.child(2) == children[2]


def test_who_is_launched_in_an_outage_does_not_get_what_a_dead_one_left_unseen() -> None:
    """The child of a corpse would be its registration, until that is over and a healthy worker is ended for it."""
    group = Group(2, server := Server())
    group.runs(0)
    left = server.make(owner=7)
    group.after(1.0, StoreChanged(Store.SUSPENDED))
    assert "spawn 1: first start" in group.after(1.0, group.dies(0))
    group.after(0.1, group.spawned(1))
    group.after(1.0, StoreChanged(Store.CONNECTED))
    group.lists(look(left))
    assert group.child(1) is None
    mine = server.make(owner=8)
    group.lists(look(mine, NEXT))
    assert group.child(1) == mine


def test_the_next_daemon_goes_on_with_what_was_noted() -> None:
    """Every worker would be replaced when the daemon is upgraded."""
    server = Server()
    mine, other = server.make(owner=7), server.make(owner=8)
    group = Group(0, server)
    noted = BondRemembered(Bond(IT, 1, 1, mine, 7), is_dead=False)
    group.decide(WorkerAdopted(IT, 70, 60.0), noted, ReplicasSet(1))
    assert group.phase(0) is Phase.STARTING
    group.lists()
    assert not group.view.brake.on, "nobody is missing while it is looked at"
    assert group.view.listed_at < group.view.now - 0.05, "but the list does not count yet"
    assert group.after(0.1, look(mine), look(other)) == []
    assert group.phase(0) is Phase.READY
    assert group.child(0) == mine


def test_a_name_that_is_another_child_by_now_is_not_believed() -> None:
    """`/workers` was made anew while no daemon ran: somebody else's child would be ours, and deleted some day."""
    server = Server()
    anew = server.make(owner=8)
    group = Group(0, server)
    was = Child(anew.label, 3, 7)
    noted = BondRemembered(Bond(IT, 1, 1, was, 7), is_dead=False)
    group.decide(WorkerAdopted(IT, 70, 60.0), noted, ReplicasSet(1))
    group.lists(look(anew))
    assert group.view.missing == {0}
    assert group.child(0) is None


def test_what_the_dead_left_while_no_daemon_ran_is_deleted() -> None:
    """A corpse would be found in the registry after a restart of the daemon."""
    server = Server()
    left = server.make(owner=7)
    group = Group(0, server)
    group.decide(BondRemembered(Bond(IT, 1, 1, left, 7), is_dead=True))
    assert "discard 0.100" not in group.lists()
    assert "discard 0.100" in group.after(0.1, look(left))


def test_what_a_dead_leader_left_running_keeps_its_child() -> None:
    """The daemon would freeze: a registration would be deleted whose slot is not free yet."""
    server = Server()
    left = server.make(owner=7)
    group = Group(0, server)
    facts = (
        WorkerAdopted(IT, 70, 60.0),
        WorkerExited(IT, Exit(), False, 0.0),
        BondRemembered(Bond(IT, 1, 1, left, 7), is_dead=True),
    )
    group.decide(*facts, ReplicasSet(1))
    assert "discard 0.100" not in group.lists(look(left))
    assert "discard 0.100" in group.after(0.1, TreeEmptied(IT, 0.0))


def test_after_a_wipe_a_name_is_looked_at_before_it_counts() -> None:
    """Sequence numbers begin again: a foreigner's first child has the name that ours had."""
    group = Group(1, server := Server())
    mine = group.grows(0, owner=7)
    server.lose(mine)
    foreign = server.make(owner=9, label=mine.label)
    group.after(1.0, RegistryWiped())
    group.lists(look(foreign, foreign=True))
    assert group.view.missing == {0}
    assert group.child(0) is None
    again = server.make(owner=10)
    group.lists(look(again))
    assert group.child(0) == again


def test_whose_registrations_change_hands_keeps_what_is_bound_until_it_is_replaced() -> None:
    """A configuration that has the daemon register from now on would end every worker at once."""
    group = Group(1, server := Server())
    child = group.grows(0, owner=7)
    group.after(1.0, SpecSet("", replace(POLICY, registrar=Registrar.SELF)))
    group.lists()
    assert group.view.missing == set()
    assert group.child(0) == child
    server.lose(child)
    group.lists()
    assert group.view.missing == {0}


def test_what_was_there_before_a_group_chooses_its_names_is_nobodys() -> None:
    """The first launch after such a reload could be bound to anything."""
    server = Server()
    old = server.make(owner=1)
    group = Group(0, server)
    group.after(0.1, SpecSet("", replace(POLICY, registrar=Registrar.SELF)))
    group.after(0.1, server.listed(group))
    group.after(0.1, SpecSet("", POLICY), ReplicasSet(1))
    group.runs(0)
    mine = server.make(owner=2)
    group.lists(look(old), look(mine))
    assert group.child(0) == mine
