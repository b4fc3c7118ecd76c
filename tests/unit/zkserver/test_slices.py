"""Goal: what takes long holds up nobody, and is as right as if done at once. Method: others act between its slices."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from autohealer.zkserver import shell as turns
from autohealer.zkserver.client import ClientConnection
from autohealer.zkserver.listings import SLICE_NAMES
from autohealer.zkserver.machine import SLICE_CONTAINERS, Machine
from autohealer.zkserver.protocol import Code, EventType, Op
from autohealer.zkserver.sessions import SLICE_SESSIONS
from autohealer.zkserver.settings import ServerSettings
from autohealer.zkserver.shell import Shell, read_clocks
from autohealer.zkserver.state import State
from autohealer.zkserver.watches import SLICE_WATCHES, Table
from autohealer.zkserver.wire import (
    Reader,
    pack_bool,
    pack_frame,
    pack_int,
    pack_long,
    pack_text,
    pack_texts,
)

from .world import (
    CONTAINER,
    EPHEMERAL,
    MULTI_END,
    FakeLedger,
    Peer,
    World,
    read_event,
    read_reply,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

CHILD_COUNT = 12_000
WITHIN_S = 20.0
SETTINGS = ServerSettings(Path("/nowhere"))


def _full(settings: ServerSettings = SETTINGS) -> World:
    """A world with very many nodes below `/d`; names of one, two and three bytes a character."""
    world = World(settings)
    writer = world.client()
    writer.create("/d")
    for number in range(CHILD_COUNT):
        writer.create(f"/d/{number}{'xé€'[number % 3]}")
    return world


def _request(op: Op, body: bytes, xid: int = 7) -> bytes:
    return pack_int(xid) + pack_int(op) + body


def _finish(peer: Peer) -> None:
    while peer.is_under_way:
        peer.go_on()


@pytest.mark.parametrize("op", [Op.GET_CHILDREN2, Op.MULTI_READ])
def test_a_reply_of_very_many_names_shows_one_moment_and_others_act_meanwhile(op: Op) -> None:
    """Everybody would wait for it; or it would show half a change, or hide one from who comes back."""
    world = _full()
    reader, other = world.client(), world.client()
    before = list(world.state.tree.items())
    ask = pack_text("/d") + pack_bool(False)
    step = pack_int(Op.GET_CHILDREN) + b"\0" + pack_int(-1) + ask
    zxid = world.state.zxid
    reader.begin(_request(op, ask if op is Op.GET_CHILDREN2 else step * 2 + MULTI_END))
    slices = 1
    while reader.is_under_way:
        assert other.create(f"/d/later{slices}").code is Code.OK
        assert reader.inbox == []
        reader.go_on()
        slices += 1
    assert slices > 2
    (reply,) = map(read_reply, reader.inbox)
    assert (reply.xid, reply.zxid, reply.code) == (7, zxid, Code.OK)
    names = [path[3:] for path, _ in before if path.startswith("/d/")]
    if op is Op.GET_CHILDREN2:
        assert reply.texts == names
    else:
        packed = pack_int(Op.GET_CHILDREN) + b"\0" + pack_int(0) + pack_texts(names)
        assert reply.body == packed * 2 + MULTI_END


def test_an_event_during_a_long_reply_follows_it() -> None:
    """The Java client learns of its watch from the reply: an event before it would be lost, and the change with it."""
    world = _full()
    reader, other = world.client(), world.client()
    reader.begin(_request(Op.GET_CHILDREN2, pack_text("/d") + pack_bool(True)))
    assert reader.is_under_way
    other.create("/d/new")
    assert reader.inbox == []
    _finish(reader)
    reply, event = reader.inbox
    assert read_reply(reply).xid == 7
    assert read_event(event) == (EventType.CHILDREN_CHANGED, "/d")


def test_who_would_have_too_many_events_held_is_dropped() -> None:
    """One client that reads slowly would fill the memory with what it has not been told."""
    world = _full(replace(SETTINGS, unsent_bytes_max=1000))
    reader, other = world.client(), world.client()
    reader.call(Op.ADD_WATCH, pack_text("/") + pack_int(1))
    reader.begin(_request(Op.GET_CHILDREN2, pack_text("/d") + b"\0"))
    for number in range(30):
        other.create(f"/more{number}")
    assert reader.dropped == "too many events during one request"
    assert world.machine.kept_bytes(reader.connection) == 0


def test_watches_are_set_again_while_others_act_and_no_change_is_missed() -> None:
    """Everybody would wait for fifty thousand watches; or a change in the middle would be seen by nobody."""
    world = World()
    other, back = world.client(), world.client()
    paths = [f"/{number}" for number in range(3 * SLICE_WATCHES)]
    for path in paths:
        other.create(path)
    since_zxid = world.state.zxid
    lists = pack_texts(paths) + pack_texts([]) * 2
    back.begin(_request(Op.SET_WATCHES, pack_long(since_zxid) + lists, xid=-8))
    assert back.is_under_way
    other.set(paths[0], b"armed already")
    other.set(paths[-1], b"not looked at yet")
    _finish(back)
    news, reply, event = back.inbox
    assert read_event(news) == (EventType.DATA_CHANGED, paths[-1])
    assert (read_reply(reply).xid, read_reply(reply).zxid) == (-8, since_zxid)
    assert read_event(event) == (EventType.DATA_CHANGED, paths[0])
    assert world.machine.watches.count == len(paths) - 2


def test_too_many_watches_set_again_are_refused_however_late_it_shows() -> None:
    """A leaking client would wait for ever for the answer to its list, and all its requests with it."""
    world = World(replace(SETTINGS, watches_max=SLICE_WATCHES + 1))
    client = world.client()
    paths = [f"/{number}" for number in range(2 * SLICE_WATCHES)]
    lists = pack_texts([]) + pack_texts(paths) + pack_texts([])
    client.begin(_request(Op.SET_WATCHES, pack_long(0) + lists))
    assert (client.is_under_way, client.inbox) == (True, [])
    client.go_on()
    assert read_reply(client.inbox.pop()).code is Code.THROTTLED
    assert client.exists("/").code is Code.OK


def test_the_watches_of_who_is_gone_are_given_back_little_by_little_and_nobody_is_told() -> None:
    """Everybody would wait while fifty thousand are given back; or an event would be sent to nobody and break."""
    world = World()
    gone, other = world.client(), world.client()
    paths = [f"/{number}" for number in range(3 * SLICE_WATCHES)]
    gone.set_watches(0, [], paths, [])
    other.exists(paths[-1], watch=True)
    gone.hang_up()
    watches = world.machine.watches
    assert (watches.is_untidy, watches.count) == (True, 2 * SLICE_WATCHES + 1)
    other.create(paths[-1])
    assert other.inbox.pop(0)
    assert gone.inbox == []
    while world.machine.watches.is_untidy:
        world.machine.watches.tidy()
    assert (watches.count, watches.path_count, watches.connection_count) == (0, 0, 0)


def test_sessions_that_expire_together_end_little_by_little() -> None:
    """Everybody would wait while a crashed program's thousands of sessions are ended."""
    world = World()
    awake = world.client(60_000)
    for _ in range(3 * SLICE_SESSIONS):
        world.client(4000)
    heavy = [world.client(4000) for _ in range(3)]
    for number, each in enumerate(heavy):
        for name in range(1100):
            each.create(f"/{number}.{name}", mode=EPHEMERAL)
    world.now_ms += 10_000
    counts = [len(world.machine.sessions)]
    while world.machine.sessions.due(world.now_ms):
        assert (world.machine.wake_at_ms() or 0) <= world.now_ms
        world.machine.tick(world.now)
        world.deliver()
        assert awake.exists("/").code is Code.OK
        counts.append(len(world.machine.sessions))
    ended = [before - after for before, after in pairwise(counts)]
    assert ended == [SLICE_SESSIONS] * 3 + [1] * 3
    assert awake.children("/").texts == ["zookeeper"]


