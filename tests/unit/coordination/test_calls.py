"""What becomes of kazoo's answers on their way to the loop."""

from __future__ import annotations

import asyncio
import gc

import pytest
from kazoo.exceptions import ConnectionLoss, NoAuthError
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.interfaces import IAsyncResult

from autohealer.coordination.calls import call, name_of


def failing(error: Exception) -> IAsyncResult:
    """A call of kazoo's that has ended with an error."""
    result = SequentialThreadingHandler().async_result()
    result.set_exception(error)
    return result


def succeeding(value: object) -> IAsyncResult:
    """A call of kazoo's that has ended well."""
    result = SequentialThreadingHandler().async_result()
    result.set(value)
    return result


def test_an_outcome_nobody_waits_for_is_not_an_error_of_ours() -> None:
    """Every connection lost in the middle of a call would be logged as an internal error."""
    told: list[object] = []

    async def forget() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        forgotten = call(failing, ConnectionLoss())
        await asyncio.wait({forgotten})
        del forgotten
        gc.collect()

    asyncio.run(forget())
    assert told == []


def test_an_error_in_taking_an_answer_apart_reaches_who_asked() -> None:
    """kazoo's thread would swallow it, and the daemon wait for an answer for ever."""

    async def ask() -> object:
        return await call(succeeding, "x", read=lambda value: [][len(str(value))])

    with pytest.raises(IndexError):
        asyncio.run(ask())


def test_an_answer_that_comes_after_its_loop_has_ended_is_harmless() -> None:
    """A daemon that stops would end with a traceback of kazoo's thread."""
    late = SequentialThreadingHandler().async_result()

    async def ask() -> None:
        call(lambda: late)

    asyncio.run(ask())
    late.set("too late")


def test_an_error_is_called_what_zookeeper_calls_it() -> None:
    """Nobody would find in ZooKeeper's documentation what the daemon speaks of."""
    assert name_of(NoAuthError()) == "NoAuth"
    assert name_of(ConnectionLoss()) == "ConnectionLoss"
    assert name_of(UnicodeError()) == "UnicodeError"
