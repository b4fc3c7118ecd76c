"""Hold one ephemeral znode for the life of this process, through lost connections and lost sessions.

Theory of operation. The znode's name is this incarnation's own, so creating it is idempotent: a
create whose outcome is unknown is tried again, a znode under our name that another session owns is
our own past and is deleted. Losing the connection changes nothing; the session may well survive.
Losing the *session* means the znode is gone or going: as soon as a new session stands, a thread
registers the same name again, unless the slot has been given to a newer incarnation meanwhile. Then
this process is superseded and must stop.

`_sessions_lost` counts lost sessions and `_settled_for` says for which count the registration was
last made true. They differ exactly while a registration is owed, whichever thread looks and
whenever.

Must never know: signals, the worker's own work. Listeners run on kazoo's connection thread: they
only count and start a thread, and never log, block or call ZooKeeper.

Limits: every call has a deadline, because kazoo queues calls made without a connection and would
wait for ever. Finding a newer incarnation lists all of `/workers`, once per lost session. A znode
deleted while our session lives is not created again: somebody meant it. A worker that ends without
a connection cannot say goodbye: its znode goes when the session expires or its supervisor deletes
it.
"""

from __future__ import annotations

import logging
import threading
import time

from kazoo.client import KazooState
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    OperationTimeoutError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError

from autohealer import contract
from autohealer.zkclient import client_for

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.worker.identity import Identity

CALL_WITHIN_S = 2.0
CLOSE_WITHIN_S = 2.0
"""An exiting worker waits this long for ZooKeeper to take the goodbye; expiry does it otherwise."""
RETRY_PAUSE_S = 0.1

_TRANSIENT = (
    ConnectionClosedError,
    ConnectionLoss,
    KazooTimeoutError,
    OperationTimeoutError,
    SessionExpiredError,
)

log = logging.getLogger("autohealer.worker")


class Registration:
    """The znode of one worker and the session that holds it."""

    def __init__(self, identity: Identity, on_superseded: Callable[[], None]) -> None:
        self._identity = identity
        self._parent = identity.path.rpartition("/")[0]
        self._on_superseded = on_superseded
        self._client = client_for(identity.connection, identity.session_timeout_s)
        self._client.add_listener(self._on_state)
        self._settling = threading.Lock()
        self._sessions_lost = 0
        self._settled_for: int | None = None
        self._live: threading.Event | None = None
        self._over = False
        self._closed = False

    def open(self) -> None:
        """Begin to connect, without waiting."""
        self._live = self._client.start_async()

    def register(self, give_up: Callable[[], bool]) -> None:
        """Create the znode, however long ZooKeeper is away, unless told to give up."""
        if self._live is None:
            raise RuntimeError("a worker registers inside its `with` block only")
        announced = False
        while self._is_owed() and not self._over and not give_up():
            if self._live.wait(RETRY_PAUSE_S):
                self._settle()
            elif not announced:
                announced = True
                log.warning("ZooKeeper at %s does not answer: waiting", self._identity.connection)

    def close(self) -> None:
        """End the session, so that the znode vanishes now; the wait is bounded."""
        if self._closed:
            return
        self._over = self._closed = True
        # kazoo's stop waits 10 s and more for a server that has fallen silent.
        stopper = threading.Thread(target=self._client.stop, daemon=True)
        stopper.start()
        stopper.join(CLOSE_WITHIN_S)
        if not stopper.is_alive():
            self._client.close()

    def _is_owed(self) -> bool:
        return self._settled_for != self._sessions_lost

    def _on_state(self, state: str) -> None:
        if state == KazooState.LOST:
            self._sessions_lost += 1
        elif state == KazooState.CONNECTED and self._settled_for is not None and self._is_owed():
            threading.Thread(target=self._settle, daemon=True).start()

    def _settle(self) -> None:
        """Make the registration true; stop trying when the connection goes, for its return calls again."""
        with self._settling:
            while self._is_owed() and self._client.connected and not self._over:
                sessions_lost = self._sessions_lost
                try:
                    if sessions_lost and self._is_superseded():
                        self._over = True
                        self._on_superseded()
                    elif self._claim():
                        self._settled_for = sessions_lost
                        log.info("registered as %s", self._identity.name)
                except _TRANSIENT as error:
                    log.info("registering as %s: %r, again", self._identity.name, error)
                    time.sleep(RETRY_PAUSE_S)

    def _claim(self) -> bool:
        """Try to own the znode; False when what stood in the way is gone and it is worth another try."""
        identity = self._identity
        data = contract.encode_record(identity.record)
        try:
            self._client.create_async(identity.path, data, ephemeral=True).get(
                timeout=CALL_WITHIN_S
            )
        except NoNodeError:
            self._create_parent()
            return False
        except NodeExistsError:
            return self._owns_or_deletes()
        return True

    def _create_parent(self) -> None:
        try:
            self._client.create_async(self._parent, makepath=True).get(timeout=CALL_WITHIN_S)
        except NodeExistsError:
            log.info("%s was created by another worker meanwhile", self._parent)

    def _owns_or_deletes(self) -> bool:
        """Whether the znode is our session's; when it is our own past's, delete it."""
        found = self._client.exists_async(self._identity.path).get(timeout=CALL_WITHIN_S)
        session = self._client.client_id
        if found is None or session is None:
            return False
        if found.ephemeralOwner == session[0]:
            return True
        try:
            self._client.delete_async(self._identity.path).get(timeout=CALL_WITHIN_S)
        except NoNodeError:
            log.info("%s went by itself", self._identity.path)
        return False

    def _is_superseded(self) -> bool:
        """Whether a newer incarnation of our slot is registered, which only a new session can hide."""
        mine = contract.parse_znode_name(self._identity.name)
        if mine is None:
            return False
        try:
            names = self._client.get_children_async(self._parent).get(timeout=CALL_WITHIN_S)
        except NoNodeError:
            return False
        for other in filter(None, map(contract.parse_znode_name, names)):
            is_same_slot = (other.group, other.slot) == (mine.group, mine.slot)
            if is_same_slot and other.generation > mine.generation:
                log.error("%s lost its session and %s has its slot now: stopping", mine, other)
                return True
        return False
