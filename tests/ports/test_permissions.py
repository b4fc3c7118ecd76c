"""Whose the daemon's znodes are once it has a user and password, asked of both kinds of ZooKeeper."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError, NodeExistsError
from kazoo.security import ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE, make_digest_acl

from autohealer.contract import WORKERS_PATH, ZnodeName
from autohealer.coordination.claim import ClaimRecord, ClaimUnavailable, GroupClaim
from autohealer.coordination.registry import Registry, RegistryForbidden
from autohealer.coordination.session import Session
from autohealer.core.events import Event, WorkersListed
from autohealer.core.model import Incarnation
from autohealer.credentials import NO_CREDENTIALS, Credentials
from tests.support.clients import connected
from tests.support.eventually import eventually_async
from tests.support.logins import DIGEST, PASSWORD, USER, digest_login
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest

WITHIN_S = 20.0
GROUP = "web"
CLAIM = f"/autohealer/{GROUP}/keeper"
ABOUT = ClaimRecord("0123456789ab", "alpha", "boot-1", 4711, "/var/lib/a", "0.2.0")
OURS_ALONE = [make_digest_acl(USER, PASSWORD, all=True)]
NAME = Incarnation(3, 17)
LABEL = str(ZnodeName(GROUP, NAME.slot, NAME.generation))


@dataclass
class Daemon:
    """As much of one as uses ZooKeeper."""

    session: Session
    registry: Registry
    claim: GroupClaim
    facts: list[Event]
    said: list[str]

    async def lists(self, *names: Incarnation) -> None:
        """Wait until these are what is registered."""

        def listed() -> bool:
            last = self.facts[-1] if self.facts else None
            return isinstance(last, WorkersListed) and last.ours == frozenset(names)

        await eventually_async(listed, within_s=WITHIN_S, view=lambda: (self.facts, self.said))


@asynccontextmanager
async def daemon(connection: str, shown: Credentials) -> AsyncIterator[Daemon]:
    """Have a connected daemon for a block."""
    facts: list[Event] = []
    said: list[str] = []
    session = Session(connection, 10.0, shown, said.append)
    registry = Registry(session, random.Random(1), time.monotonic, said.append)
    registry.subscribe(GROUP, facts.append)
    claim = GroupClaim(session, GROUP, ABOUT, said.append)
    failures: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(str(context)))
    try:
        await session.start(WITHIN_S)
        yield Daemon(session, registry, claim, facts, said)
    finally:
        claim.close()
        registry.close()
        await session.stop()
    assert failures == []


def acl_of(connection: str, path: str) -> list[ACL]:
    """Who may do what, as the owner sees it."""
    with connected(connection, digest=DIGEST) as owner:
        acl: list[ACL] = owner.get_acls(path)[0]
    return acl


async def is_closed(connection: str, path: str) -> None:
    """Wait until a path is the test's user's alone."""
    await eventually_async(lambda: acl_of(connection, path) == OURS_ALONE, within_s=WITHIN_S)


def register(connection: str, digest: str | None, label: str = LABEL) -> None:
    """As a worker does."""
    acl = None if digest is None else [make_digest_acl(*digest.split(":"), all=True)]
    with connected(connection, digest=digest) as client:
        client.create(f"{WORKERS_PATH}/{label}", b"{}", acl=acl, makepath=True)


async def test_what_a_daemon_makes_is_its_users_alone(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Any client of the ensemble could end every worker by deleting registrations, or take the group over."""
    async with daemon(zookeeper.connection, digest_login(tmp_path)) as ours:
        await ours.claim.take()
        await ours.lists()
        for path in (WORKERS_PATH, "/autohealer", f"/autohealer/{GROUP}", CLAIM):
            assert acl_of(zookeeper.connection, path) == OURS_ALONE
        await asyncio.to_thread(register, zookeeper.connection, DIGEST)
        await ours.lists(NAME)
        attempts: list[Callable[[], object]] = [
            lambda: zk_client.delete(f"{WORKERS_PATH}/{LABEL}"),
            lambda: zk_client.set(f"{WORKERS_PATH}/{LABEL}", b""),
            lambda: zk_client.get(f"{WORKERS_PATH}/{LABEL}"),
            lambda: zk_client.get_children(WORKERS_PATH),
            lambda: zk_client.create(f"{WORKERS_PATH}/{GROUP}-3-18"),
            lambda: zk_client.set_acls(WORKERS_PATH, OPEN_ACL_UNSAFE),
            lambda: zk_client.delete(CLAIM),
        ]
        for attempt in attempts:
            with pytest.raises(NoAuthError):
                attempt()
        assert ours.said == []


