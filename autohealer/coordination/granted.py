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

    def __init__(self, session: Session, asking: Callable[[float], Session]) -> None:
        """`asking` makes a session like that of a worker which asks for so many seconds."""
        self._session = session
        self._asking = asking
        self._told: dict[float, list[Callable[[float], None]]] = {}
        self._known_for_s: dict[float, float] = {}
        self._connected = asyncio.Event()
        session.subscribe(self._store_changed)

    def subscribe(self, asked_s: float, tell: Callable[[float], None]) -> None:
        """Have `tell` called with how long the sessions last, in seconds, of workers that ask for `asked_s`."""
        self._told.setdefault(asked_s, []).append(tell)

        self._known_for_s.pop(asked_s, None)
        if self._session.id is not None:
            self._connected.set()

    def unsubscribe(self, asked_s: float, tell: Callable[[float], None]) -> None:
        """Call it no more."""
        self._told[asked_s].remove(tell)

    async def watch(self) -> None:
        """Ask after each connection that may have brought other limits, for ever."""
        while True:
            await self._connected.wait()
            self._connected.clear()
            for asked_s in [asked_s for asked_s, told in self._told.items() if told]:
                await self._learn(asked_s)

    async def _learn(self, asked_s: float) -> None:
        ours_s = self._session.timeout_s
        if ours_s == self._known_for_s.get(asked_s):
            return
        if (granted_s := await self._ask(asked_s)) is not None:
            self._known_for_s[asked_s] = ours_s
            for tell in tuple(self._told[asked_s]):
                tell(granted_s)

    async def _ask(self, asked_s: float) -> float | None:
        session = self._asking(asked_s)
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
