"""One answer for all who ask at once: a storm of questions costs as much as one who asks again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class SharedAnswer:
    """Nobody gets an answer that was begun before they asked."""

    def __init__(self, make: Callable[[], Awaitable[bytes]]) -> None:
        self._make = make
        self._under_way: asyncio.Task[bytes] | None = None
        self._next: asyncio.Task[bytes] | None = None

    async def get(self) -> bytes:
        """The next answer that is begun. Raises what making it raises."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._after(self._under_way))
        return await asyncio.shield(self._next)

    def cancel(self) -> None:
        """Answer nobody any more."""
        for task in (self._under_way, self._next):
            if task is not None:
                task.cancel()

    async def _after(self, previous: asyncio.Task[bytes] | None) -> bytes:
        if previous is not None:
            await asyncio.wait([previous])
        self._under_way, self._next = self._next, None
        return await self._make()
