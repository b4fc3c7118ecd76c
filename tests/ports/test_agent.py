"""What the daemon relies on in its agent, asked of both kinds of ZooKeeper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError
from kazoo.protocol.states import WatchedEvent, ZnodeStat

from autohealer.contract import WorkerRecord, ZnodeName, encode_record
from autohealer.coordination.agent import GroupAgent
from autohealer.coordination.session import Session, SessionId
from autohealer.core.model import Incarnation
from tests.support.clients import connected
from tests.support.eventually import eventually_async
from tests.support.proxy import ChaosProxy
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest

GROUP = "web"
NAME = Incarnation(3, 17)
PATH = ZnodeName(GROUP, 3, 17).path
RECORD = WorkerRecord(4711, 12, "boot", "host", agent=True)
DATA = encode_record(RECORD)
SESSION_S = 10.0
TIMES = 30
"""An order in the turn of the loop between a task's end and word of it is lost one time in six, if at all."""
WITHIN_S = 15.0


class Opened:
    """An agent, its session, and what it said."""

    def __init__(self, connection: str, resumes: SessionId | None = None) -> None:
        self.said: list[str] = []
        self.session = Session(connection, SESSION_S, resumes=resumes)
        loop = asyncio.get_running_loop()
        self.agent = GroupAgent(self.session, GROUP, self.said.append, loop.create_task)


@asynccontextmanager
async def opened(connection: str, resumes: SessionId | None = None) -> AsyncIterator[Opened]:
    """An agent that is connected, for the duration of a block."""
    it = Opened(connection, resumes)
    await it.session.start(WITHIN_S)
    try:
        yield it
    finally:
        it.agent.close()
        await it.session.stop()


@pytest.fixture
def looker(zookeeper: ZooKeeperUnderTest) -> Iterator[KazooClient]:
    """A client of the test's own."""
    with connected(zookeeper.connection) as client:
        yield client


async def shows(client: KazooClient, data: bytes | None) -> ZnodeStat | None:
    """Wait until the registration is there with these data, or is not (None)."""

    def found() -> tuple[bytes, ZnodeStat] | None:
        stat = client.exists(PATH)
        if stat is None:
            return None
        try:
            return client.get(PATH)[0], stat
        except NoNodeError:  # gone meanwhile
            return None

    def is_so() -> bool:
        it = found()
        return data is None if it is None else it[0] == data

    await eventually_async(is_so, within_s=WITHIN_S, view=found)
    it = found()
    return None if it is None else it[1]


async def test_it_is_there_until_it_is_withdrawn(
    zookeeper: ZooKeeperUnderTest, looker: KazooClient
) -> None:
    """Nobody would find the program, or everybody for ever."""
    async with opened(zookeeper.connection) as it:
        it.agent.register(NAME, RECORD)
        stat = await shows(looker, DATA)
        assert it.session.id is not None
        assert stat is not None
        assert stat.ephemeralOwner == it.session.id.number
        it.agent.register(NAME, RECORD)
        await it.agent.flush(WITHIN_S)
        again = await shows(looker, DATA)
        assert again is not None
        assert again.czxid == stat.czxid
        it.agent.withdraw(NAME)
        await shows(looker, None)
        assert it.said == []


async def test_the_last_word_counts_however_quickly_it_follows(
    zookeeper: ZooKeeperUnderTest, looker: KazooClient
) -> None:
    """A program that dies at once would stay registered."""
    async with opened(zookeeper.connection) as it:
        for _ in range(20):
            it.agent.register(NAME, RECORD)
            it.agent.withdraw(NAME)
        await it.agent.flush(WITHIN_S)
        await shows(looker, None)
        it.agent.withdraw(NAME)
        it.agent.register(NAME, RECORD)
        await it.agent.flush(WITHIN_S)
        await shows(looker, DATA)


async def test_what_a_deleted_one_is_told_again_it_makes_again(
    zookeeper: ZooKeeperUnderTest, looker: KazooClient
) -> None:
    """A registration deleted by hand would be missing for ever."""
    async with opened(zookeeper.connection) as it:
        it.agent.register(NAME, RECORD)
        await shows(looker, DATA)
        for _ in range(TIMES):
            looker.delete(PATH)
            it.agent.register(NAME, RECORD)
            await shows(looker, DATA)


