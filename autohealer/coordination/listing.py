"""The list of `/workers`, had again whenever it may have changed; and what to do where it cannot be had.

Theory of operation. Level, not edge: a watch event only means "list again". kazoo drops raw watches at
every disconnect, so every CONNECTED lists anew, and a slow jittered resync catches whatever else may get
lost. At most one list is under way; events that arrive meanwhile cause one more. No call is made while
the session is not connected (it would block until it is), each has a deadline, and answers that come
after a disconnect are thrown away. The first list of a connection follows a `sync`, and so does one that is
asked for because somebody may be ended for what is missing from it: the server may lag behind another. Such a list
counts as asked for when its `sync` was.

The list comes with the znode's own creation (czxid and time): another one means that `/workers` was deleted and made
again by whomever in the meantime, and everything registered with it.

A list that is refused, or whose answer makes the server or kazoo drop the connection each time, is a failure with a
cause in one sentence. It is told once per cause and connection, and asked again ever more rarely, up to the resync:
asking on for what cannot be answered would cut the session for ever. What was too long is asked for again only when the
znode itself says that something below it has changed since (`pzxid`), or after `SPARED_MAX` such looks.

Must never know: what the names mean to whom. Limits: an answer too long is told from a bad connection only by its
repetition (`DROPS_MAX`).
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from enum import Enum
from functools import partial

from kazoo.exceptions import (
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
)
from kazoo.protocol.states import ZnodeStat

from autohealer.contract import WORKERS_PATH
from autohealer.coordination.calls import CALL_TIMEOUT_S, CONNECTION_ERRORS, call, name_of
from autohealer.coordination.names import Listing, Names
from autohealer.coordination.permissions import remedy
from autohealer.coordination.session import Session
from autohealer.core.model import Store
from autohealer.daemon.ports import Clock

RESYNC_S = 30.0
DEBOUNCE_S = 0.02
"""Lists this close together are made one: a whole group registering costs tens of lists, not one per worker."""

RETRY_S = 3.0
"""How long after a failure the list is asked for again; twice as long after each further one, up to `RESYNC_S`."""

MISSED_S = 1.0
"""A change of our own that no watch has told of by then is looked for: a watch may be lost, or not be told for want of
permission, which is noticed only by asking."""

DROPS_MAX = 3
"""So many connections in a row that end while nothing but the list is asked for are the list's fault."""

SPARED_MAX = 10
"""A list taken for too long is asked for after so many pauses without a change: it may have been something else."""

_MALFORMED = (struct.error, UnicodeError)
"""What kazoo raises over an answer that it cannot take apart."""

_Answered = Callable[[asyncio.Future[object]], None]


class Cause(Enum):
    """Why the list cannot be had; the value is how that is said, with `{path}`, `{error}`, `{drops}`
    and `{remedy}`."""

    UNREADABLE = "{path} in ZooKeeper may not be read ({error}): {remedy}"
    UNMAKEABLE = (
        "{path} is missing in ZooKeeper and may not be made ({error}): make it, "
        "in zkCli with `create {path}`, or give permission to create it"
    )
    TOO_LONG = (
        "the list of {path} makes ZooKeeper drop the connection ({drops} times in a row), as when it is too long for "
        "an answer: delete what does not belong there, or move workers to another chroot"
    )
    MALFORMED = (
        "the list of {path} that ZooKeeper sends makes no sense ({error}): "
        "delete the names that do not belong there"
    )
    REFUSED = "ZooKeeper refuses the list of {path} ({error}): look into its log"


