"""Where facts wait for the loop: one queue, drained whole, with a deadline.

A newer list of registrations replaces an older one still waiting behind no other fact. Nothing else is
ever dropped: each source is bounded by itself (a live incarnation has at most its spawn, exit and
emptied tree outstanding), so a queue beyond `FACTS_MAX` means a broken source and ends the daemon,
whose workers live on for the next one to adopt. A source that breaks in a callback of its own, where an exception would
be lost, ends the daemon the same way (`fail`).

Facts that a round posts itself wait for a few turns of the event loop, so that rounds that follow from each other never
keep it from hearing anybody else.
"""

from __future__ import annotations

import asyncio
from collections import deque

from autohealer.core.events import Event, WorkersListed

FACTS_MAX = 200_000

TURNS = 4
"""Turns the event loop gets before facts that wait already are taken: a watch event needs as many to become a list."""


class MailboxOverflow(Exception):  # noqa: N818 - says what happened
    """More facts are waiting than all sources together may have outstanding."""


class Mailbox:
    """Used from the event loop's thread only."""

    def __init__(self) -> None:
        self._facts: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._failure: BaseException | None = None

    def put(self, fact: Event) -> None:
        """Add a fact; never blocks."""
        if (
            isinstance(fact, WorkersListed)
            and self._facts
            and isinstance(self._facts[-1], WorkersListed)
        ):
            self._facts.pop()
        if len(self._facts) >= FACTS_MAX:
            overflow = MailboxOverflow(
                f"{FACTS_MAX} facts are waiting; the last is {type(fact).__name__}"
            )
            self.fail(overflow)
            raise overflow
        self._facts.append(fact)
        self._arrived.set()

    def wake(self) -> None:
        """Have the loop look again although there is no fact."""
        self._arrived.set()

    def fail(self, error: BaseException) -> None:
        """Something that works for this loop broke where nobody waits for it: the loop ends with that."""
        self._failure = self._failure or error
        self._arrived.set()

    async def drain(self, timeout_s: float | None) -> list[Event]:
        """Wait for a fact or the timeout (None: for ever) and take everything there is. Raises what failed."""
        if self._facts:
            for _ in range(TURNS):
                await asyncio.sleep(0)
        else:
            await self._wait(timeout_s)
        if self._failure is not None:
            raise self._failure
        self._arrived.clear()
        facts = list(self._facts)
        self._facts.clear()
        return facts

    async def _wait(self, timeout_s: float | None) -> None:
        """Until there is something, or it is time to look again; what arrives at that very moment is taken, too."""
        if timeout_s is None:
            await self._arrived.wait()
            return
        loop = asyncio.get_running_loop()
        at_once = timeout_s <= 0.0
        alarm = loop.call_soon(self.wake) if at_once else loop.call_later(timeout_s, self.wake)
        try:
            await self._arrived.wait()
        finally:
            alarm.cancel()
