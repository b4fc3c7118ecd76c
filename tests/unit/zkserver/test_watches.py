"""Goal: a client hears of every change it asked about, once, before any reply that shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autohealer.zkserver.acl import digest_of
from autohealer.zkserver.protocol import Acl, Code, EventType, Op, WatcherKind
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.shares import Share
from autohealer.zkserver.watches import Table, Watches
from autohealer.zkserver.wire import pack_int, pack_text

from .world import EPHEMERAL, World, create_body, version_body

CREATED, DELETED = EventType.CREATED, EventType.DELETED
CHANGED, CHILDREN = EventType.DATA_CHANGED, EventType.CHILDREN_CHANGED


def test_each_change_reaches_its_watchers_once() -> None:
    """A watching program would sleep through a change, or be told twice."""
    world = World()
    writer, watcher = world.client(), world.client()
    watcher.exists("/a", watch=True)
    watcher.children("/", watch=True)
    writer.create("/a")
    assert watcher.take_events() == [(CREATED, "/a"), (CHILDREN, "/")]
    watcher.get("/a", watch=True)
    writer.set("/a", b"1")
    writer.set("/a", b"2")
    assert watcher.take_events() == [(CHANGED, "/a")]
    watcher.get("/a", watch=True)
    watcher.children("/a", watch=True)
    watcher.children("/", watch=True)
    writer.delete("/a")
    assert watcher.take_events() == [(DELETED, "/a"), (CHILDREN, "/")]


def test_the_writer_gets_its_own_event_before_its_reply() -> None:
    """A program would read the new state first and then be told of it as if it were news."""
    client = World().client()
    client.exists("/a", watch=True)
    client.create("/a")  # `call` insists that the reply is the last to arrive
    assert client.take_events() == [(CREATED, "/a")]


def test_reading_what_is_not_there_sets_no_watch() -> None:
    """Watches would pile up for nodes that were only asked for."""
    world = World()
    client = world.client()
    assert client.get("/a", watch=True).code is Code.NO_NODE
    assert client.children("/a", watch=True).code is Code.NO_NODE
    assert world.machine.watches.count == 0


def test_an_expired_sessions_nodes_go_in_one_step_with_one_event_each() -> None:
    """A supervisor would see a dead worker's nodes vanish one by one, as several deaths."""
    world = World()
    dying, watcher = world.client(1000), world.client(60_000)
    watcher.create("/w")
    for name in ("/w/1", "/w/2"):
        dying.create(name, mode=EPHEMERAL)
        watcher.exists(name, watch=True)
    watcher.children("/w", watch=True)
    before = watcher.exists("/w").zxid
    world.advance_to(2000)
    assert watcher.take_events() == [(DELETED, "/w/1"), (CHILDREN, "/w"), (DELETED, "/w/2")]
    assert watcher.exists("/w").zxid == before + 1
    assert dying.dropped == "session expired"


def test_closing_a_session_deletes_its_nodes_at_once() -> None:
    """A clean stop would look like a crash for a whole session timeout."""
    world = World()
    leaving, watcher = world.client(), world.client()
    leaving.create("/e", mode=EPHEMERAL)
    watcher.exists("/e", watch=True)
    assert leaving.call(Op.CLOSE_SESSION).code is Code.OK
    assert leaving.dropped == "asked for it"
    assert watcher.take_events() == [(DELETED, "/e")]


def test_a_persistent_watch_stays_until_removed() -> None:
    """Curator's caches would miss everything after the first change."""
    client = World().client()
    client.create("/a")
    assert client.call(Op.ADD_WATCH, pack_text("/a") + pack_int(0)).reader.int32() == 0
    client.set("/a", b"1")
    client.create("/a/b")
    client.create("/a/b/c")
    assert client.take_events() == [(CHANGED, "/a"), (CHILDREN, "/a")]
    body = pack_text("/a") + pack_int(WatcherKind.ANY)
    assert client.call(Op.CHECK_WATCHES, body).code is Code.OK
    assert client.call(Op.REMOVE_WATCHES, body).code is Code.OK
    assert client.call(Op.REMOVE_WATCHES, body).code is Code.NO_WATCHER
    client.set("/a", b"2")
    assert client.take_events() == []


def test_half_of_a_watch_that_stays_can_be_removed() -> None:
    """Curator would stop hearing of a node's data because nobody watches its children any more."""
    client = World().client()
    client.create("/a")
    client.call(Op.ADD_WATCH, pack_text("/a") + pack_int(0))
    body = pack_text("/a") + pack_int(WatcherKind.CHILDREN)
    assert client.call(Op.REMOVE_WATCHES, body).code is Code.OK
    assert client.call(Op.REMOVE_WATCHES, body).code is Code.NO_WATCHER
    client.create("/a/b")
    client.set("/a", b"1")
    assert client.take_events() == [(CHANGED, "/a")]