class Lister:
    """Tells every list it gets, and each failure once in a connection; used from the event loop's thread only.

    `listed(listing, asked_at, wiped)`: a complete list, and whether `/workers` is another one than that of the last.
    `failed(why)`: there is none until the next `listed`.
    """

    def __init__(
        self,
        session: Session,
        listed: Callable[[Listing, float, bool], None],
        failed: Callable[[str], None],
        rng: random.Random,
        clock: Clock,
    ) -> None:
        self._session = session
        self._client = session.client
        self._listed = listed
        self._failed = failed
        self._rng = rng
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._names = Names()
        self._connected = False
        self._connection = 0
        self._sync_wanted = True
        self._under_way = False
        self._is_list_unanswered = False
        self._changed_meanwhile = False
        self._listed_at = float("-inf")
        self._asked_at = float("-inf")
        self.newest = 0
        """The zxid of the last change below `/workers` that the last list can have shown."""
        self._expected_at = float("-inf")
        self._again: asyncio.TimerHandle | None = None
        self._expectation: asyncio.TimerHandle | None = None
        self._creation: tuple[int, int] | None = None
        self._cause: Cause | None = None
        self._why = ""
        self._drops = 0
        self._changed_by: int | None = None
        self._spared = 0
        self._is_worth_asking = False
        self._pause_s = 0.0
        self._not_before = float("-inf")
        session.subscribe(self._store_changed)

    @property
    def is_forbidden(self) -> bool:
        """Whether permissions are why there is no list."""
        return self._cause in {Cause.UNREADABLE, Cause.UNMAKEABLE}

    def ask(self) -> None:
        """Have another list, after a `sync`."""
        self._sync_wanted = True
        self._list_soon()

    def expect_change(self) -> None:
        """Something below `/workers` was changed from here: look, unless a watch makes us in time."""
        self._expected_at = self._loop.time()
        if self._expectation is None:
            self._expectation = self._loop.call_later(MISSED_S, self._look_for_change)

    def close(self) -> None:
        """Ask for nothing more."""
        self._connected = False
        self._cancel_next()
        if self._expectation is not None:
            self._expectation.cancel()

    # --- when ---------------------------------------------------------------------------------

    def _store_changed(self, store: Store) -> None:
        cut_short = self._is_list_unanswered
        self._connected = store is Store.CONNECTED
        self._connection += 1
        self._sync_wanted = True
        self._under_way = self._is_list_unanswered = False
        self._cancel_next()
        if store is Store.LOST:
            # Whoever repairs a store by emptying it ends every session: what is there now may be had at once.
            self._forget_failures()
        elif cut_short:
            self._dropped()
        if self._connected:
            self._tell_failure()
            self._list_in(0.0)

    def _watch_fired(self, _event: object) -> None:
        """On kazoo's callback thread: hop and return."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._list_soon)

    def _look_for_change(self) -> None:
        self._expectation = None
        if self._asked_at < self._expected_at:
            self._list_soon()

    def _list_soon(self) -> None:
        if self._under_way:
            self._changed_meanwhile = True  # the event may be about something newer than the answer
        elif self._connected:
            self._list_in(self._listed_at + DEBOUNCE_S - self._loop.time())

    def _list_in(self, delay_s: float) -> None:
        """List after a delay, and after a failure not before its pause is over."""
        self._cancel_next()
        due_in_s = max(0.0, delay_s, self._not_before - self._loop.time())
        self._again = self._loop.call_later(due_in_s, self._list_now)

    def _cancel_next(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    # --- asking -------------------------------------------------------------------------------

    def _list_now(self) -> None:
        self._cancel_next()
        self._under_way, self._changed_meanwhile = True, False
        asked_at, self._asked_at = self._clock(), self._loop.time()
        if self._cause is Cause.TOO_LONG and not self._is_worth_asking:
            future = call(self._client.exists_async, WORKERS_PATH)
            future.add_done_callback(self._if_still_connected(self._looked))
        elif self._sync_wanted:
            self._sync_wanted = False
            future = call(self._client.sync_async, WORKERS_PATH)
            answered = partial(self._sync_answered, asked_at)
            future.add_done_callback(self._if_still_connected(answered))
        else:
            self._get_children(asked_at)
        self._again = self._loop.call_later(CALL_TIMEOUT_S, self._list_again)

    def _list_again(self) -> None:
        """No answer: what was asked may have been lost, and the `sync` before it."""
        self._sync_wanted = True
        self._list_now()

    def _get_children(self, asked_at: float) -> None:
        self._is_list_unanswered = True
        future = call(
            self._client.get_children_async,
            WORKERS_PATH,
            self._watch_fired,
            include_data=True,
            read=self._take_apart,
        )
        answered = partial(self._list_answered, asked_at)
        future.add_done_callback(self._if_still_connected(answered))

    def _take_apart(self, answer: object) -> tuple[Listing, ZnodeStat]:
        """On kazoo's completion thread, where a long list holds nothing up."""
        match answer:
            case (list() as names, ZnodeStat() as stat):
                return self._names.read(names), stat
            case _:
                raise TypeError(f"kazoo answers with names and a stat, not {type(answer)}")

    def _if_still_connected(self, answered: _Answered) -> _Answered:
        """Pass an answer on unless its connection is gone."""
        connection = self._connection

        def on_time(future: asyncio.Future[object]) -> None:
            if connection == self._connection and self._connected:
                answered(future)

        return on_time

    def _looked(self, future: asyncio.Future[object]) -> None:
        """Whether a list that was too long can have become shorter."""
        self._under_way = False
        stat = None if future.exception() is not None else future.result()
        changed_by = stat.pzxid if isinstance(stat, ZnodeStat) else None
        if changed_by == self._changed_by and self._spared < SPARED_MAX:
            self._spared += 1
            self._pause()
            self._list_in(0.0)
        else:
            self._changed_by, self._spared, self._is_worth_asking = changed_by, 0, True
            self._list_now()

    # --- answers ------------------------------------------------------------------------------

    def _sync_answered(self, asked_at: float, future: asyncio.Future[object]) -> None:
        error = future.exception()
        if error is None or isinstance(error, NoNodeError):
            self._get_children(asked_at)
        else:
            self._sync_wanted = True
            self._went_wrong(error, Cause.UNREADABLE)

    def _list_answered(self, asked_at: float, future: asyncio.Future[object]) -> None:
        was_unanswered, self._is_list_unanswered = self._is_list_unanswered, False
        self._listed_at = self._loop.time()
        error = future.exception()
        if isinstance(error, NoNodeError):
            self._make_path()
        elif error is not None:
            if isinstance(error, ConnectionLoss) and was_unanswered:
                self._dropped()
            self._went_wrong(error, Cause.UNREADABLE)
        else:
            self._had(future.result(), asked_at)

    def _had(self, answer: object, asked_at: float) -> None:
        assert isinstance(answer, tuple), "made by _take_apart"
        listing, stat = answer
        creation = (stat.czxid, stat.ctime)
        wiped = self._creation is not None and creation != self._creation
        self._creation = creation
        self.newest = stat.pzxid
        self._under_way = False
        self._forget_failures()
        resync_s = RESYNC_S * self._rng.uniform(0.75, 1.25)
        self._list_in(DEBOUNCE_S if self._changed_meanwhile else resync_s)
        self._listed(listing, asked_at, wiped)

    def _make_path(self) -> None:
        """Create `/workers` (and a chroot above it) where nobody has yet, then list."""
        future = call(self._client.create_async, WORKERS_PATH, makepath=True)
        future.add_done_callback(self._if_still_connected(self._made))

    def _made(self, future: asyncio.Future[object]) -> None:
        error = future.exception()
        if error is None or isinstance(error, NodeExistsError):
            self._list_now()
        else:
            self._went_wrong(error, Cause.UNMAKEABLE)

    # --- failures -----------------------------------------------------------------------------

    def _went_wrong(self, error: BaseException, if_denied: Cause) -> None:
        """Ask again, and say why there is no list unless that is the connection's fault."""
        self._under_way = False
        if isinstance(error, NoAuthError):
            self._give_up(if_denied, error)
        elif isinstance(error, _MALFORMED):
            self._give_up(Cause.MALFORMED, error)
        elif isinstance(error, KazooException) and not isinstance(error, CONNECTION_ERRORS):
            self._give_up(Cause.REFUSED, error)
        self._list_in(RETRY_S)
        if not isinstance(error, (KazooException, *_MALFORMED)):
            raise error

    def _dropped(self) -> None:
        """Count it; the cause is told when there is a connection again."""
        self._drops += 1
        self._is_worth_asking = False
        if self._drops >= DROPS_MAX:
            self._pause()
            if self._cause is not Cause.TOO_LONG:
                self._note(Cause.TOO_LONG)

    def _give_up(self, cause: Cause, error: BaseException) -> None:
        """Ask more rarely; say why, unless that was the last thing said."""
        self._pause()
        if cause is not self._cause:
            self._note(cause, name_of(error))
            self._tell_failure()

    def _pause(self) -> None:
        self._pause_s = min(RESYNC_S, self._pause_s * 2 or RETRY_S)
        self._not_before = self._loop.time() + self._pause_s

    def _note(self, cause: Cause, error: str = "") -> None:
        path = f"{self._client.chroot}{WORKERS_PATH}"
        self._cause = cause
        self._why = cause.value.format(
            path=path, error=error, drops=self._drops, remedy=remedy(self._session, path)
        )

    def _tell_failure(self) -> None:
        if self._cause is not None:
            # Others still have to hear of the session's state that came with it.
            self._loop.call_soon(self._failed, self._why)

    def _forget_failures(self) -> None:
        self._cause, self._drops, self._changed_by, self._spared = None, 0, None, 0
        self._pause_s, self._not_before = 0.0, float("-inf")
