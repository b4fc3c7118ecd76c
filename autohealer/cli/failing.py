"""How a command ends that cannot do what it was asked: one sentence and an exit code."""

from __future__ import annotations

from typing import NoReturn

import typer

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.streams import say


def fail_for_mistakes(told: str, count: int, then: str) -> NoReturn:
    """Show the mistakes in a configuration, some lines each, and leave; `then` says what became of the command."""
    for line in told.splitlines():
        say(line)
    what = "1 mistake" if count == 1 else f"{count} mistakes"
    fail(ExitCode.USAGE, f"{what} in the configuration: {then}")


def fail(code: ExitCode, sentence: object) -> NoReturn:
    """Say what is wrong and leave."""
    say(f"autohealer: {sentence}")
    raise typer.Exit(code)
