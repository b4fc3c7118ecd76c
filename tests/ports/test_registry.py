"""What the daemon relies on in its registry, asked of the fake and of both kinds of ZooKeeper alike."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from autohealer.contract import WORKERS_PATH, WorkerRecord, ZnodeName, encode_record
from autohealer.coordination import registry
from autohealer.coordination.listing import DEBOUNCE_S
from autohealer.coordination.registry import Registry
from autohealer.coordination.session import Session, ZooKeeperUnreachable
from autohealer.core.events import Event, StoreChanged, WorkersListed
from autohealer.core.model import Incarnation, Store
from autohealer.daemon import ports
from autohealer.daemon.ports import Gone, Unreadable
from tests.conftest import KINDS
from tests.support.clients import connected, with_chroot
from tests.support.embedded import EmbeddedZooKeeper
from tests.support.eventually import eventually_async
from tests.support.fakes import FakeRegistry
from tests.support.proxy import ChaosProxy
from tests.support.servers import (
    ServerProcess,
    ZooKeeperServer,
    ZooKeeperUnderTest,
    free_port,
    running,
)

GROUP = "web"
WITHIN_S = 20.0
NAME = Incarnation(3, 17)
RECORD = WorkerRecord(4711, 12, "boot", "host", "10.0.0.1:80")


class Stage(ABC):
    """The port under test, and `/workers` as others change it."""

    def __init__(self) -> None:
        self.facts: list[Event] = []
        self.registry: ports.Registry

    @abstractmethod
    def create(self, label: str, data: bytes = b"") -> None:
        """Have somebody register."""

    @abstractmethod
    async def create_all(self, labels: list[str]) -> None:
        """Have many register at once."""

    @abstractmethod
    def delete(self, label: str) -> None:
        """Have somebody deregister."""

    @abstractmethod
    def children(self) -> set[str]:
        """What is there."""

    async def lists(self, *ours: Incarnation, strange: frozenset[str] = frozenset()) -> None:
        """Wait until the last list is this one."""
        wanted = (frozenset(ours), strange)

        def listed() -> bool:
            last = self.facts[-1] if self.facts else None
            return isinstance(last, WorkersListed) and (last.ours, last.strange) == wanted

        await eventually_async(listed, within_s=WITHIN_S, view=lambda: self.facts)

    async def lists_what_was_asked_since(self, asked_at: float) -> None:
        """Wait until there is a list that was asked for at this time or later."""

        def listed() -> bool:
            lists = (fact for fact in self.facts if isinstance(fact, WorkersListed))
            return any(fact.asked_at >= asked_at for fact in lists)

        await eventually_async(listed, within_s=WITHIN_S, view=lambda: self.facts)

    def lists_so_far(self) -> int:
        """How many lists were posted."""
        return sum(isinstance(fact, WorkersListed) for fact in self.facts)


class FakeStage(Stage):
    """A dict."""

    def __init__(self) -> None:
        super().__init__()
        self.fake = self.registry = FakeRegistry(self.facts.append, GROUP)

    def create(self, label: str, data: bytes = b"") -> None:
        """Put it in."""
        self.fake.register(label, data)

    async def create_all(self, labels: list[str]) -> None:
        """Before the loop runs again."""
        for label in labels:
            self.create(label)

    def delete(self, label: str) -> None:
        """Take it out."""
        self.fake.vanish(label)

    def children(self) -> set[str]:
        """The keys."""
        return set(self.fake.children)


class RealStage(Stage):
    """A ZooKeeper, seen by a client of the test's own."""

    def __init__(self, connection: str, client: KazooClient) -> None:
        super().__init__()
        self._client = client
        self.session = Session(connection, 10.0)
        self.session.subscribe(lambda store: self.facts.append(StoreChanged(store)))
        self.real = Registry(self.session, random.Random(1), time.monotonic)
        self.registry = self.real.subscribe(GROUP, self.facts.append)

    def create(self, label: str, data: bytes = b"") -> None:
        """As a worker does."""
        self._client.create(f"{WORKERS_PATH}/{label}", data, makepath=True)

    async def create_all(self, labels: list[str]) -> None:
        """One after the other, while the loop goes on."""

        def create() -> None:
            for label in labels:
                self.create(label)

        await asyncio.to_thread(create)

    def delete(self, label: str) -> None:
        """As ZooKeeper does when a session ends."""
        self._client.delete(f"{WORKERS_PATH}/{label}")

    def children(self) -> set[str]:
        """Ask the server."""
        exists = self._client.exists(WORKERS_PATH)
        return set(self._client.get_children(WORKERS_PATH)) if exists else set()


Opens = Callable[..., AbstractAsyncContextManager[Stage]]


@asynccontextmanager
async def real_stage(connection: str, before: tuple[str, ...] = ()) -> AsyncIterator[RealStage]:
    """Have a registry on a real server for a block, connected; `before` is there already."""
    with connected(connection) as client:
        stage = RealStage(connection, client)
        for label in before:
            stage.create(label)
        await stage.session.start(WITHIN_S)
        try:
            yield stage
        finally:
            stage.real.close()
            await stage.session.stop()


@asynccontextmanager
async def fake_stage(before: tuple[str, ...] = ()) -> AsyncIterator[FakeStage]:
    """Have a fake registry for a block, connected; `before` is there already."""
    stage = FakeStage()
    for label in before:
        stage.create(label)
    stage.fake.connect()
    yield stage


@pytest.fixture(scope="module")
def shared_embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One embedded server for all tests here, as `shared_apache` is one Apache."""
    with running(EmbeddedZooKeeper(tmp_path_factory.mktemp("embedded"))) as server:
        yield server


@pytest.fixture(params=["fake", *KINDS])
def opened(request: pytest.FixtureRequest) -> Opens:
    """Open a stage on the fake, or in a chroot of its own on a server of either kind."""
    if request.param == "fake":
        return fake_stage
    server: ServerProcess = request.getfixturevalue(f"shared_{request.param}")
    connection = with_chroot(server).connection
    return lambda before=(): real_stage(connection, before)


def label_of(slot: int, generation: int = 1, group: str = GROUP) -> str:
    """The name of a registration."""
    return str(ZnodeName(group, slot, generation))


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


async def test_no_server_is_said_with_its_address(tmp_path: Path) -> None:
    """A wrong address would end in a traceback of kazoo's."""
    address = f"127.0.0.1:{free_port()}"
    session = Session(address, 10.0)
    with pytest.raises(
        ZooKeeperUnreachable, match=f"no ZooKeeper answered at {address} within 0.5 s"
    ):
        await session.start(0.5)
    await session.stop()
