"""Show what daemons answered: as tables, as they said it, or as one line a group for who asks if all is well.

Well is a group all of whose workers that are to be alive are ready, in the slots that are meant.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

from rich.console import Console

from autohealer.cli.daemons import Found
from autohealer.cli.status_table import print_status
from autohealer.cli.targets import Named
from autohealer.cli.terminal import table_width, wants_colors
from autohealer.control.client import parse_status
from autohealer.control.records import StatusRecord
from autohealer.printable import printable, printable_json

_RESTING = frozenset({"done", "stopped"})


def show_found(found: Found, meant: Named, *, as_json: bool) -> bool:
    """Everything; it is never unwell."""
    plain = None if wants_colors(os.environ) else True
    console = Console(soft_wrap=False, width=table_width(os.environ), no_color=plain)
    for answer in found.answers.values():
        if as_json:
            print(printable_json(_narrowed(answer.body, meant)))  # noqa: T201
        else:
            print_status(_of(parse_status(answer.body), meant), console)
    return True


def check_found(found: Found, meant: Named) -> bool:
    """A line a group; whether all are well."""
    well = [_is_well(parse_status(answer.body), meant) for answer in found.answers.values()]
    return all(well)


def _is_well(status: StatusRecord, meant: Named) -> bool:
    slots = _of(status, meant).slots
    late = [slot for slot in slots if not slot.ready and slot.phase not in _RESTING]
    expected = status.replicas if meant.slots is None else len(meant.slots)
    state = ", stopping" if status.stopping else ", not begun" if len(slots) < expected else ""
    first = f": slot {late[0].slot} is {late[0].phase}, {late[0].reason}" if late else ""
    line = f"{status.group}: {status.ready}/{status.desired} ready{state}{first}"
    print(printable(line))  # noqa: T201
    return not (late or state)


def _of(status: StatusRecord, meant: Named) -> StatusRecord:
    return replace(status, slots=tuple(slot for slot in status.slots if meant.has(slot.slot)))


def _narrowed(body: bytes, meant: Named) -> str:
    """The daemon's own words, less the slots that are not meant."""
    if meant.slots is None:
        return body.decode()
    told = json.loads(body)
    told["slots"] = [slot for slot in told["slots"] if meant.has(slot["slot"])]
    return json.dumps(told, separators=(",", ":"))
