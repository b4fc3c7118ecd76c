"""The `Registry` port of each group: one list of `/workers` for all of them, and each group's own registrations.

Theory of operation. `Registry` has the one list and posts to each group what concerns it: its part of the list where
that changed or is needed, a failure, a wipe. A group needs a list after each connect, after a failure, after a
`relist` (one asked for since then), after a deletion that failed (what a list still shows is ordered again), and, as
a change may have been missed or folded into another, when it has not had any for a resync. So a change costs only
the group that it belongs to.

`GroupRegistry` is what a group's keeper holds: the port, nothing else.

Names no daemon gave out are passed to every group as strange, by their labels.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress

from kazoo.exceptions import KazooException, NoAuthError, NoNodeError
from kazoo.interfaces import IAsyncResult
from kazoo.protocol.states import ZnodeStat

from autohealer.contract import (
    RECORD_BYTES_MAX,
    WORKERS_PATH,
    RecordError,
    WorkerRecord,
    ZnodeName,
    decode_record,
)
from autohealer.coordination.calls import CALL_TIMEOUT_S, CONNECTION_ERRORS, call, name_of
from autohealer.coordination.listing import RESYNC_S, Lister
from autohealer.coordination.names import ASKED_FOR_CHARS_MAX, Listing
from autohealer.coordination.permissions import WorkersGuard
from autohealer.coordination.session import Session
from autohealer.core.children import Child
from autohealer.core.events import ListFailed, RegistryWiped, WorkersListed
from autohealer.core.model import NEVER, Incarnation, Store
from autohealer.daemon.ports import Clock, Gone, Post, Unreadable


class RegistryForbidden(Exception):  # noqa: N818 - says what is the case
    """`/workers` may not be read, or not be made; the message is one sentence that says what to do."""


class Registry:
    """What all groups of a daemon share; used from the event loop's thread only.

    `said` is called with a sentence about permissions that somebody has to mend.
    """

    def __init__(
        self, session: Session, rng: random.Random, clock: Clock, said: Callable[[str], None]
    ) -> None:
        self.session = session
        self.guard = WorkersGuard(session, said)
        self.clock = clock
        self.connection: int | None = None
        """A number for each connection; None while there is none."""
        self._connections = 0
        self._groups: list[GroupRegistry] = []
        self._failure: str | None = None
        self._looked = asyncio.Event()
        self._guarded: int | None = None
        self._guarding: asyncio.Task[None] | None = None
        self._lister = Lister(session, self._listed, self._failed, rng, clock)
        session.subscribe(self._store_changed)

    def subscribe(self, group: str, post: Post) -> GroupRegistry:
        """Post `WorkersListed`, `ListFailed` and `RegistryWiped` of a group from now on, until its port is closed."""
        port = GroupRegistry(self, group, post)
        self._groups.append(port)
        if self._failure is not None:
            post(ListFailed(self._failure))
        self._lister.ask()
        return port

    def unsubscribe(self, port: GroupRegistry) -> None:
        """Post nothing more to a group."""
        if port in self._groups:
            self._groups.remove(port)

    async def be_admitted(self, within_s: float) -> None:
        """Wait for the first list or failure, for so long.

        Raises:
            RegistryForbidden: it is a failure for want of permission, or ZooKeeper lets us in no more.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._looked.wait()
        if self._failure is not None and self._lister.is_forbidden:
            raise RegistryForbidden(self._failure)
        if self.session.trouble:
            raise RegistryForbidden(self.session.trouble)

    @property
    def newest(self) -> int:
        """The zxid of the last change below `/workers` that the last list can have shown."""
        return self._lister.newest

    def relist(self) -> None:
        """Have another list, after a `sync`."""
        self._lister.ask()

    def expect_change(self) -> None:
        """Something below `/workers` was changed from here: see to it that it is noticed."""
        self._lister.expect_change()

    def close(self) -> None:
        """Ask for nothing more."""
        self.connection = None
        self._lister.close()
        if self._guarding is not None:
            self._guarding.cancel()

    def _store_changed(self, store: Store) -> None:
        self._connections += 1
        self.connection = self._connections if store is Store.CONNECTED else None
        self._failure = None
        for port in self._groups:
            port.need()

    def _listed(self, listing: Listing, asked_at: float, wiped: bool) -> None:  # noqa: FBT001
        self._failure = None
        self._looked.set()
        if wiped or self._guarded != self.connection:
            self._look_at_permissions()
        for port in list(self._groups):
            port.listed(listing, asked_at, wiped=wiped)

    def _look_at_permissions(self) -> None:
        """Once for each connection and each `/workers`, before anybody of ours registers."""
        self._guarded = self.connection
        self._guarding = asyncio.get_running_loop().create_task(self.guard.look())

    def _failed(self, why: str) -> None:
        self._failure = why
        self._looked.set()
        for port in list(self._groups):
            port.failed(why)


