"""Look at what lies in the folders of all groups, together: one thread is woken once a second, whatever their number.

Theory of operation. Who waits says how it is seen that nothing has changed; all of that is asked on a thread, since a
disk may hang, and only who was disturbed goes on. Where it cannot be told, that is a disturbance, too.

Must never know: what is looked at, and what follows. Limits: used from the event loop's thread only; a disk that hangs
for one group hangs for all of them, and so it is, as all folders are in one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence

LOOK_S = 1.0

Start = Callable[[Coroutine[object, object, None]], object]
IsWhole = Callable[[], bool]
"""Called on a thread. May raise `OSError`."""


class Looks:
    """The looks of one daemon."""

    def __init__(self, start: Start, look_s: float = LOOK_S) -> None:
        """`start` runs a coroutine whose end nobody waits for."""
        self._start = start
        self._look_s = look_s
        self._waiting: dict[asyncio.Future[None], Sequence[IsWhole]] = {}
        self._is_due = False

    async def until_disturbed(self, *what: IsWhole) -> None:
        """Return once a look has found one of these things not to be whole."""
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiting[waiter] = what
        if not self._is_due:
            self._later(loop)
        try:
            await waiter
        finally:
            del self._waiting[waiter]

    def _later(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_due = True
        loop.call_later(self._look_s, lambda: self._start(self._look(loop)))

    async def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            disturbed = await asyncio.to_thread(_disturbed, dict(self._waiting))
        except RuntimeError:
            disturbed = []  # no thread can be started now; the next look tries again
        for waiter in disturbed:
            if not waiter.done():
                waiter.set_result(None)
        self._is_due = False
        if self._waiting:
            self._later(loop)


def _disturbed(
    waiting: Mapping[asyncio.Future[None], Sequence[IsWhole]],
) -> list[asyncio.Future[None]]:
    return [waiter for waiter, what in waiting.items() if not all(map(_is_surely_whole, what))]


def _is_surely_whole(is_whole: IsWhole) -> bool:
    try:
        return is_whole()
    except OSError:
        return False
