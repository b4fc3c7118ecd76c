"""Lines on their way to what may block: a terminal, a pipe, a file system. Who puts one goes on at once.

Theory of operation. Lines wait in a bounded queue for one thread, which hands over all that wait, in their order.
A line there is no room for is dropped; a mark keeps its place and counts, so that `write` can say how many are
missing, and where. At the end the thread gets a moment to finish, and not more: a reader that stopped reading
keeps nobody alive.

Must never know what the lines say. Limits: a crash of the process loses what waits; so does an end at which
`write` is stuck. Where no thread can be started, each line tries to start it again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

QUEUE_CHARACTERS = 1024 * 1024
"""Some 5,000 log lines: minutes of a restless group, and nothing to a machine's memory."""


@dataclass(frozen=True, slots=True)
class Missing:
    """So many lines were dropped at this place."""

    lines: int


Batch = Sequence[str | Missing]


class Scribe:
    """A queue of lines and the thread that empties it; may be used from any thread."""

    def __init__(
        self,
        name: str,
        write: Callable[[Batch], None],
        limit_characters: int = QUEUE_CHARACTERS,
    ) -> None:
        """`write` runs on the thread, gets what waits, may take its time, and handles its own errors."""
        self._name = name
        self._write = write
        self._limit_characters = limit_characters
        self._changed = threading.Condition()
        self._waiting: deque[str | Missing] = deque()
        self._characters = 0
        self._is_woken = False
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def put(self, line: str) -> None:
        """Take a line over; never blocks."""
        with self._changed:
            if self._characters + len(line) > self._limit_characters:
                self._drop()
            else:
                self._waiting.append(line)
                self._characters += len(line)
            self._wake()

    def wake(self) -> None:
        """Have `write` called soon, even with nothing to write."""
        with self._changed:
            self._is_woken = True
            self._wake()

    def close(self, within_s: float) -> None:
        """Have what waits written if that is done in time; nothing is taken over afterwards."""
        with self._changed:
            self._wake()
            self._is_closed = True
        if self._thread is not None:
            self._thread.join(within_s)

    def _drop(self) -> None:
        dropped = 1
        if self._waiting and isinstance(last := self._waiting[-1], Missing):
            self._waiting.pop()
            dropped += last.lines
        self._waiting.append(Missing(dropped))

    def _wake(self) -> None:
        if self._thread is None and not self._is_closed:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # no thread can be started now; the next line tries again
            self._thread = thread
        self._changed.notify()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._write(batch)

    def _next(self) -> Batch | None:
        """Wait for something to do; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_woken or self._is_closed)
            if not self._waiting and not self._is_woken:
                return None
            batch = tuple(self._waiting)
            self._waiting.clear()
            self._characters = 0
            self._is_woken = False
            return batch
