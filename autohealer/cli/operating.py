"""Change a running group from outside and wait until it is as asked.

Theory of operation. The group's status is looked at first: it says who is meant, and which version of the changes the
operator has seen. The daemon refuses where that is not the newest. Then the status is asked again and again until it
is as asked; a daemon that ends meanwhile is waited for, because the next one goes on with it. Waiting changes nothing:
who is tired of it may leave.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from autohealer.cli.daemons import Refused, ask_daemons
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.cli.looking import state_dir_to_look_in
from autohealer.cli.streams import say
from autohealer.cli.targets import Target, WrongTarget, parse_target
from autohealer.control import client
from autohealer.control.client import NoAnswer, NotDone
from autohealer.control.records import SlotRecord, StatusRecord
from autohealer.printable import printable
from autohealer.settings import group_dir

LOOK_S = 0.1
SHOWN_SLOTS = 3
_SETTLED = frozenset({"ready", "done"})


@dataclass(frozen=True, slots=True)
class Seen:
    """The group that is meant and how it was when it was looked at."""

    folder: Path
    target: Target
    status: StatusRecord

    @property
    def slots(self) -> list[SlotRecord]:
        """Those that are meant."""
        wanted = self.target.slots
        return [
            it for it in self.status.slots if it.slot >= 0 and (wanted is None or it.slot in wanted)
        ]


Reached = Callable[[StatusRecord], "str | None"]
"""What is still missing, in words; None once it is as asked."""


def look(state_dir: Path | None, text: str | None) -> Seen:
    """What is meant; a mistake ends the command."""
    base = state_dir_to_look_in(state_dir)
    try:
        found = ask_daemons(base, None)
    except Refused as error:
        fail(error.code, error)
    told = {name: client.parse_status(it.body) for name, it in found.answers.items()}
    if not told:
        fail(ExitCode.NO_DAEMON, (*(it.sentence for it in found.silent), *found.gone)[0])
    try:
        target = parse_target(text, told)
    except WrongTarget as error:
        fail(ExitCode.USAGE, error)
    return Seen(group_dir(base, target.group), target, told[target.group])


def scale(state_dir: Path | None, words: list[str], within_s: float, *, reset: bool) -> None:
    """Keep another number of workers."""
    if len(words) > 2 - reset or (not words and not reset):
        fail(ExitCode.USAGE, "say how many: `autohealer scale [GROUP] N`, +K or -K; or --reset")
    number = None if reset else words[-1]
    seen = look(state_dir, words[0] if len(words) == 2 - reset else None)
    if seen.target.slots is not None:
        fail(ExitCode.USAGE, "a group is scaled, not a slot of it")
    replicas: object = "declared" if number is None else _number(number, seen.status.replicas)
    _change(seen, "PATCH", "", {"replicas": replicas})
    wanted = seen.status.declared if number is None else int(str(replicas))
    _wait(seen, within_s, lambda status: _scaled(status, wanted))


def stop(state_dir: Path | None, text: str | None, within_s: float) -> None:
    """Drain workers and keep them stopped."""
    seen = look(state_dir, text)
    _change(seen, "PATCH", "", {"stopped": True} | _slots_of(seen))
    _wait(seen, within_s, lambda status: _all_in(seen.target, status, {"stopped"}))


def start(state_dir: Path | None, text: str | None, within_s: float) -> None:
    """Start what was stopped, is quarantined or done."""
    seen = look(state_dir, text)
    _change(seen, "PATCH", "", {"stopped": False} | _slots_of(seen))
    _wait(seen, within_s, lambda status: _all_in(seen.target, status, _SETTLED))


def restart(state_dir: Path | None, text: str | None, within_s: float) -> None:
    """Replace workers one at a time, each ready before the next."""
    seen = look(state_dir, text)
    before = {it.slot: it.generation for it in seen.slots if it.pid is not None}
    _change(seen, "POST", "/restart", _slots_of(seen))
    _wait(seen, within_s, lambda status: _restarted(status, before))


def send(state_dir: Path | None, name: str, text: str | None) -> None:
    """Send a signal."""
    seen = look(state_dir, text)
    _change(seen, "POST", "/signal", {"signal": name.upper()} | _slots_of(seen))


# --- asking ---------------------------------------------------------------------------------------


def _number(text: str, now: int) -> int:
    """How many workers are meant, where there are so many now."""
    try:
        number = int(text)
    except ValueError:
        fail(ExitCode.USAGE, f"the number of workers must be N, +K or -K, not {printable(text)!r}")
    return max(0, now + number) if text[0] in "+-" else number


def _slots_of(seen: Seen) -> dict[str, object]:
    return {} if seen.target.slots is None else {"slots": sorted(seen.target.slots)}


def _change(seen: Seen, method: str, verb: str, body: Mapping[str, object]) -> None:
    group = seen.target.group
    path = f"/v1/groups/{quote(group, safe='')}{verb}"
    try:
        told = client.operate(seen.folder, method, path, body, seen.status.changes)
    except NoAnswer as error:
        fail(ExitCode.NO_DAEMON, error)
    except NotDone as error:
        fail(ExitCode.NOT_REACHED if error.is_stale else ExitCode.USAGE, error)
    print(printable(f"{group}: {told.did}"), flush=True)  # noqa: T201
    if told.warning:
        say(f"autohealer: {printable(told.warning)}")


# --- waiting --------------------------------------------------------------------------------------


def _wait(seen: Seen, within_s: float, reached: Reached) -> None:
    """Return once it is as asked; leave with exit code 7 where it is not in time."""
    until = time.monotonic() + within_s
    missing: str | None = ""
    shown = sys.stderr.isatty()
    while within_s:
        try:
            status = client.parse_status(client.fetch_status(seen.folder))
            missing = reached(status)
        except NoAnswer as error:
            missing = str(error)
        if shown:
            _show("" if missing is None else missing)
        if missing is None:
            print(printable(f"{seen.target.group}: {_told(status)}"))  # noqa: T201
            return
        if time.monotonic() >= until:
            fail(
                ExitCode.NOT_REACHED,
                f"{seen.target.group}: not as asked within {within_s:g} s, and it goes on: {missing}",
            )
        time.sleep(LOOK_S)


def _show(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{printable(text)}")
    sys.stderr.flush()


def _told(status: StatusRecord) -> str:
    stopped = sum(it.phase == "stopped" for it in status.slots)
    also = f", {stopped} stopped" if stopped else ""
    return f"{status.ready}/{status.desired} ready{also}"


def _scaled(status: StatusRecord, wanted: int) -> str | None:
    if status.replicas != wanted:
        return f"somebody else wants {status.replicas} by now"
    surplus = sum(not 0 <= it.slot < wanted for it in status.slots)
    if surplus:
        return f"{surplus} to go: {_told(status)}"
    return _lacking(status.slots, _SETTLED | {"stopped"}, status)


def _all_in(target: Target, status: StatusRecord, phases: Iterable[str]) -> str | None:
    slots = [it for it in status.slots if target.slots is None or it.slot in target.slots]
    return _lacking(slots, frozenset(phases), status)


def _restarted(status: StatusRecord, before: Mapping[int, int]) -> str | None:
    slots = {it.slot: it for it in status.slots}
    old = [
        slot
        for slot, generation in before.items()
        if slot in slots and slots[slot].generation <= generation and slots[slot].pid is not None
    ]
    if old:
        return f"{len(old)} to be restarted: {_told(status)}"
    meant = [it for it in status.slots if it.slot in before]
    return _lacking(meant, _SETTLED | {"stopped"}, status)


def _lacking(
    slots: Iterable[SlotRecord], phases: frozenset[str], status: StatusRecord
) -> str | None:
    """Who is not in one of these phases; a ready worker counts once it is known to be."""
    late = [it for it in slots if it.phase not in phases or (it.phase == "ready" and not it.ready)]
    if not late:
        return None
    first = ", ".join(f"slot {it.slot} is {it.phase}: {it.reason}" for it in late[:SHOWN_SLOTS])
    more = f" and {len(late) - SHOWN_SLOTS} more" if len(late) > SHOWN_SLOTS else ""
    return f"{_told(status)}; {first}{more}"
