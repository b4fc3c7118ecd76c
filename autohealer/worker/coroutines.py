"""Run a worker whose main function is a coroutine; imported by those only who have one.

Must never know: workers. Limits: asyncio, and its own event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


def finish(work: Awaitable[object]) -> object:
    """Run it to its end and return what it returns, or raise what it raises."""

    async def finished() -> object:
        return await work

    return asyncio.run(finished())