def test_odd_watches_are_answered_as_by_apache() -> None:
    """A client library that asks for something newer would lose more than this one request."""
    client = World().client()
    assert client.call(Op.ADD_WATCH, pack_text("/a") + pack_int(9)).code is Code.MARSHALLING_ERROR
    assert client.call(Op.REMOVE_WATCHES, pack_text("/a") + pack_int(9)).code is (
        Code.MARSHALLING_ERROR
    )
    assert client.call(Op.ADD_WATCH, pack_text("nowhere") + pack_int(0)).code is Code.OK


def test_a_recursive_watch_hears_of_all_below_but_no_children_changes() -> None:
    """A program that watches a subtree would miss deep changes or hear of each twice."""
    client = World().client()
    client.create("/a")
    client.call(Op.ADD_WATCH, pack_text("/a") + pack_int(1))
    client.create("/a/b")
    client.create("/a/b/c")
    client.set("/a/b/c", b"1")
    client.delete("/a/b/c")
    client.create("/aside")
    assert client.take_events() == [
        (CREATED, "/a/b"),
        (CREATED, "/a/b/c"),
        (CHANGED, "/a/b/c"),
        (DELETED, "/a/b/c"),
    ]


def test_a_reconnected_java_client_hears_what_it_missed() -> None:
    """After a reconnect, changes made meanwhile would go unnoticed for ever."""
    world = World()
    writer, client = world.client(), world.client()
    for path in ("/same", "/changed", "/gone", "/parent"):
        writer.create(path)
    seen = client.exists("/same").zxid
    writer.set("/changed", b"1")
    writer.delete("/gone")
    writer.create("/new")
    writer.create("/parent/child")
    reply = client.set_watches(
        seen, ["/same", "/changed", "/gone"], ["/new", "/still-not"], ["/parent", "/same"]
    )
    assert reply.code is Code.OK
    assert client.take_events() == [
        (CHANGED, "/changed"),
        (DELETED, "/gone"),
        (CREATED, "/new"),
        (CHILDREN, "/parent"),
    ]
    writer.set("/same", b"1")
    writer.create("/still-not")
    writer.create("/same/child")
    assert client.take_events() == [
        (CHANGED, "/same"),
        (CREATED, "/still-not"),
        (CHILDREN, "/same"),
    ]


def test_events_of_a_multi_come_after_it_as_a_whole() -> None:
    """A watcher would be told of a change that the transaction then took back."""
    world = World()
    client = world.client()
    client.exists("/t", watch=True)
    client.multi((Op.CREATE, create_body("/t")), (Op.CHECK, version_body("/none")))
    assert client.take_events() == []
    client.multi((Op.CREATE, create_body("/t")), (Op.DELETE, version_body("/t")))
    assert client.take_events() == [(CREATED, "/t")]


def test_who_may_not_read_a_node_is_not_told_about_it() -> None:
    """A secret node's comings and goings would leak (CVE-2024-23944)."""
    world = World()
    owner, stranger = world.client(), world.client()
    owner.authenticate(b"u:p")
    stranger.exists("/secret", watch=True)
    owner.create("/secret", acl=(Acl(31, "digest", digest_of("u:p")),))
    assert stranger.take_events() == []


def test_a_lost_connection_leaves_no_watches() -> None:
    """Memory would grow with every reconnect."""
    world = World()
    client = world.client()
    client.exists("/a", watch=True)
    client.children("/", watch=True)
    assert world.machine.watches.count == 2
    client.hang_up()
    assert (world.machine.watches.count, world.machine.watches.path_count) == (0, 0)


@pytest.mark.parametrize("limit", [1, 3])
def test_too_many_watches_are_refused_clearly(limit: int) -> None:
    """A leaking client would take the server down for all."""
    world = World(replace(ServerSettings(Path("/nowhere")), watches_max=limit))
    client = world.client()
    codes = [client.exists(f"/{number}", watch=True).code for number in range(limit + 1)]
    assert codes == [Code.NO_NODE] * limit + [Code.THROTTLED]
    assert client.exists("/0").code is Code.NO_NODE


def test_what_a_connection_watched_is_given_back_and_the_others_is_kept() -> None:
    """The watches of one who leaves would never make room for another's."""
    kept = Share(1_000_000)
    watches = Watches(1000, 1_000_000, kept)
    for table in Table:
        for path in ("/both", f"/{table.name}"):
            watches.add(table, path, 1)
        watches.add(table, "/both", 2)
    of_the_other = watches.bytes_of(2)
    watches.forget(1)
    assert (kept.taken, watches.count) == (of_the_other, len(Table))
    assert (watches.bytes_of(1), watches.connection_count, watches.path_count) == (0, 1, len(Table))
    assert watches.fire(EventType.DATA_CHANGED, "/both") == [2]
    watches.forget(1)
    watches.forget(2)
    assert (kept.taken, watches.count, watches.connection_count, watches.path_count) == (0,) * 4
