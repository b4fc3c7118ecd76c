"""What the daemon relies on in its registry, asked of the fake and of both kinds of ZooKeeper alike."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from autohealer.contract import encode_record
from autohealer.coordination import registry
from autohealer.coordination.listing import DEBOUNCE_S
from autohealer.core.events import Event, StoreChanged, WorkersListed
from autohealer.core.model import Incarnation, Store
from autohealer.daemon.ports import Gone, Unreadable
from tests.conftest import KINDS
from tests.ports.registry_stages import (
    NAME,
    RECORD,
    WITHIN_S,
    Stage,
    fake_stage,
    label_of,
    real_stage,
)
from tests.support.clients import with_chroot
from tests.support.eventually import eventually_async
from tests.support.proxy import ChaosProxy
from tests.support.servers import ServerProcess, ZooKeeperServer, ZooKeeperUnderTest

Opens = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture(params=["fake", *KINDS])
def opened(request: pytest.FixtureRequest) -> Opens:
    """Open a stage on the fake, or in a chroot of its own on a server of either kind."""
    if request.param == "fake":
        return fake_stage
    server: ServerProcess = request.getfixturevalue(f"shared_{request.param}")
    connection = with_chroot(server).connection
    return lambda before=(): real_stage(connection, before)


async def test_connecting_is_told_and_followed_by_a_list(opened: Opens) -> None:
    """A starting daemon would launch beside workers that are registered already."""
    async with opened(before=(label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        assert stage.facts[0] == StoreChanged(Store.CONNECTED)


async def test_nothing_there_is_an_empty_list(opened: Opens) -> None:
    """On a new ZooKeeper nothing would ever be concluded, because `/workers` is missing."""
    async with opened() as stage:
        await stage.lists()
        stage.create(label_of(3, 17))
        await stage.lists(NAME)


async def test_what_comes_and_goes_is_listed(opened: Opens) -> None:
    """A registered worker would not count as ready, or a lost one would."""
    async with opened() as stage:
        await stage.lists()
        for _ in range(3):
            stage.create(label_of(3, 17))
            await stage.lists(NAME)
            stage.delete(label_of(3, 17))
            await stage.lists()


async def test_only_our_group_is_listed_and_the_unknown_told_apart(opened: Opens) -> None:
    """Two groups on one ZooKeeper would delete each other's registrations."""
    others = (label_of(3, 17, "api"), label_of(0, 1, "web-2"))
    strange = ("manual-host-12-s7", "Worker0000000001", "web-03-1")
    async with opened(before=(label_of(3, 17), *others, *strange)) as stage:
        await stage.lists(NAME, strange=frozenset(strange))


async def test_a_list_tells_when_it_was_asked_for(opened: Opens) -> None:
    """A worker would be ended on the strength of a list from before it registered again."""
    async with opened(before=(label_of(3, 17),)) as stage:
        await stage.lists(NAME)
        for _ in range(3):
            asked_at = time.monotonic()
            stage.registry.relist()
            await stage.lists_what_was_asked_since(asked_at)
        await stage.lists(NAME)
        times = [fact.asked_at for fact in stage.facts if isinstance(fact, WorkersListed)]
        assert times == sorted(times)
        assert times[-1] <= time.monotonic()


async def test_discard_deletes_just_that_one(opened: Opens) -> None:
    """A dead worker would count as registered until its session expires."""
    async with opened(before=(label_of(3, 16), label_of(3, 17))) as stage:
        await stage.lists(Incarnation(3, 16), NAME)
        stage.registry.discard(Incarnation(3, 16))
        await stage.lists(NAME)
        assert stage.children() == {label_of(3, 17)}


async def test_a_child_is_deleted_only_if_it_is_that_very_one(opened: Opens) -> None:
    """The child of a dead worker went, another was made under its name, and the living one's would be deleted."""
    async with opened(("worker_1", "worker_2")) as stage:
        await stage.lists(strange=frozenset({"worker_1", "worker_2"}))
        for label in ("worker_1", "worker_2"):
            child = stage.child(label)
            stage.registry.discard(NAME, child._replace(czxid=child.czxid - (label == "worker_1")))
        await stage.lists(strange=frozenset({"worker_1"}))


async def test_discarding_what_is_gone_is_harmless(opened: Opens) -> None:
    """A registration that expired by itself in the meantime would crash the daemon."""
    async with opened() as stage:
        await stage.lists()
        for _ in range(2):
            stage.registry.discard(NAME)
        stage.create(label_of(4, 1))
        await stage.lists(Incarnation(4, 1))


async def test_read_returns_the_record(opened: Opens) -> None:
    """An earlier daemon's workers could not be found."""
    async with opened() as stage:
        await stage.lists()
        stage.create(label_of(3, 17), encode_record(RECORD))
        stage.create("manual-host-4711-s12", encode_record(RECORD))
        assert await stage.registry.read(NAME) == RECORD
        assert await stage.registry.read("manual-host-4711-s12") == RECORD