def test_containers_that_are_empty_together_go_little_by_little() -> None:
    """One client could empty a hundred thousand of them, and a minute later everybody would wait for seconds."""
    world = World()
    client = world.client(60_000)
    count = 2 * SLICE_CONTAINERS + 1
    for number in range(count):
        client.create(f"/{number}", mode=CONTAINER, op=Op.CREATE_CONTAINER)
        client.create(f"/{number}/x")
        client.delete(f"/{number}/x")
    left: list[int] = []
    world.now_ms = world.settings.container_check_ms
    while world.machine.state.tree.idle_containers:
        assert (world.machine.wake_at_ms() or 0) <= world.now_ms
        world.tick()
        left.append(len(client.children("/").texts) - 1)
    assert left == [SLICE_CONTAINERS + 1, 1, 0]


class Noting(ClientConnection):
    """Notes who is written to."""

    def __init__(self, shell: Shell, written: list[Noting]) -> None:
        super().__init__(shell)
        self._written = written

    def write(self, data: bytes) -> None:
        """As always."""
        self._written.append(self)
        super().write(data)


def test_others_are_served_between_the_parts_of_a_reply_and_what_follows_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ping would wait for a hundred thousand names, or the next reply would land inside them."""
    monkeypatch.setattr(turns, "TURN_BYTES", 1)

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        state = _full().state
        shell = Shell(Machine(SETTINGS, state, FakeLedger(), read_clocks()), loop)
        written: list[Noting] = []
        async with (
            await loop.create_server(lambda: Noting(shell, written), "127.0.0.1", 0) as listener,
            _attached(listener.sockets[0].getsockname()[1]) as (reader, asking),
            _attached(listener.sockets[0].getsockname()[1]) as (other, pinging),
        ):
            first, second = written
            written.clear()
            ask = pack_text("/d") + b"\0"
            asking.write(pack_frame(_request(Op.GET_CHILDREN, ask, 1)))
            asking.write(pack_frame(_request(Op.EXISTS, ask, 2)))
            pinging.write(pack_frame(_request(Op.PING, b"", -2)))
            assert len(read_reply(await _frame(reader)).texts) == CHILD_COUNT
            assert read_reply(await _frame(reader)).xid == 2
            await _frame(other)
            asking.write(pack_frame(_request(Op.GET_CHILDREN, ask, 3)))
            assert read_reply(await _frame(reader)).xid == 3
            assert written.index(second) < len(written) - 2
            assert written.count(first) == 2 * (CHILD_COUNT // SLICE_NAMES + 1) + 1
            shell.close()

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))


def test_a_request_under_way_goes_with_its_client_without_a_search_for_circles() -> None:
    """Each client that is killed in the middle of a long reply would leave a list of all names behind."""
    world = _full()
    reader = world.client()
    reader.begin(_request(Op.GET_CHILDREN, pack_text("/d") + b"\0"))
    job = weakref.ref(cast("Generator[None]", world.machine.connections[reader.connection].job))
    gc.disable()
    try:
        reader.hang_up()
        assert job() is None
    finally:
        gc.enable()


def test_what_a_client_had_goes_with_it_without_a_search_for_circles() -> None:
    """The server would grow with every connection, since it never has all its objects looked through."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        machine = Machine(SETTINGS, _full().state, FakeLedger(), read_clocks())
        shell = Shell(machine, loop)
        seen: list[weakref.ref[ClientConnection]] = []

        def serve() -> ClientConnection:
            client = ClientConnection(shell)
            seen.append(weakref.ref(client))
            return client

        async with await loop.create_server(serve, "127.0.0.1", 0) as listener:
            for last in LAST_REQUESTS:
                async with _attached(listener.sockets[0].getsockname()[1]) as (_, asking):
                    asking.write(pack_frame(_request(Op.EXISTS, pack_text("/d") + b"\1")) + last)
                    await asking.drain()
            while machine.connections:
                looked = loop.create_future()
                loop.call_soon(looked.set_result, None)
                await looked
            shell.close()

        assert [each() for each in seen] == [None] * len(LAST_REQUESTS)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))
    finally:
        gc.enable()


