"""A group's claim: the ephemeral znode that says which daemon keeps the group, so that no second one does.

Theory of operation. `/autohealer/<group>/keeper` is made in the daemon's own session, so it goes when the daemon does,
at the latest with its session. Who makes it keeps the group: only a creation decides. Each creation also changes
the parent's version, and is made on condition of the version read before the claim was looked at, in one
transaction. So a claim is never replaced that is not the one that was looked at: the version of a znode that was
deleted and made again would not tell.

A claim in the way is one of three things. Our own: nothing is to be done. One of an earlier session of ours or, as long
as we have never held it, one of the same state directory in the same boot: a dead predecessor's, because the lock on
that directory is ours now; it is replaced. Anybody else's: it is waited for (watched, not polled); who waits for our
claim does so for as long as a dead daemon's session can last. Where it may not be read or made, that is said and
tried again.

The claim is watched while it is ours, too, and made again after a lost session or a deletion. If another daemon holds
it by then, this is told, and the claim taken when that one goes. Nothing here ends a worker or a daemon.

Must never know: what is done with a group. Limits: who copies a state directory to a daemon on the same boot gets
two keepers that both know of it, the first by being told.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import ZnodeStat

from autohealer.coordination.calls import CONNECTION_ERRORS, call, name_of
from autohealer.coordination.permissions import close_if_open, remedy
from autohealer.coordination.session import Session
from autohealer.core.model import Store
from autohealer.printable import printable

CLAIM_VERSION = 1
CLAIM_BYTES_MAX = 4096
CLAIM_TEXT_CHARS = 120
"""Of each text that another daemon wrote into its claim."""

PATIENCE_BEYOND_SESSION_S = 2.0
"""A server ends sessions only at its ticks; Apache's is two seconds."""

RETRY_S = 30.0
"""How often a claim that cannot be had is tried without anything having happened: a watch may be lost."""

ATTEMPTS_IN_A_ROW = 20
"""What is changed by others again and again while it is being looked at is left alone for `RETRY_S`."""

_CHANGED_MEANWHILE = (BadVersionError, NodeExistsError, NoNodeError)


class GroupTaken(Exception):  # noqa: N818 - says what is the case
    """Another daemon keeps the group, or may; the message names it and says what to do."""


class ClaimUnavailable(Exception):  # noqa: N818 - says what is the case
    """ZooKeeper does not let the claim be made or read, or is away; nobody is known to keep the group."""


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """Who keeps a group. `keeper` tells state directories apart (12 hex digits), `boot` is the kernel's boot id."""

    keeper: str
    host: str
    boot: str
    pid: int
    state_dir: str
    version: str


