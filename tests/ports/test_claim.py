"""What keeps a second daemon from a group, asked of both kinds of ZooKeeper."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from kazoo.client import KazooClient
from kazoo.protocol.states import ZnodeStat
from kazoo.security import make_acl

from autohealer.coordination.claim import (
    ClaimRecord,
    ClaimUnavailable,
    GroupClaim,
    GroupTaken,
    decode_claim,
    encode_claim,
)
from autohealer.coordination.session import Session, ZooKeeperUnreachable
from autohealer.core.model import Store
from tests.support.clients import connected
from tests.support.eventually import eventually_async
from tests.support.servers import ServerProcess, ZooKeeperServer, ZooKeeperUnderTest

WITHIN_S = 20.0
AT_ONCE_S = 4.0
"""Far below any session's end, and enough for a busy machine."""

SESSION_S = 10.0
GROUP = "web"
PARENT = f"/autohealer/{GROUP}"
PATH = f"{PARENT}/keeper"
OURS = ClaimRecord("0123456789ab", "alpha", "boot-1", 4711, "/var/lib/a", "0.2.0")
OTHER = replace(OURS, keeper="ba9876543210", host="beta", pid=815, state_dir="/var/lib/b")


@dataclass
class Daemon:
    """As much of one as claims a group."""

    session: Session
    claim: GroupClaim
    said: list[str]

    async def has_it(self) -> None:
        """Wait until this one keeps the group."""
        await eventually_async(lambda: self.claim.is_ours, within_s=WITHIN_S, view=self.view)

    def view(self) -> object:
        """What went before."""
        return self.said


@asynccontextmanager
async def daemon(connection: str, about: ClaimRecord = OURS) -> AsyncIterator[Daemon]:
    """Have a connected daemon for a block; without a server it waits for one."""
    said: list[str] = []
    session = Session(connection, SESSION_S)
    claim = GroupClaim(session, GROUP, about, said.append)
    failures: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(str(context)))
    try:
        await session.start(WITHIN_S)
    except ZooKeeperUnreachable:
        await session.stop()
        raise
    try:
        yield Daemon(session, claim, said)
    finally:
        claim.close()
        await session.stop()
    assert failures == []


def holder(client: KazooClient) -> tuple[ClaimRecord | None, ZnodeStat]:
    """Who keeps the group, as anybody can see."""
    raw, stat = client.get(PATH)
    return decode_claim(raw), stat