class GroupRegistry:
    """One group's port."""

    def __init__(self, registry: Registry, group: str, post: Post) -> None:
        self._registry = registry
        self._client = registry.session.client
        self._group = group
        self._post = post
        self._ours: frozenset[Incarnation] = frozenset()
        self._strange: Mapping[str, str | None] = {}
        self._needed_since: float | None = NEVER
        """A list is needed whatever has changed, one asked for at this time or later; None: it is not."""
        self._heard_at = NEVER
        self._deleting: set[asyncio.Future[object]] = set()

    # --- the port -----------------------------------------------------------------------------

    def discard(self, name: Incarnation, child: Child | None = None) -> None:
        """Delete a dead incarnation's registration. What fails is ordered again while a list still shows it."""
        if self._registry.connection is None:
            return
        path = ZnodeName(self._group, name.slot, name.generation).path
        future: asyncio.Future[object]
        if child is None:
            future = call(self._client.delete_async, path)
        else:
            future = asyncio.ensure_future(self._delete_child(child))
        self._deleting.add(future)
        future.add_done_callback(self._deleted)

    def relist(self) -> None:
        """Ask for the list anew, after a `sync`."""
        self._needed_since = self._registry.clock()
        self._registry.relist()

    async def read(self, name: Incarnation | str) -> WorkerRecord:
        """Read a registration's data, however slow the server. Raises `Unreadable`, or `Gone`, also without session."""
        match await self._data_at(self._path(name)):
            case (bytes() as raw, _):
                try:
                    return decode_record(raw)
                except RecordError as error:
                    raise Unreadable(str(error)) from error
            case _:
                raise Unreadable("no data")

    async def look_at(self, label: str) -> tuple[Child, WorkerRecord | None]:
        """Which child has a name, and what it says of its process. Raises `Gone`, or `Unreadable` for too long a name.

        What is too large for a record is not read; who may read the rest does not matter for which child it is.
        """
        path = self._path(label)
        stat = await self._answer_at(path, self._client.exists_async)
        if not isinstance(stat, ZnodeStat):
            raise Gone(path)
        record = None
        if 0 < stat.dataLength <= RECORD_BYTES_MAX:
            with suppress(Unreadable):
                record = await self.read(label)
        return Child(label, stat.czxid, stat.ephemeralOwner), record

    async def flush(self, within_s: float) -> None:
        """Wait until what was to be deleted is, or the time is up."""
        if self._deleting:
            await asyncio.wait(self._deleting, timeout=within_s)

    def close(self) -> None:
        """Hear of nothing more."""
        self._registry.unsubscribe(self)

    # --- what the registry tells --------------------------------------------------------------

    def need(self) -> None:
        """Have the next list posted whatever has changed."""
        if self._needed_since is None:
            self._needed_since = NEVER

    def listed(self, listing: Listing, asked_at: float, *, wiped: bool) -> None:
        """There is a list: post this group's part of it if that is news or needed."""
        ours, strange = listing.of(self._group), listing.strange
        changed = ours is not self._ours or strange is not self._strange
        self._ours, self._strange = ours, strange
        if wiped:
            self._post(RegistryWiped())
        is_due = asked_at - self._heard_at >= RESYNC_S / 2
        is_awaited = self._needed_since is not None and asked_at >= self._needed_since
        if wiped or changed or is_due or is_awaited:
            self._heard_at = asked_at
            self._post(WorkersListed(ours, frozenset(strange), asked_at, self._registry.newest))
        if is_awaited:
            self._needed_since = None

    def failed(self, why: str) -> None:
        """There is no list until there is one again, which is news then."""
        self.need()
        self._post(ListFailed(why))

    # --- reading and deleting -----------------------------------------------------------------

    def _path(self, name: Incarnation | str) -> str:
        if isinstance(name, Incarnation):
            return ZnodeName(self._group, name.slot, name.generation).path
        true_name = self._strange.get(name, name)
        if true_name is None:
            raise Unreadable(f"its name has more than {ASKED_FOR_CHARS_MAX} characters")
        return f"{WORKERS_PATH}/{true_name}"

    async def _delete_child(self, child: Child) -> object:
        """Delete it if it is the one that was bound, and not another under its name. Raises what kazoo raises."""
        with suppress(Gone, Unreadable):
            path = self._path(child.label)
            match await self._answer_at(path, self._client.exists_async):
                case ZnodeStat(czxid=child.czxid, ephemeralOwner=child.owner, version=version):
                    return await call(self._client.delete_async, path, version)
        return None

    async def _data_at(self, path: str) -> object:
        return await self._answer_at(path, self._client.get_async)

    async def _answer_at(self, path: str, ask: Callable[..., IAsyncResult]) -> object:
        """Wait for an answer for as long as there is a connection: the next one's first list asks again."""
        connection = self._registry.connection
        if connection is None:
            raise Gone(path)
        answer = call(ask, path)
        while connection == self._registry.connection and not answer.done():
            await asyncio.wait({answer}, timeout=CALL_TIMEOUT_S)
        if not answer.done():
            raise Gone(path)
        try:
            return answer.result()
        except (NoNodeError, *CONNECTION_ERRORS) as error:
            raise Gone(path) from error
        except KazooException as error:
            raise Unreadable(f"ZooKeeper does not give it out ({name_of(error)})") from error

    def _deleted(self, future: asyncio.Future[object]) -> None:
        self._deleting.discard(future)
        self._registry.expect_change()
        error = None if future.cancelled() else future.exception()
        if error is None or isinstance(error, NoNodeError):
            return
        self.need()
        if isinstance(error, NoAuthError):
            self._registry.guard.deletion_refused(error)
        elif not isinstance(error, KazooException):
            raise error
