"""What the daemon relies on where `/workers` cannot be listed or read, or holds what nobody should have put there."""

from __future__ import annotations

import asyncio
import logging
import time
import unicodedata
from collections.abc import Sequence

import pytest
from kazoo.client import KazooClient
from kazoo.protocol.serialization import GetChildren2
from kazoo.security import make_acl

from autohealer.contract import encode_record
from autohealer.coordination import listing
from autohealer.coordination.names import Names
from autohealer.core.events import ListFailed, StoreChanged, WorkersListed
from autohealer.core.model import Incarnation, Store
from autohealer.daemon.ports import Gone, Unreadable
from tests.ports.registry_stages import (
    NAME,
    RECORD,
    WITHIN_S,
    RealStage,
    label_of,
    real_stage,
)
from tests.support.clients import connected
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually_async
from tests.support.proxy import ChaosProxy
from tests.support.servers import ZooKeeperServer, ZooKeeperUnderTest, running

EVERYBODY = [make_acl("world", "anyone", all=True)]
NO_READING = [make_acl("world", "anyone", create=True, delete=True, write=True, admin=True)]
NO_CREATING = [make_acl("world", "anyone", read=True, admin=True)]

TOO_MANY = 1900
LONG = "n" * 3_900
ANSWER_BYTES_MAX = 300_000


class ShortOfBreath(EmbeddedZooKeeper):
    """An embedded server that drops who leaves 0.3 MB unread, so that 7 MB of names do: 16 MiB are the default."""

    def _command(self) -> Sequence[str]:
        return (*super()._command(), "--unsent-bytes-max", str(ANSWER_BYTES_MAX))


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again soon."""
    monkeypatch.setattr(listing, "RETRY_S", 0.2)


async def attempts(caplog: pytest.LogCaptureFixture, request: str, count: int) -> None:
    """Wait until something was asked for that many times more."""
    caplog.clear()
    await eventually_async(
        lambda: sum(f": {request}(" in r.getMessage() for r in caplog.records) >= count,
        within_s=WITHIN_S,
        view=lambda: [r.getMessage() for r in caplog.records],
    )


async def test_missing_permission_is_said_once_and_ends(
    zookeeper: ZooKeeperUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever closes `/workers` would make workers be ended for nothing, without a word on why."""
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        stage.client.set_acls("/workers", NO_READING)
        stage.registry.relist()
        (failed,) = await stage.told(ListFailed)
        assert "/workers in ZooKeeper may not be read (NoAuth)" in failed.why
        with caplog.at_level(logging.DEBUG, "autohealer.kazoo"):
            await attempts(caplog, "GetChildren2", 3)
        assert stage.all_of(ListFailed) == [failed]
        lists = stage.lists_so_far()
        stage.client.set_acls("/workers", EVERYBODY)
        await stage.told(WorkersListed, lists + 1)
        await stage.lists(NAME)
        stage.client.set_acls("/workers", NO_READING)
        stage.registry.relist()
        await stage.told(ListFailed, 2)


async def test_missing_permission_is_noticed_when_a_worker_has_died(
    zookeeper: ZooKeeperUnderTest,
) -> None:
    """A server tells no watcher of what he may not read, so the next half minute would pass without a word."""
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        stage.client.set_acls("/workers", NO_READING)
        stage.registry.discard(NAME)
        await stage.told(ListFailed)


