"""Exceptions nobody foresaw end the daemon, wherever they happen: in a task, in a callback of the loop, in a thread.

Theory of operation. A daemon that goes on after one goes on with a wrong model: an exit that was lost, a watch
that is gone. Ending is cheap, because workers and embedded server run on and the next daemon adopts them. So the
first exception without an owner is kept, the work is cancelled, and the exception is raised where its traceback
is seen.

Must never know what the work is. Limits: what asyncio itself survives (no descriptor left for a new connection)
is only logged, once in a while.
"""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Coroutine

from structlog.typing import FilteringBoundLogger

PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
SAY_AGAIN_S = 60.0


class Unforeseen:
    """Owner of what nobody else owns, in one loop; used from the loop's thread only, but for threads' exceptions."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._said_at = -SAY_AGAIN_S
        self._failure: asyncio.Future[None] = self._loop.create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop.set_exception_handler(self._caught_by_loop)
        threading.excepthook = self._caught_in_thread

    @property
    def has_happened(self) -> bool:
        """Whether this daemon ends because of one, and leaves everything to the next."""
        return self._failure.done() and not self._failure.cancelled()

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run something in the background that must not end by an exception."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def guard(self, work: Coroutine[object, object, None]) -> None:
        """Do the work; raises what it raises, or what nobody foresaw meanwhile, once the work is undone."""
        task = self._loop.create_task(work)
        await asyncio.wait({task, self._failure}, return_when=asyncio.FIRST_COMPLETED)
        if self._failure.done():
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # what happens while everything is undone is not the cause
            self._failure.result()
        self._failure.cancel()
        task.result()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._logger.critical("internal_error", what=repr(error), then="ends; workers run on")
            self._failure.set_exception(error)

    def _caught_by_loop(self, _loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in PASSING and "socket" in context:
            self._say(f"{context.get('message')}: {error.strerror}")
        elif isinstance(error, BaseException):
            self._fail(error)
        else:
            self._fail(RuntimeError(str(context.get("message"))))

    def _caught_in_thread(self, caught: threading.ExceptHookArgs) -> None:
        if caught.exc_value is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._fail, caught.exc_value)

    def _say(self, sentence: str) -> None:
        if self._loop.time() - self._said_at >= SAY_AGAIN_S:
            self._said_at = self._loop.time()
            self._logger.warning("connection_refused", why=sentence)
