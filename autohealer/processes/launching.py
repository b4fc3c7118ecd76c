"""One thread that launches, in the order of the orders, so that no launch holds the event loop.

Theory of operation. An exec takes half a millisecond on an idle machine and tens of them beside busy workers. The
caller gets an `Order` and goes on; what comes of it is told on the event loop's thread. An order that nobody began
yet can be withdrawn; whoever takes it first, the thread or who withdraws it, decides. Each hop from thread to thread
costs as much as a launch. Who launches many little things has them go over and come back together.

Must never know: what is launched, and what for.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue

Launch = Callable[[], int]
Outcome = int | OSError
"""The pid, or why there is none."""


class Order:
    """One launch to be."""

    def __init__(self, launch: Launch, tell: Callable[[Outcome], None]) -> None:
        self._launch = launch
        self._tell = tell
        self._taken = threading.Lock()

    def withdraw(self) -> bool:
        """Whether it will not be carried out, because nobody has begun to."""
        return self._taken.acquire(blocking=False)

    def carry_out(self) -> Callable[[], None] | None:
        """On the thread: do it; what is then to be done on the loop's, None if it was withdrawn."""
        if not self._taken.acquire(blocking=False):
            return None
        outcome: Outcome
        try:
            outcome = self._launch()
        except OSError as error:
            outcome = error
        return lambda: self._tell(outcome)


class Launching:
    """The thread and its orders; used from the event loop's thread. The thread starts with the first order."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, together_s: float = 0.0) -> None:
        """`together_s` is 0 for who is in a hurry. Else what is ordered in one turn of the event loop is handed over
        together, and what is launched within so many seconds is told of together."""
        self._loop = loop
        self._together_s = together_s
        self._gathered: list[Order] = []
        self._orders: SimpleQueue[Sequence[Order] | None] = SimpleQueue()
        self._done: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def order(self, launch: Launch, tell: Callable[[Outcome], None]) -> Order:
        """Have something launched, and `tell` called with what came of it.

        `tell` is called at once where no thread can be had.
        """
        order = Order(launch, tell)
        try:
            self._start()
        except RuntimeError as error:  # the machine is out of threads; the next order tries again
            order.withdraw()
            self._loop.call_soon(tell, OSError(0, str(error)))
            return order
        if not self._together_s:
            self._orders.put((order,))
            return order
        self._gathered.append(order)
        if len(self._gathered) == 1:
            self._loop.call_soon(self._hand_over)
        return order

    def close(self, within_s: float) -> None:
        """Carry out what was begun, and tell of it, as far as the time goes; what waits should be withdrawn before."""
        if self._thread is None:
            return
        self._hand_over()
        self._orders.put(None)
        self._thread.join(within_s)
        self._thread = None
        self._tell_all()

    def _start(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="launching", daemon=True)
            thread.start()
            self._thread = thread

    def _hand_over(self) -> None:
        if self._gathered:
            self._orders.put(self._gathered)
            self._gathered = []

    def _run(self) -> None:
        while (orders := self._orders.get()) is not None:
            began = time.monotonic()
            for order in orders:
                if (told := order.carry_out()) is not None:
                    self._done.put(told)
                if time.monotonic() - began > self._together_s:
                    began = self._have_told()
            self._have_told()

    def _have_told(self) -> float:
        """When that was."""
        if not self._done.empty():
            self._loop.call_soon_threadsafe(self._tell_all)
        return time.monotonic()

    def _tell_all(self) -> None:
        while not self._done.empty():
            self._done.get()()
