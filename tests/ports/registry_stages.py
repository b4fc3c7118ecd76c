"""Where the suites of the `Registry` port play: on the fake, and on real servers.

Theory of operation: a stage offers the port, the facts it posted, and `/workers` as others change it, in the same words
for both.

Limits: what is started for a real stage ends with its block; an exception nobody foresaw fails it.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from kazoo.client import KazooClient

from autohealer.contract import WORKERS_PATH, WorkerRecord, ZnodeName
from autohealer.coordination.registry import Registry
from autohealer.coordination.session import Session
from autohealer.core.children import Child
from autohealer.core.events import Event, StoreChanged, WorkersListed
from autohealer.core.model import Incarnation
from autohealer.daemon import ports
from tests.support.clients import connected
from tests.support.eventually import eventually_async
from tests.support.fakes import FakeRegistry

F = TypeVar("F")

GROUP = "web"
WITHIN_S = 20.0
NAME = Incarnation(3, 17)
RECORD = WorkerRecord(4711, 12, "boot", "host", "10.0.0.1:80")


def label_of(slot: int, generation: int = 1, group: str = GROUP) -> str:
    """The name of a registration."""
    return str(ZnodeName(group, slot, generation))


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

    @abstractmethod
    def child(self, label: str) -> Child:
        """Which one has a name now."""

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
        return len(self.all_of(WorkersListed))

    def all_of(self, kind: type[F]) -> list[F]:
        """The facts of a kind that were posted."""
        posted: Sequence[object] = self.facts
        return [fact for fact in posted if isinstance(fact, kind)]

    async def told(self, kind: type[F], count: int = 1) -> list[F]:
        """Wait until that many facts of a kind were posted."""
        await eventually_async(
            lambda: len(self.all_of(kind)) >= count, within_s=WITHIN_S, view=lambda: self.facts
        )
        return self.all_of(kind)


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

    def child(self, label: str) -> Child:
        """As it was made."""
        return self.fake.store.made[label]


class RealStage(Stage):
    """A ZooKeeper, seen by a client of the test's own."""

    def __init__(self, connection: str, client: KazooClient) -> None:
        super().__init__()
        self.client = client
        self.said: list[str] = []
        self.session = Session(connection, 10.0)
        self.session.subscribe(lambda store: self.facts.append(StoreChanged(store)))
        self.real = Registry(self.session, random.Random(1), time.monotonic, self.said.append)
        self.registry = self.real_port = self.real.subscribe(GROUP, self.facts.append)

    def create(self, label: str, data: bytes = b"") -> None:
        """As a worker does."""
        self.client.create(f"{WORKERS_PATH}/{label}", data, makepath=True)

    async def create_all(self, labels: list[str]) -> None:
        """One after the other, while the loop goes on."""

        def create() -> None:
            for label in labels:
                self.create(label)

        await asyncio.to_thread(create)

    def delete(self, label: str) -> None:
        """As ZooKeeper does when a session ends."""
        self.client.delete(f"{WORKERS_PATH}/{label}")

    def children(self) -> set[str]:
        """Ask the server."""
        exists = self.client.exists(WORKERS_PATH)
        return set(self.client.get_children(WORKERS_PATH)) if exists else set()

    def child(self, label: str) -> Child:
        """Ask the server."""
        stat = self.client.exists(f"{WORKERS_PATH}/{label}")
        return Child(label, stat.czxid, stat.ephemeralOwner)


@asynccontextmanager
async def real_stage(connection: str, before: tuple[str, ...] = ()) -> AsyncIterator[RealStage]:
    """Have a registry on a real server for a block, connected; `before` is there already."""
    with connected(connection) as client:
        stage = RealStage(connection, client)
        for label in before:
            stage.create(label)
        await stage.session.start(WITHIN_S)
        failures: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: failures.append(str(context)))
        try:
            yield stage
        finally:
            stage.real.close()
            await stage.session.stop()
        gc.collect()  # an outcome nobody looked at is told when it is collected
        assert failures == []


@asynccontextmanager
async def fake_stage(before: tuple[str, ...] = ()) -> AsyncIterator[FakeStage]:
    """Have a fake registry for a block, connected; `before` is there already."""
    stage = FakeStage()
    for label in before:
        stage.create(label)
    stage.fake.connect()
    yield stage
