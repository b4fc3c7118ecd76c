"""Choose what `why` tells: of one group or all, of one slot or all, and say so where there is nothing to tell."""

from __future__ import annotations

from pathlib import Path

from autohealer.cli.daemons import Refused, checked_group, group_names
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.targets import Named
from autohealer.control.client import NoAnswer, fetch_status, parse_status
from autohealer.settings import group_dir
from autohealer.telemetry.history import HISTORY_NAME, Entry, read_history


def histories(base: Path, meant: Named, *, one_only: bool) -> dict[str, list[Entry]]:
    """Each group's entries, oldest first; without those of other slots. Raises `Refused`."""
    names = _groups(base, meant.group)
    if one_only and len(names) > 1:
        raise Refused(
            ExitCode.USAGE, f"there are several groups ({', '.join(names)}): name one with --group"
        )
    told = {name: _entries(group_dir(base, name), meant) for name in names}
    if meant.slots and not any(told.values()) and not _has_slot(base, names, meant):
        slots = "a slot" if len(meant.slots) == 1 else "slots"
        numbers = ", ".join(map(str, sorted(meant.slots)))
        raise Refused(
            ExitCode.USAGE, f"nothing is known of {slots} {numbers} of group {' or '.join(names)}"
        )
    return told


def _groups(base: Path, group: str | None) -> list[str]:
    known = [name for name in group_names(base) if (group_dir(base, name) / HISTORY_NAME).exists()]
    if group is not None:
        if checked_group(group) not in known:
            there = f"there are {', '.join(known)}" if known else "there is none"
            raise Refused(ExitCode.USAGE, f"no group {group!r} has a history in {base}: {there}")
        return [group]
    if not known:
        raise Refused(ExitCode.NO_DAEMON, f"no group has a history in the state directory {base}")
    return known


def _entries(folder: Path, meant: Named) -> list[Entry]:
    try:
        return [entry for entry in read_history(folder) if meant.has(entry.slot)]
    except OSError as error:
        raise Refused(
            ExitCode.ENVIRONMENT, f"the history in {folder} cannot be read: {error.strerror}"
        ) from error


def _has_slot(base: Path, names: list[str], meant: Named) -> bool:
    """Whether a daemon that runs keeps such a slot: then nothing has befallen it yet."""
    for name in names:
        try:
            status = parse_status(fetch_status(group_dir(base, name)))
        except NoAnswer:
            continue
        if any(meant.has(row.slot) for row in status.slots):
            return True
    return False
