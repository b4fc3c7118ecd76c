"""The daemon's own ZooKeeper session: connected, kept, and its state told as facts.

Theory of operation. kazoo runs three threads of its own. Its state listener is called on the connection
thread, where any wait is a deadlock, so it only hops to the loop (`call_soon_threadsafe`).

LOST never comes while no server answers; that is no harm here, because SUSPENDED already means that
nothing is known.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from kazoo.client import KazooState

from autohealer.core.model import Store
from autohealer.zkclient import client_for

STOP_TIMEOUT_S = 3.0

_STORES = {
    KazooState.CONNECTED: Store.CONNECTED,
    KazooState.SUSPENDED: Store.SUSPENDED,
    KazooState.LOST: Store.LOST,
}


class ZooKeeperUnreachable(Exception):  # noqa: N818 - says what is the case
    """No ZooKeeper answered in time; the message names the addresses."""


class Session:
    """Owner of the kazoo client; `client` is for the registry beside it only."""

    def __init__(self, connection: str, session_timeout_s: float) -> None:
        self._connection = connection
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listeners: list[Callable[[Store], None]] = []
        self.client = client_for(connection, session_timeout_s)

    def subscribe(self, listener: Callable[[Store], None]) -> None:
        """Call `listener` on the loop's thread at every change, in the order of subscription."""
        self._listeners.append(listener)

    async def start(self, timeout_s: float) -> None:
        """Connect, now or, when nobody answers in time, as soon as somebody does, until `stop`.

        Raises:
            ZooKeeperUnreachable: nobody has answered yet.
        """
        self._loop = asyncio.get_running_loop()
        self.client.add_listener(self._state_changed)
        connected = self.client.start_async()
        if not await asyncio.to_thread(connected.wait, timeout_s):
            raise ZooKeeperUnreachable(
                f"no ZooKeeper answered at {self._connection} within {timeout_s:g} s: "
                "is the address right and the server running?"
            )

    async def stop(self) -> None:
        """Close the session; bounded, because kazoo's own stop is not always."""
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

    def _tell(self, store: Store) -> None:
        for listener in self._listeners:
            listener(store)
