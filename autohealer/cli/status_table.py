"""Show a status to a person: one row per slot, the truth about each with its age.

Names, hosts and reasons are others' words: nothing in them is taken for markup, or sent to the terminal to be obeyed.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autohealer.control.records import SlotRecord, StatusRecord
from autohealer.printable import printable

_COLUMNS = ("slot", "state", "pid", "registration", "process", "restarts", "why it is where it is")


def print_status(status: StatusRecord, console: Console) -> None:
    """Print the summary, the table and what needs attention."""
    _print_sentence(
        console,
        f"{status.group}: {status.ready}/{status.desired} ready"
        f"{', stopping' if status.stopping else ''} · daemon pid {status.daemon_pid} ({status.version})"
        f" · ZooKeeper {status.zookeeper} {status.store}{_since(status.store_age_s)}",
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for slot in status.slots:
        table.add_row(*(Text(printable(cell)) for cell in _row(slot)))
    console.print(table)
    for note in status.notes:
        _print_sentence(console, f"note: {note}")
    for hold in status.holds:
        _print_sentence(console, f"held back: {hold}")
    for stranger in status.strangers:
        where = (
            f" (pid {stranger.pid} on {stranger.host or 'unknown host'})" if stranger.pid else ""
        )
        _print_sentence(console, f"not ours: {stranger.name}: {stranger.standing}{where}")


def _print_sentence(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, emoji=False, highlight=False)


def _row(slot: SlotRecord) -> tuple[str, ...]:
    return (
        str(slot.slot) if slot.slot >= 0 else "surplus",
        f"{_state(slot)} {_duration(slot.phase_age_s)}",
        f"{slot.pid} ({_duration(slot.pid_age_s)})"
        if slot.pid and slot.pid_age_s is not None
        else "-",
        f"{slot.registration}{_since(slot.registration_age_s)}" if slot.pid else "-",
        slot.health,
        str(slot.restarts),
        f"{slot.reason}; {slot.hint}" if slot.hint else slot.reason,
    )


def _state(slot: SlotRecord) -> str:
    """The phase, except that nothing is called ready which is not."""
    if slot.phase == "ready" and not slot.ready:
        return "up, not ready"
    return slot.phase


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
