"""Have a daemon read its configuration again, and print what that changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from autohealer.cli.daemons import the_daemon
from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.failing import fail, fail_for_mistakes
from autohealer.control import client
from autohealer.control.client import NoAnswer


def reload_daemon(base: Path, group: str | None, *, dry_run: bool) -> Sequence[str]:
    """What the daemon that is meant changes, or would change, a line for each; its refusal ends the command."""
    daemon = the_daemon(base, group)
    try:
        told = client.reload(daemon.folder, dry_run=dry_run)
    except NoAnswer as error:
        fail(ExitCode.NO_DAEMON, error)
    if told.mistakes:
        fail_for_mistakes(told.refusal, told.mistakes, "nothing was changed")
    if told.refusal:
        fail(ExitCode.USAGE, told.refusal)
    return told.lines
