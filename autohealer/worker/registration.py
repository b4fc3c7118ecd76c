"""Hold one ephemeral znode for the life of this process, through lost connections and lost sessions.

Theory of operation. Facts arrive on kazoo's threads and the user's: a connection, a lost session, a
watch that fired, a new address. Each is noted and wakes one thread, which looks at how things stand
and makes the registration true. It sleeps while there is nothing to do.

Losing the connection changes nothing; the session may well survive. Losing the *session* means the
znode is gone or going: the same name is registered again as soon as a new session stands, unless the
daemon that launched this worker has given the slot to a newer incarnation meanwhile. Then this
process is superseded and must stop.

`_sessions_lost` counts lost sessions and `_settled_for` says for which count the registration was
last made true. They differ exactly while a registration is owed, whichever thread looks and
whenever.

ZooKeeper never stops the worker's own work. `register` waits for a registration at most
`REGISTER_WITHIN_S`; whatever is in the way is said once, the work begins, and registering goes on
beside it. Until then nobody counts on this worker, and nothing says that it is registered.

Must never know: signals, the worker's own work. Listeners run on kazoo's connection thread: they
only count and wake, and never log, block or call ZooKeeper.

Limits: a znode deleted while our session and its parent live is not created again: somebody meant
it; only a sibling that stands by cannot tell it from the end of another sibling, and takes over. A
worker that ends without a connection cannot say goodbye: its znode goes when the session expires or
its supervisor deletes it.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time

from kazoo.client import KazooState
from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    NoAuthError,
    OperationTimeoutError,
    SessionClosedRequireSaslError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError

from autohealer.contract import ENV_ZOOKEEPER_AUTH
from autohealer.worker.claim import Claim, Hold, InTheWayError
from autohealer.zkclient import client_for
from autohealer.zkguard import trust_as_told

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from autohealer.contract import WorkerRecord
    from autohealer.worker.identity import Identity

REGISTER_WITHIN_S = 5.0
CLOSE_WITHIN_S = 2.0
"""An exiting worker waits this long for ZooKeeper to take the goodbye; expiry does it otherwise."""
RETRY_PAUSE_S = 0.1
RETRY_PAUSE_MAX_S = 5.0
"""Whatever is in the way is tried again after pauses that double up to this."""
SPREAD_PER_NEIGHBOUR_S = 0.0005
SPREAD_MAX_S = 1.0
"""When `/workers` is deleted all workers come back at once: a thousand of them within half a second."""

_TRANSIENT = (
    ConnectionClosedError,
    ConnectionLoss,
    KazooTimeoutError,
    OperationTimeoutError,
    SessionClosedRequireSaslError,
    SessionExpiredError,
)

log = logging.getLogger("autohealer.worker")


class Registration:
    """The znode of one worker and the session that holds it."""

    def __init__(self, identity: Identity, on_superseded: Callable[[], None]) -> None:
        self._identity = identity
        self._on_superseded = on_superseded
        self._trouble = ""
        self._client = client_for(
            identity.connection,
            identity.session_timeout_s,
            identity.credentials,
            self._on_trouble,
            lambda: self._claim.neighbours,
        )
        self._client.add_listener(self._on_state)
        trust_as_told(self._client, identity.connection, os.environ)
        self._wake = threading.Event()
        self._stands = threading.Event()
        self._claim = Claim(self._client, identity, self._wake.set)
        self._hold: Hold | None = None
        self._thread: threading.Thread | None = None
        self._is_open = False
        self._sessions_lost = 0
        self._settled_for: int | None = None
        self._complaints: set[str] = set()
        self._is_over = False
        self._closed = False

    def open(self) -> None:
        """Begin to connect, without waiting."""
        self._is_open = True
        self._client.start_async()

    def register(self, give_up: Callable[[], bool]) -> bool:
        """Create the znode; whether the worker is registered once `REGISTER_WITHIN_S` are over or it is to give up."""
        if not self._is_open:
            raise RuntimeError("a worker registers inside its `with` block only")
        if self._ended():
            return False
        if self._thread is None:
            self._thread = threading.Thread(target=self._keep, daemon=True)
            self._thread.start()
        self._wake.set()
        until = time.monotonic() + REGISTER_WITHIN_S
        while not self._stands.wait(RETRY_PAUSE_S) and not self._ended() and not give_up():
            if not self._client.connected:
                where = self._identity.connection
                self._complain(self._trouble or f"ZooKeeper at {where} does not answer: waiting")
            if time.monotonic() > until:
                name = self._identity.name
                self._complain(f"{name} is not registered yet: it works on and goes on trying")
                break
        return self._stands.is_set() and not self._ended()

    def publish(self, record: WorkerRecord) -> None:
        """Write a record that has changed, now or as soon as the znode is ours."""
        if not self._ended():
            self._claim.record = record
            self._wake.set()

    def close(self) -> None:
        """End the session, so that the znode vanishes now; the wait is bounded."""
        if self._closed:
            return
        self._is_over = self._closed = True
        self._wake.set()
        # kazoo's stop waits 10 s and more for a server that has fallen silent.
        stopper = threading.Thread(target=self._client.stop, daemon=True)
        stopper.start()
        stopper.join(CLOSE_WITHIN_S)
        if not stopper.is_alive():
            self._client.close()

    def abandon(self) -> None:
        """Leave the session to the process this one was forked from, also at this one's exit."""
        self._is_over = self._closed = True
        atexit.unregister(self._client.handler.stop)

    def _ended(self) -> bool:
        return self._is_over

    def _on_state(self, state: str) -> None:
        if state == KazooState.LOST:
            self._sessions_lost += 1
            self._stands.clear()
        elif state == KazooState.CONNECTED:
            self._wake.set()

    def _on_trouble(self, sentence: str) -> None:
        """What only a person can mend, or, when it is mended, nothing."""
        self._trouble = sentence
        self._wake.set()

    def _keep(self) -> None:
        """Look whenever there is a reason to; the life of the thread."""
        failures = 0
        pause_s = None
        while not self._ended():
            self._wake.wait(pause_s)
            self._wake.clear()
            pause_s = None
            if self._ended():
                continue
            if not self._client.connected:
                if self._trouble:
                    self._complain(self._trouble)
                continue
            try:
                self._look()
                failures = 0
            except _TRANSIENT as error:
                log.info("registering as %s: %r, again", self._identity.name, error)
                pause_s = RETRY_PAUSE_S
            except (KazooException, InTheWayError) as error:
                self._say_what_is_in_the_way(error)
                pause_s = min(RETRY_PAUSE_S * 2**failures, RETRY_PAUSE_MAX_S)
                failures += 1

    def _look(self) -> None:
        """Make the registration true for as things stand. Raises what `Claim` raises."""
        sessions_lost = self._sessions_lost
        if self._settled_for == sessions_lost and self._hold is Hold.OURS:
            if not self._claim.is_wiped():
                self._claim.publish()
                return
            time.sleep(random.uniform(0, self._spread_s()))
        elif sessions_lost and self._settled_for != sessions_lost and self._is_superseded():
            return
        self._hold = None  # until it is certain again, even if an attempt ends halfway
        self._hold = self._claim.stake()
        self._settled_for = sessions_lost
        self._stands.set()
        if sessions_lost != self._sessions_lost:
            self._stands.clear()
        log.info("registered as %s, by a znode that is %s", self._identity.name, self._hold.value)

    def _spread_s(self) -> float:
        return min(self._claim.neighbours * SPREAD_PER_NEIGHBOUR_S, SPREAD_MAX_S)

    def _is_superseded(self) -> bool:
        newer = self._claim.successor()
        if newer is None:
            return False
        log.error(
            "%s lost its session and %s has its slot now: stopping", self._identity.name, newer
        )
        self._is_over = True
        self._on_superseded()
        return True

    def _say_what_is_in_the_way(self, error: Exception) -> None:
        if isinstance(error, NoAuthError):
            self._complain(
                f"cannot register as {self._identity.name}: ZooKeeper at {self._identity.connection} does not let "
                f"{self._whoever()} create {self._identity.path} (NoAuthError), so it belongs to somebody else: give "
                "this worker the credentials of whoever made what is above; the work goes on, and so does trying"
            )
            return
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self._complain(
            f"cannot register as {self._identity.name}: something that is not this worker's is in the way at "
            f"{self._identity.path} ({what}); the work goes on, and so does trying"
        )

    def _whoever(self) -> str:
        credentials = self._identity.credentials
        if credentials is None or credentials.login is None:
            return f"a client without credentials ({ENV_ZOOKEEPER_AUTH} names none)"
        return f"the user in {credentials.login.file}"

    def _complain(self, sentence: str) -> None:
        """Say something once, however often it happens."""
        if sentence not in self._complaints:
            self._complaints.add(sentence)
            log.warning("%s", sentence)
