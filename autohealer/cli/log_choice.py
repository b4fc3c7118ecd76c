"""Choose what `logs` shows: whose lines, and which of them. What there is not is told, with what there is instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from autohealer.cli.daemons import Refused, group_names
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.cli.looking import state_dir_to_look_in
from autohealer.cli.targets import WrongTarget, parse_target
from autohealer.config.units import seconds
from autohealer.outputspec import OutputTo
from autohealer.printable import printable
from autohealer.settings import group_dir
from autohealer.workerlogs.destination import read_destination
from autohealer.workerlogs.following import Meant, slots_in
from autohealer.workerlogs.past import Wanted

LINES = 50
SHOWN_SLOTS = 8
_DURATION = seconds("1ms", "3650d")


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose lines; `meant` are those in files, `elsewhere` tells of the others, `is_open` that groups may come."""

    base: Path
    meant: Meant
    elsewhere: tuple[str, ...]
    is_open: bool

    def folder_of(self, group: str) -> Path:
        """Where a group's files are."""
        return output_folder(self.base, group)

    def meant_now(self) -> Meant:
        """With the groups that came."""
        if not self.is_open:
            return self.meant
        return dict.fromkeys(name for name in group_names(self.base) if _is_kept(self.base, name))


def output_folder(base: Path, group: str) -> Path:
    """Where a group's files are."""
    return group_dir(base, group) / "output"


def wanted_of(lines: str | None, since: str | None, grep: str | None) -> Wanted:
    """Which lines; a mistake ends the command."""
    try:
        when = None if since is None else _time(since, datetime.now(UTC))
    except ValueError as error:
        fail(ExitCode.USAGE, f"--since {since}: {error}")
    try:
        pattern = None if grep is None else re.compile(grep)
    except re.error as error:
        fail(ExitCode.USAGE, f"--grep {grep}: no regular expression ({error})")
    if lines is None:
        return Wanted(LINES if since is None and grep is None else None, when, pattern)
    if lines != "all" and not re.fullmatch(r"\d{1,9}", lines, re.ASCII):
        fail(ExitCode.USAGE, f"-n {lines}: write a number of lines, or all")
    return Wanted(None if lines == "all" else int(lines), when, pattern)


def choose(state_dir: Path | None, targets: Sequence[str], *, follow: bool) -> Choice:
    """Whose lines; a mistake ends the command."""
    base = state_dir_to_look_in(state_dir)
    try:
        meant = _meant(base, targets, group_names(base), follow=follow)
    except Refused as error:
        fail(error.code, error)
    kept = {name: slots for name, slots in meant.items() if _is_kept(base, name)}
    elsewhere = tuple(
        _told_of_elsewhere(base, name, meant[name]) for name in meant if name not in kept
    )
    return Choice(base, kept, elsewhere, is_open=not targets)


def _meant(base: Path, targets: Sequence[str], names: list[str], *, follow: bool) -> Meant:
    if not names:
        raise Refused(ExitCode.NO_DAEMON, f"no group ever ran with the state directory {base}")
    if not targets:
        return dict.fromkeys(names)
    meant: dict[str, frozenset[int] | None] = {}
    for text in targets:
        try:
            target = parse_target(text, names)
        except WrongTarget as error:
            raise Refused(ExitCode.USAGE, str(error)) from error
        _check(base, target.group, target.slots, follow=follow)
        before = meant.get(target.group, frozenset())
        is_all = before is None or target.slots is None
        meant[target.group] = None if is_all else (before or frozenset()) | (target.slots or set())
    return meant


def _check(base: Path, group: str, slots: frozenset[int] | None, *, follow: bool) -> None:
    """Who follows may wait for some of the slots, but not for all. Raises `Refused`."""
    if slots is None or not _is_kept(base, group):
        return
    try:
        known = slots_in(output_folder(base, group))
    except OSError as error:
        raise Refused(ExitCode.ENVIRONMENT, _unreadable(error)) from error
    missing = sorted(slots - set(known))
    if missing and (not follow or len(missing) == len(slots)):
        there = f"it has {_told_slots(known)}" if known else "nothing was written yet"
        raise Refused(
            ExitCode.USAGE,
            f"group {printable(group)!r} never had a slot {missing[0]}: {there}",
        )


def _told_slots(slots: list[int]) -> str:
    if slots == list(range(slots[0], slots[-1] + 1)) and len(slots) > 1:
        return f"slots {slots[0]} to {slots[-1]}"
    more = f" and {len(slots) - SHOWN_SLOTS} more" if len(slots) > SHOWN_SLOTS else ""
    return f"slots {', '.join(map(str, slots[:SHOWN_SLOTS]))}{more}"


def _unreadable(error: OSError) -> str:
    return f"{error.filename} cannot be read: {error.strerror}"


def _is_kept(base: Path, group: str) -> bool:
    return read_destination(output_folder(base, group)).to is OutputTo.FILE


def _told_of_elsewhere(base: Path, group: str, slots: Collection[int] | None) -> str:
    to = read_destination(output_folder(base, group)).to
    name = printable(group)
    if to is OutputTo.NULL:
        return f"the output of group {name!r} is thrown away (output.to is null)"
    if to is OutputTo.STDOUT:
        return (
            f"the output of group {name!r} goes to the daemon's own standard output: look where that goes "
            "(its terminal, `docker logs`, or `journalctl -u` and its unit)"
        )
    chosen = sorted(slots if slots is not None else slots_in(output_folder(base, group)))
    of = " ".join(f"-t {name}-{slot}" for slot in chosen[:SHOWN_SLOTS])
    more = ", and so on" if len(chosen) > SHOWN_SLOTS else ""
    return f"the output of group {name!r} goes to the journal: `journalctl {of}`{more}"


def _time(text: str, now: datetime) -> datetime:
    """So long ago, or at that time, here unless it says where. Raises `ValueError`."""
    if text[:1].isdigit() and text[-1:].isalpha() and "T" not in text:
        return now - timedelta(seconds=_DURATION(text))
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("write 5m, 2h, or a time such as 2026-11-27T10:00:00") from None
