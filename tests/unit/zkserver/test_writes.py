"""Goal: nodes behave as on Apache ZooKeeper. Method: whole requests to a machine without I/O."""

from __future__ import annotations

import pytest

from autohealer.zkserver.paths import RESERVED
from autohealer.zkserver.protocol import Code, Op

from .world import (
    CONTAINER,
    EPHEMERAL,
    SEQUENTIAL,
    World,
    create_body,
    set_body,
    version_body,
)


def test_a_sequence_counts_creations_and_cversion_counts_changes() -> None:
    """Locks and queues would give out a number twice, or clients would miss a change of the children."""
    client = World().client()
    client.create("/p")
    names = [client.create("/p/n-", mode=SEQUENTIAL).text for _ in range(3)]
    assert names == ["/p/n-0000000000", "/p/n-0000000001", "/p/n-0000000002"]
    client.delete(names[1])
    assert client.exists("/p").stat.cversion == 4
    assert client.create("/p/n-", mode=SEQUENTIAL).text == "/p/n-0000000003"
    assert client.exists("/p").stat.child_count == 3


def test_a_number_is_never_given_out_again_after_deletion() -> None:
    """Two workers would be told that they hold the same place in a queue."""
    client = World().client()
    client.create("/p")
    first = client.create("/p/", mode=SEQUENTIAL).text
    client.delete(first)
    assert (first, client.create("/p/", mode=SEQUENTIAL).text) == ("/p/0000000000", "/p/0000000001")


def test_metadata_tells_what_happened() -> None:
    """Programs that compare versions, owners or zxids would draw wrong conclusions."""
    world = World()
    client = world.client()
    created = client.create("/e", b"abc", EPHEMERAL, op=Op.CREATE2)
    stat = created.stat
    assert (stat.czxid, stat.mzxid, stat.pzxid) == (created.zxid,) * 3
    assert (stat.version, stat.cversion, stat.aversion, stat.data_bytes) == (0, 0, 0, 3)
    assert stat.ephemeral_owner == client.session_id
    assert stat.ctime_ms == stat.mtime_ms == world.now.wall_ms
    world.advance_to(50)
    changed = client.set("/e", b"abcd").stat
    assert (changed.version, changed.data_bytes) == (1, 4)
    assert (changed.czxid, changed.mzxid) == (stat.czxid, stat.mzxid + 1)
    assert changed.mtime_ms == stat.mtime_ms + 50


def test_missing_data_stays_missing() -> None:
    """The Java client would see empty data where it wrote none."""
    client = World().client()
    client.create("/null", None)
    client.create("/empty", b"")
    assert client.get("/null").reader.buffer() is None
    assert client.get("/empty").reader.buffer() == b""


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/a/b", Code.NO_NODE),
        ("/there", Code.NODE_EXISTS),
        ("/", Code.NODE_EXISTS),
        ("/ephemeral/child", Code.NO_CHILDREN_FOR_EPHEMERALS),
        ("relative", Code.BAD_ARGUMENTS),
        ("", Code.BAD_ARGUMENTS),
        ("/slash/", Code.NO_NODE),
        ("/there/", Code.BAD_ARGUMENTS),
        ("/there//x", Code.NO_NODE),
        ("/there/.", Code.BAD_ARGUMENTS),
        ("/there/..", Code.BAD_ARGUMENTS),
        ("/nul\0", Code.BAD_ARGUMENTS),
        ("/control\x01", Code.BAD_ARGUMENTS),
        ("/astral\U0001f600", Code.BAD_ARGUMENTS),
    ],
)
def test_impossible_creations_are_refused(path: str, code: Code) -> None:
    """A client would get an error it does not expect, or a node nobody can name."""
    client = World().client()
    client.create("/there")
    client.create("/ephemeral", mode=EPHEMERAL)
    assert client.create(path).code is code


@pytest.mark.parametrize(("mode", "code"), [(5, Code.UNIMPLEMENTED), (9, Code.BAD_ARGUMENTS)])
def test_unknown_kinds_of_nodes_are_refused(mode: int, code: Code) -> None:
    """A node with a time to live would be made and never die."""
    assert World().client().create("/x", mode=mode).code is code


def test_only_a_leaf_in_the_expected_version_is_deleted() -> None:
    """A newer node would be deleted by who knew only the older, or children would be orphaned."""
    client = World().client()
    client.create("/p")
    client.create("/p/c")
    assert client.delete("/p").code is Code.NOT_EMPTY
    assert client.delete("/p/c", version=1).code is Code.BAD_VERSION
    assert client.delete("/p/c", version=0).code is Code.OK
    assert client.delete("/p/c").code is Code.NO_NODE
    assert client.delete("/p").code is Code.OK