async def test_the_next_daemon_of_the_same_user_goes_on(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """An upgrade of the daemon would lose sight of the workers it is to adopt."""
    shown = digest_login(tmp_path)
    async with daemon(zookeeper.connection, shown) as first:
        await first.claim.take()
        await asyncio.to_thread(register, zookeeper.connection, DIGEST)
        await first.lists(NAME)
    async with daemon(zookeeper.connection, shown) as second:
        await second.claim.take()
        await second.lists(NAME)
        second.registry.subscribe(GROUP, second.facts.append).discard(NAME)
        await second.lists()
        assert second.said == []


@pytest.mark.parametrize("password", [None, "wrong-password"])
async def test_other_credentials_are_said_with_what_to_do(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path, password: str | None
) -> None:
    """A wrong password would look like a group without workers, or like a fault of ZooKeeper's."""
    async with daemon(zookeeper.connection, digest_login(tmp_path)) as first:
        await first.claim.take()
        await first.lists()
    other = NO_CREDENTIALS if password is None else digest_login(tmp_path, password)
    async with daemon(zookeeper.connection, other) as second:
        with pytest.raises(RegistryForbidden) as refused:
            await second.registry.be_admitted(WITHIN_S)
        with pytest.raises(ClaimUnavailable) as unclaimed:
            await second.claim.take(WITHIN_S)
        for sentence in (str(refused.value), str(unclaimed.value)):
            assert "(NoAuth)" in sentence
            assert "--zookeeper-auth" in sentence
            if other.login is not None:
                assert f"at {zookeeper.server.address} it is not for the user and" in sentence
                assert str(other.login.file) in sentence
                assert "wrong-password" not in sentence


async def test_who_may_list_is_admitted(zookeeper: ZooKeeperUnderTest) -> None:
    """Nobody could start a daemon."""
    async with daemon(zookeeper.connection, NO_CREDENTIALS) as ours:
        await ours.registry.be_admitted(WITHIN_S)


async def test_what_was_open_and_empty_is_closed(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Who adds a password to a group that ran without one would still have its registrations deleted by anybody."""
    for path in (WORKERS_PATH, f"/autohealer/{GROUP}"):
        zk_client.create(path, makepath=True)
    async with daemon(zookeeper.connection, digest_login(tmp_path)) as ours:
        await ours.claim.take()
        for path in (WORKERS_PATH, f"/autohealer/{GROUP}"):
            await is_closed(zookeeper.connection, path)
        assert ours.said == []


async def test_what_is_open_and_used_by_others_is_left_and_said_once(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Groups without a password would be shut out of their own registrations, or ours be open and nobody know."""
    await asyncio.to_thread(register, zookeeper.connection, None, "others-0-1")
    async with daemon(zookeeper.connection, digest_login(tmp_path)) as ours:
        await eventually_async(lambda: ours.said, within_s=WITHIN_S)
        await ours.registry.guard.look()
        assert zk_client.get_acls(WORKERS_PATH)[0] == OPEN_ACL_UNSAFE
    (sentence,) = ours.said
    assert "anybody can delete registrations" in sentence
    assert f"{WORKERS_PATH} auth::cdrwa`" in sentence


async def test_workers_made_again_by_a_stranger_is_closed(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient, tmp_path: Path
) -> None:
    """Where the root is everybody's, `/workers` could be deleted while it is empty, and made again open."""
    async with daemon(zookeeper.connection, digest_login(tmp_path)) as ours:
        await ours.lists()
        zk_client.delete(WORKERS_PATH)
        with suppress(NodeExistsError):  # the daemon was faster
            zk_client.create(WORKERS_PATH)
        await is_closed(zookeeper.connection, WORKERS_PATH)


async def test_what_is_open_without_a_password_is_nobodys_business(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """Every daemon that never asked for permissions would complain of them, or set some."""
    zk_client.create(WORKERS_PATH)
    async with daemon(zookeeper.connection, NO_CREDENTIALS) as ours:
        await ours.claim.take()
        await ours.lists()
        await ours.registry.guard.look()
        assert ours.said == []
    for path in (WORKERS_PATH, f"/autohealer/{GROUP}"):
        assert zk_client.get_acls(path)[0] == OPEN_ACL_UNSAFE


async def test_a_registration_that_may_not_be_deleted_is_said_once(
    zookeeper: ZooKeeperUnderTest, zk_client: KazooClient
) -> None:
    """A dead worker's registration would stand for ever, and nothing would tell why."""
    zk_client.create(f"{WORKERS_PATH}/{LABEL}", makepath=True)
    zk_client.set_acls(WORKERS_PATH, READ_ACL_UNSAFE)
    async with daemon(zookeeper.connection, NO_CREDENTIALS) as ours:
        await ours.lists(NAME)
        port = ours.registry.subscribe(GROUP, ours.facts.append)
        for _ in range(2):
            port.discard(NAME)
            await port.flush(WITHIN_S)
        await eventually_async(lambda: ours.said, within_s=WITHIN_S)
    (sentence,) = ours.said
    assert "cannot be deleted from" in sentence
    assert "(NoAuth)" in sentence


async def test_the_root_stays_everybodys(own_zookeeper: ZooKeeperServer, tmp_path: Path) -> None:
    """A daemon without a chroot, as most are, would make the root its user's and shut everybody else out."""
    async with daemon(own_zookeeper.address, digest_login(tmp_path)) as ours:
        await ours.claim.take()
        await ours.lists()
        with connected(own_zookeeper.address) as stranger:
            assert stranger.get_acls("/")[0] == OPEN_ACL_UNSAFE
            stranger.create("/others")
