"""Show a status to a person: one row per slot, the truth about each with its age.

Theory of operation. Where there is no terminal a row is a line, whatever its length, so that other programs find what
they look for. A terminal that is too narrow gets fewer columns rather than cells folded into pillars: those go first
that say least; on the narrowest the reason stands below its row.

Names, hosts and reasons are others' words: nothing in them is taken for markup, or sent to the terminal to be obeyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from autohealer.control.records import SlotRecord, StatusRecord
from autohealer.printable import printable

_REASON = "why it is where it is"
_COLUMNS = ("slot", "state", "pid", "address", "registration", "process", "restarts")
_ALWAYS = frozenset({"slot", "state", "pid", "registration", "process", "restarts"})
"""Shown although there is nothing in it: what is missing there matters."""

_LEAST_FIRST = ("process", "registration", "restarts", "address", "pid")
"""What a narrow terminal does without, in this order."""

_GAP = "  "
_INDENT = "    "
REASON_COLUMNS_MIN = 30
"""In less a sentence is a pillar."""

_STYLES = {
    "ready": "green",
    **dict.fromkeys(("backoff", "quarantined", "held"), "red"),
    **dict.fromkeys(
        (
            "starting",
            "draining",
            "up, not ready",
            "unready",
            "ready, outdated",
            "starting, outdated",
        ),
        "yellow",
    ),
}
_WELL = frozenset({"running", "sleeping", "idle"})
"""What the kernel says of a process that does its work, or waits for some."""


def print_status(status: StatusRecord, console: Console) -> None:
    """Print the summary, the table and what needs attention."""
    age = "" if status.daemon_age_s is None else f" up {_duration(status.daemon_age_s)}"
    _print_sentence(
        console,
        f"{status.group}: {status.ready}/{status.desired} ready{_declared(status)}"
        f"{_resting(status.slots)}{', stopping' if status.stopping else ''}"
        f" · daemon pid {status.daemon_pid}{age} ({status.version})"
        f" · ZooKeeper {status.zookeeper} {status.store}{_since(status.store_age_s)}",
    )
    _print_table(status.slots, status.at, console)
    for note in status.notes:
        _print_sentence(console, f"note: {note}")
    for hold in status.holds:
        _print_sentence(console, f"held back: {hold}")
    for stranger in status.strangers:
        where = (
            f" (pid {stranger.pid} on {stranger.host or 'unknown host'})" if stranger.pid else ""
        )
        _print_sentence(console, f"not ours: {stranger.name}: {stranger.standing}{where}")


def _declared(status: StatusRecord) -> str:
    """What the configuration says, where an operator wants another number."""
    return "" if status.replicas == status.declared else f" ({status.declared} declared)"


def _resting(slots: Sequence[SlotRecord]) -> str:
    """How many are not missing although they are not there."""
    counts = {phase: sum(slot.phase == phase for slot in slots) for phase in ("done", "stopped")}
    return "".join(f", {count} {phase}" for phase, count in counts.items() if count)


def _print_sentence(console: Console, text: str) -> None:
    for line in _wrapped(console, printable(text), console.width):
        console.print(Text(line), overflow="ignore", no_wrap=True, crop=False)


# --- the table --------------------------------------------------------------------------------


def _print_table(slots: Sequence[SlotRecord], at: str, console: Console) -> None:
    rows = [_row(slot) for slot in slots]
    shown = [name for name in _COLUMNS if name in _ALWAYS or any(row[name] for row in rows)]
    widths = {name: max(map(cell_len, (name, *(row[name] for row in rows)))) for name in shown}
    room = _fit(widths, console.width)
    _print_row(
        console, Text(_joined({name: name for name in widths}, widths), "bold"), room, _REASON
    )
    for slot, row in zip(slots, rows, strict=True):
        line = Text(_joined(row, widths))
        begin = widths["slot"] + len(_GAP)
        line.stylize(_STYLES.get(_state(slot), ""), begin, begin + len(_state(slot)))
        _print_row(console, line, room, printable(_reason(slot, at)))


def _fit(widths: dict[str, int], columns: int) -> int:
    """Take columns out until there is room for the reason; how much there is, 0 where it has to go below its row."""
    droppable = [name for name in _LEAST_FIRST if name in widths]
    for name in (*droppable, None):
        room = columns - sum(width + len(_GAP) for width in widths.values())
        if room >= REASON_COLUMNS_MIN:
            return room
        if name is not None:
            del widths[name]
    return 0


def _joined(row: dict[str, str], widths: dict[str, int]) -> str:
    return _GAP.join(
        row[name] + " " * (width - cell_len(row[name])) for name, width in widths.items()
    )


def _print_row(console: Console, line: Text, room: int, reason: str) -> None:
    if room:
        first, *more = _wrapped(console, reason, room)
        indent = " " * (line.cell_len + len(_GAP))
        line.append_text(Text(_GAP + first))
    else:
        more, indent = _wrapped(console, reason, max(1, console.width - len(_INDENT))), _INDENT
    line.rstrip()
    console.print(line, overflow="ignore", no_wrap=True, crop=False)
    for text in more:
        console.print(Text(indent + text), overflow="ignore", no_wrap=True, crop=False)


def _wrapped(console: Console, text: str, columns: int) -> list[str]:
    """Lines broken between words where that is possible; at least one."""
    return [line.plain.rstrip() for line in Text(text).wrap(console, columns)] or [""]


def _row(slot: SlotRecord) -> dict[str, str]:
    cells = (
        str(slot.slot) if slot.slot >= 0 else "surplus",
        f"{_state(slot)} {_duration(slot.phase_age_s)}",
        f"{slot.pid} ({_duration(slot.pid_age_s)})"
        if slot.pid and slot.pid_age_s is not None
        else "-",
        slot.address,
        _registration(slot),
        _process(slot),
        str(slot.restarts),
    )
    return dict(zip(_COLUMNS, map(printable, cells), strict=True))


def _registration(slot: SlotRecord) -> str:
    if not slot.pid:
        return "-"
    name = f" as {slot.child}" if slot.child else ""
    return f"{slot.registration}{_since(slot.registration_age_s)}{name}"


def _state(slot: SlotRecord) -> str:
    """The phase, except that nothing is called ready which is not."""
    if slot.phase == "ready" and not slot.ready:
        return "up, not ready"
    return f"{slot.phase}, outdated" if slot.outdated else slot.phase


def _process(slot: SlotRecord) -> str:
    """What matters of the kernel's word: a worker that waits for work is not asleep to its owner."""
    if slot.rss_bytes is None:
        return slot.health
    return f"{'up' if slot.health in _WELL else slot.health} {slot.rss_bytes / 1e6:.0f} MB"


def _reason(slot: SlotRecord, at: str) -> str:
    wait = "" if slot.next_try_s is None else f"; next try in {_duration(slot.next_try_s)}"
    whose = _stopped(slot, at) if slot.phase == "stopped" else ""
    hint = f"; {slot.hint}" if slot.hint else ""
    lacking = f"; not ready: {', '.join(slot.not_ready)}" if slot.not_ready else ""
    ailing = f"; to be restarted: {slot.ailing}" if slot.ailing else ""
    says = f"; says: {slot.says}" if slot.says else ""
    return f"{slot.reason}{whose}{wait}{hint}{lacking}{ailing}{says}"


def _stopped(slot: SlotRecord, at: str) -> str:
    """Who stopped a slot, and how long ago that is: what the daemon knows of it may be younger."""
    try:
        age = datetime.fromisoformat(at) - datetime.fromisoformat(slot.stopped_at)
    except (ValueError, TypeError):
        return f" ({slot.stopped_by})" if slot.stopped_by else ""
    return f" ({slot.stopped_by}, {_duration(max(0.0, age.total_seconds()))} ago)"


def _since(age_s: float | None) -> str:
    return "" if age_s is None else f" for {_duration(age_s)}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.1f}s"
    if seconds < 3600:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.1f}h"
