"""The `Agent` port of a group: registrations that the daemon holds for programs that know nothing of ZooKeeper.

Theory of operation. They are held in a session of their own, whose id and password are kept in the state directory: the
next daemon resumes it, so that a crash, a detachment or an upgrade of the daemon makes nobody vanish. Each name is
noted as it should be, with its data or gone, and one task makes that true; with each new connection all are looked at
again. A registration of an agent's session that could not be resumed is replaced in one transaction, so that nobody
sees it missing.

What registers itself under such a name has a right to it: that is said, and left alone.

Must never know: processes, what is decided. Limits: used from the event loop's thread only; while there is no
connection nothing is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial

from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError
from kazoo.protocol.states import ZnodeStat

from autohealer.contract import (
    RecordError,
    WorkerRecord,
    ZnodeName,
    decode_record,
    encode_record,
)
from autohealer.coordination.calls import CONNECTION_ERRORS, call, name_of
from autohealer.coordination.session import Session
from autohealer.core.model import Incarnation, Store

AT_ONCE = 64
"""Registrations made in parallel: enough for a start of thousands, without a burst that others wait behind."""

RETRY_S = 1.0
"""Until the next try of what ZooKeeper refuses; somebody has to mend that first."""

RECONNECTED_S = 0.05
"""Until the next try of what a connection took with it; without one the call waits for the next."""


class GroupAgent:
    """One group's port.

    `said` is called with a sentence about what somebody has to mend, once each; `start` runs something in the
    background.
    """

    def __init__(
        self,
        session: Session,
        group: str,
        said: Callable[[str], None],
        start: Callable[[Coroutine[object, object, None]], asyncio.Task[None]],
    ) -> None:
        self._client = session.client
        self._group = group
        self._said = said
        self._start = start
        self._told: set[str] = set()
        self._due: dict[str, bytes | None] = {}
        """How each path should be: with this data, or gone (None) and then forgotten."""
        self._is_connected = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        session.subscribe(self._store_changed)

    # --- the port -----------------------------------------------------------------------------

    def register(self, name: Incarnation, record: WorkerRecord) -> None:
        """Hold an incarnation's registration until it is withdrawn."""
        self._set(name, encode_record(record))

    def withdraw(self, name: Incarnation) -> None:
        """Delete it, and hold it no more."""
        self._set(name, None)

    # --- the end ------------------------------------------------------------------------------

    async def flush(self, within_s: float) -> None:
        """Wait until everything is as it should be, or the time is up."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=within_s)

    def close(self) -> None:
        """Try nothing more; what is registered stays."""
        self._is_connected = False
        for task in self._tasks.values():
            task.cancel()

    # --- making it true -----------------------------------------------------------------------

    def _set(self, name: Incarnation, data: bytes | None) -> None:
        path = ZnodeName(self._group, name.slot, name.generation).path
        self._due[path] = data
        self._begin(path)

    def _store_changed(self, store: Store) -> None:
        self._is_connected = store is Store.CONNECTED
        for path in list(self._due):
            self._begin(path)

    def _begin(self, path: str) -> None:
        before = self._tasks.get(path)
        # One that is done may still be noted: the loop tells of its end a turn later.
        if self._is_connected and (before is None or before.done()):
            task = self._tasks[path] = self._start(self._make_true(path))
            task.add_done_callback(partial(self._forget, path))

    def _forget(self, path: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(path) is task:
            del self._tasks[path]

    async def _make_true(self, path: str) -> None:
        """Until it is as it should be, or there is no connection: the next one begins anew."""
        while self._is_connected:
            data = self._due[path]
            try:
                async with self._places:
                    done = await (self._delete(path) if data is None else self._create(path, data))
            except CONNECTION_ERRORS:
                await asyncio.sleep(RECONNECTED_S)
                continue
            except KazooException as error:
                self._refused(path, error)
                await asyncio.sleep(RETRY_S)
                continue
            if done and self._due[path] is data:
                if data is None:
                    del self._due[path]
                return

    async def _create(self, path: str, data: bytes) -> bool:
        """Whether it is there now; False: look again. Raises kazoo's."""
        try:
            await call(self._client.create_async, path, data, ephemeral=True, makepath=True)
        except NodeExistsError:
            return await self._meet(path, data)
        return True

    async def _delete(self, path: str) -> bool:
        with suppress(NoNodeError):
            await call(self._client.delete_async, path)
        return True

    async def _meet(self, path: str, data: bytes) -> bool:
        """Something has the name: whether it may keep it."""
        try:
            found = await call(self._client.get_async, path)
        except NoNodeError:
            return False
        match found, self._client.client_id:
            case (bytes() as raw, ZnodeStat() as stat), (int() as session, bytes()):
                if stat.ephemeralOwner == session:
                    return True
                if not _is_agents(raw):
                    self._say(
                        f"{path} is registered already, by its program itself it seems: the daemon leaves it alone; "
                        "for a program that registers itself, say --register self"
                    )
                    return True
                return await self._replace(path, data, stat.version)
        return False

    async def _replace(self, path: str, data: bytes, version: int) -> bool:
        """Ours in place of an earlier session's, and nothing in between."""
        both = self._client.transaction()
        both.delete(path, version)
        both.create(path, data, ephemeral=True)
        match await call(both.commit_async):
            case list() as answers:
                return not any(isinstance(answer, Exception) for answer in answers)
        return False

    def _refused(self, path: str, error: KazooException) -> None:
        what = "cannot be registered" if self._due[path] is not None else "cannot be deleted"
        self._say(f"{path} {what} ({name_of(error)}): the daemon goes on trying")

    def _say(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._said(sentence)


def _is_agents(raw: bytes) -> bool:
    try:
        return decode_record(raw).agent
    except RecordError:
        return False
