"""Have a daemon read its configuration again, and print what that changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autohealer.cli.daemons import Refused, ask_one_daemon
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail
from autohealer.cli.streams import say
from autohealer.control import client
from autohealer.control.client import NoAnswer


def reload_daemon(base: Path, group: str | None, *, dry_run: bool) -> Sequence[str]:
    """What the daemon that is meant changes, or would change, a line for each; its refusal ends the command."""
    try:
        daemon = ask_one_daemon(base, group)
        told = client.reload(daemon.folder, dry_run=dry_run)
    except Refused as error:
        fail(error.code, error)
    except NoAnswer as error:
        fail(ExitCode.NO_DAEMON, error)
    if told.mistakes:
        for line in told.refusal.splitlines():
            say(line)
        what = "1 mistake" if told.mistakes == 1 else f"{told.mistakes} mistakes"
        fail(ExitCode.USAGE, f"{what} in the configuration: nothing was changed")
    if told.refusal:
        fail(ExitCode.USAGE, told.refusal)
    return told.lines