LAST_REQUESTS = (
    b"",
    pack_int(-5),
    pack_frame(b"\0"),
    pack_frame(pack_int(1) + pack_int(999)),
    pack_frame(pack_int(1) + pack_int(Op.CLOSE_SESSION)),
    pack_frame(pack_int(1) + pack_int(Op.GET_DATA) + pack_text("/none") + b"\1"),
    pack_frame(pack_int(1) + pack_int(Op.GET_CHILDREN) + pack_text("/d") + b"\1") * 100,
)
"""Nothing, lengths and requests that can not be, a goodbye, a refusal, and many long replies that nobody reads."""


@asynccontextmanager
async def _attached(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(pack_frame(bytes(12) + pack_int(60_000) + bytes(8) + pack_int(16) + bytes(17)))
    await reader.readexactly(41)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(Reader(await reader.readexactly(4)).int32())


def test_the_loop_turns_while_a_lost_clients_watches_are_given_back() -> None:
    """The loop would look at no socket meanwhile, or nobody would go on giving them back."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        machine = Machine(SETTINGS, State(b"secret"), FakeLedger(), read_clocks())
        shell = Shell(machine, loop)
        client = ClientConnection(shell)
        number = shell.admit(client, "127.0.0.1", 1)
        assert number is not None
        for each in range(4 * SLICE_WATCHES):
            machine.watches.add(Table.DATA, f"/{each}", number)
        shell.lost(number)
        seen: list[int] = []
        done = asyncio.Event()

        def look() -> None:
            seen.append(machine.watches.count)
            loop.call_soon(look if machine.watches.is_untidy else done.set)

        look()
        await done.wait()
        assert seen == [count * SLICE_WATCHES for count in (3, 2, 1, 0)]
        shell.close()

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))
