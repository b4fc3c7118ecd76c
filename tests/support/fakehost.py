"""A machine in memory: processes that live, freeze and end whichever daemon looks at them.

Theory of operation. A `FakeHost` is the kernel. Whoever holds a process learns of its end, as by a pidfd; a
`HostWitness` sees what becomes of all of them.

Must never know: daemons, the store, plans.

Limits: a worker's tree is a number of processes beside its leader, all of which resist a kill or none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from autohealer.contract import WorkerRecord

if TYPE_CHECKING:
    from autohealer.core.model import Exit, Incarnation

ABRT, TERM, KILL = 6, 15, 9


class HostWitness:
    """Sees what becomes of processes; this one forgets it."""

    def signalled(self, name: Incarnation, process: FakeProcess, number: int) -> None:
        """A daemon sent a process a signal that it meant for `name`."""

    def ended(self, process: FakeProcess) -> None:
        """A process is gone; its `tree` may not be."""

    def emptied(self, process: FakeProcess) -> None:
        """The last of the tree an ended process had left is gone."""


class Holder(Protocol):
    """Who holds a process by a descriptor, and so learns of its end."""

    def leader_ended(self, process: FakeProcess, exit_: Exit) -> None:
        """The process is gone; its tree may not be."""

    def rest_ended(self, process: FakeProcess) -> None:
        """Its tree is gone too."""


@dataclass(slots=True)
class FakeProcess:
    """One worker's process, and how many others of its tree live beside it, which may resist every kill.

    A `sick` one fails its liveness probe, an `unfit` one its readiness probe; `rss_bytes` is what it uses of memory.
    A tree that `lingers` takes its time after a TERM. An `unreadable` process can be proven by nobody but the daemon
    that launched it, unless its `record_proves` it; until then it is `held`. An `overlooked` one only its registration
    shows.
    """

    name: Incarnation
    pid: int
    start: int
    born_at: float
    host: FakeHost = field(repr=False)
    proven: bool = True
    revision: str = ""
    alive: bool = True
    frozen: bool = False
    sick: bool = False
    unfit: bool = False
    rss_bytes: int = 0
    ignores_term: bool = False
    tree: int = 0
    resists: bool = False
    lingers: bool = False
    unreadable: bool = False
    record_proves: bool = False
    held: bool = False
    overlooked: bool = False
    holder: Holder | None = None
    exit: Exit | None = None

    def die(self, exit_: Exit) -> None:
        """End the leader; who holds it learns of that."""
        if not self.alive:
            return
        self.alive, self.exit = False, exit_
        del self.host.processes[self.pid]
        if self.tree:
            self.host.remnants.append(self)
        self.host.witness.ended(self)
        if self.holder is not None:
            self.holder.leader_ended(self, exit_)

    def kill_rest(self) -> None:
        """End what an ended leader left, if that can be ended."""
        if self.alive or self.resists or not self.tree:
            return
        self.tree = 0
        self.host.remnants.remove(self)
        self.host.witness.emptied(self)
        if self.holder is not None:
            self.holder.rest_ended(self)

    def give_in(self) -> None:
        """Resist no longer: the kills it withstood take effect."""
        self.resists = False
        self.kill_rest()


@dataclass(slots=True)
class FakeHost:
    """A machine: its processes by pid, what dead leaders left, and what a new one will be like."""

    name: str = "here"
    boot: str = "boot-1"
    ignores_term: bool = False
    tree: int = 0
    broken: str = ""
    processes: dict[int, FakeProcess] = field(default_factory=dict)
    remnants: list[FakeProcess] = field(default_factory=list)
    witness: HostWitness = field(default_factory=HostWitness)
    last_pid: int = 100
    launched: dict[Incarnation, FakeProcess] = field(default_factory=dict)
    """Those of daemons, dead or alive."""

    def run(
        self,
        name: Incarnation,
        *,
        proven: bool = True,
        pid: int | None = None,
        revision: str = "",
    ) -> FakeProcess:
        """Start a process, as a daemon or (unproven) as somebody else, who may get a pid that was used before."""
        self.last_pid += 1
        process = FakeProcess(
            name,
            self.last_pid if pid is None else pid,
            start=self.last_pid,
            born_at=asyncio.get_running_loop().time(),
            host=self,
            proven=proven,
            revision=revision,
            ignores_term=self.ignores_term,
            tree=self.tree,
        )
        self.processes[process.pid] = process
        if proven:
            self.launched[name] = process
        return process

    def leader(self, name: Incarnation) -> FakeProcess | None:
        """The live process of an incarnation, if there is one."""
        process = self.launched.get(name)
        return process if process is not None and process.alive else None

    def running(self) -> list[FakeProcess]:
        """Every process that leads a tree."""
        return list(self.processes.values())

    def record_of(self, process: FakeProcess) -> WorkerRecord:
        """What a process writes into its registration."""
        return WorkerRecord(process.pid, process.start, self.boot, self.name)
