"""A group's binder: what can be proven of who made a child of `/workers`, and the note of what was bound.

Theory of operation. Which child a name is, ZooKeeper tells, and from where its session is connected. If that is a
socket of this machine, the kernel tells whose: of a worker's tree, or of somebody else. A record in the child's data
that names a process of this machine tells the same. Where neither does, nothing is proven. That it is somebody else's
is not proven either where the server sees our own connection come from elsewhere, because somebody stands in between.

The note is written by one thread at a time, the newest state at last; what was bound in the instant before a crash is
found out anew. With each bond goes what tells its process for ever, so that the next daemon can prove that one dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path

from autohealer.contract import (
    MANUAL_PREFIX,
    RecordError,
    WorkerRecord,
    decode_record,
    encode_record,
)
from autohealer.coordination.connections import Connections, Server, ends_of
from autohealer.coordination.registry import GroupRegistry
from autohealer.coordination.session import Session
from autohealer.core.children import Bond, Child, Sight
from autohealer.core.events import BondRemembered, ChildExamined
from autohealer.core.model import Incarnation
from autohealer.core.strangers import Standing
from autohealer.daemon.ports import Gone, Unreadable
from autohealer.processes.kinship import Family, Kin, is_here, is_own
from autohealer.processes.local import LocalProcesses
from autohealer.statedir.bonds_note import NotedBond, read_bonds, write_bonds
from autohealer.zkserver.endpoints import Pair


class GroupBinder:
    """The `Binder` port; used from the event loop's thread only. `said` is told once of notes that are lost."""

    def __init__(
        self,
        session: Session,
        registry: GroupRegistry,
        connections: Connections,
        processes: LocalProcesses,
        folder: Path,
        connection: str,
        said: Callable[[str], None],
        start: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        self._session = session
        self._registry = registry
        self._connections = connections
        self._processes = processes
        self._folder = folder
        self._connection = connection
        self._said = said
        self._start = start
        self._records: dict[Incarnation, WorkerRecord] = {}
        self._due: list[NotedBond] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._has_complained = False

    # --- the port -----------------------------------------------------------------------------

    async def look_at(self, label: str) -> ChildExamined | None:
        """Which child it is, and who made it, as far as that can be proven; None when it is gone."""
        try:
            child, record = await self._registry.look_at(label)
        except (Gone, Unreadable):
            return None
        servers = await self._connections.servers()
        kin, sight = await self._looked(child, record, servers)
        standing = Standing.MANUAL if label.startswith(MANUAL_PREFIX) else Standing.UNKNOWN
        if record is not None:
            return ChildExamined(sight, standing, record.pid, record.host)
        return ChildExamined(sight, standing, None if kin is None else kin.pid)

    def remember(self, bonds: Sequence[Bond]) -> None:
        """Note which children are whose, in the background."""
        for bond in bonds:
            if (record := self._processes.record_of(bond.name)) is not None:
                self._records[bond.name] = record
        names = {bond.name for bond in bonds}
        self._records = {name: it for name, it in self._records.items() if name in names}
        self._due = [_noted(bond, self._records.get(bond.name)) for bond in bonds]
        if self._writing is None or self._writing.done():
            self._writing = self._start(self._write())

    # --- at the beginning and the end ---------------------------------------------------------

    def recall(self) -> list[BondRemembered]:
        """What an earlier daemon noted; after the adoption of those who live."""
        return [self._recalled(noted) for noted in read_bonds(self._folder, self._connection)]

    async def flush(self) -> None:
        """Wait until everything is noted."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    # --- proofs -------------------------------------------------------------------------------

    async def _looked(
        self, child: Child, record: WorkerRecord | None, servers: Sequence[Server]
    ) -> tuple[Kin | None, Sight]:
        """Who made a child, and what that shows."""
        own = self._session.id
        ends, own_ends = ends_of(servers, child.owner), ends_of(servers, own.number if own else 0)
        family = self._processes.family()
        is_silent = own is not None and not ends and self._connections.are_all(servers, own.number)
        with suppress(OSError, RuntimeError):  # no look now: nothing is proven
            return await asyncio.to_thread(
                lambda: sight_of(child, family, ends, own_ends, record, is_silent=is_silent)
            )
        return None, Sight(child)

    # --- notes --------------------------------------------------------------------------------

    async def _write(self) -> None:
        while self._due is not None:
            bonds, self._due = self._due, None
            try:
                await asyncio.to_thread(write_bonds, self._folder, self._connection, bonds)
            except (OSError, RuntimeError) as error:
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            self._said(
                f"which child of /workers is whose cannot be noted ({error}): the next daemon would have to find it out"
            )

    def _recalled(self, noted: NotedBond) -> BondRemembered:
        bond, record = _bond_of(noted), _record_in(noted)
        if record is None or self._processes.record_of(bond.name) is not None:
            return BondRemembered(bond, is_dead=False)
        self._records[bond.name] = record
        is_dead = self._processes.look_into(bond.name, record) is Standing.DEAD
        return BondRemembered(bond, is_dead=is_dead)


def sight_of(
    child: Child,
    family: Family,
    ends: Sequence[Pair],
    own_ends: Sequence[Pair],
    record: WorkerRecord | None,
    *,
    is_silent: bool,
) -> tuple[Kin | None, Sight]:
    """On a thread: whose a session's connection is, or the process that a record names. Raises `OSError`.

    That it is somebody else's is believed only where our own connection is seen to be ours: a proxy has them all.
    """
    kin = family.behind(ends)
    if kin is None and record is not None:
        kin = family.behind_record(record)
    if kin is not None and kin.name is not None:
        return kin, Sight(child, kin.name)
    if not is_own(own_ends):
        return kin, Sight(child)
    if kin is not None:
        return kin, Sight(child, is_foreign=True)
    return None, Sight(child, is_silent=is_silent, is_remote=bool(ends) and not is_here(ends))


def _noted(bond: Bond, record: WorkerRecord | None) -> NotedBond:
    process = "" if record is None else encode_record(record).decode()
    return NotedBond(*bond.name, bond.born, bond.floor, bond.owner, bond.child, process)


def _bond_of(noted: NotedBond) -> Bond:
    child = None if noted.child is None else Child(*noted.child)
    name = Incarnation(noted.slot, noted.generation)
    return Bond(name, noted.born, noted.floor, child, noted.owner)


def _record_in(noted: NotedBond) -> WorkerRecord | None:
    with suppress(RecordError):
        return decode_record(noted.process.encode())
    return None
