"""kazoo's calls as asyncio futures.

Theory of operation. kazoo completes a call on a thread of its own, where nothing of ours may wait; the outcome hops to
the loop. What is costly to make of an answer (`read`) is made of it on that thread, one answer after the other.

Must never know: what is asked for. Limits: a call made while there is no connection waits for one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    KazooException,
    OperationTimeoutError,
    SessionClosedRequireSaslError,
    SessionExpiredError,
)
from kazoo.interfaces import IAsyncResult

CALL_TIMEOUT_S = 10.0

CONNECTION_ERRORS = (
    ConnectionClosedError,
    ConnectionLoss,
    OperationTimeoutError,
    SessionClosedRequireSaslError,
    SessionExpiredError,
)
"""The outcome is unknown, and says nothing of what was asked for: ask again when there is a connection."""


def call(
    method: Callable[..., IAsyncResult],
    *args: object,
    read: Callable[[object], object] | None = None,
    **options: object,
) -> asyncio.Future[object]:
    """Start a call of kazoo's from the loop's thread; its exception counts as retrieved, whoever looks at it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()
    future.add_done_callback(_retrieve)

    def completed(result: IAsyncResult) -> None:
        error, value = result.exception, result.value
        if error is None and read is not None:
            try:
                value = read(value)
            except Exception as unforeseen:  # noqa: BLE001 - kazoo would swallow it; the loop's side raises it
                error = unforeseen
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, future, error, value)

    method(*args, **options).rawlink(completed)
    return future


def name_of(error: BaseException) -> str:
    """ZooKeeper's own word for an error, as its documentation and other clients have it: `NoAuth`."""
    name = type(error).__name__
    return name.removesuffix("Error") if isinstance(error, KazooException) else name


def _resolve(future: asyncio.Future[object], error: BaseException | None, value: object) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)


def _retrieve(future: asyncio.Future[object]) -> None:
    if not future.cancelled():
        future.exception()