async def test_asking_becomes_rarer(
    zookeeper: ZooKeeperUnderTest,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is refused would be asked for as fast as it is refused, by every daemon, and by every worker's change."""
    monkeypatch.setattr(listing, "RETRY_S", 60.0)
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        stage.client.set_acls("/workers", NO_READING)
        with caplog.at_level(logging.DEBUG, "autohealer.kazoo"):
            caplog.clear()
            stage.registry.relist()
            await stage.told(ListFailed)
            for generation in range(5):
                stage.registry.relist()
                stage.create(label_of(4, generation))
            with pytest.raises(Unreadable):
                await stage.registry.read(NAME)
        assert sum("GetChildren2(" in r.getMessage() for r in caplog.records) == 1


async def test_missing_permission_to_make_workers_is_said(zookeeper: ZooKeeperUnderTest) -> None:
    """On a ZooKeeper run by others the daemon would wait for ever without a word."""
    with connected(zookeeper.connection) as client:
        client.set_acls("/", NO_CREATING)
    async with real_stage(zookeeper.connection) as stage:
        (failed,) = await stage.told(ListFailed)
        assert "/workers is missing in ZooKeeper and may not be made (NoAuth)" in failed.why
        stage.client.set_acls("/", EVERYBODY)
        await stage.lists()


async def test_a_failure_is_told_anew_to_who_comes_later(zookeeper: ZooKeeperUnderTest) -> None:
    """A group added to a running daemon would not say why it concludes nothing."""
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        stage.client.set_acls("/workers", NO_READING)
        stage.registry.relist()
        (failed,) = await stage.told(ListFailed)
        late: list[object] = []
        stage.real.subscribe("api", late.append)
        assert late == [failed]


async def test_an_answer_that_makes_no_sense_is_said(
    zookeeper: ZooKeeperUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends nonsense would leave the daemon waiting without a word."""
    async with real_stage(zookeeper.connection) as stage:
        await stage.lists()
        with monkeypatch.context() as broken:
            broken.setattr(GetChildren2, "deserialize", lambda *_: b"\xff".decode())
            stage.registry.relist()
            (failed,) = await stage.told(ListFailed)
        assert "makes no sense (UnicodeDecodeError)" in failed.why
        await stage.lists()


@pytest.mark.thorough
async def test_a_list_too_long_is_said_and_does_not_cut_the_session_for_ever(
    tmp_path_factory: pytest.TempPathFactory,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another user's long names would make the session flap for ever: no worker counts as ready, and the log fills."""
    monkeypatch.setattr(listing, "RESYNC_S", 0.4)
    with running(ShortOfBreath(tmp_path_factory.mktemp("zookeeper"))) as server:
        async with real_stage(server.address, (label_of(3, 17),)) as stage:
            await stage.lists(NAME)
            await asyncio.to_thread(fill, stage.client)
            (failed, *_) = await stage.told(ListFailed)
            assert "the list of /workers makes ZooKeeper drop the connection" in failed.why
            await stage.told(ListFailed, 2)  # asked once more, and told anew in the new connection
            with caplog.at_level(logging.DEBUG, "autohealer.kazoo"):
                await attempts(caplog, "Exists", 3)
                dropped = stage.facts.count(StoreChanged(Store.SUSPENDED))
                await attempts(caplog, "Exists", 6)
            assert stage.facts.count(StoreChanged(Store.SUSPENDED)) == dropped
            # as often as it takes to believe it, once for the second look; and what was cut before it asked
            assert listing.DROPS_MAX < dropped <= listing.DROPS_MAX + 3
            stage.create(label_of(5, 1))
            assert set(await stage.told(ListFailed, 3)) == {failed}
            stage.delete(label_of(5, 1))
            await asyncio.to_thread(clear, stage.client)
            await stage.lists(NAME)
            seen = len(stage.facts)
            stage.create(label_of(4, 1))
            await stage.lists(NAME, Incarnation(4, 1))
            assert not any(isinstance(fact, StoreChanged) for fact in stage.facts[seen:])


@pytest.mark.thorough
async def test_a_list_too_long_is_left_alone_for_a_while(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a list cannot be had, nothing else could be done over the session either."""
    monkeypatch.setattr(listing, "RETRY_S", 60.0)
    with running(ShortOfBreath(tmp_path_factory.mktemp("zookeeper"))) as server:
        with connected(server.address) as client:
            client.create(f"/workers/{label_of(3, 17)}", encode_record(RECORD), makepath=True)
            await asyncio.to_thread(fill, client)
        async with real_stage(server.address) as stage:
            await stage.told(ListFailed)
            seen = len(stage.facts)
            for generation in range(5):
                stage.create(label_of(4, generation))
                stage.registry.relist()
                assert await stage.registry.read(NAME) == RECORD
            stage.registry.discard(NAME)
            await stage.real_port.flush(WITHIN_S)
            assert stage.client.exists(f"/workers/{label_of(3, 17)}") is None
            assert len(stage.facts) == seen


def fill(client: KazooClient) -> None:
    """Make more names than fit into an answer, in one go, so that no list in between is had."""
    names = [f"/workers/{number:04d}{LONG}" for number in range(TOO_MANY)]
    for created in [client.create_async(name, b"{}") for name in names]:
        created.get(WITHIN_S)


def clear(client: KazooClient) -> None:
    """Delete them again."""
    names = [f"/workers/{number:04d}{LONG}" for number in range(TOO_MANY)]
    for deleted in [client.delete_async(name) for name in names]:
        deleted.get(WITHIN_S)


@pytest.mark.thorough
async def test_what_was_taken_for_too_long_is_asked_for_again_in_the_end(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that broke down over something else would never be asked for its list again."""
    monkeypatch.setattr(listing, "SPARED_MAX", 2)
    with running(ShortOfBreath(tmp_path_factory.mktemp("zookeeper"))) as server:
        async with real_stage(server.address, (label_of(3, 17),)) as stage:
            await stage.lists(NAME)
            await asyncio.to_thread(fill, stage.client)
            await stage.told(ListFailed, 3)


async def test_connections_lost_otherwise_are_not_the_lists_fault(
    own_zookeeper: ZooKeeperServer,
) -> None:
    """A bad network would make the daemon look away for half a minute, and blame somebody's names."""
    with ChaosProxy(own_zookeeper.address) as proxy:
        async with real_stage(proxy.address) as stage:
            for cut in range(1, 2 * listing.DROPS_MAX):
                lists = stage.lists_so_far()
                proxy.cut()
                await stage.told(WorkersListed, lists + 1)
                assert stage.facts.count(StoreChanged(Store.SUSPENDED)) >= cut
            assert stage.all_of(ListFailed) == []


async def test_connections_lost_before_the_list_is_asked_for_are_not_its_fault(
    own_zookeeper: ZooKeeperServer,
) -> None:
    """A network that comes and goes would be taken for somebody's names, too."""
    with ChaosProxy(own_zookeeper.address) as proxy:
        async with real_stage(proxy.address) as stage:
            await stage.lists()
            proxy.delay(to_client_s=0.3)  # the answer to the `sync`, among others
            for _ in range(2 * listing.DROPS_MAX):
                seen = stage.facts.count(StoreChanged(Store.CONNECTED))
                proxy.cut()
                await eventually_async(
                    lambda seen=seen: stage.facts.count(StoreChanged(Store.CONNECTED)) > seen,  # type: ignore[misc]
                    within_s=WITHIN_S,
                )
            proxy.delay()
            cut_at = time.monotonic()
            await stage.lists_what_was_asked_since(cut_at - 1.0)
            assert stage.all_of(ListFailed) == []


# --- names and data of others -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a\u200bb\u202ec", "x" * 130, "é" * 500, "z" * 4000])
async def test_a_strange_name_is_passed_on_as_a_harmless_label(
    zookeeper: ZooKeeperUnderTest, name: str
) -> None:
    """Anybody could fill the status page with one name, or turn what stands there around."""
    async with real_stage(zookeeper.connection) as stage:
        await stage.lists()
        stage.create(name, encode_record(RECORD))
        label = await the_strange_one(stage)
        assert label.isprintable()
        assert len(label) <= 140
        assert "Cf" not in {unicodedata.category(character) for character in label}
        if len(name) <= 1000:
            assert await stage.registry.read(label) == RECORD
        else:
            with pytest.raises(Unreadable, match="more than 1000 characters"):
                await stage.registry.read(label)
        stage.delete(name)
        await stage.lists()
        with pytest.raises(Gone):
            await stage.registry.read(label)


async def the_strange_one(stage: RealStage) -> str:
    """Wait for a list with exactly one strange name."""
    await eventually_async(
        lambda: len(stage.all_of(WorkersListed)[-1].strange) == 1, within_s=WITHIN_S
    )
    (label,) = stage.all_of(WorkersListed)[-1].strange
    return label


async def test_data_that_may_not_be_read_is_unreadable(zookeeper: ZooKeeperUnderTest) -> None:
    """A registration closed to the daemon would be asked for again and again and never be explained."""
    async with real_stage(zookeeper.connection, (label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        stage.client.set_acls(f"/workers/{label_of(3, 17)}", NO_READING)
        with pytest.raises(Unreadable, match="NoAuth"):
            await stage.registry.read(NAME)


async def test_a_read_cut_short_leaves_nothing_behind(own_zookeeper: ZooKeeperServer) -> None:
    """Every connection lost while a registration is read would look like an error of the daemon's own."""
    with ChaosProxy(own_zookeeper.address) as proxy:
        async with real_stage(proxy.address) as stage:  # which looks for what nobody retrieved
            await stage.lists()
            stage.client.create(f"/workers/{label_of(3, 17)}", encode_record(RECORD))
            await stage.lists(NAME)
            proxy.delay(to_client_s=5.0)
            reading = asyncio.create_task(stage.registry.read(NAME))
            await asyncio.to_thread(proxy.cut)
            with pytest.raises(Gone):
                await reading
            proxy.heal()
            await stage.told(StoreChanged, 3)


async def test_an_unforeseen_error_surfaces_and_the_list_is_asked_for_again(
    zookeeper: ZooKeeperUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of our own would be swallowed by kazoo's thread, and the daemon wait for a list for ever."""
    async with real_stage(zookeeper.connection) as stage:
        await stage.lists()
        surfaced: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: surfaced.append(context["exception"])
        )
        with monkeypatch.context() as broken:
            broken.setattr(Names, "read", lambda *_: dict[str, str]()["a fault"])
            stage.registry.relist()
            await eventually_async(lambda: surfaced, within_s=WITHIN_S)
        assert isinstance(surfaced[0], KeyError)
        stage.create(label_of(3, 17))
        await stage.lists(NAME)
