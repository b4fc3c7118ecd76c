"""Processes and a registry in memory, for tests of what stands between them and the decider.

Theory of operation. Both do what the daemon's ports promise and post the very facts the real adapters
post; `tests/ports` holds them and the real ones to the same suite, which is what makes them worth
anything. As in reality no fact is posted from within a call of a port: each is posted by the event loop
soon after. A `FakeHost` is the kernel: processes live on it, whichever daemon looks at them, so one daemon
can adopt what another launched.

Must never know: the view, plans, policy.

Limits: a worker's tree is a number of processes; time passes only where a test says so.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autohealer.contract import (
    RecordError,
    WorkerRecord,
    ZnodeName,
    decode_record,
    encode_record,
    parse_znode_name,
)
from autohealer.core.events import (
    StoreChanged,
    TreeEmptied,
    WorkerAdopted,
    WorkerExited,
    WorkersListed,
)
from autohealer.core.model import Exit, Incarnation, Standing, Store
from autohealer.daemon.ports import Gone, SpawnError, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.daemon.ports import Post

TERM, KILL = 15, 9


@dataclass(slots=True)
class FakeProcess:
    """One worker's process, and how many others of its tree live beside it."""

    name: Incarnation
    pid: int
    start: int
    proven: bool = True
    alive: bool = True
    frozen: bool = False
    ignores_term: bool = False
    tree: int = 0
    watcher: Callable[[FakeProcess, Exit], None] | None = None

    def die(self, exit_: Exit) -> None:
        """End the leader; who watches it learns of that."""
        if self.alive:
            self.alive = False
            if self.watcher is not None:
                self.watcher(self, exit_)


@dataclass(slots=True)
class FakeHost:
    """A machine: its processes by pid, and what a new one will be like."""

    name: str = "here"
    boot: str = "boot-1"
    ignores_term: bool = False
    tree: int = 0
    broken: str = ""
    processes: dict[int, FakeProcess] = field(default_factory=dict)
    last_pid: int = 100

    def run(self, name: Incarnation, *, proven: bool = True) -> FakeProcess:
        """Start a process, as a daemon or (unproven) as somebody else."""
        self.last_pid += 1
        pid = self.last_pid
        process = FakeProcess(
            name, pid, start=pid, proven=proven, ignores_term=self.ignores_term, tree=self.tree
        )
        self.processes[pid] = process
        return process

    def running(self) -> list[FakeProcess]:
        """Everything that lives."""
        return [process for process in self.processes.values() if process.alive]

    def record_of(self, process: FakeProcess) -> WorkerRecord:
        """What a process writes into its registration."""
        return WorkerRecord(process.pid, process.start, self.boot, self.name)


class FakeProcesses:
    """The `Processes` port on a `FakeHost`; `on_start` is told of every process launched."""

    def __init__(
        self,
        post: Post,
        host: FakeHost | None = None,
        on_start: Callable[[FakeProcess], None] | None = None,
    ) -> None:
        self.host = FakeHost() if host is None else host
        self.spawned: list[Incarnation] = []
        self.signals: list[tuple[Incarnation, int]] = []
        self._post = post
        self._on_start = on_start
        self._live: dict[Incarnation, FakeProcess] = {}
        self._rng = random.Random(1)

    # --- the port -----------------------------------------------------------------------------

    def spawn(self, name: Incarnation) -> int:
        """Start a process. Raises `SpawnError`."""
        if self.host.broken:
            raise SpawnError(self.host.broken)
        process = self.host.run(name)
        self.spawned.append(name)
        self._hold(process)
        if self._on_start is not None:
            self._on_start(process)
        return process.pid

    def terminate(self, name: Incarnation) -> None:
        """TERM and CONT: ends what does not ignore it, stopped or not."""
        if (process := self._live.get(name)) is None or not process.alive:
            return
        self.signals.append((name, TERM))
        process.frozen = False
        if not process.ignores_term:
            process.die(Exit(signal=TERM))

    def kill(self, name: Incarnation) -> None:
        """KILL: ends everything."""
        if (process := self._live.get(name)) is None:
            return
        self.signals.append((name, KILL))
        if process.alive:
            process.tree = 0
            process.die(Exit(signal=KILL))

    def look_into(self, name: Incarnation, record: WorkerRecord) -> Standing | None:
        """Whose process a record names; adopts it when proven."""
        if (record.boot, record.host) != (self.host.boot, self.host.name):
            return Standing.ELSEWHERE if record.boot or record.host else Standing.ORPHAN
        process = self.host.processes.get(record.pid)
        started = None if process is None else process.start
        if record.start and record.start != started:
            return Standing.DEAD
        if process is None or not process.proven or process.name != name or name in self._live:
            return Standing.ORPHAN
        self._adopt(process)
        return None

    # --- what a test does ---------------------------------------------------------------------

    def adopt_all(self) -> int:
        """Take over every proven process an earlier daemon left; how many."""
        found = [p for p in self.host.running() if p.proven and p.name not in self._live]
        for process in found:
            self._adopt(process)
        return len(found)

    def process(self, name: Incarnation) -> FakeProcess:
        """The process of an incarnation this daemon answers for."""
        return self._live[name]

    def release(self) -> None:
        """Stop watching, as a daemon that is gone."""
        for process in self._live.values():
            process.watcher = None
        self._live.clear()

    # --- how it works -------------------------------------------------------------------------

    def _adopt(self, process: FakeProcess) -> None:
        self._hold(process)
        self._soon(WorkerAdopted(process.name, process.pid, age_s=60.0))

    def _hold(self, process: FakeProcess) -> None:
        process.watcher = self._ended
        self._live[process.name] = process

    def _ended(self, process: FakeProcess, exit_: Exit) -> None:
        """The real adapter kills the rest of a tree itself, so it is always gone a little later."""
        tree_empty = process.tree == 0
        self._soon(
            WorkerExited(process.name, exit_, tree_empty, self._rng.random(), pid=process.pid)
        )
        process.tree = 0
        if not tree_empty:
            self._soon(TreeEmptied(process.name, self._rng.random()))
        self._live.pop(process.name)
        self.host.processes.pop(process.pid)

    def _soon(self, fact: WorkerExited | TreeEmptied | WorkerAdopted) -> None:
        asyncio.get_running_loop().call_soon(self._post, fact)