async def test_one_of_an_earlier_session_is_replaced_and_never_missing(
    zookeeper: ZooKeeperUnderTest, looker: KazooClient
) -> None:
    """With the end of the session before, programs that are well would vanish for a moment, or for good."""
    deleted: list[WatchedEvent] = []
    with connected(zookeeper.connection) as earlier:
        earlier.create(PATH, DATA, ephemeral=True, makepath=True)
        before = looker.exists(PATH)
        async with opened(zookeeper.connection) as it:
            it.agent.register(NAME, RECORD)
            assert it.session.id is not None
            mine = it.session.id.number
            await eventually_async(
                lambda: getattr(looker.exists(PATH, deleted.append), "ephemeralOwner", 0) == mine,
                within_s=WITHIN_S,
                view=lambda: looker.exists(PATH),
            )
            after = looker.exists(PATH)
            assert after.czxid > before.czxid
            earlier.stop()
            await it.agent.flush(WITHIN_S)
            await shows(looker, DATA)


async def test_what_registers_itself_is_left_alone_and_said_once(
    zookeeper: ZooKeeperUnderTest, looker: KazooClient
) -> None:
    """The daemon and the program would delete each other's registration for ever."""
    own = encode_record(replace(RECORD, agent=False))
    looker.create(PATH, own, ephemeral=True, makepath=True)
    async with opened(zookeeper.connection) as it:
        it.agent.register(NAME, RECORD)
        await it.agent.flush(WITHIN_S)
        it.agent.register(NAME, RECORD)
        await it.agent.flush(WITHIN_S)
        assert looker.get(PATH)[0] == own
        assert len(it.said) == 1
        assert "--register self" in it.said[0]


async def test_a_session_resumed_by_the_next_daemon_keeps_everybody(
    own_zookeeper: ZooKeeperServer,
) -> None:
    """An upgrade of the daemon would make every program vanish."""
    with connected(own_zookeeper.address) as looker, ChaosProxy(own_zookeeper.address) as proxy:
        async with opened(proxy.address) as first:
            first.agent.register(NAME, RECORD)
            stat = await shows(looker, DATA)
            resumes = first.session.id
            proxy.refuse()  # as dead as it can be within one process
            proxy.cut()
            async with opened(own_zookeeper.address, resumes) as second:
                assert second.session.id == resumes
                second.agent.register(NAME, RECORD)
                await second.agent.flush(WITHIN_S)
                now = looker.exists(PATH)
                assert stat is not None
                assert (now.czxid, now.ephemeralOwner) == (stat.czxid, stat.ephemeralOwner)


async def test_a_session_that_cannot_be_resumed_is_replaced_by_a_new_one(
    zookeeper: ZooKeeperUnderTest, looker: KazooClient
) -> None:
    """After a night without a daemon programs would never be registered again."""
    async with opened(zookeeper.connection, SessionId(12345, bytes(16))) as it:
        it.agent.register(NAME, RECORD)
        await shows(looker, DATA)
        assert it.session.id != SessionId(12345, bytes(16))


async def test_whatever_becomes_of_connections_it_is_as_it_was_told(
    own_zookeeper: ZooKeeperServer,
) -> None:
    """What was ordered while ZooKeeper was away would never be done."""
    other, other_path = Incarnation(4, 17), ZnodeName(GROUP, 4, 17).path
    with connected(own_zookeeper.address) as looker, ChaosProxy(own_zookeeper.address) as proxy:
        async with opened(proxy.address) as it:
            it.agent.register(NAME, RECORD)
            await shows(looker, DATA)
            proxy.refuse()
            proxy.cut()
            it.agent.withdraw(NAME)
            it.agent.register(other, RECORD)
            proxy.heal()
            await shows(looker, None)
            await eventually_async(
                lambda: looker.exists(other_path) is not None, within_s=WITHIN_S, view=lambda: other
            )


async def test_a_lost_session_is_followed_by_one_that_holds_everything(
    zookeeper: ZooKeeperUnderTest, looker: KazooClient
) -> None:
    """A daemon that was frozen for long would leave its programs unregistered."""
    async with opened(zookeeper.connection) as it:
        it.agent.register(NAME, RECORD)
        await shows(looker, DATA)
        assert it.session.id is not None
        lost = it.session.id
        with connected(zookeeper.connection, client_id=(lost.number, lost.password)):
            pass  # on leaving it closes the session they share
        await eventually_async(
            lambda: it.session.id not in {None, lost}, within_s=WITHIN_S, view=lambda: it.session.id
        )
        await shows(looker, DATA)
