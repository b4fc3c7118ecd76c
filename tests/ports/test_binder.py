"""What a look at a child of `/workers` shows, and what the next daemon recalls, on both kinds of ZooKeeper."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

from kazoo.client import KazooClient
from kazoo.security import OPEN_ACL_UNSAFE, make_acl

from autohealer.assembly.binder import GroupBinder
from autohealer.contract import WORKERS_PATH, encode_record
from autohealer.coordination.connections import Connections
from autohealer.core.children import Bond, Child, Sight
from autohealer.core.events import BondRemembered, Event
from autohealer.core.model import Incarnation
from autohealer.launchspec import LaunchSpec
from autohealer.processes.ledger import Ledger
from autohealer.processes.local import LocalProcesses
from autohealer.processes.output import OutputFiles
from autohealer.processes.reaper import Reaper
from tests.ports.registry_stages import RealStage, real_stage
from tests.support import anonymous_worker
from tests.support.eventually import eventually_async
from tests.support.servers import ZooKeeperUnderTest

NAME = Incarnation(0, 7)
WITHIN_S = 20.0


class Bench:
    """A binder between a server and real processes that make children."""

    def __init__(self, stage: RealStage, connection: str, folder: Path) -> None:
        self.stage = stage
        self.facts: list[Event] = []
        self.said: list[str] = []
        (folder / "output").mkdir(exist_ok=True)
        self.reaper = Reaper(asyncio.get_running_loop())
        self.reaper.start()
        self.processes = LocalProcesses(
            LaunchSpec((sys.executable, anonymous_worker.__file__, connection)),
            dict(os.environ),
            "web",
            b"secret",
            OutputFiles(folder / "output", 10**6, self.said.append),
            Ledger(folder, self.said.append),
            self.reaper,
            self.facts.append,
            random.Random(1),
        )
        self.tasks: set[asyncio.Task[None]] = set()
        self.binder = GroupBinder(
            stage.session,
            stage.real_port,
            Connections(stage.session.client.hosts, speaks_tls=False),
            self.processes,
            folder,
            connection,
            self.said.append,
            self._start,
        )

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        return task

    async def look(self, label: str) -> Sight:
        """What a look shows."""
        examined = await self.binder.look_at(label)
        assert examined is not None
        return examined.sight

    async def appears(self, *others: str) -> str:
        """Wait for a child beside some."""
        await eventually_async(
            lambda: self.stage.children() - set(others), within_s=WITHIN_S, view=self.stage.children
        )
        [label] = self.stage.children() - set(others)
        return label


@asynccontextmanager
async def bench_on(connection: str, folder: Path) -> AsyncIterator[Bench]:
    """Have one for a block; what it launched is ended."""
    async with real_stage(connection) as stage:
        await stage.lists()
        bench = Bench(stage, connection, folder)
        try:
            yield bench
        finally:
            for name in bench.processes.family().names:
                bench.processes.kill(name)
            bench.processes.release()
            bench.reaper.close()


def foreign(client: KazooClient, data: bytes = b"") -> str:
    """Another process's child: this one's."""
    path = client.create(f"{WORKERS_PATH}/worker_", data, ephemeral=True, sequence=True)
    return Path(path).name


async def test_a_childs_maker_is_proven_by_its_connection(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """Two that start at once, or a foreigner beside ours, could not be told apart."""
    async with bench_on(zookeeper.connection, tmp_path) as bench:
        theirs = foreign(bench.stage.client, b"some data")
        bench.processes.spawn(NAME)
        ours = await bench.appears(theirs)
        assert await bench.look(ours) == Sight(bench.stage.child(ours), NAME)
        assert await bench.look(theirs) == Sight(bench.stage.child(theirs), is_foreign=True)
        assert await bench.binder.look_at("worker_gone") is None


async def test_which_child_it_is_everybody_may_know(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """A worker that lets nobody read its data, or puts a megabyte there, could not be kept."""
    nobody = [make_acl("ip", "192.0.2.1", all=True)]
    async with bench_on(zookeeper.connection, tmp_path) as bench:
        for label, data, acl in (
            ("worker_1", b"secret", nobody),
            ("worker_2", b"x" * 900_000, OPEN_ACL_UNSAFE),
        ):
            bench.stage.client.create(f"{WORKERS_PATH}/{label}", data, acl=acl, ephemeral=True)
            assert (await bench.look(label)).child == bench.stage.child(label)


async def test_a_record_that_names_a_worker_is_a_proof(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """What says whose it is would be left to chance where connections are not told."""
    async with bench_on(zookeeper.connection, tmp_path) as bench:
        bench.processes.spawn(NAME)
        await bench.appears()
        record = bench.processes.record_of(NAME)
        assert record is not None
        stays = f"{WORKERS_PATH}/stays"
        bench.stage.client.create(stays, encode_record(record))
        assert await bench.look("stays") == Sight(bench.stage.child("stays"), NAME)


async def test_the_next_daemon_recalls_what_was_noted_and_who_is_dead(
    zookeeper: ZooKeeperUnderTest, tmp_path: Path
) -> None:
    """The child of one that died while no daemon ran would stay until its session is over."""
    bond = Bond(NAME, 5, 6, Child("worker_7", 7, -9), -9)
    async with bench_on(zookeeper.connection, tmp_path) as bench:
        bench.processes.spawn(NAME)
        await bench.appears()
        bench.binder.remember([Bond(NAME, 5, 6)])
        bench.binder.remember([bond])
        await bench.binder.flush()
        assert bench.binder.recall() == [BondRemembered(bond, is_dead=False)]
        bench.processes.kill(NAME)
        await eventually_async(
            lambda: bench.processes.record_of(NAME) is None, within_s=WITHIN_S, view=lambda: None
        )
        assert bench.binder.recall() == [BondRemembered(bond, is_dead=True)]
        assert bench.said == []


async def test_a_note_that_cannot_be_written_is_told_once(server: str, tmp_path: Path) -> None:
    """A full disk would end the daemon, or fill its log."""
    (tmp_path / "bindings.json.draft").mkdir()
    async with bench_on(server, tmp_path) as bench:
        for _ in range(3):
            bench.binder.remember([Bond(NAME, 5, 6)])
            await bench.binder.flush()
        [sentence] = bench.said
        assert "cannot be noted" in sentence
