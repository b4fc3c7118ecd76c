"""How a command ends that cannot do what it was asked: one sentence and an exit code."""

from __future__ import annotations

from typing import NoReturn

import typer

from autohealer.cli.exit_codes import ExitCode
from autohealer.cli.streams import say


def fail(code: ExitCode, sentence: object) -> NoReturn:
    """Say what is wrong and leave."""
    say(f"autohealer: {sentence}")
    raise typer.Exit(code)
