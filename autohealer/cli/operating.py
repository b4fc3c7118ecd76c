"""Change a running group from outside and wait until it is as asked.

Theory of operation. The group's status is looked at first: it says who is meant, and which version of the changes the
operator has seen. The daemon refuses where that is not the newest. Then the status is asked again and again until it
is as asked; a daemon that ends meanwhile is waited for, because the next one goes on with it. Waiting changes nothing:
who is tired of it may leave.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from autohealer.cli.daemons import Refused, ask_daemons
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.cli.looking import state_dir_to_look_in
from autohealer.cli.reached import (
    STOPPED,
    Overruled,
    Reached,
    all_in,
    restarted,
    scaled,
    started,
    state_of,
)
from autohealer.cli.streams import say
from autohealer.cli.targets import Target, WrongTarget, parse_target
from autohealer.control import client
from autohealer.control.client import NoAnswer, NotDone
from autohealer.control.records import SlotRecord, StatusRecord
from autohealer.printable import printable
from autohealer.settings import group_dir

LOOK_S = 0.1
LOOK_SHARE = 5.0
"""A look at very many slots costs the daemon something: the pause is so many times as long as a look."""


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
    _wait(seen, within_s, lambda status: scaled(status, wanted))


def stop(state_dir: Path | None, text: str | None, within_s: float) -> None:
    """Drain workers and keep them stopped."""
    seen = look(state_dir, text)
    _change(seen, "PATCH", "", {"stopped": True} | _slots_of(seen))
    _wait(seen, within_s, lambda status: all_in(status, STOPPED, seen.target.slots))


def start(state_dir: Path | None, text: str | None, within_s: float) -> None:
    """Start what was stopped, is quarantined or done."""
    seen = look(state_dir, text)
    finished = {it.slot: it.generation for it in seen.slots if it.phase == "done"}
    _change(seen, "PATCH", "", {"stopped": False} | _slots_of(seen))
    _wait(seen, within_s, lambda status: started(status, seen.target.slots, finished))


def restart(state_dir: Path | None, text: str | None, within_s: float) -> None:
    """Replace workers one at a time, each ready before the next."""
    seen = look(state_dir, text)
    before = {it.slot: it.generation for it in seen.slots if it.generation}
    _change(seen, "POST", "/restart", _slots_of(seen))
    _wait(seen, within_s, lambda status: restarted(status, before))


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
    """Return once it is as asked; leave with exit code 7 where it is not in time, or somebody is tired of waiting."""
    group, until = seen.target.group, time.monotonic() + within_s
    missing: str | None = "nobody has looked yet"
    try:
        while within_s:
            began = time.monotonic()
            state, missing = _looked(seen.folder, reached)
            _show(missing or "")
            if missing is None:
                print(printable(f"{group}: {state}"))  # noqa: T201
                return
            if time.monotonic() >= until:
                _leave(f"{group}: not as asked within {within_s:g} s, and it goes on: {missing}")
            time.sleep(max(LOOK_S, LOOK_SHARE * (time.monotonic() - began)))
    except Overruled as error:
        _leave(f"{group}: {error}")
    except KeyboardInterrupt:
        _leave(f"{group}: not waited for any longer, and it goes on: {missing}")


def _looked(folder: Path, reached: Reached) -> tuple[str, str | None]:
    """How a group is, in words, and what is missing; a daemon that does not answer is missing itself."""
    try:
        status = client.parse_status(client.fetch_status(folder))
    except NoAnswer as error:
        return "", str(error)
    return state_of(status), reached(status)


def _leave(sentence: str) -> NoReturn:
    _show("")
    fail(ExitCode.NOT_REACHED, printable(sentence))


def _show(text: str) -> None:
    """On a terminal one line that is always written anew, as much of it as there is room for."""
    if sys.stderr.isatty():
        columns = shutil.get_terminal_size().columns
        sys.stderr.write(f"\r\x1b[K{printable(text)[: columns - 1]}")
        sys.stderr.flush()