@pytest.mark.parametrize("garbage", [b"", b"\xff\xfe", b"[1]", b'{"pid":0}', b"9" * 5000])
async def test_reading_garbage_says_so(opened: Opens, garbage: bytes) -> None:
    """Anybody who writes nonsense below `/workers` could crash the daemon."""
    async with opened() as stage:
        await stage.lists()
        stage.create(label_of(3, 17), garbage)
        with pytest.raises(Unreadable):
            await stage.registry.read(NAME)


async def test_reading_what_is_gone_says_so(opened: Opens) -> None:
    """A registration that vanishes while it is looked into would crash the daemon."""
    async with opened() as stage:
        await stage.lists()
        with pytest.raises(Gone):
            await stage.registry.read(NAME)


async def test_a_burst_costs_few_lists_and_ends_complete(opened: Opens) -> None:
    """A group of hundreds that registers at once would keep daemon and ZooKeeper busy with lists."""
    async with opened() as stage:
        await stage.lists()
        before, began_s = stage.lists_so_far(), time.monotonic()
        names = [Incarnation(slot, 1) for slot in range(200)]
        await stage.create_all([label_of(name.slot) for name in names])
        await stage.lists(*names)
        took_s = time.monotonic() - began_s
        assert stage.lists_so_far() - before <= 3 + took_s / DEBOUNCE_S


# --- of real servers only ---------------------------------------------------------------------


async def test_a_restarted_server_is_told_and_listed_anew(own_zookeeper: ZooKeeperServer) -> None:
    """After a restart of ZooKeeper the daemon would go on with what it knew before."""
    async with real_stage(own_zookeeper.address) as stage:
        await stage.lists()
        stage.create(label_of(3, 17))
        await stage.lists(NAME)
        seen = len(stage.facts)
        own_zookeeper.kill()
        await is_told(stage, seen, StoreChanged(Store.SUSPENDED))
        with pytest.raises(Gone):
            await stage.registry.read(NAME)
        stage.registry.discard(NAME)
        await asyncio.to_thread(own_zookeeper.restart)
        await is_told(stage, seen, StoreChanged(Store.CONNECTED))
        await stage.lists(NAME)
        since = stage.facts[seen:]
        connected_at = since.index(StoreChanged(Store.CONNECTED))
        assert not any(isinstance(fact, WorkersListed) for fact in since[:connected_at])


async def test_the_first_list_of_a_connection_follows_a_sync(
    own_zookeeper: ZooKeeperServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that lags behind the one before would make registered workers look gone."""
    with ChaosProxy(own_zookeeper.address) as proxy:
        async with real_stage(proxy.address) as stage:
            for _ in range(3):
                cut_at = time.monotonic()
                with caplog.at_level(logging.DEBUG, "autohealer.kazoo"):
                    proxy.cut()
                    await stage.lists_what_was_asked_since(cut_at)
                assert is_synced_before_listed(caplog)


async def test_a_list_that_is_asked_for_follows_a_sync(
    zookeeper: ZooKeeperUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker would be ended because the daemon's server lags behind the one the worker registered with."""
    async with real_stage(zookeeper.connection) as stage:
        await stage.lists()
        for _ in range(3):
            asked_at = time.monotonic()
            with caplog.at_level(logging.DEBUG, "autohealer.kazoo"):
                stage.registry.relist()
                await stage.lists_what_was_asked_since(asked_at)
            assert is_synced_before_listed(caplog)


def is_synced_before_listed(caplog: pytest.LogCaptureFixture) -> bool:
    """Whether what was sent since the last look began with a sync."""
    sent = [r.message for r in caplog.records if "Sending request(xid=" in r.message]
    asked = [message.split(": ")[1].split("(")[0] for message in sent]
    caplog.clear()
    return asked.index("Sync") < asked.index("GetChildren2")


async def test_a_read_outlasts_a_server_that_is_slow_to_answer(
    zookeeper: ZooKeeperUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a slow server did not answer in time would stay unread, and unexplained, for ever."""
    address, _, chroot = zookeeper.connection.partition("/")
    with ChaosProxy(address) as proxy:
        async with real_stage(f"{proxy.address}/{chroot}") as stage:
            await stage.lists()
            stage.create(label_of(3, 17), encode_record(RECORD))
            await stage.lists(NAME)
            monkeypatch.setattr(registry, "CALL_TIMEOUT_S", 0.1)
            proxy.delay(to_client_s=0.5)
            async with asyncio.timeout(WITHIN_S):
                assert await stage.registry.read(NAME) == RECORD


async def is_told(stage: Stage, since: int, fact: Event) -> None:
    """Wait until a fact was posted."""
    await eventually_async(
        lambda: fact in stage.facts[since:], within_s=WITHIN_S, view=lambda: stage.facts
    )
