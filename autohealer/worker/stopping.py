"""The flag that asks a worker to stop, which a signal handler may set.

Theory of operation: `threading.Event` takes a lock that is not re-entrant, so a handler that sets
it while the same thread is inside `wait` can hang for ever. `queue.SimpleQueue.put` is documented
as re-entrant; whoever takes the token puts it back for the next waiter.

Must never know: signals, ZooKeeper, why the worker is to stop.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Stopping:
    """Like `threading.Event`, but it is only ever set, and safely so from a signal handler."""

    __slots__ = ("_is_set", "_tokens")

    def __init__(self) -> None:
        self._is_set = False
        self._tokens: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Whether the worker is to stop."""
        return self._is_set

    def set(self) -> None:
        """Ask the worker to stop."""
        self._is_set = True
        self._tokens.put(None)

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
