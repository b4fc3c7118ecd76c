"""The `Registry` port: what stands below `/workers`, as complete fresh lists, and the deletion of the dead.

Theory of operation. Level, not edge: a watch event only means "list again". kazoo drops raw watches at
every disconnect, so every CONNECTED lists anew, and a slow jittered resync catches whatever else may get
lost. At most one list is under way; events that arrive meanwhile cause one more. No call is made while
the session is not connected (it would block until it is), each has a deadline, and answers that come
after a disconnect are thrown away. The first list of a connection follows a `sync`, and so does one that is
asked for because somebody may be ended for what is missing from it: the server may lag behind another.

Names are parsed once, when they appear. Other groups' registrations are none of our business; names that
no daemon gave out are passed on as strange.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial

from kazoo.exceptions import KazooException, NodeExistsError, NoNodeError
from kazoo.interfaces import IAsyncResult

from autohealer.contract import (
    WORKERS_PATH,
    RecordError,
    WorkerRecord,
    ZnodeName,
    decode_record,
    parse_znode_name,
)
from autohealer.coordination.session import Session
from autohealer.core.events import WorkersListed
from autohealer.core.model import Incarnation, Store
from autohealer.daemon.ports import Clock, Gone, Post, Unreadable

RESYNC_S = 30.0
DEBOUNCE_S = 0.02
"""Lists this close together are made one: a whole group registering costs tens of lists, not one per worker."""

CALL_TIMEOUT_S = 10.0

_Answered = Callable[[asyncio.Future[object]], None]


class Registry:
    """Used from the event loop's thread only."""

    def __init__(
        self, session: Session, group: str, post: Post, rng: random.Random, clock: Clock
    ) -> None:
        self._session = session
        self._group = group
        self._post = post
        self._rng = rng
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._connected = False
        self._connection = 0
        self._synced = False
        self._listing = False
        self._changed_meanwhile = False
        self._listed_at = float("-inf")
        self._again: asyncio.TimerHandle | None = None
        self._parsed: dict[str, Incarnation | str | None] = {}
        self._deleting: set[asyncio.Future[object]] = set()
        session.subscribe(self._store_changed)

    def discard(self, name: Incarnation) -> None:
        """Delete a dead incarnation's registration. What fails is ordered again while a list still shows it."""
        if not self._connected:
            return
        future = self._call(self._session.client.delete_async, self._path(name))
        self._deleting.add(future)
        future.add_done_callback(self._deleted)

    def relist(self) -> None:
        """Ask for the list anew, after a `sync`."""
        self._synced = False
        self._list_soon()

    async def read(self, name: Incarnation | str) -> WorkerRecord:
        """Read a registration's data, however slow the server. Raises `Unreadable`, or `Gone`, also without session."""
        match await self._data_of(name):
            case (bytes() as raw, _):
                try:
                    return decode_record(raw)
                except RecordError as error:
                    raise Unreadable(str(error)) from error
            case _:
                raise Unreadable("no data")

    async def _data_of(self, name: Incarnation | str) -> object:
        """Wait for an answer for as long as there is a connection: the next one's first list asks again."""
        if not self._connected:
            raise Gone(str(name))
        connection = self._connection
        answer = self._call(self._session.client.get_async, self._path(name))
        while connection == self._connection and not answer.done():
            await asyncio.wait({answer}, timeout=CALL_TIMEOUT_S)
        try:
            return answer.result()
        except (KazooException, asyncio.InvalidStateError) as error:
            raise Gone(str(name)) from error

    async def flush(self, within_s: float) -> None:
        """Wait until what was to be deleted is, or the time is up."""
        if self._deleting:
            await asyncio.wait(self._deleting, timeout=within_s)

    def close(self) -> None:
        """Ask for nothing more."""
        self._connected = False
        self._cancel_next()

    # --- listing ------------------------------------------------------------------------------

    def _store_changed(self, store: Store) -> None:
        self._connected = store is Store.CONNECTED
        self._connection += 1
        self._synced = self._listing = False
        self._cancel_next()
        if self._connected:
            self._list_now()

    def _watch_fired(self, _event: object) -> None:
        """On kazoo's callback thread: hop and return."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._list_soon)

    def _list_soon(self) -> None:
        if self._listing:
            self._changed_meanwhile = True  # the event may be about something newer than the answer
        elif self._connected:
            self._list_in(max(0.0, self._listed_at + DEBOUNCE_S - self._loop.time()))

    def _list_in(self, delay_s: float) -> None:
        self._cancel_next()
        self._again = self._loop.call_later(delay_s, self._list_now)

    def _list_now(self) -> None:
        self._cancel_next()
        self._listing, self._changed_meanwhile = True, False
        client = self._session.client
        if self._synced:
            answered = partial(self._list_answered, self._clock())
            future = self._call(client.get_children_async, WORKERS_PATH, self._watch_fired)
            future.add_done_callback(self._if_still_connected(answered))
        else:
            future = self._call(client.sync_async, WORKERS_PATH)
            future.add_done_callback(self._if_still_connected(self._sync_answered))
        self._again = self._loop.call_later(CALL_TIMEOUT_S, self._list_now)

    def _if_still_connected(self, answered: _Answered) -> _Answered:
        """Pass an answer on unless its connection is gone."""
        connection = self._connection

        def on_time(future: asyncio.Future[object]) -> None:
            future.exception()  # retrieved, whoever looks at it
            if connection == self._connection and self._connected:
                answered(future)

        return on_time

    def _sync_answered(self, future: asyncio.Future[object]) -> None:
        error = future.exception()
        if error is None or isinstance(error, NoNodeError):
            self._synced = True
            self._list_now()
        else:
            self._list_in(RESYNC_S / 10)

    def _list_answered(self, asked_at: float, future: asyncio.Future[object]) -> None:
        self._listing = False
        self._listed_at = self._loop.time()
        error = future.exception()
        if isinstance(error, NoNodeError):
            self._make_path()
        elif error is not None:
            self._list_in(RESYNC_S / 10)
        else:
            names = future.result()
            assert isinstance(names, list), "kazoo answers get_children with a list"
            self._publish(names, asked_at)
            resync_s = RESYNC_S * self._rng.uniform(0.75, 1.25)
            self._list_in(DEBOUNCE_S if self._changed_meanwhile else resync_s)

    def _publish(self, names: list[str], asked_at: float) -> None:
        known = self._parsed
        self._parsed = {n: known[n] if n in known else self._parse(n) for n in names}
        values = self._parsed.values()
        ours = frozenset(v for v in values if isinstance(v, Incarnation))
        strange = frozenset(v for v in values if isinstance(v, str))
        self._post(WorkersListed(ours, strange, asked_at))

    def _parse(self, name: str) -> Incarnation | str | None:
        parsed = parse_znode_name(name)
        if parsed is None:
            return name
        return Incarnation(parsed.slot, parsed.generation) if parsed.group == self._group else None

    def _make_path(self) -> None:
        """Create `/workers` (and a chroot above it) where nobody has yet, then list."""
        future = self._call(self._session.client.create_async, WORKERS_PATH, makepath=True)

        def made(future: asyncio.Future[object]) -> None:
            error = future.exception()
            soon = error is None or isinstance(error, NodeExistsError)
            if self._connected:
                self._list_in(0.0 if soon else RESYNC_S / 10)

        future.add_done_callback(made)

    def _cancel_next(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    # --- kazoo --------------------------------------------------------------------------------

    def _deleted(self, future: asyncio.Future[object]) -> None:
        self._deleting.discard(future)
        if not future.cancelled():
            future.exception()  # retrieved: a failed delete is ordered again by the next list

    def _call(
        self, method: Callable[..., IAsyncResult], *args: object, **kwargs: object
    ) -> asyncio.Future[object]:
        """Start a kazoo call and get its outcome on the loop; kazoo completes it on a thread of its own."""
        future: asyncio.Future[object] = self._loop.create_future()

        def completed(result: IAsyncResult) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_resolve, future, result)

        method(*args, **kwargs).rawlink(completed)
        return future

    def _path(self, name: Incarnation | str) -> str:
        if isinstance(name, str):
            return f"{WORKERS_PATH}/{name}"
        return ZnodeName(self._group, name.slot, name.generation).path


def _resolve(future: asyncio.Future[object], result: IAsyncResult) -> None:
    if future.done():
        return
    if result.exception is not None:
        future.set_exception(result.exception)
    else:
        future.set_result(result.value)
