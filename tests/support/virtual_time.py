"""An asyncio loop whose clock jumps: hours pass in milliseconds, and a wait that nothing ends is an error.

Theory of operation: an asyncio loop that has nothing ready sleeps in its selector until the next timer. Here the
selector does not sleep, it moves the clock there. As with a real clock, a timer is never served early but always a
little late. A loop that would sleep without any timer has nothing left to wait for: that fails the test at once.

Limits: no real sockets or signals; for pure asyncio code only.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

START_S = 1000.0
LATE_S = 1e-6
"""A wake-up comes this much after its instant."""


class NothingWillHappen(AssertionError):  # noqa: N818 - says what is the case
    """Everything waits and no timer is set."""


class _LeapingSelector(selectors.DefaultSelector):
    """Waits by moving the clock."""

    now_s = START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look at the files without waiting; the clock waits instead."""
        ready = super().select(0)
        if not ready and timeout is None:
            raise NothingWillHappen("every task waits for a fact and no timer is set")
        if not ready and timeout:
            self.now_s += timeout + LATE_S
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time."""

    def __init__(self) -> None:
        self._leaping = _LeapingSelector()
        super().__init__(self._leaping)

    def time(self) -> float:
        """The virtual clock, in seconds."""
        return self._leaping.now_s


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Do as `asyncio.run`, on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        # Not `runner.run`: it sets a handler of SIGINT each time, which costs as much as a short story.
        return runner.get_loop().run_until_complete(main)


async def pass_time(seconds: float) -> None:
    """Let virtual time pass; everything due until then happens."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop), "only virtual time may be spent on waiting"
    over = asyncio.Event()
    loop.call_later(seconds, over.set)
    await over.wait()
