"""An asyncio loop whose clock jumps: hours pass in milliseconds, and a wait that nothing ends is an error.

Theory of operation: an asyncio loop that has nothing ready sleeps until the next timer. This one moves its clock there
instead. As with a real clock, a timer is never served early but always a little late. A loop that would sleep without
any timer has nothing left to wait for: that fails the test at once. Files are looked at only where there are any.

Limits: no real sockets or signals; for pure asyncio code only.
"""

from __future__ import annotations

import asyncio
import selectors
from collections import deque
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_S = 1000.0
LATE_S = 1e-6
"""A wake-up comes this much after its instant."""
RESOLUTION_S = 1e-9
"""What is due within this is due now."""
TIMERS_MANY = 100
"""From so many timers on those that were cancelled are taken away when they are most of them."""


class NothingWillHappen(AssertionError):  # noqa: N818 - says what is the case
    """Everything waits and no timer is set."""


class _Call(asyncio.TimerHandle):
    """A handle of asyncio, made in one go: there are more of them than of anything else."""

    __slots__ = ("waits",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: VirtualTimeLoop,
        context: Context | None,
    ) -> None:
        self._when, self._callback, self._args = when, callback, args
        self._loop, self._context = loop, copy_context() if context is None else context
        self._cancelled = self.waits = False
        self._repr = self._source_traceback = None


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop on virtual time, whose turns are asyncio's own without the waiting."""

    def __init__(self) -> None:
        self._now_s = START_S
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[_Call] = []
        self._cancelled_timers = 0
        self._files = selectors.DefaultSelector()
        super().__init__(self._files)
        self._own_files = len(self._files.get_map())

    def close(self) -> None:
        """Forget what would have happened."""
        super().close()
        self._soon.clear()
        self._timers.clear()

    def time(self) -> float:
        """The virtual clock, in seconds."""
        return self._now_s

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Have something called in the next turn."""
        call = _Call(self._now_s, callback, args, self, context)
        self._soon.append(call)
        return call

    call_soon_threadsafe = call_soon

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Have something called at an instant."""
        call = _Call(when, callback, args, self, context)
        call.waits = True
        heappush(self._timers, call)
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Have something called in a while."""
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: _Call) -> None:
        self._cancelled_timers += handle.waits

    def _run_once(self) -> None:
        """One turn: what is due is called, but not what that asks for."""
        self._drop_cancelled()
        soon, timers = self._soon, self._timers
        has_news = self._look_at_files()
        if not (has_news or soon):
            self._leap()
        until = self._now_s + RESOLUTION_S
        while timers and timers[0]._when < until:
            call = heappop(timers)
            call.waits = False
            soon.append(call)
        for _ in range(len(soon)):
            handle = soon.popleft()
            if not handle._cancelled:
                handle._run()

    def _look_at_files(self) -> bool:
        """Whether there is something to read or to write, of which somebody will be told."""
        if len(self._files.get_map()) == self._own_files:
            return False
        events = self._files.select(0)
        for key, _ in events:
            self._soon += [handle for handle in key.data if handle is not None]
        return bool(events)

    def _leap(self) -> None:
        """Nothing is to be done now: move the clock to where something is."""
        if not self._timers:
            raise NothingWillHappen("every task waits for a fact and no timer is set")
        wait_s = self._timers[0]._when - self._now_s
        if wait_s > 0.0:
            self._now_s += wait_s + LATE_S

    def _drop_cancelled(self) -> None:
        """Those that come next, or all where there are many."""
        timers = self._timers
        if len(timers) > TIMERS_MANY and self._cancelled_timers > len(timers) / 2:
            timers[:] = [call for call in timers if not call._cancelled]
            heapify(timers)
            self._cancelled_timers = 0
        while timers and timers[0]._cancelled:
            self._cancelled_timers -= 1
            heappop(timers).waits = False


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
