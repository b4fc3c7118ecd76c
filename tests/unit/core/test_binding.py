"""Children of `/workers` under names of their own: whose they are, when that is certain and when it is not."""

from __future__ import annotations

from autohealer.core.children import Sight
from autohealer.core.events import (
    ChildExamined,
    InvariantBroken,
)
from autohealer.core.model import Phase, StoreRoom
from autohealer.core.reconcile import next_wake
from autohealer.core.strangers import Standing
from tests.unit.core.anonymous import IT, POLICY, Group, Server, look


def test_one_is_launched_at_a_time_until_its_child_is_seen() -> None:
    """Two children that appear together could not be told apart."""
    group = Group(2, server := Server())
    assert group.phase(1) is Phase.VACANT
    assert group.runs(0) == ["remember 0.100=?"]
    assert group.after(5.0) == []
    child = server.make(owner=7)
    assert group.lists() == [f"inspect {child.label}"]
    assert group.phase(0) is Phase.STARTING
    assert group.after(0.01, look(child)) == [], "another may come"
    assert group.after(0.5) == [
        f"remember 0.100={child.label}",
        "spawn 1: first start",
    ]
    assert group.phase(0) is Phase.READY
    assert group.child(0) == child
    assert group.view.strange == frozenset()
    assert group.view.strangers == {}


def test_what_was_there_before_the_launch_is_nobodys() -> None:
    """A child of somebody else's would be kept alive for ours, and deleted after its death."""
    server = Server()
    old = server.make(owner=1)
    group = Group(1, server)
    group.runs(0)
    group.lists(look(old))
    assert group.phase(0) is Phase.STARTING
    assert group.view.strangers[old.label].standing is Standing.UNKNOWN
    mine = server.make(owner=2)
    group.lists(look(mine))
    assert group.child(0) == mine


def test_two_new_ones_are_no_choice_of_ours() -> None:
    """A guess would bind a foreigner's child, and the daemon would end a healthy worker with it."""
    group = Group(1, server := Server())
    group.runs(0)
    one, two = server.make(owner=7), server.make(owner=8)
    group.lists(look(one), look(two))
    assert group.phase(0) is Phase.STARTING
    assert f"{one.label}, {two.label} appeared" in group.view.bindings.unclear
    [kill] = [line for line in group.after(20.0) if line.startswith("kill")]
    assert "never registered" in kill
    assert f"{one.label}, {two.label}" in kill


def test_one_is_not_bound_before_the_other_was_looked_at() -> None:
    """Whichever look came back first would be taken for the only one."""
    group = Group(1, server := Server())
    group.runs(0)
    one, two = server.make(owner=7), server.make(owner=8)
    group.lists(look(one))
    assert group.phase(0) is Phase.STARTING
    group.after(0.1, look(two, IT))
    assert group.child(0) == two


def test_one_that_is_alone_for_a_moment_only_is_not_bound() -> None:
    """Whoever is a little faster than what was launched would be taken for it."""
    group = Group(1, server := Server())
    group.runs(0)
    one = server.make(owner=7)
    group.after(0.1, server.listed(group))
    group.after(0.01, look(one))
    assert next_wake(group.view) == group.view.now + POLICY.rejoin_grace_s
    two = server.make(owner=8)
    group.after(0.3, server.listed(group))
    group.after(0.01, look(two))
    group.after(5.0)
    assert group.child(0) is None
    assert one.label in group.view.bindings.unclear


def test_one_from_another_machine_has_to_be_alone_for_longer() -> None:
    """Another host's worker that comes first would be bound, although ours can be proven when it comes."""
    group = Group(1, server := Server())
    group.runs(0)
    other = server.make(owner=7)
    remote = ChildExamined(Sight(other, is_remote=True), Standing.UNKNOWN)
    group.lists(remote)
    assert group.child(0) is None
    mine = server.make(owner=8)
    group.lists(look(mine, IT))
    assert group.child(0) == mine


def test_who_runs_in_a_network_of_its_own_is_bound_in_the_end() -> None:
    """A worker in a container could not be kept at all."""
    group = Group(1, server := Server())
    group.runs(0)
    child = server.make(owner=7)
    group.lists(ChildExamined(Sight(child, is_remote=True), Standing.UNKNOWN))
    group.after(POLICY.settle_s)
    assert group.child(0) == child


def test_a_proof_settles_it() -> None:
    """Where it can be proven who made what, a foreign child beside ours would still stop a start."""
    group = Group(1, server := Server())
    group.runs(0)
    one, two = server.make(owner=7), server.make(owner=8)
    group.lists(look(one), look(two, IT))
    assert group.child(0) == two
    assert group.view.bindings.unclear == ""