class FakeRegistry:
    """The `Registry` port over a dict of znode names, for one group."""

    def __init__(self, post: Post, group: str = "web") -> None:
        self.children: dict[str, bytes] = {}
        self.discarded: list[Incarnation] = []
        self.lists = 0
        self._post = post
        self._group = group
        self._store = Store.SUSPENDED
        self._list_ordered = False

    # --- the port -----------------------------------------------------------------------------

    def discard(self, name: Incarnation) -> None:
        """Delete a registration, soon."""
        if self._store is Store.CONNECTED:
            self.discarded.append(name)
            asyncio.get_running_loop().call_soon(self.vanish, name)

    async def read(self, name: Incarnation | str) -> WorkerRecord:
        """Read a registration's data. Raises `Unreadable` or `Gone`."""
        raw = self.children.get(self._label(name))
        if raw is None or self._store is not Store.CONNECTED:
            raise Gone(str(name))
        try:
            return decode_record(raw)
        except RecordError as error:
            raise Unreadable(str(error)) from error

    # --- what a test does ---------------------------------------------------------------------

    def register(self, name: Incarnation | str, record: WorkerRecord | bytes) -> None:
        """Have somebody create a child of `/workers`."""
        raw = encode_record(record) if isinstance(record, WorkerRecord) else record
        self.children[self._label(name)] = raw
        self._list_soon()

    def vanish(self, name: Incarnation | str) -> None:
        """Have a child go away, if it is there."""
        if self.children.pop(self._label(name), None) is not None:
            self._list_soon()

    def connect(self) -> None:
        """The session is connected: told, and followed by a fresh list."""
        self._become(Store.CONNECTED)
        self._list_soon()

    def suspend(self) -> None:
        """The connection is gone."""
        self._become(Store.SUSPENDED)

    def lose(self) -> None:
        """The session has expired."""
        self._become(Store.LOST)

    # --- how it works -------------------------------------------------------------------------

    def _become(self, store: Store) -> None:
        self._store = store
        asyncio.get_running_loop().call_soon(self._post, StoreChanged(store))

    def _list_soon(self) -> None:
        """Changes close together cost one list."""
        if self._store is Store.CONNECTED and not self._list_ordered:
            self._list_ordered = True
            asyncio.get_running_loop().call_soon(self._list)

    def _list(self) -> None:
        self._list_ordered = False
        if self._store is not Store.CONNECTED:
            return
        self.lists += 1
        parsed = {label: parse_znode_name(label) for label in self.children}
        ours = frozenset(
            Incarnation(name.slot, name.generation)
            for name in parsed.values()
            if name is not None and name.group == self._group
        )
        strange = frozenset(label for label, name in parsed.items() if name is None)
        self._post(WorkersListed(ours, strange))

    def _label(self, name: Incarnation | str) -> str:
        if isinstance(name, str):
            return name
        return str(ZnodeName(self._group, name.slot, name.generation))
