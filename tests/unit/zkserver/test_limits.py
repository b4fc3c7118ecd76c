"""Goal: what one connection asks for stays small. Method: each bound met exactly, then exceeded by one."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autohealer.zkserver import limits
from autohealer.zkserver.protocol import OPEN_ACL, Acl, Code, EventType, Op
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.wire import pack_int, pack_long, pack_text

from .world import EPHEMERAL, MULTI_END, Peer, World, create_body, set_body, version_body

SETTINGS = ServerSettings(Path("/nowhere"))
NONE = pack_int(0)


def _steps(op: Op, body: bytes, count: int) -> bytes:
    return (pack_int(op) + b"\0" + pack_int(-1) + body) * count + MULTI_END


def _read(path: str) -> bytes:
    return pack_text(path) + b"\0"


def _add_watch(peer: Peer, path: str) -> Code:
    return peer.call(Op.ADD_WATCH, pack_text(path) + NONE).code


def test_a_multi_read_stops_where_its_reply_is_too_large() -> None:
    """A request of a few kilobytes would cost gigabytes and hold everybody up for as long as they take."""
    world = World(replace(SETTINGS, reply_bytes_max=100_000))
    client, other = world.client(), world.client()
    client.create("/b", b"x" * 30_000)
    for count, code in ((3, Code.OK), (4, Code.MARSHALLING_ERROR), (500, Code.MARSHALLING_ERROR)):
        reply = client.call(Op.MULTI_READ, _steps(Op.GET_DATA, _read("/b"), count))
        assert reply.code is code
        assert len(reply.body) <= 100_000
    assert client.dropped is None
    assert other.get("/b").code is Code.OK


def test_children_whose_names_do_not_fit_a_reply_are_refused_alone_and_among_others() -> None:
    """One listing would build a reply of any size, and many in one request as many of them."""
    world = World(replace(SETTINGS, reply_bytes_max=3 * limits.CHILD_BYTES_MIN))
    client = world.client()
    for name in ("/a", "/a/1", "/a/2", "/a/3"):
        client.create(name)
    assert len(client.call(Op.GET_CHILDREN, _read("/a")).texts) == 3
    two = client.call(Op.MULTI_READ, _steps(Op.GET_CHILDREN, _read("/a"), 2))
    assert two.code is Code.MARSHALLING_ERROR
    client.create("/a/4")
    assert client.children("/a", watch=True).code is Code.MARSHALLING_ERROR
    assert world.machine.watches.count == 0
    assert client.exists("/a").stat.child_count == 4


@pytest.mark.parametrize(
    ("op", "step", "body"),
    [(Op.MULTI, Op.CHECK, version_body("/")), (Op.MULTI_READ, Op.GET_DATA, _read("/"))],
)
def test_too_many_steps_are_refused_unread(op: Op, step: Op, body: bytes) -> None:
    """One request would keep everybody waiting for seconds."""
    client = World().client()
    most, beyond = (_steps(step, body, limits.STEPS_MAX + more) for more in (0, 1))
    assert client.call(op, most).code is Code.OK
    assert client.call(op, beyond).code is Code.MARSHALLING_ERROR
    assert client.exists("/").code is Code.OK


def test_too_many_watches_to_set_at_once_are_refused_unread() -> None:
    """A megabyte of two-letter paths would keep everybody waiting."""
    client = World().client()
    head, one = pack_long(0) + NONE + NONE, pack_text("/")
    for count, code in ((0, Code.OK), (1, Code.MARSHALLING_ERROR)):
        items = limits.ITEMS_MAX + count
        body = head + pack_int(items) + one * items
        assert client.call(Op.SET_WATCHES, body, xid=-8).code is code


@pytest.mark.parametrize(
    ("longest", "more"),
    [
        ("/" + "x" * (limits.PATH_BYTES_MAX - 1), "x"),
        ("/" + "é" * (limits.PATH_BYTES_MAX // 2 - 1), "é"),
        ("/d" * limits.PATH_DEPTH_MAX, "/d"),
    ],
)
def test_paths_too_long_or_too_deep_are_neither_made_nor_watched(longest: str, more: str) -> None:
    """Paths of a megabyte would fill the memory; each event at great depth would cost as much as thousands."""
    world = World()
    client = world.client()
    for end in range(2, len(longest), 2) if longest.startswith("/d/") else ():
        assert client.create(longest[:end]).code is Code.OK
    assert client.create(longest).code is Code.OK
    assert client.exists(longest, watch=True).code is Code.OK
    assert _add_watch(client, longest) is Code.OK
    before = world.machine.watches.count
    too_large = longest + more
    assert client.create(too_large).code is Code.BAD_ARGUMENTS
    assert client.exists(too_large, watch=True).code is Code.BAD_ARGUMENTS
    assert _add_watch(client, too_large) is Code.BAD_ARGUMENTS
    assert client.exists(too_large).code is Code.NO_NODE
    assert world.machine.watches.count == before


def test_watches_are_limited_by_bytes_for_each_connection_alone() -> None:
    """A client that watches without end would fill the memory, or use up what others may watch."""
    world = World(replace(SETTINGS, watch_bytes_max=50_000))
    greedy, modest = world.client(), world.client()
    codes = [greedy.exists(f"/{number:04d}{'w' * 2000}", watch=True).code for number in range(30)]
    held = codes.count(Code.NO_NODE)
    assert codes == [Code.NO_NODE] * held + [Code.THROTTLED] * (30 - held)
    assert 15 < held < 25
    assert world.machine.watches.bytes_of(greedy.connection) <= 50_000
    assert modest.exists("/a", watch=True).code is Code.NO_NODE
    assert greedy.exists(f"/0000{'w' * 2000}", watch=True).code is Code.NO_NODE
    greedy.create(f"/0000{'w' * 2000}")  # fires one watch, so there is room for another
    assert greedy.exists(f"/new{'w' * 2000}", watch=True).code is Code.NO_NODE
    greedy.hang_up()
    assert world.machine.watches.bytes_of(greedy.connection) == 0


def test_an_identity_too_large_or_one_too_many_fails_to_authenticate() -> None:
    """Each would be kept for as long as the connection lives, and repeated in every list with `auth`."""
    world = World()
    many, large, other = world.client(), world.client(), world.client()
    for number in range(limits.IDENTITIES_MAX - 1):  # its address is one as well
        assert many.authenticate(f"{number}:p".encode()).code is Code.OK
    assert many.authenticate(b"0:p").code is Code.OK
    assert many.authenticate(b"more:p").code is Code.AUTH_FAILED
    assert many.dropped == "authentication failed"
    assert large.authenticate(b"u" * limits.IDENTITY_BYTES_MAX + b":p").code is Code.AUTH_FAILED
    assert large.dropped == "authentication failed"
    assert other.authenticate(b"u:p").code is Code.OK


def test_access_lists_too_long_are_refused_as_they_are_and_with_auth_replaced() -> None:
    """Every access looks at each entry; `auth` multiplies them with the identities of who asks."""
    client = World().client()
    for number in range(20):
        client.authenticate(f"{number}:p".encode())
    entries = tuple(Acl(31, "digest", f"{number}:p") for number in range(limits.ACL_ENTRIES_MAX))
    assert client.create("/a", acl=entries).code is Code.OK
    assert client.create("/b", acl=(*entries, *OPEN_ACL)).code is Code.INVALID_ACL
    assert client.create("/c", acl=(Acl(31, "auth", ""),)).code is Code.OK
    twice = (Acl(31, "auth", ""), Acl(1, "auth", ""))
    assert client.create("/d", acl=twice).code is Code.INVALID_ACL
    assert client.set_acl("/c", twice).code is Code.INVALID_ACL


def test_the_access_lists_of_a_multi_are_limited_together() -> None:
    """A megabyte of addresses to parse would keep everybody waiting."""
    client = World().client()
    acl = tuple(Acl(31, "digest", f"{number}:p") for number in range(limits.ACL_ENTRIES_MAX))
    most = limits.REQUEST_ACL_ENTRIES_MAX // limits.ACL_ENTRIES_MAX
    steps = [(Op.CREATE, create_body(f"/{number}", acl=acl)) for number in range(most + 1)]
    assert client.multi(*steps)[-1][1] is Code.INVALID_ACL
    assert client.multi(*steps[:-1])[-1][1] is Code.OK


def test_a_session_owns_no_more_than_can_go_at_once() -> None:
    """The end of one session would keep everybody waiting for seconds."""
    world = World()
    owner, other = world.client(), world.client()
    name = "e" * 4000
    count = limits.EPHEMERAL_BYTES_MAX // (len(name) + 5)
    codes = [owner.create(f"/{number:04d}{name}", mode=EPHEMERAL).code for number in range(count)]
    assert set(codes) == {Code.OK}
    assert owner.create(f"/more{name}", mode=EPHEMERAL).code is Code.QUOTA_EXCEEDED
    assert owner.create(f"/more{name}").code is Code.OK
    assert other.create(f"/mine{name}", mode=EPHEMERAL).code is Code.OK
    owner.delete(f"/0000{name}")
    both = [
        (Op.CREATE, create_body(f"/{which}{name}", mode=EPHEMERAL)) for which in ("new1", "new2")
    ]
    assert [code for _, code, _ in owner.multi(*both)][1] is Code.QUOTA_EXCEEDED
    assert owner.create(f"/new1{name}", mode=EPHEMERAL).code is Code.OK
    owner.call(Op.CLOSE_SESSION)
    assert world.state.tree.ephemeral_bytes_of(owner.session_id) == 0


def test_who_would_get_too_many_events_of_one_transaction_is_dropped_and_nobody_else() -> None:
    """A few requests would be multiplied by the watchers to gigabytes; a gap would pass unnoticed."""
    share = 4 * limits.EVENT_BYTES_MIN
    world = World(replace(SETTINGS, connections_max=10, event_bytes_max=10 * share))
    writer, modest, *greedy = (world.client() for _ in range(6))
    writer.create("/a")
    writer.create("/last")
    for each in greedy:
        _add_watch(each, "/a")
    modest.exists("/last", watch=True)
    once = (Op.SET_DATA, set_body("/a", b""))
    writer.multi(*[once] * 10)  # 40 in all: just what is allowed
    assert [len(each.take_events()) for each in greedy] == [10] * 4
    results = writer.multi(*[once] * 50, (Op.SET_DATA, set_body("/last", b"")))
    assert {code for _, code, _ in results} == {Code.OK}
    assert {each.dropped for each in greedy} == {"too many events in one transaction"}
    assert all(len(each.take_events()) <= 10 for each in greedy)
    assert modest.take_events() == [(EventType.DATA_CHANGED, "/last")]
    assert modest.dropped is writer.dropped is None
    assert world.machine.watches.count == 0


def test_all_connections_together_keep_no_more_than_is_allowed() -> None:
    """Many connections of one program, each within its limit, would fill the memory with watches and identities."""
    one_bytes = limits.WATCH_BYTES + sys.getsizeof("/0000")
    world = World(replace(SETTINGS, kept_bytes_max=10 * one_bytes))
    clients = [world.client() for _ in range(4)]
    codes = [clients[number % 4].exists(f"/{number:04d}", watch=True).code for number in range(12)]
    assert codes == [Code.NO_NODE] * 10 + [Code.THROTTLED] * 2
    assert clients[0].authenticate(b"user:pass").code is Code.AUTH_FAILED
    clients[1].hang_up()
    assert clients[2].exists("/more", watch=True).code is Code.NO_NODE
    assert clients[2].authenticate(b"user:pass").code is Code.OK
    for each in clients:
        each.hang_up()
    fresh = world.client()
    codes = [fresh.exists(f"/{number:04d}", watch=True).code for number in range(12)]
    assert codes == [Code.NO_NODE] * 10 + [Code.THROTTLED] * 2


def test_proving_one_identity_again_costs_nothing() -> None:
    """A client that authenticates after every reconnect of its library would be refused one day."""
    world = World(replace(SETTINGS, kept_bytes_max=2000))
    client = world.client()
    assert {client.authenticate(b"user:pass").code for _ in range(100)} == {Code.OK}


def test_strangers_leave_half_of_everything_to_the_owner() -> None:
    """On a server open to all, one user could take every session, watch and byte: no worker could register."""
    one_bytes = limits.WATCH_BYTES + sys.getsizeof("/0000")
    world = World(
        replace(SETTINGS, kept_bytes_max=16 * one_bytes, sessions_max=16, tree_bytes_max=20_000)
    )
    strangers = [world.client(stranger=uid) for uid in range(100, 112) for _ in range(2)]
    assert [each.session_id != 0 for each in strangers] == [True] * 8 + [False] * 16
    for each in strangers[:8]:
        for number in range(5):
            each.exists(f"/{number:04d}", watch=True)
    assert [len(each.exists("/").body) for each in strangers[:8]] == [68] * 8
    assert world.machine.watches.count == 8
    codes = [strangers[0].create(f"/{number:04d}", bytes(1000)).code for number in range(20)]
    assert {Code.OK, Code.QUOTA_EXCEEDED} == set(codes)
    owner = world.client()
    assert owner.session_id != 0
    assert {owner.exists(f"/x{number:03d}", watch=True).code for number in range(8)} == {
        Code.NO_NODE
    }
    assert owner.create("/worker", bytes(5000)).code is Code.OK
    strangers[0].hang_up()
    assert owner.exists("/more", watch=True).code is Code.NO_NODE


def test_one_stranger_has_no_more_than_an_eighth() -> None:
    """One user of an open server would take what is there for all other users."""
    world = World(replace(SETTINGS, sessions_max=16))
    first = [world.client(stranger=100) for _ in range(4)]
    assert [each.session_id != 0 for each in first] == [True, True, False, False]
    first[0].call(Op.CLOSE_SESSION)
    assert world.client(stranger=100).session_id != 0
    assert world.client(stranger=101).session_id != 0