def test_a_child_that_is_proven_to_be_a_foreigners_is_not_bound() -> None:
    """Somebody who registers by hand while a worker starts would pass for it."""
    group = Group(1, server := Server())
    group.runs(0)
    foreign = server.make(owner=7)
    group.lists(look(foreign, foreign=True))
    assert group.phase(0) is Phase.STARTING
    mine = server.make(owner=8)
    group.lists(look(mine))
    assert group.child(0) == mine


def test_several_of_one_session_are_one() -> None:
    """A program that registers twice could not be kept."""
    group = Group(1, server := Server())
    group.runs(0)
    one, two = server.make(owner=7), server.make(owner=7)
    group.lists(look(one), look(two))
    assert group.child(0) == one
    server.lose(one)
    group.lists()
    assert group.child(0) == two


def test_a_session_that_is_older_than_the_launch_is_a_foreigners() -> None:
    """Somebody's program that was there all the time and registers now would pass for what was launched."""
    server = Server()
    of_yesterday = server.make(owner=50)
    group = Group(1, server)
    group.after(0.01, look(of_yesterday))
    group.runs(0)
    group.lists(look(server.make(owner=50)), look(server.make(owner=49)))
    assert group.phase(0) is Phase.STARTING
    assert group.view.bindings.unclear == ""
    group.lists(look(server.make(owner=51)))
    assert group.phase(0) is Phase.READY


def test_a_session_that_nobody_is_connected_with_is_no_newborns() -> None:
    """What a dead worker had made unseen would be the registration of the next one, until it is over."""
    group = Group(1, server := Server())
    group.runs(0)
    left = server.make(owner=7)
    silent = ChildExamined(Sight(left, is_silent=True), Standing.UNKNOWN)
    group.lists(silent)
    assert group.phase(0) is Phase.STARTING
    assert f"inspect {left.label}" in group.lists(), "it may be connected again"
    group.after(0.1, look(left))
    assert group.child(0) == left


def test_what_is_not_ephemeral_is_no_registration() -> None:
    """A znode that stays for ever would count as a worker that lives for ever."""
    group = Group(1, server := Server())
    group.runs(0)
    group.lists(look(server.make(owner=0)))
    assert group.phase(0) is Phase.STARTING


def test_groups_of_one_daemon_launch_in_turns_and_do_not_take_each_others() -> None:
    """Both share `/workers`: the child of the one would be bound to the other."""
    server, room = Server(), StoreRoom()
    one = Group(1, server, "one", room)
    two = Group(1, server, "two", room)
    assert one.phase(0) is Phase.STARTING
    assert two.phase(0) is Phase.VACANT
    one.runs(0)
    turns = room.turns
    child = server.make(owner=7)
    two.lists(look(child))
    assert two.phase(0) is Phase.VACANT
    one.lists(look(child))
    assert one.child(0) == child
    assert room.turns > turns, "the other is told"
    assert two.after(0.1) == ["spawn 0: first start"]
    two.runs(0)
    mine = server.make(owner=8)
    two.lists(look(mine))
    assert two.child(0) == mine
    assert child.label not in two.view.strange


def test_a_frozen_group_holds_up_no_other() -> None:
    """Trouble in one group would stop the launches of all."""
    server, room = Server(), StoreRoom()
    one, two = Group(1, server, "one", room), Group(1, server, "two", room)
    one._fold(InvariantBroken(("why",)))
    assert two.after(0.1) == ["spawn 0: first start"]


def test_who_never_registers_is_replaced_and_told_why() -> None:
    """A program that registers elsewhere would be restarted for ever without a word of what is wrong."""
    group = Group(2, Server())
    group.runs(0)
    plan = group.after(20.0)
    [kill] = [line for line in plan if line.startswith("kill")]
    assert "never registered: it has made no ephemeral child of /workers" in kill
    plan = group.after(0.1, group.dies(0))
    assert "spawn 1: first start" in plan, "the others get their turn"


def test_what_others_made_meanwhile_is_named_when_a_start_is_given_up() -> None:
    """Who has a program register through somebody else would never learn why it is not bound."""
    group = Group(1, server := Server())
    group.runs(0)
    foreign = server.make(owner=7)
    group.lists(look(foreign, foreign=True))
    [kill] = [line for line in group.after(20.0) if line.startswith("kill")]
    assert f"{foreign.label} appeared since, but another program has" in kill
