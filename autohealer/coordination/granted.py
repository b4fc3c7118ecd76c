"""Find out how long the servers let workers' sessions last: they clip what is asked for, and tell only who asks.

Theory of operation. A session of our own asks for what workers ask for and is closed again, once there is a connection
and again only when our own session's timeout has become another one, which is how servers with other limits show.

Limits: an ensemble whose servers differ in their limits is believed to be as the one that answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from autohealer.coordination.session import Session, ZooKeeperUnreachable
from autohealer.core.model import Store

ASKING_S = 10.0


class Granted:
    """Asks as often as there is something to learn; used from the event loop's thread only."""

    def __init__(
        self, session: Session, asking: Callable[[], Session], tell: Callable[[float], None]
    ) -> None:
        """`asking` makes a session like a worker's; `tell` is called with how long that lasts, in seconds."""
        self._session = session
        self._asking = asking
        self._tell = tell
        self._connected = asyncio.Event()
        session.subscribe(self._store_changed)

    async def watch(self) -> None:
        """Ask after each connection that may have brought other limits, for ever."""
        known_for_s: float | None = None
        while True:
            await self._connected.wait()
            self._connected.clear()
            ours_s = self._session.timeout_s
            if ours_s != known_for_s and (granted_s := await self._ask()) is not None:
                known_for_s = ours_s
                self._tell(granted_s)

    async def _ask(self) -> float | None:
        session = self._asking()
        try:
            await session.start(ASKING_S)
        except ZooKeeperUnreachable:
            return None  # the next connection asks again
        else:
            return session.timeout_s
        finally:
            await session.stop()

    def _store_changed(self, store: Store) -> None:
        if store is Store.CONNECTED:
            self._connected.set()
