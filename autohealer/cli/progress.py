"""The log of a running daemon, and the line that stays below it on a terminal: `7/10 registered`.

Both are written by one thread, so that neither mixes with the other and neither ever holds the daemon up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from autohealer.cli.terminal import columns_of, terminal_at
from autohealer.core.actions import Plan
from autohealer.core.events import Event
from autohealer.core.model import Phase, Stop, View
from autohealer.telemetry.outlet import Outlet
from autohealer.telemetry.scribe import Scribe

LAST_MOMENT_S = 0.5
"""How long the end waits for a reader: an eternity to one that reads, nothing to who presses Ctrl-C."""


class LogScreen:
    """Where log lines go; also an observer of decisions, for the line below them."""

    def __init__(
        self,
        descriptor: int,
        encoding: str,
        environment: Mapping[str, str],
        tell_missing: Callable[[int, str], str],
    ) -> None:
        """`tell_missing` makes a log line of how many are missing and why."""
        self.terminal = terminal_at(descriptor, environment)
        width = partial(columns_of, descriptor) if self.terminal.has_escapes else None
        self._outlet = Outlet(descriptor, encoding, tell_missing, width)
        self._scribe = Scribe("log", self._outlet.write)
        self._lines: dict[str, str] = {}
        self.log = self._scribe.put
        self.redraw = self._scribe.wake

    def __call__(self, _facts: Sequence[Event], plan: Plan, view: View) -> None:
        """Redraw after a round that changed what the line says."""
        if not self.terminal.has_escapes:
            return
        self._lines[view.group] = _line_of(view)
        if plan.finished and len(self._lines) > 1:
            del self._lines[view.group]  # it is kept no more
        line = _together(self._lines)
        if line != self._outlet.below:
            self._outlet.below = line
            self.redraw()

    def close(self) -> None:
        """Write what waits, if somebody reads it, and leave the terminal clean."""
        self._outlet.below = ""
        self.redraw()
        self._scribe.close(LAST_MOMENT_S)


def _together(lines: Mapping[str, str]) -> str:
    """One group needs no name."""
    if len(lines) == 1:
        return next(iter(lines.values()))
    return "; ".join(f"{group} {line}" for group, line in lines.items())


def _line_of(view: View) -> str:
    parts = [f"{view.ready_count()}/{view.desired.kept} registered"]
    unsettled = (
        *(Phase.STARTING, Phase.UNREADY, Phase.DRAINING),
        *(Phase.BACKOFF, Phase.QUARANTINED, Phase.DONE, Phase.STOPPED),
    )
    parts += [f"{view.counts[phase]} {phase.value}" for phase in unsettled if view.counts[phase]]
    if view.desired.stop is not Stop.NO:
        parts.append("stopping (Ctrl-C again to kill at once)")
    return ", ".join(parts)
