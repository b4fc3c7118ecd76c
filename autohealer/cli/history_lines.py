"""Show a history: to a person one line per event with a dead worker's last words below, to a program JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from autohealer.printable import printable, quoted_lines
from autohealer.telemetry.history import Entry


def print_history(entries: Sequence[Entry], *, as_json: bool) -> None:
    """Print entries in their order."""
    for entry in entries:
        print(json.dumps(asdict(entry)) if as_json else _told(entry))  # noqa: T201


def _told(entry: Entry) -> str:
    at = datetime.fromisoformat(entry.at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    who = f"slot {entry.slot}" if entry.slot is not None else "daemon"
    pid = entry.pid if entry.slot is not None else entry.daemon_pid
    what = entry.cause or entry.event
    head = f"{at}  {who:<9} {f'pid {pid}' if pid else '':<12} {what:<20} {entry.why}"
    hint = [f"    {printable(entry.hint)}"] if entry.hint else []
    return "\n".join([printable(head.rstrip()), *quoted_lines(entry.last_output), *hint])
