"""Wait for a fact, never for a time.

Theory of operation: a fact about another process is polled, at first every few milliseconds and
then more calmly, until it holds. When it does not hold in time the test fails and shows what was
seen last, together with a view of the world around it.

Must never know: what the fact is about.

Limits: this is the only place in the tests that sleeps; `within_s` is a generous upper bound, never
an expected duration.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05


def eventually(
    predicate: Callable[[], T | None],
    *,
    within_s: float,
    view: Callable[[], object] | None = None,
) -> T:
    """Return the first truthy value of `predicate`; fail the test when none comes in time.

    An exception of the predicate is not swallowed: a test says itself which errors mean "not yet".
    """
    __tracebackhide__ = True
    deadline = time.monotonic() + within_s
    pause_s = _FIRST_PAUSE_S
    while True:
        late = time.monotonic() >= deadline
        value = predicate()
        if value:
            return value
        if late:
            seen = "" if view is None else f"\nview: {view()}"
            pytest.fail(f"did not hold within {within_s} s; last value: {value!r}{seen}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


async def eventually_async(
    predicate: Callable[[], T | None],
    *,
    within_s: float,
    view: Callable[[], object] | None = None,
) -> T:
    """Do as `eventually`, on a running asyncio loop, which goes on working between two looks."""
    __tracebackhide__ = True
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    pause_s = _FIRST_PAUSE_S
    while True:
        late = clock() >= deadline
        value = predicate()
        if value:
            return value
        if late:
            seen = "" if view is None else f"\nview: {view()}"
            pytest.fail(f"did not hold within {within_s} s; last value: {value!r}{seen}")
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