@pytest.mark.parametrize("path", sorted(RESERVED))
def test_the_servers_own_nodes_stay(path: str) -> None:
    """A client could saw off the branch the others sit on."""
    client = World().client()
    assert client.delete(path).code is Code.BAD_ARGUMENTS
    assert client.exists(path).code is Code.OK


def test_set_data_demands_the_version() -> None:
    """Compare-and-set, on which fencing rests, would let a stale writer win."""
    client = World().client()
    client.create("/a")
    assert client.set("/a", b"1", version=0).stat.version == 1
    assert client.set("/a", b"2", version=0).code is Code.BAD_VERSION
    assert client.get("/a").reader.buffer() == b"1"
    assert client.set("/none", b"").code is Code.NO_NODE


def test_a_multi_is_seen_by_its_own_later_steps_and_has_one_zxid() -> None:
    """A transaction that builds on itself would fail, or be seen half done."""
    client = World().client()
    results = client.multi(
        (Op.CREATE, create_body("/t")),
        (Op.CREATE2, create_body("/t/a", b"", SEQUENTIAL)),
        (Op.SET_DATA, set_body("/t", b"x", 0)),
        (Op.CHECK, version_body("/t", 1)),
        (Op.DELETE, version_body("/t/a0000000000")),
    )
    assert [(op, code) for op, code, _ in results] == [
        (Op.CREATE, Code.OK),
        (Op.CREATE, Code.OK),
        (Op.SET_DATA, Code.OK),
        (Op.CHECK, Code.OK),
        (Op.DELETE, Code.OK),
    ]
    stat = client.exists("/t").stat
    assert stat.czxid == stat.mzxid == stat.pzxid
    assert (stat.version, stat.cversion, stat.child_count) == (1, 2, 0)


def test_a_multi_that_fails_changes_nothing_and_says_where() -> None:
    """A user could not tell which condition failed, or would find half a transaction."""
    client = World().client()
    results = client.multi(
        (Op.CREATE, create_body("/t")),
        (Op.CHECK, version_body("/t", 7)),
        (Op.DELETE, version_body("/t")),
    )
    assert [Code(reader.int32()) for _, _, reader in results] == [
        Code.OK,
        Code.BAD_VERSION,
        Code.RUNTIME_INCONSISTENCY,
    ]
    assert client.exists("/t").code is Code.NO_NODE


def test_every_write_uses_up_a_zxid_even_a_refused_one() -> None:
    """Clients that order what they saw by zxid would take two different moments for one."""
    client = World().client()
    zxids = [
        client.create("/a").zxid,
        client.create("/a").zxid,
        client.exists("/a").zxid,
        client.delete("/a").zxid,
    ]
    assert [zxid - zxids[0] for zxid in zxids] == [0, 1, 1, 2]


def test_a_container_goes_when_it_is_empty_again() -> None:
    """Curator's users would be left with a growing heap of empty lock directories."""
    world = World()
    client = world.client(timeout_ms=60_000)
    client.create("/box", mode=CONTAINER, op=Op.CREATE_CONTAINER)
    assert client.exists("/box").stat.ephemeral_owner == 0
    client.create("/box/x")
    client.delete("/box/x")
    world.advance_to(world.settings.container_check_ms - 1)
    assert client.exists("/box").code is Code.OK
    world.advance_to(world.settings.container_check_ms)
    assert client.exists("/box").code is Code.NO_NODE


def test_a_container_used_again_stays() -> None:
    """A lock directory would vanish under its users, or the server stop over a child in it."""
    world = World()
    client = world.client(timeout_ms=60_000)
    client.create("/box", mode=CONTAINER, op=Op.CREATE_CONTAINER)
    client.create("/box/x")
    client.delete("/box/x")
    client.create("/box/y")
    world.advance_to(world.settings.container_check_ms)
    assert client.children("/box").texts == ["y"]


def test_a_full_disk_refuses_writes_and_serves_reads() -> None:
    """A full disk would take the registry away, or acknowledge what is not kept."""
    world = World()
    client = world.client()
    client.create("/a", b"kept")
    world.ledger.full = True
    assert client.set("/a", b"lost").code is Code.SYSTEM_ERROR
    assert client.get("/a").reader.buffer() == b"kept"
    world.ledger.full = False
    assert client.set("/a", b"new").code is Code.OK


def test_sessions_begin_and_end_on_a_full_disk() -> None:
    """Dead workers would stay registered, and nobody could look, while the disk is full."""
    world = World()
    dead = world.client()
    dead.create("/e", mode=EPHEMERAL)
    world.ledger.full = True
    reader = world.client(timeout_ms=60_000)
    world.advance_to(10_000)
    assert reader.exists("/e").code is Code.NO_NODE
    assert world.ledger.behind
