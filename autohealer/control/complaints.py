"""Say what goes wrong at the control socket: one line per minute and cause, with how often it happened since."""

from __future__ import annotations

import logging
from collections.abc import Callable

EVERY_S = 60.0
DETAIL_CHARACTERS = 120
"""Enough of an error that may quote what a client sent."""


class Complaints:
    """Takes as many as there are and says few; a logging handler's `emit` for aiohttp's own."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def __call__(self, cause: str, detail: str = "") -> None:
        """Note that something happened; `cause` is one of few, `detail` may be anything."""
        now = self._clock()
        if now < self._said.get(cause, -EVERY_S) + EVERY_S:
            self._unsaid[cause] = self._unsaid.get(cause, 0) + 1
            return
        before = self._unsaid.pop(cause, 0)
        self._said[cause] = now
        more = f" ({before} times more since the last line)" if before else ""
        self._say(f"{cause}{': ' if detail else ''}{detail}{more}")

    def as_logger(self) -> logging.Logger:
        """A logger for aiohttp whose errors come here and nowhere else."""
        logger = logging.Logger("autohealer.control", logging.ERROR)
        logger.addHandler(_Forward(self))
        return logger


class _Forward(logging.Handler):
    def __init__(self, complain: Complaints) -> None:
        super().__init__(logging.ERROR)
        self._complain = complain

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        what = repr(error) if error else record.getMessage()
        self._complain("a request failed", what[:DETAIL_CHARACTERS])