async def test_the_first_to_come_keeps_the_group(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """Nobody could see who keeps a group, or a dead daemon would keep it for ever."""
    async with daemon(zookeeper.connection) as ours:
        await ours.claim.take()
        record, stat = holder(zk_client)
        assert record == OURS
        assert stat.ephemeralOwner == ours.session.client.client_id[0]
        assert zk_client.exists(PARENT).ephemeralOwner == 0
        assert ours.said == []
    await eventually_async(lambda: zk_client.exists(PATH) is None, within_s=WITHIN_S)


async def test_a_second_daemon_is_told_once_whom_to_stop(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, caplog: pytest.LogCaptureFixture
) -> None:
    """Two daemons would kill each other's workers, or one would refuse without saying why."""
    async with AsyncExitStack() as lives:
        ours = await lives.enter_async_context(daemon(zookeeper.connection))
        await ours.claim.take()
        other = await lives.enter_async_context(daemon(zookeeper.connection, OTHER))
        with pytest.raises(GroupTaken) as refusal:
            await other.claim.take(0.5)
        sentence = str(refusal.value)
        for fact in (GROUP, OURS.host, str(OURS.pid), OURS.state_dir):
            assert fact in sentence
        assert not other.claim.is_ours
        assert holder(zk_client)[0] == OURS
        with caplog.at_level(logging.DEBUG, "autohealer.kazoo"):
            for pid in (OURS.pid, OURS.pid, 4712):
                caplog.clear()
                zk_client.set(PATH, encode_claim(replace(OURS, pid=pid)))
                await eventually_async(lambda: looks_at_it(caplog) == 2, within_s=WITHIN_S)
        changed = sentence.replace("4711", "4712")
        await eventually_async(lambda: other.said[-1] == changed, within_s=WITHIN_S)
        assert other.said == [sentence, changed]


def looks_at_it(caplog: pytest.LogCaptureFixture) -> int:
    """How often somebody has read the claim, both daemons taken together."""
    said = [record.getMessage() for record in caplog.records]
    return sum("Received response" in message and "state_dir" in message for message in said)


async def test_waiting_ends_with_the_holder(zookeeper: ZooKeeperUnderTest) -> None:
    """A daemon moved to another host would start only when a session has timed out that is long closed."""
    async with AsyncExitStack() as others_life:
        other = await others_life.enter_async_context(daemon(zookeeper.connection, OTHER))
        await other.claim.take()
        async with daemon(zookeeper.connection) as ours:
            waiting = asyncio.create_task(ours.claim.take())
            await eventually_async(lambda: ours.said, within_s=WITHIN_S)
            ended_s = time.monotonic()
            await others_life.aclose()
            await waiting
            assert time.monotonic() - ended_s < AT_ONCE_S
            assert len(ours.said) == 1


async def test_a_dead_predecessor_is_replaced_at_once(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """A daemon that was killed and started again would wait for its own session's end, or refuse to start."""
    with connected(zookeeper.connection) as dead:
        dead.create(PATH, encode_claim(replace(OURS, pid=1)), ephemeral=True, makepath=True)
        began_s = time.monotonic()
        async with daemon(zookeeper.connection) as ours:
            await ours.claim.take()
            assert time.monotonic() - began_s < AT_ONCE_S
            record, stat = holder(zk_client)
            assert (record, ours.said) == (OURS, [])
            assert stat.ephemeralOwner == ours.session.client.client_id[0]


@pytest.mark.parametrize("about", [replace(OURS, boot="boot-2"), replace(OURS, keeper="f" * 12)])
async def test_nobody_elses_claim_is_replaced(
    zookeeper: ZooKeeperUnderTest, about: ClaimRecord
) -> None:
    """A daemon with a copied state directory, or another one of the same host, would lose its group."""
    async with daemon(zookeeper.connection, about) as other:
        await other.claim.take()
        async with daemon(zookeeper.connection) as ours:
            with pytest.raises(GroupTaken):
                await ours.claim.take(0.5)
        assert other.claim.is_ours


async def test_of_many_at_once_one_keeps_the_group(zookeeper: ZooKeeperUnderTest) -> None:
    """Two daemons started together would both believe to be the only one."""
    first, second = daemon(zookeeper.connection), daemon(zookeeper.connection, OTHER)
    third = daemon(zookeeper.connection, replace(OTHER, keeper="c" * 12))
    async with first as a, second as b, third as c:
        takings = [d.claim.take(1.0) for d in (a, b, c)]
        results = await asyncio.gather(*takings, return_exceptions=True)
        assert sum(isinstance(result, GroupTaken) for result in results) == 2
        assert sum(d.claim.is_ours for d in (a, b, c)) == 1


async def test_a_claim_that_came_meanwhile_is_not_taken_for_the_predecessors(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that has just taken the group would lose it to one that had looked before, and both would keep it."""
    zk_client.create(PATH, encode_claim(replace(OURS, pid=1)), ephemeral=True, makepath=True)
    async with daemon(zookeeper.connection, OTHER) as other:
        await eventually_async(lambda: other.said, within_s=WITHIN_S)
        look = GroupClaim._look

        async def look_slowly(claim: GroupClaim) -> tuple[bytes, ZnodeStat] | None:
            found = await look(claim)
            if claim is not other.claim and not other.claim.is_ours:
                zk_client.delete(PATH)
                await other.has_it()
            return found

        monkeypatch.setattr(GroupClaim, "_look", look_slowly)
        async with daemon(zookeeper.connection) as ours:
            with pytest.raises(GroupTaken):
                await ours.claim.take(1.0)
        assert holder(zk_client)[0] == OTHER
        assert other.claim.is_ours


async def test_a_deleted_claim_is_made_again(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """Whoever cleans ZooKeeper by hand would make room for a second daemon."""
    async with daemon(zookeeper.connection) as ours:
        await ours.claim.take()
        for path in (PATH, "/autohealer"):
            zk_client.delete(path, recursive=True)
            await eventually_async(lambda: zk_client.exists(PATH), within_s=WITHIN_S)
            await ours.has_it()
            assert holder(zk_client)[0] == OURS
        assert ours.said == []


async def test_a_lost_session_takes_the_group_again(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """After a long outage two daemons would keep one group."""
    async with daemon(zookeeper.connection) as ours:
        await ours.claim.take()
        lost = ours.session.client.client_id
        seen: list[tuple[Store, bool]] = []
        ours.session.subscribe(lambda store: seen.append((store, ours.claim.is_ours)))
        await asyncio.to_thread(end_session, zookeeper.connection, lost)
        await eventually_async(
            lambda: (
                zk_client.exists(PATH) and holder(zk_client)[1].ephemeralOwner not in {0, lost[0]}
            ),
            within_s=WITHIN_S,
        )
        await ours.has_it()
        assert ours.said == []
        assert (Store.LOST, False) in seen


async def test_another_that_holds_it_after_a_lost_session_is_told_of(
    zookeeper: ZooKeeperUnderTest,
) -> None:
    """Two daemons would keep one group and nobody would know."""
    async with daemon(zookeeper.connection) as ours:
        await ours.claim.take()
        async with daemon(zookeeper.connection, OTHER) as other:
            await eventually_async(lambda: other.said, within_s=WITHIN_S)
            lost = ours.session.client.client_id
            await asyncio.to_thread(end_session, zookeeper.connection, lost)
            await other.has_it()
            await eventually_async(lambda: ours.said, within_s=WITHIN_S)
            assert OTHER.host in ours.said[0]
            assert not ours.claim.is_ours
        await ours.has_it()


def end_session(connection: str, client_id: tuple[int, bytes]) -> None:
    """As a server does when it has not heard of a client for too long."""
    with connected(connection, client_id=client_id):
        pass


async def test_a_copy_of_the_state_directory_does_not_oust_for_ever(
    zookeeper: ZooKeeperUnderTest,
) -> None:
    """Two containers with one state directory would take the group from each other thousands of times a second."""
    async with daemon(zookeeper.connection) as ours:
        await ours.claim.take()
        async with daemon(zookeeper.connection, replace(OURS, pid=1)) as copy:
            await copy.claim.take()
            await eventually_async(lambda: ours.said, within_s=WITHIN_S)
            assert not ours.claim.is_ours
            assert (copy.claim.is_ours, copy.said) == (True, [])


@pytest.mark.parametrize("garbage", [b"", b"[1]", b'{"pid":"x"}', b"\xff", b"9" * 5000])
async def test_a_claim_that_says_nothing_is_named(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, garbage: bytes
) -> None:
    """Nonsense in the znode would crash the daemon, or keep it from starting without a word on why."""
    zk_client.create(PATH, garbage, ephemeral=True, makepath=True)
    async with daemon(zookeeper.connection) as ours:
        with pytest.raises(GroupTaken, match=f"{PATH} .* delete that znode"):
            await ours.claim.take(0.3)


async def test_a_claim_of_no_session_is_named(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """A znode made by hand would keep every daemon from starting, and name one that is not there."""
    zk_client.create(PATH, encode_claim(OURS), makepath=True)
    async with daemon(zookeeper.connection) as ours:
        with pytest.raises(GroupTaken, match="no daemon's session owns: delete that znode"):
            await ours.claim.take(0.3)
        zk_client.delete(PATH)
        await ours.has_it()


@pytest.mark.parametrize("shut", [PATH, PARENT, "/autohealer"])
async def test_missing_permission_is_said(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, shut: str
) -> None:
    """The daemon would wait for ever, or end with a traceback of kazoo's."""
    zk_client.create(shut, b"", makepath=True)
    zk_client.set_acls(shut, [make_acl("world", "anyone", admin=True)])
    async with daemon(zookeeper.connection) as ours:
        with pytest.raises(ClaimUnavailable, match=r"does not let .*keeper be made or read"):
            await ours.claim.take()
        assert len(ours.said) == 1


async def test_the_words_of_others_are_harmless(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """A stranger's claim could move the cursor of whoever reads why the daemon refused."""
    hostile = replace(OTHER, host="\x1b[2J" + "h" * 900, state_dir="\x9b31m")
    zk_client.create(PATH, encode_claim(hostile), ephemeral=True, makepath=True)
    async with daemon(zookeeper.connection) as ours:
        with pytest.raises(GroupTaken) as refusal:
            await ours.claim.take(0.3)
        assert str(refusal.value).isprintable()
        assert len(str(refusal.value)) < 600


async def test_a_store_that_comes_late_is_asked_then(own_zookeeper: ZooKeeperServer) -> None:
    """A daemon that keeps its workers without ZooKeeper would never claim its group."""
    assert isinstance(own_zookeeper, ServerProcess)
    own_zookeeper.kill()
    said: list[str] = []
    session = Session(own_zookeeper.address, SESSION_S)
    claim = GroupClaim(session, GROUP, OURS, said.append)
    try:
        with pytest.raises(ZooKeeperUnreachable):
            await session.start(0.2)
        with pytest.raises(ClaimUnavailable, match="did not answer in time"):
            await claim.take(0.2)
        await asyncio.to_thread(own_zookeeper.start)
        await claim.take(WITHIN_S)
    finally:
        claim.close()
        await session.stop()