class GroupClaim:
    """Used from the event loop's thread only. `said` is called with a sentence when it matters who holds the claim."""

    def __init__(
        self, session: Session, group: str, about: ClaimRecord, said: Callable[[str], None]
    ) -> None:
        self._session = session
        self._client = session.client
        self._group = group
        self._about = about
        self._said = said
        self._parent = f"/autohealer/{group}"
        self._path = f"{self._parent}/keeper"
        self._loop = asyncio.get_running_loop()
        self._is_connected = False
        self._is_ours = False
        self._was_ours = False
        self._is_closed = False
        self._owners: set[int] = set()
        self._obstacle: Exception | None = None
        self._told = ""
        self._news = asyncio.Event()
        self._looked = asyncio.Event()
        self._again: asyncio.TimerHandle | None = None
        self._pursuit: asyncio.Task[None] | None = None
        session.subscribe(self._store_changed)

    @property
    def is_ours(self) -> bool:
        """Whether this daemon held the claim when it was last looked at."""
        return self._is_ours

    async def take(self, within_s: float | None = None) -> None:
        """Wait until the claim is ours, for at most `within_s` (default: what a dead daemon's session can last).

        Raises:
            GroupTaken: another daemon holds it still.
            ClaimUnavailable: it may not be made or read, or there was no ZooKeeper to ask.
        """
        patience_s = self._session.timeout_s + PATIENCE_BEYOND_SESSION_S
        try:
            async with asyncio.timeout(patience_s if within_s is None else within_s):
                while not self._is_ours:
                    if isinstance(self._obstacle, ClaimUnavailable):
                        raise self._obstacle
                    await self._looked.wait()
                    self._looked.clear()
        except TimeoutError:
            raise self._obstacle or ClaimUnavailable(
                f"the claim of group {self._group!r} could not be made: ZooKeeper did not answer in time"
            ) from None

    def release(self) -> None:
        """Let another daemon keep the group although the session goes on."""
        if self._is_ours:
            call(self._client.delete_async, self._path).add_done_callback(_forget_failure)
        self.close()

    def close(self) -> None:
        """Take it no more; it goes with the session."""
        if self._is_closed:
            return
        self._is_closed = True
        self._session.unsubscribe(self._store_changed)
        self._is_connected = False
        if self._again is not None:
            self._again.cancel()
        if self._pursuit is not None:
            self._pursuit.cancel()

    # --- when ---------------------------------------------------------------------------------

    def _store_changed(self, store: Store) -> None:
        self._is_connected = store is Store.CONNECTED
        if store is Store.LOST:
            self._is_ours = False
        self._look_again()

    def _watch_fired(self, _event: object) -> None:
        """On kazoo's callback thread: hop and return."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._look_again)

    def _look_again(self) -> None:
        self._news.set()
        if self._is_connected and (self._pursuit is None or self._pursuit.done()):
            self._pursuit = self._loop.create_task(self._pursue())
            self._pursuit.add_done_callback(_surface)

    def _look_again_in(self, delay_s: float) -> None:
        if self._again is not None:
            self._again.cancel()
        self._again = self._loop.call_later(delay_s, self._look_again)

    async def _pursue(self) -> None:
        """Try while there is news of the claim; the next news begins this anew."""
        while self._is_connected and self._news.is_set():
            self._news.clear()
            self._look_again_in(RETRY_S)
            try:
                await self._settle()
            except CONNECTION_ERRORS:
                continue  # the next connection is news
            except GroupTaken as taken:
                self._hold_back(taken)
            except KazooException as error:
                self._hold_back(self._unavailable(name_of(error)))
            self._looked.set()

    def _hold_back(self, obstacle: Exception) -> None:
        """Say once what is in the way."""
        self._is_ours, self._obstacle = False, obstacle
        if str(obstacle) != self._told:
            self._told = str(obstacle)
            self._said(self._told)

    # --- what ---------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Have the claim, or raise `GroupTaken`, or what kazoo raises."""
        for _ in range(ATTEMPTS_IN_A_ROW):
            version = await self._parent_version()
            found = await self._look()
            if found is None:
                await self._make(version, replaces=False)
                continue
            raw, stat = found
            if stat.ephemeralOwner == self._session_id():
                self._is_ours = self._was_ours = True
                self._obstacle, self._told = None, ""
                await self._shut_others_out()
                return
            if not self._is_a_predecessors(raw, stat):
                raise GroupTaken(self._taken_by(raw, stat))
            await self._make(version, replaces=True)
        raise GroupTaken(self._sentence("changes hands all the time"))

    async def _parent_version(self) -> int:
        """Read the parent's version, which every creation of the claim changes."""
        while True:
            stat = await call(self._client.exists_async, self._parent)
            if isinstance(stat, ZnodeStat):
                return int(stat.version)
            await call(self._client.ensure_path_async, self._parent)

    async def _look(self) -> tuple[bytes, ZnodeStat] | None:
        """Read the claim and watch it."""
        try:
            match await call(self._client.get_async, self._path, self._watch_fired):
                case (bytes() as raw, ZnodeStat() as stat):
                    return raw, stat
                case answer:
                    raise TypeError(f"kazoo answers with data and a stat, not {answer!r}")
        except NoNodeError:
            return None

    async def _make(self, parent_version: int, *, replaces: bool) -> None:
        """Create the claim unless anybody has created one since the version was read; who looks next sees it."""
        self._owners.add(self._session_id())
        transaction = self._client.transaction()
        transaction.set_data(self._parent, b"", parent_version)
        if replaces:
            transaction.delete(self._path)
        transaction.create(self._path, encode_claim(self._about), ephemeral=True)
        results = await call(transaction.commit_async)
        assert isinstance(results, list), "a transaction answers with the results of its parts"
        for result in results:
            if isinstance(result, Exception) and not isinstance(
                result, (*_CHANGED_MEANWHILE, RolledBackError, RuntimeInconsistency)
            ):
                raise result

    async def _shut_others_out(self) -> None:
        """Whoever may change the parent could make the claim another's."""
        try:
            await close_if_open(self._session, self._parent)
        except (BadVersionError, NoAuthError, NoNodeError):
            return  # somebody was faster, and the watch on the claim tells what came of it

    def _session_id(self) -> int:
        identity = self._client.client_id
        if identity is None:
            raise ConnectionLoss
        return int(identity[0])

    def _is_a_predecessors(self, raw: bytes, stat: ZnodeStat) -> bool:
        """Whether a claim is a dead daemon's that kept the group before us, or an ended session's of our own."""
        if stat.ephemeralOwner == 0:
            return False
        if stat.ephemeralOwner in self._owners:
            return True
        claim = decode_claim(raw)
        if claim is None or self._was_ours:
            return False
        return (claim.keeper, claim.boot) == (self._about.keeper, self._about.boot)

    # --- words --------------------------------------------------------------------------------

    def _taken_by(self, raw: bytes, stat: ZnodeStat) -> str:
        claim = decode_claim(raw)
        where = f"{self._client.chroot}{self._path}"
        if stat.ephemeralOwner == 0:
            return self._sentence(
                f"is claimed by {where} in ZooKeeper, which no daemon's session owns: delete that znode"
            )
        if claim is None:
            return self._sentence(
                f"is claimed by {where} in ZooKeeper, whose data says nothing (session 0x{stat.ephemeralOwner:x}): "
                "end what holds it, or delete that znode"
            )
        return self._sentence(
            f"is already kept by the daemon with pid {claim.pid} on host {claim.host} "
            f"(state directory {claim.state_dir}, version {claim.version}): "
            "stop that one first, or give this one another name with --group"
        )

    def _unavailable(self, error: str) -> ClaimUnavailable:
        where = f"{self._client.chroot}{self._path}"
        return ClaimUnavailable(
            self._sentence(
                f"cannot be claimed, because ZooKeeper does not let {where} be made or read ({error}), and another "
                f"daemon that keeps it will not be noticed: {remedy(self._session, where)}"
            )
        )

    def _sentence(self, what: str) -> str:
        return f"group {self._group!r} {what}"


def encode_claim(claim: ClaimRecord) -> bytes:
    """Serialise a claim as compact JSON."""
    return json.dumps({"v": CLAIM_VERSION, **asdict(claim)}, separators=(",", ":")).encode()


def decode_claim(raw: bytes) -> ClaimRecord | None:
    """Read a claim's data, harmless to print; None where it says nothing. Unknown keys and versions are borne."""
    if len(raw) > CLAIM_BYTES_MAX:
        return None
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None

    def text(key: str) -> str:
        value = fields.get(key)
        if not isinstance(value, str) or not value:
            return "unknown"
        return printable(value, CLAIM_TEXT_CHARS)

    pid = fields.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or text("host") == "unknown":
        return None
    return ClaimRecord(
        text("keeper"), text("host"), text("boot"), pid, text("state_dir"), text("version")
    )


def _forget_failure(deletion: asyncio.Future[object]) -> None:
    """What could not be deleted goes with the session."""
    if not deletion.cancelled():
        deletion.exception()


def _surface(pursuit: asyncio.Task[None]) -> None:
    """An exception nobody foresaw is the loop's."""
    if not pursuit.cancelled() and (error := pursuit.exception()) is not None:
        raise error
