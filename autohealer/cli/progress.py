"""The line that stays at the bottom of a terminal: `7/10 registered`.

The log is written through it, so that a log line first wipes it and then puts it back. On anything but a
terminal there is no such line. A reader that went away must not take the daemon with it, so
what cannot be written is dropped: there is nobody left to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from autohealer.core.actions import Plan
from autohealer.core.events import Event
from autohealer.core.model import Phase, Stop, View

_WIPE = "\r\x1b[K"


class StatusLine:
    """Log lines with one line kept below them; also an observer of decisions."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.on_terminal = stream.isatty()
        self._line = ""

    def log(self, line: str) -> None:
        """Write one line of log above the line."""
        self._emit(f"{_WIPE}{line}\n{self._line}" if self.on_terminal else f"{line}\n")

    def close(self) -> None:
        """Leave the terminal clean."""
        if self.on_terminal and self._line:
            self._emit(_WIPE)
            self._line = ""

    def __call__(self, _facts: Sequence[Event], _plan: Plan, view: View) -> None:
        """Redraw after a round that changed what the line says."""
        if not self.on_terminal:
            return
        line = _line_of(view)
        if line != self._line:
            self._line = line
            self._emit(f"{_WIPE}{line}")

    def _emit(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            return


def _line_of(view: View) -> str:
    parts = [f"{view.ready_count()}/{view.desired.replicas} registered"]
    unsettled = (Phase.STARTING, Phase.DRAINING, Phase.BACKOFF, Phase.QUARANTINED)
    parts += [f"{view.counts[phase]} {phase.value}" for phase in unsettled if view.counts[phase]]
    if view.desired.stop is not Stop.NO:
        parts.append("stopping (Ctrl-C again to kill at once)")
    return ", ".join(parts)
