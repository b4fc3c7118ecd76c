"""The daemon's own ZooKeeper session: connected, kept, and its state told as facts.

Theory of operation. kazoo runs three threads of its own. Its state listener is called on the connection
thread, where any wait is a deadlock, so it only hops to the loop (`call_soon_threadsafe`).

LOST never comes while no server answers; that is no harm here, because SUSPENDED already means that
nothing is known.

Where the machine has no descriptor or thread left for a client, that is told, and tried again every `BEGIN_AGAIN_S`.

What stands between us and ZooKeeper and only a person can mend (who we are is not accepted, TLS) is told in a sentence:
by `start` while that lasts, and once for each outage afterwards.

Limits: how long the session lasts is the server's decision, which kazoo keeps to itself: it is read from the answer
to the handshake, through a private method.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from kazoo.client import KazooClient, KazooState
from kazoo.protocol.serialization import Connect

from autohealer.core.model import Store
from autohealer.credentials import NO_CREDENTIALS, Credentials
from autohealer.zkclient import client_for
from autohealer.zkguard import trust_only

STOP_TIMEOUT_S = 3.0
BEGIN_AGAIN_S = 1.0

_STORES = {
    KazooState.CONNECTED: Store.CONNECTED,
    KazooState.SUSPENDED: Store.SUSPENDED,
    KazooState.LOST: Store.LOST,
}


@dataclass(frozen=True, slots=True)
class SessionId:
    """What a client shows to go on with a session."""

    number: int
    password: bytes


class ZooKeeperUnreachable(Exception):  # noqa: N818 - says what is the case
    """No ZooKeeper answered in time, or none can; the message names the addresses."""


class Session:
    """Owner of the kazoo client; `client` is for the adapters beside it only.

    `timeout_s` is how long the session outlives its connection: what was asked for until a server has decided.
    `trouble` is what only a person can mend, while there is no connection because of it; empty otherwise.
    `said` is called on the loop's thread with what only a person can mend, once `start` is over.
    `resumes` is an earlier client's session, which goes on if it has not ended.

    Raises:
        CredentialsError: the TLS files cannot be used.
    """

    def __init__(
        self,
        connection: str,
        session_timeout_s: float,
        credentials: Credentials = NO_CREDENTIALS,
        said: Callable[[str], None] | None = None,
        resumes: SessionId | None = None,
    ) -> None:
        self.connection = connection
        self.login = credentials.login
        self._said = said
        self.trouble = ""
        self._told = ""
        self._has_begun = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[Callable[[Store], None]] = []
        self._outcome: asyncio.Future[str] | None = None
        self._again: asyncio.TimerHandle | None = None
        self.timeout_s = session_timeout_s
        self.client = client_for(
            connection,
            session_timeout_s,
            credentials,
            self._trouble_changed,
            session=None if resumes is None else (resumes.number, resumes.password),
        )
        self._note_timeout(self.client)

    def trust_only(self, user: int) -> None:
        """Connect to nobody on this machine but a user and root; before `start`."""
        trust_only(self.client, user)

    def subscribe(self, listener: Callable[[Store], None]) -> None:
        """Call `listener` on the loop's thread at every change, in the order of subscription."""
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[Store], None]) -> None:
        """Call it no more."""
        self._listeners.remove(listener)

    async def start(self, timeout_s: float) -> None:
        """Connect, now or, when nobody answers in time, as soon as somebody does, until `stop`.

        Raises:
            ZooKeeperUnreachable: nobody has answered yet or let us in, or, at once, no name in the connection string
                resolves.
        """
        self._loop = asyncio.get_running_loop()
        outcome = self._outcome = self._loop.create_future()
        self.client.add_listener(self._state_changed)
        self._begin(self._loop)
        try:
            async with asyncio.timeout(timeout_s):
                unresolved = await outcome
        except TimeoutError:
            self._told = self.trouble
            raise ZooKeeperUnreachable(
                self.trouble
                or f"no ZooKeeper answered at {self.connection} within {timeout_s:g} s: "
                "is the address right and the server running?"
            ) from None
        finally:
            self._has_begun = True
        if unresolved:
            raise ZooKeeperUnreachable(
                f"no ZooKeeper can be asked at {self.connection}: {unresolved}; is it spelled right?"
            )

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        is_again, self._again = self._again is not None, None
        try:
            self.client.start_async()
            # A daemon thread, because a resolver can hang for long and must not keep the process from ending.
            threading.Thread(target=self._look_up_names, daemon=True).start()
        except (OSError, RuntimeError) as error:
            with suppress(
                AttributeError
            ):  # of a client that has no socket yet; it undoes its start nevertheless
                self.client.stop()
            why = error.strerror if isinstance(error, OSError) else str(error)
            self.trouble = f"no connection to ZooKeeper can be begun ({why}): it is tried again"
            if self._said is not None and not is_again:
                self._said(self.trouble)
            self._again = loop.call_later(BEGIN_AGAIN_S, self._begin, loop)
        else:
            self.trouble = ""

    def _begin_no_more(self) -> None:
        if self._again is not None:
            self._again.cancel()

    @property
    def id(self) -> SessionId | None:
        """What the session is called; None while there is no connection."""
        match self.client.client_id:
            case (int() as number, bytes() as password):
                return SessionId(number, password)
        return None

    def leave(self) -> None:
        """Hear of nothing more; the session goes on for as long as it lasts, for whoever resumes it."""
        self._begin_no_more()
        self.client.remove_listener(self._state_changed)

    async def stop(self) -> None:
        """Close the session; bounded, because kazoo's own stop is not always."""
        self._begin_no_more()
        self.client.remove_listener(self._state_changed)
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self.client.stop()
            self.client.close()
            if not loop.is_closed():
                loop.call_soon_threadsafe(closed.set)

        # A daemon thread, because one that hangs must not keep the process from ending.
        threading.Thread(target=close, daemon=True).start()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await closed.wait()
        except TimeoutError:
            return

    def _state_changed(self, state: str) -> None:
        """On kazoo's connection thread: hop and return."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, _STORES[state])

    def _trouble_changed(self, sentence: str) -> None:
        """On kazoo's connection thread: hop and return."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._note_trouble, sentence)

    def _note_trouble(self, sentence: str) -> None:
        self.trouble = sentence
        if not sentence:
            self._told = ""
        elif self._has_begun and sentence != self._told:
            self._told = sentence
            if self._said is not None:
                self._said(sentence)

    def _note_timeout(self, client: KazooClient) -> None:
        """Learn from each handshake's answer how long the session lasts."""
        invoke = client._connection._invoke

        def invoke_noting(timeout: float, request: object, **options: object) -> object:
            answer = invoke(timeout, request, **options)
            if isinstance(request, Connect) and answer[0].time_out > 0:
                self.timeout_s = answer[0].time_out / 1000
            return answer

        client._connection._invoke = invoke_noting

    def _start_ended(self, unresolved: str) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(unresolved)

    def _look_up_names(self) -> None:
        """On a thread of its own: end the start if no name in the connection string resolves."""
        hosts = list(dict.fromkeys(host for host, _port in self.client.hosts))
        if any(map(_resolves, hosts)):
            return
        one = len(hosts) == 1
        words = f"the name {hosts[0]} does not" if one else f"none of the names {', '.join(hosts)}"
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._start_ended, f"{words} resolve")

    def _tell(self, store: Store) -> None:
        if store is Store.CONNECTED:
            self._start_ended("")
        for listener in tuple(self._listeners):
            listener(store)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return True
