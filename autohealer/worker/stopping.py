"""The flag that asks a worker to stop, which a signal handler may set.

Theory of operation: `threading.Event` takes a lock that is not re-entrant, so a handler that sets
it while the same thread is inside `wait` can hang for ever. `queue.SimpleQueue.put` is documented
as re-entrant; whoever takes the token puts it back for the next waiter. Coroutines wait on a future
of their own loop, which is woken in the way that loops offer to other threads and to handlers.

Must never know: signals, ZooKeeper, why the worker is to stop.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue

TYPE_CHECKING = False  # what `typing` says too, and importing it would cost 2 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any


class Stopping:
    """Like `threading.Event`, but it is only ever set, safely so from a signal handler, and can be awaited."""

    __slots__ = ("_is_set", "_tokens", "_wakers")

    def __init__(self) -> None:
        self._is_set = False
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._wakers: list[Callable[[], object]] = []

    def is_set(self) -> bool:
        """Whether the worker is to stop."""
        return self._is_set

    def set(self) -> None:
        """Ask the worker to stop."""
        self._is_set = True
        self._tokens.put(None)
        for wake in tuple(self._wakers):
            with suppress(RuntimeError):  # its loop was closed meanwhile, so nobody waits there
                wake()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the worker is to stop or the time is over; return whether it is to stop."""
        if self._is_set:
            return True
        try:
            self._tokens.get(timeout=None if timeout_s is None else max(timeout_s, 0.0))
        except Empty:
            return self._is_set
        self._tokens.put(None)
        return True

    def __await__(self) -> Generator[Any, None, None]:
        """In a coroutine, `await worker.stopping` waits until the worker is to stop."""
        return self._asked().__await__()

    async def _asked(self) -> None:
        import asyncio  # only who awaits pays for it

        loop = asyncio.get_running_loop()
        asked = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(asked.set)

        self._wakers.append(wake)
        try:
            if not self._is_set:
                await asked.wait()
        finally:
            self._wakers.remove(wake)
