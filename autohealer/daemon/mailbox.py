"""Where facts wait for the loop: one queue, drained whole, with a deadline.

A newer list of registrations replaces an older one still waiting behind no other fact. Nothing else is
ever dropped: each source is bounded by itself (a live incarnation has at most its spawn, exit and
emptied tree outstanding), so a queue beyond `FACTS_MAX` means a broken source and ends the daemon,
whose workers live on for the next one to adopt.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from autohealer.core.events import Event, WorkersListed

FACTS_MAX = 200_000


class MailboxOverflow(Exception):  # noqa: N818 - says what happened
    """More facts are waiting than all sources together may have outstanding."""


class Mailbox:
    """Used from the event loop's thread only."""

    def __init__(self) -> None:
        self._facts: deque[Event] = deque()
        self._arrived = asyncio.Event()

    def put(self, fact: Event) -> None:
        """Add a fact; never blocks."""
        if (
            isinstance(fact, WorkersListed)
            and self._facts
            and isinstance(self._facts[-1], WorkersListed)
        ):
            self._facts.pop()
        if len(self._facts) >= FACTS_MAX:
            raise MailboxOverflow(
                f"{FACTS_MAX} facts are waiting; the last is {type(fact).__name__}"
            )
        self._facts.append(fact)
        self._arrived.set()

    def wake(self) -> None:
        """Have the loop look again although there is no fact."""
        self._arrived.set()

    async def drain(self, timeout_s: float | None) -> list[Event]:
        """Wait for a fact or the timeout (None: for ever) and take everything there is."""
        if not self._facts:
            # What arrives at the very moment of the timeout is taken too.
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._arrived.wait()
        self._arrived.clear()
        facts = list(self._facts)
        self._facts.clear()
        return facts
