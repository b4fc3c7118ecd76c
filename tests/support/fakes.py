"""Processes and a registry in memory, for tests of what stands between them and the decider.

Theory of operation. Both do what the daemon's ports promise and post the very facts the real adapters
post; `tests/ports` holds them and the real ones to the same suite, which is what makes them worth
anything. As in reality no fact is posted from within a call of a port: each is posted by the event loop
soon after. A `FakeHost` is the kernel and a `FakeStore` the server: processes and registrations are there
whichever daemon looks at them, so one daemon can adopt what another launched.

Must never know: the view, plans, policy.

Limits: those of `tests.support.fakehost`; time passes only where a test says so.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from autohealer.contract import (
    RecordError,
    WorkerRecord,
    ZnodeName,
    decode_record,
    encode_record,
    parse_znode_name,
)
from autohealer.core.children import Child
from autohealer.core.events import (
    Event,
    ListFailed,
    RegistryWiped,
    SpawnFailed,
    StoreChanged,
    TreeEmptied,
    TreeResists,
    WorkerAdopted,
    WorkerExited,
    WorkerHeld,
    WorkersListed,
    WorkerSpawned,
)
from autohealer.core.model import Exit, Incarnation, Store
from autohealer.core.strangers import Standing
from autohealer.daemon.ports import Gone, Unreadable
from tests.support.fakehost import ABRT, KILL, TERM, FakeHost, FakeProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.daemon.ports import Clock, Post


class FakeProcesses:
    """The `Processes` port on a `FakeHost`; `on_start` is told of every process launched."""

    def __init__(
        self,
        post: Post,
        host: FakeHost | None = None,
        on_start: Callable[[FakeProcess], None] | None = None,
    ) -> None:
        self.host = FakeHost() if host is None else host
        self.revision = ""
        self.spawned: list[Incarnation] = []
        self.signals: list[tuple[Incarnation, int]] = []
        self._post = post
        self._on_start = on_start
        self._live: dict[Incarnation, FakeProcess] = {}
        self._held: dict[Incarnation, FakeProcess] = {}
        self._asked: set[Incarnation] = set()
        self._rng = random.Random(1)

    # --- the port -----------------------------------------------------------------------------

    def spawn(self, name: Incarnation) -> None:
        """Start a process, and tell of it."""
        if self.host.broken:
            self._soon(SpawnFailed(name, self.host.broken, self._rng.random()))
            return
        process = self.host.run(name, revision=self.revision)
        self.spawned.append(name)
        self._hold(process)
        self._soon(WorkerSpawned(name, process.pid, process.revision))
        if self._on_start is not None:
            self._on_start(process)

    def terminate(self, name: Incarnation) -> None:
        """TERM and CONT: ends what does not ignore it, stopped or not."""
        self._ask_to_end(name, TERM)

    def abort(self, name: Incarnation) -> None:
        """ABRT and CONT, which is ignored with TERM."""
        self._ask_to_end(name, ABRT)

    def _ask_to_end(self, name: Incarnation, number: int) -> None:
        if (process := self._known(name)) is None or not process.alive:
            return
        self._sent(name, process, number)
        self._asked.add(name)
        process.frozen = False
        if not process.ignores_term:
            process.die(Exit(signal=number))

    def kill(self, name: Incarnation) -> None:
        """KILL: ends everything but what resists, which is told of."""
        if (process := self._known(name)) is None:
            return
        self._sent(name, process, KILL)
        self._asked.discard(name)
        if process.alive:
            if not process.resists:
                process.tree = 0
            process.die(Exit(signal=KILL, frozen=process.frozen))
        elif process.resists:
            self._soon(TreeResists(name, (f"pid {process.pid + 1} (disk-sleep, worker)",)))
        else:
            process.kill_rest()

    def record_of(self, name: Incarnation) -> WorkerRecord | None:
        """What tells of a live incarnation as well as its own record would."""
        process = self._live.get(name)
        if process is None or not process.alive:
            return None
        return replace(self.host.record_of(process), agent=True)

    def look_into(self, name: Incarnation, record: WorkerRecord) -> Standing | None:
        """Whose process a record names; adopts it when proven."""
        if (record.boot, record.host) != (self.host.boot, self.host.name):
            return Standing.ELSEWHERE if record.boot or record.host else Standing.ORPHAN
        process = self.host.processes.get(record.pid)
        started = None if process is None else process.start
        if record.start and record.start != started:
            left = [p for p in self.host.remnants if p.name == name and name not in self._live]
            self._end_remnants(left)
            return None if left else Standing.DEAD
        if name in self._live:
            return None
        if process is None or not process.proven or process.name != name:
            return Standing.ORPHAN
        if process.unreadable and not process.record_proves:
            self._hold_back(process)
            return Standing.UNPROVABLE
        self._adopt(process)
        return None

    # --- what a test does ---------------------------------------------------------------------

    def adopt_all(self) -> int:
        """Take over every proven process an earlier daemon left; how many. What dead leaders left is ended."""
        found = [p for p in self.host.running() if p.proven and p.name not in self._live]
        found = [process for process in found if not process.overlooked]
        for process in found:
            if process.unreadable:
                self._hold_back(process)
            else:
                self._adopt(process)
        self._end_remnants([p for p in self.host.remnants if p.name not in self._live])
        return len(found)

    def process(self, name: Incarnation) -> FakeProcess:
        """The process of an incarnation this daemon answers for."""
        return self._live[name]

    def release(self) -> None:
        """Stop watching, as a daemon that is gone."""
        for process in (*self._live.values(), *self._held.values()):
            process.holder = None
            process.held = False
        self._live.clear()
        self._held.clear()

    # --- how it works -------------------------------------------------------------------------

    def _known(self, name: Incarnation) -> FakeProcess | None:
        """Whom a signal for an incarnation would reach; the core answers for not sending one to what is held."""
        return self._live.get(name) or self._held.get(name)

    def _hold_back(self, process: FakeProcess) -> None:
        process.holder, process.held = self, True
        self._held[process.name] = process
        self._soon(WorkerHeld(process.name, process.pid, f"pid {process.pid} cannot be read"))

    def _end_remnants(self, remnants: list[FakeProcess]) -> None:
        for process in remnants:
            self._adopt(process)
            self.leader_ended(process, Exit())

    def _adopt(self, process: FakeProcess) -> None:
        self._held.pop(process.name, None)
        process.held = process.overlooked = False
        self._hold(process)
        age_s = asyncio.get_running_loop().time() - process.born_at
        self._soon(WorkerAdopted(process.name, process.pid, age_s, process.revision))

    def _hold(self, process: FakeProcess) -> None:
        process.holder = self
        self._live[process.name] = process

    def _sent(self, name: Incarnation, process: FakeProcess, number: int) -> None:
        self.signals.append((name, number))
        self.host.witness.signalled(name, process, number)

    def leader_ended(self, process: FakeProcess, exit_: Exit) -> None:
        """Tell of it, and end the rest of the tree, as the real adapter does, unless that was asked to end as well."""
        tree_empty = process.tree == 0
        self._soon(
            WorkerExited(process.name, exit_, tree_empty, self._rng.random(), pid=process.pid)
        )
        if tree_empty:
            self._forget(process.name)
        elif not (process.lingers and process.name in self._asked):
            process.kill_rest()

    def rest_ended(self, process: FakeProcess) -> None:
        """Tell of it."""
        self._forget(process.name)
        self._soon(TreeEmptied(process.name, self._rng.random()))

    def _forget(self, name: Incarnation) -> None:
        self._live.pop(name, None)
        self._held.pop(name, None)
        self._asked.discard(name)

    def _soon(self, fact: Event) -> None:
        asyncio.get_running_loop().call_soon(self._post, fact)


class FakeStore:
    """A ZooKeeper server: the children of `/workers`, whoever looks. `zxid` is that of the last change."""

    def __init__(self) -> None:
        self.children: dict[str, bytes] = {}
        self.made: dict[str, Child] = {}
        self.zxid = 1000
        self._told: dict[str, ZnodeName | None] = {}

    def told_by(self, label: str) -> ZnodeName | None:
        """What the name of a child tells, as far as a daemon gave it; each is read once."""
        if label not in self._told:
            self._told[label] = parse_znode_name(label)
        return self._told[label]

    def create(self, label: str, raw: bytes, owner: int = 0) -> None:
        """Have somebody create a child, in the session `owner`."""
        self.zxid += 1
        self.children[label] = raw
        self.made[label] = Child(label, self.zxid, owner)

    def delete(self, label: str) -> bool:
        """Have a child go away; whether it was there."""
        self.zxid += 1
        self.made.pop(label, None)
        return self.children.pop(label, None) is not None


NEXT_ANSWER_S = 1e-6
"""Between two answers that wait for each other."""


class FakeRegistry:
    """The `Registry` port on a `FakeStore`, for one group, by a clock that is the event loop's where none is given.

    `lag_s` is how old a list is when it arrives; while `deaf`, changes go unnoticed, as when a watch was lost; while
    `unlistable`, there is no list, for that reason.
    """

    def __init__(
        self,
        post: Post,
        group: str = "web",
        store: FakeStore | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.store = FakeStore() if store is None else store
        self._clock = asyncio.get_running_loop().time if clock is None else clock
        self.lag_s = 0.0
        self._answer_at = float("-inf")
        self.deaf = False
        self.unlistable = ""
        self.discarded: list[Incarnation] = []
        self.lists = 0
        self._post = post
        self._group = group
        self._store = Store.SUSPENDED
        self._list_ordered = False
        self._connection = 0

    @property
    def children(self) -> dict[str, bytes]:
        """What the store holds."""
        return self.store.children

    @property
    def state(self) -> Store:
        """What the daemon was told last of its session."""
        return self._store

    # --- the port -----------------------------------------------------------------------------

    def discard(self, name: Incarnation, child: Child | None = None) -> None:
        """Delete a registration, soon; a child only if it is that very one."""
        if self._store is not Store.CONNECTED:
            return
        self.discarded.append(name)
        if child is None:
            asyncio.get_running_loop().call_soon(self.vanish, name)
        elif self.store.made.get(child.label) == child:
            asyncio.get_running_loop().call_soon(self.vanish, child.label)

    def relist(self) -> None:
        """List the children anew, soon."""
        self.resync()

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
        self.store.create(self._label(name), raw)
        self.changed()

    def vanish(self, name: Incarnation | str) -> None:
        """Have a child go away, if it is there."""
        if self.store.delete(self._label(name)):
            self.changed()

    def changed(self) -> None:
        """The store's children changed: list them again, if a watch is there to notice."""
        if not self.deaf:
            self.resync()

    def resync(self) -> None:
        """List the children again; changes close together cost one list."""
        if self._store is Store.CONNECTED and not self._list_ordered:
            self._list_ordered = True
            asyncio.get_running_loop().call_soon(self._list)

    def connect(self) -> None:
        """The session is connected: told, and followed by a fresh list."""
        self.deaf = False
        self._become(Store.CONNECTED)
        self.resync()

    def wiped(self) -> None:
        """`/workers` was deleted and made again: told at once, and listed."""
        if self._store is Store.CONNECTED:
            self._post(RegistryWiped())
            self.resync()

    def suspend(self) -> None:
        """The connection is gone."""
        self._become(Store.SUSPENDED)

    def lose(self) -> None:
        """The session has expired."""
        self._become(Store.LOST)

    # --- how it works -------------------------------------------------------------------------

    def _become(self, store: Store) -> None:
        self._store = store
        self._connection += 1
        asyncio.get_running_loop().call_soon(self._post, StoreChanged(store))

    def _list(self) -> None:
        """Ask for the list; the answer is true now and arrives `lag_s` later, unless the connection goes first.

        Answers never overtake each other: a session's replies come in the order of its requests.
        """
        self._list_ordered = False
        if self._store is not Store.CONNECTED:
            return
        if self.unlistable:
            self._post(ListFailed(self.unlistable))
            return
        self.lists += 1
        parsed = {label: self.store.told_by(label) for label in self.children}
        ours = frozenset(
            Incarnation(name.slot, name.generation)
            for name in parsed.values()
            if name is not None and name.group == self._group
        )
        strange = frozenset(label for label, name in parsed.items() if name is None)
        answer = WorkersListed(ours, strange, self._clock(), self.store.zxid)
        loop = asyncio.get_running_loop()
        if not self.lag_s and self._answer_at < loop.time():
            self._post(answer)
            return
        self._answer_at = max(loop.time() + self.lag_s, self._answer_at + NEXT_ANSWER_S)
        loop.call_at(self._answer_at, self._answered, answer, self._connection)

    def _answered(self, answer: WorkersListed, connection: int) -> None:
        if connection == self._connection:
            self._post(answer)

    def _label(self, name: Incarnation | str) -> str:
        if isinstance(name, str):
            return name
        return str(ZnodeName(self._group, name.slot, name.generation))
